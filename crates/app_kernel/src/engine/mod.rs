//! What runs beside the store. Each engine has its forms behind one behaviour.

pub mod cache;
pub(crate) mod calls;
pub(crate) mod carried;
pub(crate) mod claims;
pub(crate) mod courier;
pub mod http_client;
pub(crate) mod idempotency;
pub mod jobs;
pub(crate) mod leases;
pub mod locks;
pub mod mail;
#[cfg(feature = "otel")]
pub(crate) mod otlp;
pub mod outbound;
pub mod pulse;
pub mod rate_limit;
pub(crate) mod relay;
pub mod s3;
pub(crate) mod scrape;
pub(crate) mod spool;
