//! Queues that run only so many jobs at once, in all processes together.
//!
//! Who claims from such a queue locks the queue's row first, so that two who count do not both see the last place free. Jobs whose
//! worker went silent count until they are taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::store::{self, Claimed};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::store::db::entity::Entity;
use crate::store::db::{Backend, Db};

/// How many jobs of a queue run at once, in all processes together, and whether they run beside the others. No limit where not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueLimits {
    /// At most so many of the queue.
    pub concurrency: Option<u32>,
    /// At most so many with the same concurrency key.
    pub per_key: Option<u32>,
    /// So many places of the queue's own in each process, beside those that all queues share (`WORKER_CONCURRENCY`): however long its jobs
    /// take, they take no place of others', nor others theirs.
    pub own_slots: Option<u32>,
}

impl QueueLimits {
    /// At most so many jobs of the queue at once.
    #[must_use]
    pub fn concurrency(mut self, most: u32) -> Self {
        self.concurrency = Some(most.max(1));
        self
    }

    /// At most so many jobs with the same concurrency key at once.
    #[must_use]
    pub fn per_key(mut self, most: u32) -> Self {
        self.per_key = Some(most.max(1));
        self
    }

    /// So many places of its own in each process.
    #[must_use]
    pub fn own_slots(mut self, slots: u32) -> Self {
        self.own_slots = Some(slots.max(1));
        self
    }
}

/// A queue with limits; its id is its name. Claiming from it writes its row, and so locks it until the claim is committed.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_job_queues", history = false)]
pub(super) struct Queue {
    /// When it was last claimed from.
    pub(super) claimed_at: Option<Timestamp>,
}

/// How many candidates are looked at for each that there is room for, since many may have the same key.
const CANDIDATES: usize = 4;

/// Claims the first jobs of a queue that its limits leave room for.
pub(super) async fn claim(
    db: &Db,
    queue: &str,
    limits: QueueLimits,
    tasks: &[String],
    most: usize,
    worker_id: &str,
    lease: Duration,
) -> Result<Vec<Claimed>> {
    // Nobody is kept waiting for a queue that is full.
    if room(&running(db, queue).await?, limits, most) == 0 {
        return Ok(Vec::new());
    }
    db.transaction(async |tx| {
        lock(&tx, queue).await?;
        let mut running = running(&tx, queue).await?;
        let room = room(&running, limits, most);
        if room == 0 {
            return Ok(Vec::new());
        }
        let picked = pick(&tx, queue, limits, tasks, room, &mut running).await?;
        if picked.is_empty() {
            return Ok(Vec::new());
        }
        let free = tx.sql("[state] = 'ready' AND [id] IN ").list(&picked);
        store::claim_those(&tx, free, room, worker_id, lease).await
    })
    .await
}

/// How many more may run.
fn room(running: &BTreeMap<String, u32>, limits: QueueLimits, most: usize) -> usize {
    let all: u32 = running.values().sum();
    limits.concurrency.map_or(most, |limit| most.min(limit.saturating_sub(all) as usize))
}

/// Until the end of the transaction, nobody else claims from this queue.
async fn lock(tx: &Db, queue: &str) -> Result<()> {
    let write = || tx.sql("UPDATE [kernel_job_queues] SET [claimed_at] = ").now().text(" WHERE [id] = ").bind(queue);
    if write().execute(tx).await? == 0 {
        let sql = tx
            .sql("INSERT INTO [kernel_job_queues] ([id], [created_at], [updated_at], [version]) VALUES (")
            .bind(queue);
        let sql = sql.text(", ").now().text(", ").now().text(", 1)").text(match tx.backend() {
            Backend::Sqlite | Backend::Postgres => " ON CONFLICT DO NOTHING",
            Backend::MySql => " ON DUPLICATE KEY UPDATE [version] = [version]",
        });
        sql.execute(tx).await?;
        // Another may have made it: then this waits for their claim.
        write().execute(tx).await?;
    }
    Ok(())
}

/// How many jobs run with each key; those without have the empty one.
async fn running(tx: &Db, queue: &str) -> Result<BTreeMap<String, u32>> {
    let sql = "SELECT COALESCE([concurrency_key], '') AS [key], COUNT(*) AS [jobs] FROM [kernel_jobs] \
               WHERE [state] = 'running' AND [queue] = ? GROUP BY [concurrency_key]";
    let rows = tx.query(sql, [queue]).await?;
    let count = |jobs: Option<i64>| u32::try_from(jobs.unwrap_or_default()).unwrap_or(u32::MAX);
    Ok(rows.iter().filter_map(|row| Some((row["key"].as_str()?.to_owned(), count(row["jobs"].as_int())))).collect())
}

/// The first jobs whose keys have room.
async fn pick(
    tx: &Db,
    queue: &str,
    limits: QueueLimits,
    tasks: &[String],
    room: usize,
    running: &mut BTreeMap<String, u32>,
) -> Result<Vec<String>> {
    let most = limits.per_key.unwrap_or(u32::MAX);
    let sql = tx.sql("SELECT [id], COALESCE([concurrency_key], '') AS [key] FROM [kernel_jobs] WHERE [state] = 'ready' AND [queue] = ");
    let mut sql = sql.bind(queue).text(" AND [task] IN ").list(tasks);
    let full: Vec<&String> =
        running.iter().filter(|(key, jobs)| !key.is_empty() && **jobs >= most).map(|(key, _)| key).collect();
    if !full.is_empty() {
        sql = sql.text(" AND COALESCE([concurrency_key], '') NOT IN ").list(full);
    }
    let limit = i64::try_from(room.saturating_mul(CANDIDATES)).unwrap_or(i64::MAX);
    let candidates = sql.text(" ORDER BY [priority], [due_at] LIMIT ").bind(limit).query(tx).await?;
    let mut picked = Vec::new();
    for candidate in &candidates {
        let key = candidate["key"].as_str().unwrap_or_default();
        let jobs = running.entry(key.to_owned()).or_default();
        if picked.len() < room && (key.is_empty() || *jobs < most) {
            *jobs += 1;
            picked.push(candidate.id().to_owned());
        }
    }
    Ok(picked)
}
