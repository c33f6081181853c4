//! The worker of a process: beside the requests, in a process of its own, or driven by a test.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::tasks::Task;
use crate::base::error::Result;
use crate::engine::jobs::{Handler, Worker, WorkerOptions};
use crate::kernel::Kernel;

/// What the tasks of a service do, by their names.
pub(super) type Handlers = BTreeMap<String, Handler>;

/// What a worker keeps of the time to stop, to write down what it hands back.
const TO_HAND_BACK: Duration = Duration::from_secs(2);

/// What of a service's jobs a worker runs: all of them, where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct WorkerShare {
    /// Only these tasks.
    pub tasks: Option<Vec<String>>,
    /// Only these queues.
    pub queues: Option<Vec<String>>,
    /// So many side by side, instead of what the configuration says.
    pub concurrency: Option<usize>,
}

/// A worker for this share of the jobs.
pub(super) fn worker(kernel: &Kernel, handlers: &Handlers, share: WorkerShare) -> Result<Worker> {
    let config = kernel.config();
    let options = WorkerOptions {
        concurrency: share.concurrency.unwrap_or(config.worker_concurrency),
        lease: config.worker_lease,
        drain: config.shutdown_timeout.saturating_sub(TO_HAND_BACK).max(config.shutdown_timeout / 2),
        tasks: share.tasks,
        queues: share.queues,
        poll: config.worker_poll,
    };
    Worker::new(&kernel.jobs()?, handlers, options, kernel.pulse("jobs"))
}

/// What carries word of new jobs between processes, whether or not this one runs any.
pub(super) fn messenger(kernel: &Kernel, handlers: &Handlers) -> Option<Task> {
    let (jobs, redis) = (kernel.jobs().ok().filter(|_| !handlers.is_empty())?, kernel.redis().cloned());
    Some(Box::new(move |mut stop| {
        Box::pin(async move {
            tokio::select! {
                _told = stop.wait_for(|stopped| *stopped) => {}
                () = jobs.keep_in_touch(redis) => {}
            }
        })
    }))
}

/// The worker beside the requests, where there are tasks and nobody has put them elsewhere. It takes nothing new from when the process drains.
pub(super) fn embedded(kernel: &Kernel, handlers: &Handlers) -> Result<Option<Task>> {
    if !kernel.config().worker_embedded || handlers.is_empty() || kernel.db().is_err() {
        return Ok(None);
    }
    let (worker, kernel) = (worker(kernel, handlers, WorkerShare::default())?, kernel.clone());
    Ok(Some(Box::new(move |mut stop| {
        Box::pin(async move {
            let (tell, told) = watch::channel(false);
            let listen = async {
                tokio::select! {
                    () = kernel.drained() => {}
                    _told = stop.wait_for(|stopped| *stopped) => {}
                }
                tell.send_replace(true);
            };
            tokio::join!(worker.run(told), listen);
        })
    })))
}
