//! How many jobs there are, and how long they have waited: for the pulse of a worker, for numbers and for services. Nothing here changes a row.

use super::model::JobState;
use super::table::time;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::store::db::Db;
use crate::store::db::row::Row;

/// Waiting jobs are counted so far: a longer line costs no more to look at.
const MOST_COUNTED: u32 = 10_000;

/// How many jobs are ready and waiting, [`MOST_COUNTED`] at most, and since when the oldest of them.
pub(super) async fn waiting(db: &Db) -> Result<(u64, Option<Timestamp>)> {
    let sql = format!(
        "SELECT COUNT(*) AS [jobs], MIN([due_at]) AS [oldest] FROM \
         (SELECT [due_at] FROM [kernel_jobs] WHERE [state] = 'ready' ORDER BY [state], [due_at] LIMIT {MOST_COUNTED}) AS ready"
    );
    let rows = db.query(sql, ()).await?;
    let Some(row) = rows.first() else { return Ok((0, None)) };
    Ok((row["jobs"].as_int().and_then(|jobs| u64::try_from(jobs).ok()).unwrap_or_default(), time(&row["oldest"])))
}

/// How many jobs are in each state of each queue.
pub(super) async fn all(db: &Db) -> Result<Vec<(String, JobState, i64)>> {
    let sql = "SELECT [queue], [state], COUNT(*) AS [jobs] FROM [kernel_jobs] GROUP BY [queue], [state] ORDER BY [queue], [state]";
    Ok(db.query(sql, ()).await?.iter().filter_map(count).collect())
}

/// How many jobs there are of each queue that are not done with, by state. The index on states answers it.
pub(super) async fn open(db: &Db) -> Result<Vec<(String, JobState, i64)>> {
    let states = super::tally::OPEN.map(|state| state.as_str().to_owned());
    let sql = db.sql("SELECT [queue], [state], COUNT(*) AS [jobs] FROM [kernel_jobs] WHERE [state] IN ").list(&states);
    let rows = sql.text(" GROUP BY [queue], [state] ORDER BY [queue], [state]").query(db).await?;
    Ok(rows.iter().filter_map(count).collect())
}

fn count(row: &Row) -> Option<(String, JobState, i64)> {
    let state = serde_json::from_value(row["state"].as_str()?.into()).ok()?;
    Some((row["queue"].as_str()?.to_owned(), state, row["jobs"].as_int()?))
}

/// When the job became due that has waited longest, by queue.
pub(super) async fn longest_ready(db: &Db) -> Result<Vec<(String, Timestamp)>> {
    let sql = "SELECT [queue], MIN([due_at]) AS [due_at] FROM [kernel_jobs] WHERE [state] = 'ready' GROUP BY [queue] ORDER BY [queue]";
    let rows = db.query(sql, ()).await?;
    Ok(rows.iter().filter_map(|row| Some((row["queue"].as_str()?.to_owned(), time(&row["due_at"])?))).collect())
}
