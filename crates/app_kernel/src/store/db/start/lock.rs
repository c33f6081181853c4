//! The lock of those who change a database as a whole: one start, restore or rollback at a time, on however many machines.
//!
//! On PostgreSQL and MySQL it is the server's own, on a connection that does nothing else. Those who wait ask now and then rather than
//! inside the server: behind a pooler with few connections, waiters would keep the holder from getting one for its work. It goes
//! with the connection, and so with the process.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::backoff::Backoff;
use crate::base::error::{Error, OrInternal as _, Result};
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::{Driver, Operation, Session, Transaction};
use crate::store::db::url::DatabaseUrl;
use crate::store::db::value::Value;

/// What PostgreSQL calls it. A migration has a lock of its own inside of this one.
const KEY: i64 = 0x61_70_70_5f_73_74_61_72; // "app_star"
/// What MySQL calls it. With the hash of the database's name, because MySQL 8 takes 64 bytes at most.
const NAME: &str = "SELECT GET_LOCK(CONCAT('app_kernel.start.', LEFT(SHA1(DATABASE()), 32)), 0)";
const BETWEEN_TRIES: Backoff = Backoff { first: Duration::from_millis(20), most: Duration::from_millis(400) };

/// Held by the one who works. Goes when it is dropped; [`StartLock::release`] waits until it is gone.
#[derive(Debug)]
pub(in crate::store::db) enum StartLock {
    /// SQLite: beside the database. Not on its own file, whose locks are SQLite's.
    File {
        _unlocks_when_closed: File,
    },
    Server {
        driver: Driver,
        transaction: Box<Transaction>,
    },
}

impl StartLock {
    /// Waits until nobody else has it.
    pub(in crate::store::db) async fn take(url: &DatabaseUrl) -> Result<Self> {
        if url.backend == Backend::Sqlite {
            let path = url.sqlite_file()?;
            let locked = tokio::task::spawn_blocking(move || lock_beside(&path));
            return locked.await.or_internal("waiting for the lock of the database")?;
        }
        let driver = Driver::connect_apart(url).await?;
        let mut tries = 0;
        loop {
            let mut transaction = driver.begin().await?;
            if transaction.run(TryLock).await? {
                return Ok(StartLock::Server { driver, transaction: Box::new(transaction) });
            }
            transaction.rollback().await;
            if tries == 0 {
                tell_that_it_waits();
            }
            tries += 1;
            tokio::time::sleep(BETWEEN_TRIES.wait(tries)).await;
        }
    }

    /// Lets the next one in.
    pub(in crate::store::db) async fn release(self) {
        match self {
            StartLock::File { .. } => {}
            StartLock::Server { driver, transaction } => {
                transaction.rollback().await;
                driver.close().await;
            }
        }
    }
}

fn tell_that_it_waits() {
    tracing::info!("another process starts or restores on this database: waiting until it is done");
}

fn lock_beside(database: &Path) -> Result<StartLock> {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let lock = || {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tell_that_it_waits(),
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        file.lock().map(|()| file)
    };
    let file = lock().map_err(|cause: std::io::Error| {
        let text = format!(
            "the lock {} can't be taken: {cause}; let this user write beside the database, on a disk that knows file locks",
            path.display()
        );
        Error::unavailable(text).cause(cause)
    })?;
    Ok(StartLock::File { _unlocks_when_closed: file })
}

/// Whether the lock could be had at once.
struct TryLock;

impl Operation for TryLock {
    type Output = bool;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<bool> {
        match session.dialect().backend() {
            Backend::Sqlite => Err(Error::internal("SQLite's lock is a file").into()),
            Backend::Postgres => {
                let sql = "SELECT CASE WHEN pg_try_advisory_xact_lock($1) THEN 1 ELSE 0 END";
                let is_held = session.query(sql, &[Value::Int(KEY)], |row| row.int(0)).await? == [1];
                if is_held {
                    // It is idle for as long as the work takes.
                    session.batch("SET LOCAL idle_in_transaction_session_timeout = 0").await?;
                }
                Ok(is_held)
            }
            Backend::MySql => {
                let is_held = session.query(NAME, &[], |row| row.int(0)).await? == [1];
                if is_held {
                    session.batch("SET SESSION wait_timeout = 86400").await?;
                }
                Ok(is_held)
            }
        }
    }
}
