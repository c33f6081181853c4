//! How a worker hears that there is something to do before its next look: from whoever enqueues in the same process, and from other processes
//! by PostgreSQL's notifications. Looks are the floor, so a call that is lost costs time and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::store::db::{Backend, Db};

/// After how long without an answer of the database a worker is not well.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// What PostgreSQL calls the conversation of our processes.
const CHANNEL: &str = "app_kernel_jobs";
/// Between two calls to other processes.
const BETWEEN_CALLS: Duration = Duration::from_millis(50);

/// Wakes the worker of this process, and knows how it is.
#[derive(Debug, Default)]
pub(super) struct Waker {
    notify: Notify,
    /// There is something for other processes to do.
    others: Notify,
    last_look: Mutex<Option<Instant>>,
    left_behind: Mutex<BTreeMap<String, usize>>,
}

const UNPOISONED: &str = "nothing panics while holding it";

impl Waker {
    /// There may be something to do.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Calls other processes whenever jobs were enqueued here, and is called by them; as often as once in a while, whatever the number of jobs,
    /// because the server tells everybody everything. Goes on until it is dropped.
    pub(super) async fn keep_in_touch(self: Arc<Self>, db: &Db) {
        let waker = Arc::clone(&self);
        let listen = db.listen(CHANNEL, Arc::new(move || waker.notify.notify_one()));
        let call = async {
            loop {
                self.others.notified().await;
                if let Err(error) = db.notify(CHANNEL).await {
                    tracing::debug!(%error, "other processes are not told of jobs; they will see them");
                }
                tokio::time::sleep(BETWEEN_CALLS).await;
            }
        };
        if db.backend() == Backend::Postgres {
            tokio::join!(listen, call);
        } else {
            std::future::pending().await
        }
    }

    /// Jobs of these tasks are there and due.
    pub(super) fn enqueued<'a>(&self, tasks: impl Iterator<Item = &'a str>) {
        let mut left = self.left_behind.lock().expect(UNPOISONED);
        for task in tasks {
            match left.get_mut(task) {
                Some(count) => *count += 1,
                None => drop(left.insert(task.to_owned(), 1)),
            }
        }
        drop(left);
        self.wake();
        self.others.notify_one();
    }

    /// Until somebody wakes us.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// The worker has asked the database, and was answered.
    pub(super) fn has_looked(&self) {
        *self.last_look.lock().expect(UNPOISONED) = Some(Instant::now());
    }

    /// The worker has gone home.
    pub(super) fn has_stopped(&self) {
        *self.last_look.lock().expect(UNPOISONED) = None;
    }

    pub(super) fn worker_is_well(&self) -> Option<bool> {
        self.last_look.lock().expect(UNPOISONED).map(|at| at.elapsed() < LONGEST_SILENCE)
    }

    #[cfg(feature = "testing")]
    pub(super) fn left_behind(&self) -> BTreeMap<String, usize> {
        self.left_behind.lock().expect(UNPOISONED).clone()
    }

    /// All that was due has been run.
    #[cfg(feature = "testing")]
    pub(super) fn is_idle(&self) {
        self.left_behind.lock().expect(UNPOISONED).clear();
    }
}
