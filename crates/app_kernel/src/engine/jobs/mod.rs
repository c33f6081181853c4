//! Jobs: work that outlives the request. A job is a row in the app's database, written in the enqueuer's transaction where there is one.
//!
//! ```text
//!              enqueue                                             a result, or
//!   delay, at ╱       ╲ now                                        nothing to tell
//!            ▼         ▼              claim                       ┌───────────────► succeeded ──► swept out
//!      scheduled ──► ready ─────────────────────────► running ────┤
//!            ▲   due   ▲                                 │        ├───────────────► failed    ──► kept until an admin
//!            │         │     the lease ends unrenewed,   │        │ last try failed,             retries or deletes it
//!            │         └──── or the worker stops ────────┤        │ or discarded
//!            └──────────── failed or snoozed ────────────┘        │
//!                          and tries are left                     └───────────────► cancelled ──► swept out
//! ```
//!
//! - **At least once.** A job that was enqueued and committed runs to its end at least once, or comes to `failed` with its error, whatever is
//!   killed meanwhile. A task should be able to run twice.
//! - A worker claims jobs for the length of a lease, judged by the database's clock, and renews it each third of it. A worker that goes
//!   silent loses its jobs to others; what it says of them afterwards changes nothing (see `engine/claims.rs`).
//! - A try is counted when it is claimed, so a task that takes its process down comes to its last try too. Panics and time-outs are
//!   failures. A worker that stops hands back what it can't finish; that costs no try.
//! - Waits between tries grow, with jitter. A task's error says whether to try again, to give up, or to come back later ([`JobError`]).
//! - Jobs of a queue are claimed by priority, then by the time they became due. They run side by side, so there is no order among them.
//! - A queue may have limits, which hold for all processes together: see [`QueueLimits`]. A schedule makes one job for each of its ticks.
//! - Jobs are due by the service's clock, which tests move; leases are between processes, so no test's clock touches them.

mod catalogue;
mod counts;
mod enqueue;
mod limits;
mod model;
mod run;
mod schedule;
mod slots;
mod store;
mod table;
mod tally;
mod wake;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use self::schedule::Schedules;
use self::table::Now;
use self::tally::Tally;
use self::wake::Waker;
use crate::base::clock::Clock;
use crate::base::error::Result;
use crate::base::trace::Tracer;
use crate::store::db::Db;
use crate::store::db::entity::{Entity as _, EntityDef};
use crate::store::redis::Redis;

pub(crate) use self::catalogue::Catalogue;
pub use self::catalogue::{Task, TaskRef};
pub use self::enqueue::{Enqueue, EnqueueMany, Enqueued};
pub use self::limits::QueueLimits;
pub use self::model::{DEFAULT_QUEUE, JobError, JobState, TaskOptions};
pub use self::run::Run;
pub(crate) use self::run::{Answer, Handler};
pub(crate) use self::schedule::Schedule;
pub use self::table::Job;
pub(crate) use self::worker::{Worker, WorkerOptions};

/// How long finished jobs are kept at least: as long as they are there, their tick is not made again by a clock that is late.
const SHORTEST_RETENTION: Duration = Duration::from_secs(3600);

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![Job::definition(), limits::Queue::definition()]
}

/// Enqueues jobs and looks after them, on behalf of one caller. Cheap to clone.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # #[derive(Serialize, Deserialize)] struct Welcome { address: String }
/// #[task]
/// async fn send_welcome(welcome: Welcome, ctx: JobContext) -> Result<()> {
///     # let _ = (welcome, ctx);
///     Ok(())
/// }
///
/// async fn register(jobs: Jobs, db: Db, Json(name): Json<String>) -> Result<Json<String>> {
///     let enqueued = db
///         .transaction(async |tx| {
///             tx.save_entity("guests", serde_json::json!({ "name": name })).await?;
///             jobs.on(&tx).enqueue(send_welcome, Welcome { address: name.clone() }).await
///         })
///         .await?;
///     Ok(Json(enqueued.job_id))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
    db: Db,
}

#[derive(Debug)]
struct Shared {
    catalogue: Catalogue,
    schedules: Schedules,
    clock: Clock,
    wake: Arc<Waker>,
    tally: Tally,
    tracer: Tracer,
    /// How long jobs that succeeded or were cancelled are kept.
    keep: Duration,
}

impl Jobs {
    /// Jobs of these tasks in this database.
    pub(crate) fn new(db: Db, clock: Clock, catalogue: Catalogue, keep: Duration, tracer: Tracer) -> Self {
        let schedules = Schedules::new(catalogue.schedules.clone(), clock.now());
        let (wake, keep) = (Arc::<Waker>::default(), keep.max(SHORTEST_RETENTION));
        let shared = Arc::new(Shared { catalogue, schedules, clock, wake, tally: Tally::default(), tracer, keep });
        Jobs { shared, db: db.without_workspace() }
    }

    /// The same, as those that [`Jobs::of`] finds: the service's own, not those that the kernel has beside them.
    pub(crate) fn of_the_service(self) -> Self {
        self.db.attach(Arc::clone(&self.shared));
        self
    }

    /// The jobs of the service whose database this is, in this transaction, where it is one; none where the database is no service's.
    pub(crate) fn of(db: &Db) -> Option<Jobs> {
        Some(Jobs { shared: db.attached()?, db: db.without_workspace() })
    }

    /// The same within a transaction, or on behalf of another handle's caller: what is enqueued is there if and when that is committed.
    #[must_use]
    pub fn on(&self, db: &Db) -> Jobs {
        Jobs { shared: Arc::clone(&self.shared), db: db.without_workspace() }
    }

    fn now(&self) -> Now {
        Now(self.shared.clock.set_by_hand())
    }

    /// A job, where it is there and not swept out yet.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn get(&self, job_id: &str) -> Result<Option<crate::store::db::row::Saved<Job>>> {
        self.db.get::<Job>(job_id).await
    }

    /// Cancels a job that waits, or tells the one that runs to end: its task finds out by `ctx.is_cancelled()`, and is dropped a few seconds
    /// later. False where the job is finished or not there.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn cancel(&self, job_id: &str) -> Result<bool> {
        let cancelled = store::cancel(&self.db, job_id, self.now(), self.shared.keep).await?;
        self.wake_after_commit();
        Ok(cancelled)
    }

    /// Makes a failed or cancelled job ready again, with all its tries before it. False where it is neither, or not there.
    ///
    /// # Errors
    /// `Conflict` with the code `duplicate` where an unfinished job has its unique key by now.
    pub async fn retry(&self, job_id: &str) -> Result<bool> {
        let is_ready = store::retry(&self.db, job_id, self.now()).await?;
        self.wake_after_commit();
        Ok(is_ready)
    }

    /// Deletes a job for good, unless it runs. False where it runs or is not there.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn delete(&self, job_id: &str) -> Result<bool> {
        store::delete(&self.db, job_id).await
    }

    /// How many jobs there are in each state of each queue.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub async fn counts(&self) -> Result<Vec<(String, JobState, i64)>> {
        counts::all(&self.db).await
    }

    /// Tells the workers of other processes what is enqueued here, and hears of theirs, where Redis or the database can carry that.
    pub(crate) async fn keep_in_touch(self, redis: Option<Redis>) {
        Arc::clone(&self.shared.wake).keep_in_touch(&self.db, redis.as_ref()).await;
    }

    /// What was enqueued here and has not been run since, by task; emptied by a worker that has run all that was due.
    #[cfg(feature = "testing")]
    pub(crate) fn left_behind(&self) -> std::collections::BTreeMap<String, usize> {
        self.shared.wake.left_behind()
    }

    /// Makes the jobs of schedules whose tick has come, unless another process has.
    async fn tick(&self) -> Result<()> {
        for (schedule, tick) in self.shared.schedules.due(self.shared.clock.now()) {
            let options = &self.shared.catalogue.get(schedule.task())?.options;
            let job = schedule::job_of(&schedule, tick, options);
            if let Err(error) = store::insert(&self.db, &[job], self.now(), true).await {
                self.shared.schedules.not_done(&schedule, tick);
                return Err(error);
            }
        }
        Ok(())
    }

    fn wake_after_commit(&self) {
        let shared = Arc::clone(&self.shared);
        self.db.after_commit(move || shared.wake.wake());
    }
}
