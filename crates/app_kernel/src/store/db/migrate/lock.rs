//! The lock that one process holds while it migrates.

use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::Session;
use crate::store::db::value::Value;

/// What PostgreSQL and MySQL call it.
const LOCK: i64 = 0x61_70_70_5f_6b_65_72_6e; // "app_kern"
/// MySQL's locks are the server's, so each database has its own. No name may have more than 64 characters.
const NAME: &str = "CONCAT('app_kernel.migration.', LEFT(SHA1(DATABASE()), 32))";
/// How long MySQL waits at once for another process to finish its migration, in seconds: less than a statement may take.
const WAIT_SECS: i64 = 15;
/// How often it waits.
const WAITS: u32 = 40;

/// Waits for it. It goes with the transaction, on MySQL with [`unlock`] or the connection.
pub(super) async fn lock(session: &mut Session<'_>) -> DbResult<()> {
    match session.dialect().backend() {
        // The transaction holds SQLite's only write lock already.
        Backend::Sqlite => Ok(()),
        // A long migration of another process is no reason to give up, and neither is a long one of ours.
        Backend::Postgres => {
            let patient = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
            session.batch(&format!("{patient}; SELECT pg_advisory_xact_lock({LOCK})")).await
        }
        Backend::MySql => {
            let sql = format!("SELECT GET_LOCK({NAME}, ?)");
            for _ in 0..WAITS {
                let got = session.query(&sql, &[Value::Int(WAIT_SECS)], |row| row.int(0)).await?;
                if got == [1] {
                    return Ok(());
                }
            }
            Err(Error::unavailable("another process has been migrating for too long").into())
        }
    }
}

pub(super) async fn unlock(session: &mut Session<'_>) -> DbResult<()> {
    match session.dialect().backend() {
        // It goes with the transaction.
        Backend::Sqlite | Backend::Postgres => Ok(()),
        Backend::MySql => session.query(&format!("SELECT RELEASE_LOCK({NAME})"), &[], |_| Ok(())).await.map(drop),
    }
}
