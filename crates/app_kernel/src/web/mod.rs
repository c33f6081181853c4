//! The web floor: the accept loop, what happens to every request, extractors, and the only place where errors become responses.

pub mod edge;
pub mod identity;
pub mod reply;

#[allow(dead_code, reason = "the service floor serves with it")]
pub(crate) mod server;

mod middleware;

pub(crate) use middleware::catch_panic::{is_catching as is_catching_panics, panic_text};
