//! What PostgreSQL makes after the transaction of a migration: indexes on large tables, while others write.

use std::time::Duration;

use crate::base::error::Error;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::value::Value;
use crate::store::db::{DbError, DbResult};

/// How often an index is begun: others may be at it at the same time.
const TRIES: u32 = 10;
/// How long to wait between two looks at an index that is being made.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Each statement is a transaction of its own, and no lock is held: making such an
/// index waits for all transactions that are older, and so would wait for those that wait for the lock.
pub(super) struct LaterIndexes {
    /// Names and statements.
    pub(super) made: Vec<(String, String)>,
    /// Those that another process is making.
    pub(super) awaited: Vec<String>,
}

impl Operation for LaterIndexes {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> DbResult<()> {
        for (name, statement) in &self.made {
            // Another process may be making it, or may have failed at it, at the same time.
            let mut tries = 0;
            while !is_ready(session, name).await? {
                tries += 1;
                match session.batch(statement).await {
                    Err(error) if tries == TRIES => return Err(error),
                    Err(error) => tracing::debug!(%error, "the index `{name}` was not made"),
                    Ok(()) if tries == TRIES => return Err(left_broken(name)),
                    Ok(()) => {}
                }
            }
        }
        for name in &self.awaited {
            is_ready(session, name).await?;
        }
        Ok(())
    }
}

fn left_broken(name: &str) -> DbError {
    Error::unavailable(format!(
        "the index `{name}` could not be made; the next start drops what is left of it and tries again"
    ))
    .into()
}

/// Waits while somebody makes an index, and tells whether it is there. What is left of one that failed is dropped.
async fn is_ready(session: &mut Session<'_>, name: &str) -> DbResult<bool> {
    let state = "SELECT CASE WHEN x.indisvalid THEN 0 \
                             WHEN EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid) THEN 1 ELSE 2 END \
                 FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid \
                 WHERE i.relnamespace = current_schema()::regnamespace AND i.relname = $1::text";
    loop {
        let states = session.query(state, &[Value::from(name)], |row| row.int(0)).await?;
        match states.first() {
            Some(0) => return Ok(true),
            Some(1) => tokio::time::sleep(BETWEEN_LOOKS).await,
            Some(_) => {
                session.batch(&format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(name, session.dialect()))).await?
            }
            None => return Ok(false),
        }
    }
}
