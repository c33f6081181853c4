//! What the database that DATABASE_URL names holds already.

use std::collections::BTreeSet;

use super::state::{self, Record};
use crate::base::clock::Timestamp;
use crate::store::db::DbResult;
use crate::store::db::backup::is_ours;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::inspect::inspect;
use crate::store::db::schema::{KERNEL_PREFIX, MIGRATIONS, MOVE};

/// What is there.
#[derive(Debug)]
pub(super) struct Target {
    /// The last move into it.
    pub(super) record: Option<Record>,
    /// A table of ours that has rows, and how many; none where there is no row of ours.
    pub(super) rows: Option<(String, u64)>,
    /// Tables that are not ours.
    pub(super) strangers: BTreeSet<String>,
    /// See [`BornAt`].
    pub(super) born_at: Option<Timestamp>,
}

/// Looks.
pub(super) struct Look;

impl Operation for Look {
    type Output = Target;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Target> {
        let dialect = session.dialect();
        let record = state::read(session).await?.record;
        let found = inspect(session, None).await?.tables;
        let (ours, strangers): (Vec<&String>, Vec<&String>) = found.keys().partition(|name| is_ours(name, &found));
        let mut rows = None;
        // What an empty start leaves behind is no data. The kernel's own tables come last: people know theirs better.
        let (kernel, theirs): (Vec<&String>, Vec<&String>) =
            ours.into_iter().filter(|name| *name != MIGRATIONS).partition(|name| name.starts_with(KERNEL_PREFIX));
        for name in theirs.into_iter().chain(kernel) {
            let sql = format!("SELECT COUNT(*) FROM {}", quoted(name, dialect));
            let count = session.query(&sql, &[], |row| row.int(0)).await?.pop().unwrap_or(0).unsigned_abs();
            if count > 0 {
                rows = Some((name.clone(), count));
                break;
            }
        }
        let strangers = strangers.into_iter().filter(|name| *name != MOVE).cloned().collect();
        Ok(Target { record, rows, strangers, born_at: BornAt.run(session).await? })
    }
}

/// The last move into the database alone.
pub(super) struct LastMove;

impl Operation for LastMove {
    type Output = Option<Record>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Option<Record>> {
        Ok(state::read(session).await?.record)
    }
}

/// When the first table was made, to the microsecond: the same data has it wherever it is moved or restored to. None before the first migration.
pub(super) struct BornAt;

impl Operation for BornAt {
    type Output = Option<Timestamp>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Option<Timestamp>> {
        if !inspect(session, Some(MIGRATIONS)).await?.tables.contains_key(MIGRATIONS) {
            return Ok(None);
        }
        let dialect = session.dialect();
        let [applied_at, seq, table] = ["applied_at", "seq", MIGRATIONS].map(|name| quoted(name, dialect));
        let sql = format!("SELECT {applied_at} FROM {table} ORDER BY {seq} LIMIT 1");
        Ok(session.query(&sql, &[], |row| row.timestamp(0)).await?.pop())
    }
}

/// Notes that the service serves from here now.
pub(super) struct Finish(pub(super) Record);

impl Operation for Finish {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> DbResult<()> {
        state::note(session, &self.0).await
    }
}
