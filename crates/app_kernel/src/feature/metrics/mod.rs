//! `/metrics`, for Prometheus: what the process, the kernel and the service count.
//!
//! - Who may read it: whoever sends `METRICS_TOKEN` as a bearer token, compared in constant time; where that is not set, this machine only.
//!   A request that came through a proxy is not from this machine, whoever the proxy is.
//! - A scrape asks the database little, and waits for it no longer than a second: see `engine/scrape.rs`.
//! - It lies at the root only, and is neither metered nor limited.

mod access;
mod process;
mod routes;

pub(crate) use process::numbers as process_numbers;
pub(crate) use routes::routes;
