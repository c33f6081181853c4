//! The derive macros of `app_kernel`, which re-exports them: services never name this crate.
//! Each entry point hands its tokens to a function over `proc_macro2` that unit tests call too.
#![forbid(unsafe_code)]

mod entity;

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
