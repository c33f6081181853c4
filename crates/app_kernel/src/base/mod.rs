//! Plain values that every floor above speaks: errors, callers, time, ids, secrets, configuration.
//! Nothing here does I/O and nothing is async.

pub mod backoff;
pub mod breaker;
pub mod caller;
pub mod clock;
pub mod config;
pub mod cron;
pub(crate) mod digits;
pub mod error;
pub mod id;
pub mod kept;
pub mod metrics;
pub(crate) mod panic;
pub mod reach;
pub mod secret;
pub mod trace;
pub(crate) mod vault;
