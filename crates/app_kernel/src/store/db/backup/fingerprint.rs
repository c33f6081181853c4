//! Whether anything has changed since a backup, without reading the data. A fingerprint that is the same means that nothing was committed;
//! one that differs may mean nothing. Taken before the snapshot, so that a change between the two makes one backup too many, never too few.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::schema::{CHANGES, MIGRATIONS};

/// Two changes of a file within this time may leave the same time behind.
pub(super) const RESOLUTION: Duration = Duration::from_millis(50);

/// Asks the database; `None` where it can't tell. For SQLite, `files` tells what the session can't.
#[derive(Debug)]
pub(super) struct Fingerprint {
    pub(super) files: Option<String>,
}

impl Operation for Fingerprint {
    type Output = Option<String>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Option<String>> {
        let backend = session.dialect().backend();
        let state = match backend {
            Backend::Sqlite => self.files.clone(),
            Backend::Postgres => postgres(session).await?,
            Backend::MySql => mysql(session).await?,
        };
        let Some(state) = state else { return Ok(None) };
        // Where a part changes after it was read, the next fingerprint differs, and the backup that is made now has the change anyway.
        let numbers = last_numbers(session).await;
        Ok(numbers.ok().map(|numbers| format!("{} {state} {numbers}", backend.as_str())))
    }
}

/// The last change and the last migration: what every save and every change of the schema counts up.
async fn last_numbers(session: &mut Session<'_>) -> DbResult<String> {
    let mut numbers = Vec::new();
    for table in [CHANGES, MIGRATIONS] {
        let dialect = session.dialect();
        let sql = format!("SELECT COALESCE(MAX({}), 0) FROM {}", quoted("seq", dialect), quoted(table, dialect));
        numbers.extend(session.query(&sql, &[], |row| row.int(0)).await?);
    }
    Ok(format!("{numbers:?}"))
}

/// Which transactions are visible: the same list means that none was committed since, in any database of the server.
async fn postgres(session: &mut Session<'_>) -> DbResult<Option<String>> {
    let sql = "SELECT (SELECT oid::text FROM pg_database WHERE datname = current_database()) || ' ' || pg_current_snapshot()::text";
    Ok(session.query(sql, &[], |row| row.text(0).map(str::to_owned)).await?.pop())
}

/// When each table was last written, by the server's memory, and since when it remembers. In whole seconds, so the present one tells nothing.
async fn mysql(session: &mut Session<'_>) -> DbResult<Option<String>> {
    // MySQL 8 would answer from a cache that is a day old. MariaDB has no such setting, nor need of it.
    session.batch("SET SESSION /*!80000 information_schema_stats_expiry = 0, */ autocommit = 1").await?;
    let sql = "SELECT CAST(COALESCE(GROUP_CONCAT(CONCAT(table_name, '=', COALESCE(update_time, create_time, '')) ORDER BY table_name), '') AS CHAR), \
                      CAST(COALESCE(MAX(update_time) < NOW() - INTERVAL 1 SECOND, 1) AS SIGNED), \
                      CAST(COALESCE(SUM(update_time IS NOT NULL), 0) AS SIGNED) \
               FROM information_schema.tables WHERE table_schema = DATABASE()";
    session.batch("SET SESSION group_concat_max_len = 1000000").await?;
    let read =
        |row: &crate::store::db::driver::RowRef<'_>| Ok((row.text(0)?.to_owned(), row.int(1)? != 0, row.int(2)? > 0));
    let answer = session.query(sql, &[], read).await?.pop();
    // Where no table has a time, the server was started since the last write and has forgotten; it can't tell.
    Ok(answer.filter(|(_, is_settled, remembers)| *is_settled && *remembers).map(|(times, ..)| times))
}

/// The size and time of SQLite's file and of its log. `None` where they were changed so lately that a next change might not show.
pub(super) fn of_files(path: &Path, now: SystemTime) -> Option<String> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mut text = String::new();
    for path in [path, Path::new(&log)] {
        let Ok(metadata) = std::fs::metadata(path) else {
            text.push_str("none ");
            continue;
        };
        // A log that is empty was written back; it is made anew at each start.
        if metadata.len() == 0 {
            text.push_str("none ");
            continue;
        }
        let time = metadata.modified().ok()?;
        if now.duration_since(time).is_ok_and(|age| age < RESOLUTION) {
            return None;
        }
        let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        text.push_str(&format!("{}@{} ", metadata.len(), since.as_nanos()));
    }
    Some(text)
}

impl Fingerprint {
    pub(super) fn unknown(error: &Error) {
        tracing::debug!(%error, "whether anything has changed since the last backup can't be told");
    }
}
