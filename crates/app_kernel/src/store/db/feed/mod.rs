//! Changes as they happen: every committed change of an entity once, in the order of the audit's log, from any place in it on.
//!
//! Change records are gone once they are carried onward, and the numbers of concurrent transactions are not in the order of their commits; so
//! the feed reads the log that they are carried to. There, each change has a position: without gaps, and visible in its order. A stream that
//! knows the position it has come to loses nothing and gets nothing twice, however it was cut off.
//!
//! The store knows the log by `ChangeLog` only; the audit installs one. A stream reads the log by itself until it has come to its end, then
//! hears of what comes from the hub, which reads for all streams of a process. What it misses there it reads again by itself.

mod batch;
mod hub;
mod log;
mod row;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::log::{ChangeLog, Extent, Logged};
pub use self::stream::ChangeStream;

use self::hub::Hub;
use self::stream::Tail;
use super::Db;
use super::api::shape::{Shape, Typed, Untyped};
use super::entity::Entity;
use super::history::Operation;
use super::table::Table;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, Result};

/// One committed change of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RowChange<R> {
    /// Its place in the log; a stream goes on behind it by [`ChangesOf::stream_from`].
    pub position: i64,
    /// What was done.
    pub operation: Operation,
    /// The row's id.
    pub id: String,
    /// Which version of the row this made.
    pub version: i64,
    /// The row in this version; secret texts read `[redacted]`, other secrets are null. None once it was deleted for good, where its history
    /// was purged, and where the version does not fit the struct of today.
    pub row: Option<R>,
    /// When.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub changed_at: Timestamp,
    /// Who, where it was a user.
    pub user_id: Option<String>,
    /// The workspace that the request was about; a handle that is bounded to one is told of no other.
    pub workspace_id: Option<String>,
    /// In which request, where it was one.
    pub request_id: Option<String>,
}

/// What a stream tells.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeEvent<R> {
    /// A row was changed.
    Change(RowChange<R>),
    /// Changes up to this position are missing: they were purged, or the log is another than the one in which the stream was. Whoever keeps a
    /// copy of the rows reads them anew. The stream goes on behind the position.
    Reset {
        /// The last position that is missing.
        position: i64,
    },
}

impl Db {
    /// The changes of this database: `db.changes().of::<Widget>().stream().await?`. A handle that is [bounded to a
    /// workspace](Db::in_workspace) sees changes of that workspace's rows only, as they were after the change: a row that leaves the workspace
    /// is not told of.
    ///
    /// ```no_run
    /// # use app_kernel::prelude::*;
    /// # use app_kernel::store::db::feed::ChangeEvent;
    /// use futures_util::StreamExt as _;
    /// # #[derive(Entity)] struct Widget { name: String }
    /// # async fn example(db: Db) -> Result<()> {
    /// let mut changes = db.changes().of::<Widget>().stream().await?;
    /// while let Some(event) = changes.next().await {
    ///     match event? {
    ///         ChangeEvent::Change(change) => println!("{} was {}", change.id, change.operation.as_str()),
    ///         ChangeEvent::Reset { .. } => println!("some changes are missing"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn changes(&self) -> Changes {
        Changes { db: Db { transaction: None, ..self.clone() } }
    }

    /// Has changes followed by this log from now on.
    pub(crate) fn follow_changes_by(&self, log: Arc<dyn ChangeLog>) {
        self.attach(Arc::new(Feed { log, hub: Hub::default() }));
    }
}

/// The changes of a database; see [`Db::changes`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read until a stream is made of it"]
pub struct Changes {
    db: Db,
}

impl Changes {
    /// Those of a declared entity.
    pub fn of<T: Entity>(self) -> ChangesOf<Typed<T>> {
        ChangesOf { db: self.db, shape: Typed::new(), name: T::definition().table.to_string(), only: None }
    }

    /// Those of the entity of this name, as rows without a struct.
    pub fn of_entity(self, name: impl Into<String>) -> ChangesOf<Untyped> {
        let name = name.into();
        ChangesOf { db: self.db, shape: Untyped(name.clone()), name, only: None }
    }
}

/// The changes of one entity; see [`Db::changes`].
#[derive(Debug, Clone)]
#[must_use = "nothing is read until a stream is made of it"]
pub struct ChangesOf<S> {
    db: Db,
    shape: S,
    name: String,
    /// All, where it is not said.
    only: Option<BTreeSet<&'static str>>,
}

impl<S: Shape> ChangesOf<S> {
    /// Only these: `.only([Operation::Created])`.
    pub fn only(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        self.only = Some(operations.into_iter().map(Operation::as_str).collect());
        self
    }

    /// From now on: every change that is committed after this answers, and perhaps a few from just before.
    ///
    /// # Errors
    /// `Unavailable` where nothing of this database is audited, or the database does not answer; `Invalid` where the entity keeps no history,
    /// or a handle that is bounded to a workspace is asked for an entity that belongs to none.
    pub async fn stream(self) -> Result<ChangeStream<S::Item>> {
        self.start(None).await
    }

    /// All behind a position: one that a change or a stream told before; 0 for all that the log has. Where some of them are gone, it begins
    /// with [`ChangeEvent::Reset`].
    ///
    /// # Errors
    /// As [`ChangesOf::stream`]; `Invalid` for a negative position.
    pub async fn stream_from(self, position: i64) -> Result<ChangeStream<S::Item>> {
        if position < 0 {
            return Err(Error::invalid(format!("changes have positions from 0 on; {position} is none")));
        }
        self.start(Some(position)).await
    }

    async fn start(self, position: Option<i64>) -> Result<ChangeStream<S::Item>> {
        let table = self.shape.table(&self.db).await?;
        if let Some(table) = &table {
            check_is_followed(table)?;
            self.db.scope(table)?;
        }
        let feed = Feed::of(&self.db)?;
        let end = feed.log.extent(&self.db).await?.end;
        let name = table.map_or(self.name, |table| table.def.table.to_string());
        let filter = stream::Filter { name, only: self.only };
        Ok(ChangeStream::new(Tail::new(feed, self.db, self.shape, filter, position.unwrap_or(end))))
    }
}

/// What is attached to a database whose changes can be followed.
#[derive(Debug)]
struct Feed {
    log: Arc<dyn ChangeLog>,
    hub: Hub,
}

impl Feed {
    fn of(db: &Db) -> Result<Arc<Feed>> {
        db.attached().filter(|_| db.shared.is_audited).ok_or_else(|| {
            Error::unavailable(
                "changes of this database can't be followed: nothing carries them to an audit; leave AUDIT_ENABLED out, and where \
                 ADMIN_WORKER_EMBEDDED is false set REDIS_URL. A database that was opened by hand needs enable_audit(..)",
            )
        })
    }
}

/// Refuses an entity whose changes leave nothing to follow.
fn check_is_followed(table: &Table) -> Result<()> {
    if table.def.history {
        return Ok(());
    }
    let name = &table.def.table;
    Err(Error::invalid(format!(
        "changes of `{name}` can't be followed: it keeps no history; take out `history = false`"
    )))
}
