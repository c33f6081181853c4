//! Feature flags: parts of a service that are on for some and off for others, without a deploy.
//!
//! - A flag nobody has set is off; the log says so once. One that is not `enabled` is off for everybody.
//! - Users and workspaces that a flag lists have it. Of all others, its percentage do: by user, else by workspace; who is neither has it at
//!   100 % only. The same subject always falls on the same side, and as the percentage grows nobody loses the flag: see [`share_of`].
//! - A flag may have variants, which are texts, numbers, booleans or JSON, with weights. Who has the flag gets one of them, always the same as
//!   long as the weights are; everybody else gets the default variant.
//! - A change holds at once in the process that made it. It calls the others, by Redis or by PostgreSQL, and they read anew; without a call, as
//!   on MySQL without Redis, they do after [`BELIEVED`] at the latest. While the database is away, flags stay as they were.
//! - Flags are entities: their history and the audit tell who turned what on.
//! - What a flag says is no secret, and no permission: whoever is signed in may read what they get.

mod api;
mod cache;
mod model;
mod ofrep;
mod routes;
mod store;

pub use self::api::{
    EvaluateFlag, FlagEnabled, SetFlag, delete_flag, evaluate_flag, flag_enabled, list_flags, set_flag,
};
pub use self::cache::BELIEVED;
pub(crate) use self::cache::FlagCache;
pub use self::model::{Evaluation, Reason, Variant, share_of};
pub(crate) use self::routes::routes;
pub use self::store::{Flag, entities};
