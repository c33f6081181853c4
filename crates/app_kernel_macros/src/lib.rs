//! The derive macros of `app_kernel`, which re-exports them: services never name this crate.
//! Each entry point hands its tokens to a function over `proc_macro2` that unit tests call too.
#![forbid(unsafe_code)]

mod cached;
mod durations;
mod entity;
mod task;

use proc_macro::TokenStream;

/// Makes a struct an entity, stored as rows of one table, or an enum of plain names a type that a column can hold.
///
/// What a type's column is comes from `EntityValue`; besides, `Vec<u8>` is bytes, and other lists, sets, maps, tuples and arrays are JSON.
/// `Option<T>` makes a column that may be null. serde's attributes describe the wire and are not read here.
///
/// | on the struct | |
/// |---|---|
/// | `table = "projects"` | the table; without it the struct's name in snake case and plural: `UserKey` is `user_keys` |
/// | `renamed_from = "old"` | a former name of the table, whose rows move here |
/// | `index(a, b)`, `unique(a, b)` | an index over several columns; living rows must differ in those of `unique` |
/// | `history = false` | keeps no versions and records no changes |
///
/// | on a field | |
/// |---|---|
/// | `index`, `unique` | an index over this column; living rows must differ in a `unique` one |
/// | `default = "blue"` | what stands there where a save does not say: a text, a number, `true` or `false`; `"[]"` or `"{}"` for JSON |
/// | `check = "[size] > 0"` | a condition on the row, in the language of where clauses; columns stand in brackets |
/// | `foreign_key = "projects"` | the `id` of a row of that table |
/// | `renamed_from = "old"` | a former name of the column, whose values move here |
/// | `rename = "column"` | the column's name, where it is not the field's |
/// | `secret` | kept out of history, audit and logs; a `Secret` always is |
/// | `json` | stored as JSON, for any type that serde knows |
///
/// An enum's variants are stored as text, in snake case (`InProgress` is `in_progress`) or as `#[entity(rename = "..")]` says.
/// It becomes a `Value` by `into()`, so it can be a parameter of a query.
#[proc_macro_derive(Entity, attributes(entity))]
pub fn derive_entity(input: TokenStream) -> TokenStream {
    entity::expand(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes an async function a task, whose jobs outlive the request: `async fn(payload: SendEmail, ctx: JobContext) -> Result<..>`.
///
/// The function's name becomes the task: `Service::task(send_email)` lists it, `jobs.enqueue(send_email, SendEmail { .. })` makes a job of
/// it, and `send_email::call(payload, ctx)` is the function itself. So no variable beside it can have its name: call tasks by verbs. The payload is any type that serde reads and writes; the context may be
/// left out. What it answers is kept as the job's result. It fails with `Error`, which is tried again, or with `JobError`, which says what follows.
///
/// | in the parentheses | |
/// |---|---|
/// | `name = "send_email"` | what its jobs are known by; the function's name, where not said. Rows carry it: keep it when the function is renamed |
/// | `max_attempts = 5` | how often a job is tried at most |
/// | `timeout = "30s"` | how long one try may take: `ms`, `s`, `m` or `h` |
/// | `queue = "mail"` | the queue that its jobs wait in |
/// | `backoff = "10s"` | the longest wait before the second try; it doubles from there, up to an hour |
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    task::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Keeps what an async function answers, in the service's cache: `#[cached(ttl = 300, key = "projects:{workspace_id}")]`.
///
/// ```ignore
/// #[cached(ttl = 300, key = "projects:{workspace_id}")]
/// async fn get_projects(kernel: &Kernel, workspace_id: &str) -> Result<Vec<Project>> {
///     kernel.db()?.in_workspace(workspace_id).find::<Project>("[archived] = ?", [false]).await
/// }
///
/// let projects = get_projects(&kernel, "ws-123").await?;
/// get_projects_invalidate(&kernel, "ws-123").await?;
/// ```
///
/// The first argument gives the cache: `&Kernel`, `&Cache` or `&JobContext`. Of all who call at once with the same key, one runs the function. Errors
/// are not kept. Beside the function there is another, with `_invalidate` at its name's end, which takes the arguments that are in the key.
///
/// | in the parentheses | |
/// |---|---|
/// | `ttl = 300` | how long an answer is kept: seconds, or a text: `"500ms"`, `"30s"`, `"5m"`, `"2h"` |
/// | `key = "projects:{workspace_id}"` | the key; arguments and their fields stand in braces. Write it so that nothing else has it |
/// | `stale = "1h"` | for how long besides an older answer is given at once, while the function is called beside. Then borrowed arguments are cloned, and all are `Send` |
/// | `ignore(db, limit)` | arguments that make no difference to the answer, and so need not be in the key |
#[proc_macro_attribute]
pub fn cached(arguments: TokenStream, item: TokenStream) -> TokenStream {
    cached::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
