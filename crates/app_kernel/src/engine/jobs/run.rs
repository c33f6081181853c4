//! One try of one job: within its time, with its panics caught, and ended early where somebody wants that.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value as Json;
use tokio::sync::watch;

use super::model::{JobError, Next, TaskOptions, after, bounded};
use super::store::{self, Claimed};
use crate::base::caller::Caller;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::panic::text_of;
use crate::store::db::Db;

/// How long a task that is told to end may take, before it is dropped where it waits.
const GRACE: Duration = Duration::from_secs(5);

/// What a task's work answers.
pub(crate) type Answer = Result<Json, JobError>;

/// What a task does: gets its payload and the try it is in.
pub(crate) type Handler = Arc<dyn Fn(Json, Run) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What a worker tells a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Go on.
    Work,
    /// Somebody has cancelled the job.
    Cancel,
    /// The worker stops, and hands back what it has.
    HandBack,
    /// The lease is lost: somebody else has the job.
    Lost,
}

/// The try of a job that a task is in.
#[derive(Debug, Clone)]
pub struct Run {
    /// The job.
    pub job_id: String,
    /// Its task.
    pub task: Arc<str>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How many there may be.
    pub max_attempts: u32,
    /// When the job was enqueued.
    pub enqueued_at: Timestamp,
    /// For whom it is.
    pub user_id: Option<String>,
    /// The database, in that user's name, or the service's own where there is none.
    pub db: Db,
    pub(super) fence: i64,
    pub(super) worker_id: Arc<str>,
    pub(super) signal: watch::Receiver<Signal>,
}

impl Run {
    pub(super) fn new(
        claimed: &Claimed,
        task: Arc<str>,
        db: &Db,
        worker_id: &Arc<str>,
        signal: watch::Receiver<Signal>,
    ) -> Self {
        let caller = claimed.user_id.as_ref().map_or_else(Caller::system, Caller::user);
        Run {
            job_id: claimed.id.clone(),
            task,
            attempt: claimed.attempt,
            max_attempts: claimed.max_attempts,
            enqueued_at: claimed.enqueued_at,
            user_id: claimed.user_id.clone(),
            db: db.with_caller(caller),
            fence: claimed.fence,
            worker_id: Arc::clone(worker_id),
            signal,
        }
    }

    /// Keeps how far it is, in any form, such as a number of percent: `/jobs/{id}` shows it.
    ///
    /// # Errors
    /// `Conflict` with the code `lease_lost` where another worker has the job by now, because this one was silent for too long.
    pub async fn progress(&self, progress: impl Serialize) -> Result<()> {
        let progress = serde_json::to_value(progress)
            .map_err(|error| Error::invalid("the progress can't be written as JSON").cause(error))?;
        match store::keep_progress(&self.db, &self.worker_id, &self.job_id, self.fence, progress).await? {
            true => Ok(()),
            false => Err(Error::conflict("another worker has this job by now").code("lease_lost")),
        }
    }

    /// Whether it should end soon: somebody has cancelled it, or another worker has it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.signal.borrow(), Signal::Cancel | Signal::Lost)
    }
}

/// Runs a try to its end, and says what follows.
pub(super) async fn execute(handler: Handler, payload: Json, run: Run, options: TaskOptions) -> Next {
    let (mut signal, attempt, max_attempts) = (run.signal.clone(), run.attempt, run.max_attempts);
    let (task, job_id) = (Arc::clone(&run.task), run.job_id.clone());
    // Within the future, so that a handler that panics before it has made its own is caught too.
    let work = AssertUnwindSafe(async move { handler(payload, run).await }).catch_unwind();
    let told = async {
        let is_end = |signal: &Signal| *signal != Signal::Work;
        let told = signal.wait_for(is_end).await.map_or(Signal::HandBack, |signal| *signal);
        if told == Signal::Cancel {
            // It may end by itself; a stop or a lost lease does not wait for that.
            let sooner = signal.wait_for(|signal| matches!(signal, Signal::HandBack | Signal::Lost));
            drop(tokio::time::timeout(GRACE, sooner).await);
        }
        told
    };
    let next = tokio::select! {
        answer = tokio::time::timeout(options.timeout, work) => match answer {
            Ok(Ok(answer)) => {
                if let Err(JobError::Retry(error) | JobError::RetryIn(_, error) | JobError::Discard(error)) = &answer {
                    tracing::warn!(%job_id, %task, attempt, max_attempts, cause = ?error, "the job's try failed");
                }
                after(answer, attempt, max_attempts, &options)
            }
            Ok(Err(panic)) => {
                let words = text_of(&*panic).unwrap_or("without words");
                let error = Error::internal(bounded(&format!("the task panicked: {words}")));
                tracing::error!(%job_id, %task, attempt, max_attempts, "{error}");
                after(Err(error.into()), attempt, max_attempts, &options)
            }
            Err(_) => {
                let error = Error::internal(format!("the task did not end within {:?}", options.timeout));
                tracing::warn!(%job_id, %task, attempt, max_attempts, "{error}");
                after(Err(error.into()), attempt, max_attempts, &options)
            }
        },
        told = told => return match told {
            Signal::Lost => Next::NotOurs,
            Signal::HandBack => Next::Back { wait: Duration::ZERO },
            Signal::Cancel | Signal::Work => Next::Cancelled,
        },
    };
    // A task that heard of its end and failed over it has ended as it was asked to.
    match next {
        Next::Again { .. } | Next::Back { .. } | Next::Failed { .. } if was_cancelled(&signal) => Next::Cancelled,
        next => next,
    }
}

fn was_cancelled(signal: &watch::Receiver<Signal>) -> bool {
    *signal.borrow() == Signal::Cancel
}
