//! The web floor: the accept loop, what happens to every request, extractors, and the only place where errors become responses.

pub mod edge;
pub mod etag;
pub mod events;
pub mod extract;
pub mod idempotency;
pub mod identity;
pub mod meter;
mod middleware;
pub mod openapi;
pub mod rate_limit;
pub mod reply;
pub(crate) mod server;
pub(crate) mod traffic;

pub(crate) use middleware::catch_panic::is_catching as is_catching_panics;
