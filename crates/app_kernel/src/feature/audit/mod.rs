//! Audit: who changed what, and when. Every entity of a service is audited, and the kernel's own, but for its short-lived rows, such as sessions.
//!
//! - A save or deletion leaves a change record in its own transaction. A relay carries it to the admin database (`ADMIN_DB_URL`, else the
//!   app's own) and deletes it only after it is there. Delivery is repeated until it succeeds; the event's id keeps a repetition out, so each
//!   committed change is there exactly once, and nothing that was not committed.
//! - An entry tells the fields that changed, old and new, from the versions before and after. The request reads nothing for it. Where the
//!   history was purged before the relay came by, or where an entity keeps none (`history = false`), the entry is there without fields. Secret
//!   columns never show their values.
//! - The entries of an app are a chain: each has a number without gaps, and a hash over itself and the hash before. [`verify`] finds entries
//!   that were edited, removed, inserted or moved. The chain's end lies in a row of its own: entries cut off at the end show by it. Whoever may
//!   write to the admin database can make a whole new chain; that shows only against an end that was noted elsewhere.
//! - Entries go only by [`purge_audit_logs`], and by `AUDIT_KEEP_DAYS` where it is set, oldest first; the chain goes on from there.

mod api;
mod chain;
mod feed;
mod keep;
mod model;
mod relay;
mod routes;
mod store;
mod worker;

pub use self::api::{AuditEntry, GetAuditLogs, get_audit_logs, purge_audit_logs};
pub use self::chain::{ChainEnd, Tampering, Verified, verify};
pub(crate) use self::feed::AuditFeed;
pub(crate) use self::keep::Keeper;
pub(crate) use self::relay::{AUDIT, Relay, receive};
pub(crate) use self::routes::routes;
pub use self::store::{AuditChain, AuditLog, entities};
pub use self::worker::{Auditing, enable_audit};
