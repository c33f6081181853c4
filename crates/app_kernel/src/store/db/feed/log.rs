//! What the feed asks of a log of changes. The floors above install one; the store knows no more of it.

use futures_util::future::BoxFuture;

use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::store::db::Db;
use crate::store::db::history::Operation;

/// A log of the changes of one database. An entry has the position of the one before and one more, and whoever sees an entry sees all before it.
/// Entries go from the beginning only. `db` is always a handle of the database whose changes these are: a log that holds one itself would
/// keep the database open for ever.
pub(crate) trait ChangeLog: std::fmt::Debug + Send + Sync {
    /// Where it begins and ends.
    fn extent<'a>(&'a self, db: &'a Db) -> BoxFuture<'a, Result<Extent>>;

    /// The entries with the next positions behind this one, in their order: so many at most.
    fn after<'a>(&'a self, db: &'a Db, position: i64, most: u16) -> BoxFuture<'a, Result<Vec<Logged>>>;

    /// Waits until it may have grown: since the last call, as far as this process has heard.
    fn grown(&self) -> BoxFuture<'_, ()>;

    /// Hears from other processes that it has grown, for as long as this is polled. Never ends.
    fn listen<'a>(&'a self, db: &'a Db) -> BoxFuture<'a, ()>;
}

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The last position that is gone; 0 where none is.
    pub(crate) purged: i64,
    /// The last position that there is.
    pub(crate) end: i64,
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) position: i64,
    pub(crate) entity: String,
    pub(crate) entity_id: String,
    pub(crate) entity_version: i64,
    pub(crate) operation: Operation,
    pub(crate) changed_at: Timestamp,
    pub(crate) user_id: Option<String>,
    pub(crate) workspace_id: Option<String>,
    pub(crate) request_id: Option<String>,
}
