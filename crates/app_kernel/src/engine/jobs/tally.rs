//! What became of the jobs that this process ran, as numbers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Jobs;
use super::counts;
use super::model::{JobState, Next};
use crate::base::error::Result;
use crate::base::metrics::{Gauge, Histogram, SECONDS, Samples};

/// Tries by task and end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) running: Gauge,
    ended: Mutex<BTreeMap<(Arc<str>, &'static str), Histogram>>,
}

impl Tally {
    pub(super) fn ended(&self, task: &Arc<str>, next: &Next, took: Duration) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::clone(task), word_of(next));
        ended.entry(key).or_insert_with(|| Histogram::new(SECONDS)).observe_duration(took);
    }

    fn tell(&self, samples: &mut Samples) {
        let about = "How long tries of jobs took in this process, by task and what became of them.";
        for ((task, end), took) in &*self.ended.lock().unwrap_or_else(PoisonError::into_inner) {
            samples.histogram("app_kernel_job_try_duration_seconds", about, &[("task", task), ("end", end)], took);
        }
    }
}

/// What became of a try. `failed` was the last one, `retried` was not.
pub(super) fn word_of(next: &Next) -> &'static str {
    match next {
        Next::Succeeded(_) => "succeeded",
        Next::Again { .. } => "retried",
        Next::Failed { .. } => "failed",
        Next::Back { .. } => "put_back",
        Next::Cancelled => "cancelled",
        Next::NotOurs => "lost",
    }
}

impl Jobs {
    /// Tells of the jobs of this process.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        let about = "Jobs that this process runs at this moment.";
        samples.gauge("app_kernel_jobs_running", about, &[], self.shared.tally.running.get() as f64);
        self.tell_tries(samples);
    }

    /// Tells of their tries only, for jobs that the kernel has beside the service's.
    pub(crate) fn tell_tries(&self, samples: &mut Samples) {
        self.shared.tally.tell(samples);
    }

    /// Counts the jobs of all processes that are not done with, by asking the database.
    pub(crate) async fn backlog(&self) -> Result<Samples> {
        let mut samples = Samples::default();
        for (queue, state, jobs) in counts::open(&self.db).await? {
            let about = "Jobs in the database that are not done with: scheduled, ready, running, or failed and kept.";
            samples.gauge("app_kernel_jobs", about, &[("queue", &queue), ("state", state.as_str())], jobs as f64);
        }
        let now = self.shared.clock.now();
        for (queue, due_at) in counts::longest_ready(&self.db).await? {
            let about = "For how long the job has been due that has waited longest in its queue.";
            let waits = now.duration_since(due_at).as_secs_f64().max(0.0);
            samples.gauge("app_kernel_jobs_longest_wait_seconds", about, &[("queue", &queue)], waits);
        }
        Ok(samples)
    }
}

/// The states of jobs that somebody still has to do with.
pub(super) const OPEN: [JobState; 4] = [JobState::Scheduled, JobState::Ready, JobState::Running, JobState::Failed];
