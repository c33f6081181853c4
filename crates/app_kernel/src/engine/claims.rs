//! Rows that workers of several processes share: each is claimed by one of them, for the length of a lease.
//!
//! - A claim takes the first rows that are free, together. Nobody waits for another's claim: rows that somebody else is taking are passed by.
//! - A lease is judged by the database's clock alone, so the clocks of the processes may differ.
//! - Each claim counts [`FENCE`] up by one. Whoever changes a claimed row names its claimer and that number, so that one who lost the lease,
//!   because it was stopped for a while or cut off from the database, changes nothing any more.
//!
//! A table whose rows are claimed has the columns `worker_id`, `fence` and `due_at`, which says when a claimed row's lease ends.

use std::time::Duration;

use crate::base::error::Result;
use crate::store::db::row::Row;
use crate::store::db::value::Value;
use crate::store::db::{Backend, Db, Sql};

/// The column that tells claims of a row apart.
pub(crate) const FENCE: &str = "fence";

/// What is to be claimed.
#[derive(Debug, Clone)]
pub(crate) struct Claim<'a> {
    /// The table.
    pub(crate) table: &'a str,
    /// The condition on rows that are free.
    pub(crate) free: Sql,
    /// Which of them come first, as in ORDER BY.
    pub(crate) order: &'a str,
    /// What a claim sets beside the claimer and the lease, such as `[state] = 'running'`.
    pub(crate) set: Sql,
    /// The columns that are wanted of claimed rows, as in SELECT; `id` among them.
    pub(crate) columns: &'a str,
    /// How many rows at most.
    pub(crate) most: usize,
    /// Who claims.
    pub(crate) worker_id: &'a str,
    /// For how long, until it is renewed.
    pub(crate) lease: Duration,
}

/// Claims rows, and answers them as they are then, in no order. In a transaction of its own, or in the one of `db`.
pub(crate) async fn claim(db: &Db, claim: Claim<'_>) -> Result<Vec<Row>> {
    match db.backend() {
        Backend::Sqlite => one_statement_of_the_only_writer(db, &claim).await,
        Backend::Postgres => one_statement_that_skips(db, &claim).await,
        Backend::MySql => db.transaction(|tx| look_then_claim(tx, &claim)).await,
    }
}

impl Claim<'_> {
    fn assignments(&self, db: &Db) -> Sql {
        db.sql(" SET [worker_id] = ")
            .bind(self.worker_id)
            .text(", [fence] = [fence] + 1, [due_at] = ")
            .later(self.lease)
            .text(", ")
            .part(self.set.clone())
    }

    fn first_free(&self, db: &Db, columns: &str) -> Sql {
        db.sql(format!("SELECT {columns} FROM [{}] WHERE ", self.table))
            .part(self.free.clone())
            .text(&format!(" ORDER BY {} LIMIT ", self.order))
            .bind(i64::try_from(self.most).unwrap_or(i64::MAX))
    }
}

async fn one_statement_of_the_only_writer(db: &Db, claim: &Claim<'_>) -> Result<Vec<Row>> {
    db.sql(format!("UPDATE [{}]", claim.table))
        .part(claim.assignments(db))
        .text(" WHERE [id] IN (")
        .part(claim.first_free(db, "[id]"))
        .text(&format!(") RETURNING {}", claim.columns))
        .query_changing(db)
        .await
}

async fn one_statement_that_skips(db: &Db, claim: &Claim<'_>) -> Result<Vec<Row>> {
    // MATERIALIZED, because a planner that runs the inner query more than once would claim more than was asked for.
    db.sql("WITH free AS MATERIALIZED (")
        .part(claim.first_free(db, "[id] AS [free_id]"))
        .text(&format!(" FOR UPDATE SKIP LOCKED) UPDATE [{}]", claim.table))
        .part(claim.assignments(db))
        .text(&format!(" FROM free WHERE [id] = [free_id] RETURNING {}", claim.columns))
        .query_changing(db)
        .await
}

/// MySQL has no RETURNING.
async fn look_then_claim(tx: Db, claim: &Claim<'_>) -> Result<Vec<Row>> {
    let free = claim.first_free(&tx, "[id]").text(" FOR UPDATE SKIP LOCKED").query(&tx).await?;
    if free.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Value> = free.iter().map(|row| row["id"].clone()).collect();
    let claims = tx.sql(format!("UPDATE [{}]", claim.table)).part(claim.assignments(&tx)).text(" WHERE [id] IN ");
    claims.list(ids.iter().cloned()).execute(&tx).await?;
    tx.sql(format!("SELECT {} FROM [{}] WHERE [id] IN ", claim.columns, claim.table)).list(ids).query(&tx).await
}

/// Renews the leases of rows that this worker still has, in one statement. Answers those that it has, each with its fence.
pub(crate) async fn renew(
    db: &Db,
    table: &str,
    worker_id: &str,
    ids: &[String],
    lease: Duration,
) -> Result<Vec<(String, i64)>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mine = || db.sql(" WHERE [worker_id] = ").bind(worker_id).text(" AND [id] IN ").list(ids);
    let renewal = db.sql(format!("UPDATE [{table}] SET [due_at] = ")).later(lease);
    renewal.part(mine()).execute(db).await?;
    let held = db.sql(format!("SELECT [id], [fence] FROM [{table}]")).part(mine()).query(db).await?;
    Ok(held.iter().map(|row| (row.id().to_owned(), row[FENCE].as_int().unwrap_or_default())).collect())
}

/// The condition on rows that this worker claimed under this fence and still has.
pub(crate) fn still_mine<'a>(db: &Db, worker_id: &str, fence: i64, ids: impl IntoIterator<Item = &'a String>) -> Sql {
    db.sql("[worker_id] = ").bind(worker_id).text(" AND [fence] = ").bind(fence).text(" AND [id] IN ").list(ids)
}
