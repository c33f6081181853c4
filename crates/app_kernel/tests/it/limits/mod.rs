//! What keeps requests and work within bounds: limits on requests, writes that are done once, the cache, and locks.

mod cached;
mod idempotency;
mod locks;
mod requests;
