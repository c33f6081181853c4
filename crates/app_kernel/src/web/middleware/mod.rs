//! What happens to every request, one file each. Plain functions on heads and bodies; `edge.rs` says in which order.

pub(crate) mod catch_panic;
pub(super) mod client_address;
pub(super) mod compression;
pub(super) mod cors;
pub(super) mod exchange;
pub(super) mod limits;
pub(super) mod request_id;
pub(super) mod request_log;
pub(super) mod standing_headers;
pub(super) mod tracing_span;
