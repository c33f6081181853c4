//! API keys: how programs sign in.
//!
//! - A key is `sk_live_` with 38 characters, told once. What is stored is its SHA-256, which 190 bits of chance keep as secret as the key.
//! - A key is its maker's and never more than its maker. Whoever is deactivated or deleted their account has no living key. It may act in
//!   every workspace that they belong to, or, where it belongs to a workspace, in that one alone: its admins make it, see it and revoke it.
//! - A workspace's key rests on whoever made it. When they leave the workspace it stops at once, because they may know it by heart;
//!   another admin rotates it, which makes it theirs.
//! - A key has the scopes that it was made with: none opens nothing that asks for one, `*` is all of them, `deployments:*` all below. People
//!   who are signed in have all scopes.
//! - A key opens only what asks for [`Auth`] or [`RequireScope`]. Whatever asks for a user (`CurrentUser`, `WorkspaceMember` and all routes
//!   of the kernel) answers it 403: a key changes no password, ends no session and makes no key.
//! - A key is read with each request, so a revoked one is over at once, in every process. Rotation makes a new key and lets the old one
//!   live for an overlap of at most a week.
//! - Where a key has a limit, all processes count together by Redis, or each for itself without; beyond it, the key is answered 429 wherever somebody is asked for.
//! - A request carries one proof. Two are 401, whichever they are.

mod authenticate;
mod extract;
mod flows;
mod key;
mod model;
mod routes;
mod store;
mod worker;

pub(crate) use self::authenticate::ApiKeys;
pub use self::extract::{Auth, AuthKind, RequireScope, Scope};
pub(crate) use self::flows::forget_ways_in;
pub use self::flows::{
    CreateApiKey, KeyOwner, NewApiKey, RotateApiKey, create_api_key, list_api_keys, read_api_key, revoke_api_key,
    rotate_api_key,
};
pub(crate) use self::model::Offered;
pub use self::model::{RateLimit, is_scope};
pub(crate) use self::routes::routes;
pub(crate) use self::store::entities;
pub use self::store::{ApiKey, ApiKeyInfo};
