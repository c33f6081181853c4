//! The statements that make jobs and move them from state to state. Each names the state that it leaves, so that two who want the same change
//! do not both make it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::model::{JobState, Next};
use super::table::{Now, TABLE, time};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::engine::claims::{self, Claim};
use crate::store::db::row::Row;
use crate::store::db::value::Value;
use crate::store::db::{Backend, Db, Sql};

/// How many rows one statement inserts or deletes.
pub(super) const BATCH: usize = 500;
/// How many results go in one statement.
const RESULTS: usize = 100;

/// A job that is to be made.
#[derive(Debug, Clone)]
pub(super) struct NewJob {
    pub(super) id: String,
    pub(super) task: String,
    pub(super) queue: String,
    pub(super) priority: i64,
    pub(super) payload: Json,
    pub(super) user_id: Option<String>,
    pub(super) max_attempts: u32,
    pub(super) unique_key: Option<String>,
    pub(super) concurrency_key: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) when: When,
}

/// When a job may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Now,
    In(Duration),
    At(Timestamp),
}

/// A job that was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) task: String,
    pub(super) payload: Json,
    pub(super) user_id: Option<String>,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) fence: i64,
    pub(super) enqueued_at: Timestamp,
    pub(super) queue: String,
    pub(super) traceparent: Option<String>,
}

/// What became of a claimed job.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) id: String,
    pub(super) fence: i64,
    pub(super) next: Next,
}

// --- making ----------------------------------------------------------------------------------------------------------------------------

/// Makes jobs, [`BATCH`] with each statement. Those whose id or open key is there already are not made where `or_none`.
pub(super) async fn insert(db: &Db, jobs: &[NewJob], now: Now, or_none: bool) -> Result<()> {
    for chunk in jobs.chunks(BATCH) {
        let mut sql = db.sql(
            "INSERT INTO [kernel_jobs] ([id], [task], [queue], [priority], [payload], [user_id], [max_attempts], [unique_key], [open_key], \
             [concurrency_key], [traceparent], [state], [due_at], [created_at], [updated_at], [version], [attempt], [fence], [cancel_requested]) VALUES ",
        );
        for (i, job) in chunk.iter().enumerate() {
            sql = sql.text(if i == 0 { "(" } else { ", (" }).part(values(db, job, now)).text(", 1, 0, 0, FALSE)");
        }
        if or_none {
            sql = sql.text(match db.backend() {
                Backend::Sqlite | Backend::Postgres => " ON CONFLICT DO NOTHING",
                // IGNORE would swallow other faults too.
                Backend::MySql => " ON DUPLICATE KEY UPDATE [version] = [version]",
            });
        }
        sql.execute(db).await?;
    }
    Ok(())
}

fn values(db: &Db, job: &NewJob, now: Now) -> Sql {
    let plain: [Value; 11] = [
        job.id.as_str().into(),
        job.task.as_str().into(),
        job.queue.as_str().into(),
        job.priority.into(),
        json(job.payload.clone()),
        job.user_id.as_deref().into(),
        job.max_attempts.into(),
        job.unique_key.as_deref().into(),
        job.unique_key.as_deref().into(),
        job.concurrency_key.as_deref().into(),
        job.traceparent.as_deref().into(),
    ];
    let sql = plain.into_iter().fold(db.sql(""), |sql, value| sql.bind(value).text(", "));
    let (state, due_at) = match job.when {
        When::Now => (JobState::Ready, now.sql(db)),
        When::In(delay) => (JobState::Scheduled, now.later(db, delay)),
        When::At(time) => (JobState::Scheduled, db.sql("").bind(time)),
    };
    let sql = sql.bind(state.as_str()).text(", ").part(due_at).text(", ");
    sql.part(now.sql(db)).text(", ").part(now.sql(db))
}

fn json(value: Json) -> Value {
    Value::Json(Box::new(value))
}

/// The unfinished job with this key.
pub(super) async fn holder_of(db: &Db, key: &str) -> Result<Option<String>> {
    let found = db.query("SELECT [id] FROM [kernel_jobs] WHERE [open_key] = ?", [key]).await?;
    Ok(found.first().map(|row| row.id().to_owned()))
}

// --- running ---------------------------------------------------------------------------------------------------------------------------

/// Makes scheduled jobs ready whose time has come.
pub(super) async fn promote(db: &Db, now: Now) -> Result<u64> {
    let due = db.sql("UPDATE [kernel_jobs] SET [state] = 'ready' WHERE [state] = 'scheduled' AND [due_at] <= ");
    due.part(now.sql(db)).execute(db).await
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    /// The queues that have jobs that are ready.
    pub(super) queues: Vec<String>,
    /// Whether the time of a scheduled job has come.
    pub(super) is_promotion_due: bool,
}

/// Looks what there is to do, in one query that stays cheap when there is much: it goes from queue to queue along the index.
pub(super) async fn look(db: &Db, now: Now) -> Result<Outlook> {
    let first = "SELECT [queue] FROM [kernel_jobs] WHERE [state] = 'ready'";
    let sql = db.sql(format!(
        "WITH RECURSIVE q AS (SELECT ({first} ORDER BY [queue] LIMIT 1) AS [queue] UNION ALL \
         SELECT ({first} AND [queue] > q.[queue] ORDER BY [queue] LIMIT 1) FROM q WHERE q.[queue] IS NOT NULL) \
         SELECT [queue], (SELECT COUNT(*) FROM (SELECT 1 FROM [kernel_jobs] WHERE [state] = 'scheduled' AND [due_at] <= "
    ));
    let rows = sql.part(now.sql(db)).text(" LIMIT 1) AS due) AS [due] FROM q").query(db).await?;
    let queues = rows.iter().filter_map(|row| row["queue"].as_str().map(str::to_owned)).collect();
    Ok(Outlook { queues, is_promotion_due: rows.iter().any(|row| row["due"] == 1) })
}

/// Claims the first jobs of a queue, those of these tasks. The start of their try is counted at once, so that a task that takes its process
/// down with it comes to its last try all the same.
pub(super) async fn claim(
    db: &Db,
    queue: &str,
    tasks: &[String],
    most: usize,
    worker_id: &str,
    lease: Duration,
) -> Result<Vec<Claimed>> {
    let free = db.sql("[state] = 'ready' AND [queue] = ").bind(queue).text(" AND [task] IN ").list(tasks);
    claim_those(db, free, most, worker_id, lease).await
}

/// Claims those jobs for which a condition holds.
pub(super) async fn claim_those(
    db: &Db,
    free: Sql,
    most: usize,
    worker_id: &str,
    lease: Duration,
) -> Result<Vec<Claimed>> {
    let set = db.sql("[state] = 'running', [attempt] = [attempt] + 1, [started_at] = ").now();
    let claimed = claims::claim(
        db,
        Claim {
            table: TABLE,
            free,
            order: "[priority], [due_at]",
            set: set.text(", [updated_at] = ").now(),
            columns: "[id], [task], [payload], [user_id], [attempt], [max_attempts], [fence], [created_at], [queue], [traceparent]",
            most,
            worker_id,
            lease,
        },
    );
    Ok(claimed.await?.iter().map(read_claimed).collect())
}

fn read_claimed(row: &Row) -> Claimed {
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    let number = |name: &str| row[name].as_int().unwrap_or_default();
    Claimed {
        id: row.id().to_owned(),
        task: text("task").unwrap_or_default(),
        payload: payload(&row["payload"]),
        user_id: text("user_id"),
        attempt: u32::try_from(number("attempt")).unwrap_or(u32::MAX),
        max_attempts: u32::try_from(number("max_attempts")).unwrap_or(1),
        fence: number("fence"),
        enqueued_at: time(&row["created_at"]).unwrap_or_default(),
        queue: text("queue").unwrap_or_default(),
        traceparent: text("traceparent"),
    }
}

/// What raw SQL answers for a column of JSON: JSON, or its text.
fn payload(value: &Value) -> Json {
    match value {
        Value::Json(json) => (**json).clone(),
        Value::Text(text) => serde_json::from_str(text).unwrap_or(Json::Null),
        _ => Json::Null,
    }
}

/// Which of these running jobs somebody wants to end.
pub(super) async fn to_be_cancelled(db: &Db, worker_id: &str, ids: &[String]) -> Result<Vec<String>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found =
        db.sql("SELECT [id] FROM [kernel_jobs] WHERE [cancel_requested] = TRUE AND [worker_id] = ").bind(worker_id);
    let found = found.text(" AND [id] IN ").list(ids).query(db).await?;
    Ok(found.iter().map(|row| row.id().to_owned()).collect())
}

/// Keeps what a task says about how far it is, where the job is still this worker's.
pub(super) async fn keep_progress(db: &Db, worker_id: &str, id: &String, fence: i64, progress: Json) -> Result<bool> {
    let sql =
        db.sql("UPDATE [kernel_jobs] SET [progress] = ").bind(json(progress)).text(" WHERE [state] = 'running' AND ");
    Ok(sql.part(claims::still_mine(db, worker_id, fence, [id])).execute(db).await? > 0)
}

// --- ending ----------------------------------------------------------------------------------------------------------------------------

/// Writes down what became of jobs of this worker; those that are not its own any more stay as they are. Answers how many it had.
pub(super) async fn record(db: &Db, worker_id: &str, outcomes: &[Outcome], now: Now, keep: Duration) -> Result<u64> {
    let mut without_result: BTreeMap<i64, Vec<&String>> = BTreeMap::new();
    let mut with_result: BTreeMap<i64, Vec<(&String, &Json)>> = BTreeMap::new();
    let mut others = Vec::new();
    for outcome in outcomes {
        match &outcome.next {
            Next::Succeeded(Json::Null) => without_result.entry(outcome.fence).or_default().push(&outcome.id),
            Next::Succeeded(result) => with_result.entry(outcome.fence).or_default().push((&outcome.id, result)),
            _ => others.push(outcome),
        }
    }
    let mut had = 0;
    for (fence, ids) in without_result {
        for ids in ids.chunks(BATCH) {
            let sql = finished(db, JobState::Succeeded, now, keep).text(" WHERE [state] = 'running' AND ");
            had += sql.part(claims::still_mine(db, worker_id, fence, ids.iter().copied())).execute(db).await?;
        }
    }
    for (fence, done) in with_result {
        for done in done.chunks(RESULTS) {
            let sql = finished(db, JobState::Succeeded, now, keep).text(", [result] = ").part(results(db, done));
            let mine = claims::still_mine(db, worker_id, fence, done.iter().map(|(id, _)| *id));
            had += sql.text(" WHERE [state] = 'running' AND ").part(mine).execute(db).await?;
        }
    }
    for outcome in others {
        had += record_one(db, worker_id, outcome, now, keep).await?;
    }
    Ok(had)
}

/// Each id's result.
fn results(db: &Db, done: &[(&String, &Json)]) -> Sql {
    let cases = done.iter().fold(db.sql("CASE [id]"), |sql, (id, result)| {
        let then = sql.text(" WHEN ").bind(*id).text(" THEN ");
        match db.backend() {
            Backend::Postgres => then.text("CAST(").bind(json((*result).clone())).text(" AS JSON)"),
            Backend::Sqlite | Backend::MySql => then.bind(json((*result).clone())),
        }
    });
    cases.text(" END")
}

fn finished(db: &Db, state: JobState, now: Now, keep: Duration) -> Sql {
    let sql = db
        .sql("UPDATE [kernel_jobs] SET [state] = ")
        .bind(state.as_str())
        .text(", [worker_id] = NULL, [open_key] = NULL");
    let sql = sql.text(", [due_at] = ").part(now.later(db, keep)).text(", [finished_at] = ").part(now.sql(db));
    sql.text(", [updated_at] = ").part(now.sql(db))
}

fn returned(db: &Db, now: Now, wait: Duration) -> Sql {
    let state = if wait.is_zero() { JobState::Ready } else { JobState::Scheduled };
    let sql =
        db.sql("UPDATE [kernel_jobs] SET [state] = ").bind(state.as_str()).text(", [worker_id] = NULL, [due_at] = ");
    sql.part(now.later(db, wait)).text(", [updated_at] = ").part(now.sql(db))
}

async fn record_one(db: &Db, worker_id: &str, outcome: &Outcome, now: Now, keep: Duration) -> Result<u64> {
    let mine = || claims::still_mine(db, worker_id, outcome.fence, [&outcome.id]);
    let with_error = |sql: Sql, error: &str| {
        let sql = sql.text(", [first_error] = COALESCE([first_error], ").bind(error).text("), [last_error] = ");
        sql.bind(error)
    };
    let sql = match &outcome.next {
        Next::Succeeded(_) | Next::NotOurs => return Ok(0),
        Next::Cancelled => finished(db, JobState::Cancelled, now, keep),
        Next::Failed { error } => with_error(finished(db, JobState::Failed, now, keep), error),
        Next::Again { wait, error } => with_error(returned(db, now, *wait), error),
        Next::Back { wait } => returned(db, now, *wait).text(", [attempt] = [attempt] - 1"),
    };
    let goes_on = matches!(outcome.next, Next::Again { .. } | Next::Back { .. });
    let unless_cancelled = if goes_on { " AND [cancel_requested] = FALSE" } else { "" };
    let had = sql.text(" WHERE [state] = 'running' AND ").part(mine()).text(unless_cancelled).execute(db).await?;
    if had > 0 || !goes_on {
        return Ok(had);
    }
    // What would have gone on was cancelled meanwhile, or is not ours.
    let sql = finished(db, JobState::Cancelled, now, keep)
        .text(" WHERE [state] = 'running' AND [cancel_requested] = TRUE AND ");
    sql.part(mine()).execute(db).await
}

/// The error of a job whose worker went silent.
pub(super) const SILENT: &str =
    "its worker went silent: the process ended, was stopped, or could not reach the database";

/// Takes back jobs of these queues, or of all, whose lease has ended: to be run again, or for good after the last try. Answers how many there
/// were.
pub(super) async fn rescue(db: &Db, queues: Option<&[String]>, now: Now, keep: Duration) -> Result<u64> {
    let silent = || {
        let silent = db.sql(" WHERE [state] = 'running' AND [due_at] < ").now();
        match queues {
            Some(queues) => silent.text(" AND [queue] IN ").list(queues),
            None => silent,
        }
    };
    let error = |sql: Sql| {
        let sql = sql.text(", [first_error] = COALESCE([first_error], ").bind(SILENT).text("), [last_error] = ");
        sql.bind(SILENT)
    };
    let cancelled = finished(db, JobState::Cancelled, now, keep).part(silent()).text(" AND [cancel_requested] = TRUE");
    let failed =
        error(finished(db, JobState::Failed, now, keep)).part(silent()).text(" AND [attempt] >= [max_attempts]");
    let again = error(returned(db, now, Duration::ZERO)).part(silent());
    let mut rescued = 0;
    for sql in [cancelled, failed, again] {
        rescued += sql.execute(db).await?;
    }
    Ok(rescued)
}

/// Deletes up to [`BATCH`] jobs that succeeded or were cancelled and have been kept for long enough; answers how many.
pub(super) async fn sweep(db: &Db, now: Now) -> Result<usize> {
    let old = db.sql("SELECT [id] FROM [kernel_jobs] WHERE [state] IN ('succeeded', 'cancelled') AND [due_at] <= ");
    let old = old.part(now.sql(db)).text(&format!(" LIMIT {BATCH}")).query(db).await?;
    if !old.is_empty() {
        db.sql("DELETE FROM [kernel_jobs] WHERE [id] IN ").list(old.iter().map(Row::id)).execute(db).await?;
    }
    Ok(old.len())
}

// --- by people -------------------------------------------------------------------------------------------------------------------------

/// Cancels a job that waits, or asks the one that runs to end. False where it is finished or not there.
pub(super) async fn cancel(db: &Db, id: &str, now: Now, keep: Duration) -> Result<bool> {
    let waiting =
        finished(db, JobState::Cancelled, now, keep).text(", [cancel_requested] = TRUE WHERE [id] = ").bind(id);
    if waiting.text(" AND [state] IN ('scheduled', 'ready')").execute(db).await? > 0 {
        return Ok(true);
    }
    let running = db.sql("UPDATE [kernel_jobs] SET [cancel_requested] = TRUE WHERE [id] = ").bind(id);
    Ok(running.text(" AND [state] = 'running'").execute(db).await? > 0)
}

/// Makes a failed or cancelled job ready again, with all its tries before it. False where it is neither.
pub(super) async fn retry(db: &Db, id: &str, now: Now) -> Result<bool> {
    let sql = returned(db, now, Duration::ZERO).text(
        ", [attempt] = 0, [cancel_requested] = FALSE, [open_key] = [unique_key], [finished_at] = NULL, [progress] = NULL WHERE [id] = ",
    );
    match sql.bind(id).text(" AND [state] IN ('failed', 'cancelled')").execute(db).await {
        Ok(touched) => Ok(touched > 0),
        Err(error) if error.error_code() == "duplicate" => {
            Err(Error::conflict("an unfinished job has the same unique key").code("duplicate").cause(error))
        }
        Err(error) => Err(error),
    }
}

/// Deletes a job that does not run. False where it does, or is not there.
pub(super) async fn delete(db: &Db, id: &str) -> Result<bool> {
    let sql = "DELETE FROM [kernel_jobs] WHERE [id] = ? AND [state] <> 'running'";
    Ok(db.execute(sql, [id]).await? > 0)
}
