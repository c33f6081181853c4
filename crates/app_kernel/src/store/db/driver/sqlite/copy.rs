//! Whole files by SQLite's online backup: one consistent snapshot, whoever writes meanwhile, and into a live file as one transaction.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::super::DbError;

/// How long to wait for others who write to the same file.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Copies what a connection sees, in its transaction where one is open, to a new file, which needs no log beside it and is on the disk
/// when this returns.
pub(super) fn copy_out(from: &Connection, copy: &Path) -> Result<(), DbError> {
    let mut to = Connection::open(copy)?;
    to.pragma_update(None, "synchronous", "full")?;
    copy_all(from, &mut to)?;
    to.pragma_update(None, "journal_mode", "delete")?;
    to.close().map_err(|(_, error)| error)?;
    std::fs::File::open(copy).and_then(|file| file.sync_all()).map_err(|cause| DbError::Other(cause.into()))
}

/// Makes a live file the same as a copy, in one transaction of its own: others see the old state or the new one.
pub(crate) fn copy_in(copy: &Path, live: &Path) -> Result<(), DbError> {
    let from = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut to = Connection::open(live)?;
    to.pragma_update(None, "journal_mode", "wal")?;
    to.pragma_update(None, "synchronous", "full")?;
    copy_all(&from, &mut to)
}

/// In one step: then a writer can't make it start again.
fn copy_all(from: &Connection, to: &mut Connection) -> Result<(), DbError> {
    let backup = Backup::new(from, to)?;
    let started = Instant::now();
    loop {
        match backup.step(-1)? {
            StepResult::Done => return Ok(()),
            _ if started.elapsed() > PATIENCE => {
                return Err(DbError::TryAgain("another process keeps the SQLite file busy".into()));
            }
            _ => std::thread::sleep(BETWEEN_TRIES),
        }
    }
}

/// Whether anybody has the file open. Who locks it for himself alone finds out: in its write-ahead mode, each who has it open holds a lock.
pub(crate) fn is_in_use(path: &Path) -> Result<bool, DbError> {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Somebody who is about to end gets the time to.
    file.busy_timeout(Duration::from_secs(2))?;
    file.pragma_update(None, "locking_mode", "exclusive")?;
    match file.execute_batch("BEGIN EXCLUSIVE; ROLLBACK") {
        Ok(()) => Ok(false),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// What SQLite finds wrong with a file; nothing where it is whole.
pub(crate) fn find_damage(path: &Path) -> Result<Option<String>, DbError> {
    let file = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let answer: String = file.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok(Some(answer).filter(|answer| answer != "ok"))
}
