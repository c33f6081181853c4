//! How a worker hears that there is something to do before its next look: from whoever enqueues in the same process, and from other processes
//! by [calls](crate::engine::calls). Looks are the floor, so a call that is lost costs time and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::engine::calls::Calls;
use crate::store::db::Db;
use crate::store::redis::Redis;

/// What the conversation of our processes is called.
const CHANNEL: &str = "app_kernel_jobs";

/// Wakes the worker of this process.
#[derive(Debug)]
pub(super) struct Waker {
    notify: Notify,
    calls: Calls,
    left_behind: Mutex<BTreeMap<String, usize>>,
}

const UNPOISONED: &str = "nothing panics while holding it";

impl Default for Waker {
    fn default() -> Self {
        Waker { notify: Notify::new(), calls: Calls::new(CHANNEL), left_behind: Mutex::default() }
    }
}

impl Waker {
    /// There may be something to do.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Calls other processes whenever jobs were enqueued here, and is called by them. Goes on until it is dropped.
    pub(super) async fn keep_in_touch(self: Arc<Self>, db: &Db, redis: Option<&Redis>) {
        let waker = Arc::clone(&self);
        let heard: Arc<dyn Fn() + Send + Sync> = Arc::new(move || waker.wake());
        tokio::join!(self.calls.listen(db, redis, heard), self.calls.tell(db, redis));
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
        self.calls.call();
    }

    /// Until somebody wakes us.
    pub(super) async fn woken(&self) {
        self.notify.notified().await;
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
