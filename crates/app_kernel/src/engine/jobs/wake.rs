//! How a worker hears that there is something to do before its next look: by whoever enqueues in the same process. Looks are the floor, so a
//! call that is lost costs time and nothing else. Other processes are called here too, once there is a way to them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// After how long without an answer of the database a worker is not well.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Wakes the worker of this process, and knows how it is.
#[derive(Debug, Default)]
pub(super) struct Waker {
    notify: Notify,
    last_look: Mutex<Option<Instant>>,
    left_behind: Mutex<BTreeMap<String, usize>>,
}

const UNPOISONED: &str = "nothing panics while holding it";

impl Waker {
    /// There may be something to do.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
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
