//! How a worker hears that there is something to do before its next look: from whoever enqueues in the same process, and from other processes
//! by Redis, or by PostgreSQL's notifications. Looks are the floor, so a call that is lost costs time and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::error::Result;
use crate::engine::relay;
use crate::store::db::{Backend, Db};
use crate::store::redis::Redis;

/// What the conversation of our processes is called.
const CHANNEL: &str = "app_kernel_jobs";
/// Between two calls to other processes.
const BETWEEN_CALLS: Duration = Duration::from_millis(50);

/// Wakes the worker of this process.
#[derive(Debug, Default)]
pub(super) struct Waker {
    notify: Notify,
    /// There is something for other processes to do.
    others: Notify,
    left_behind: Mutex<BTreeMap<String, usize>>,
}

const UNPOISONED: &str = "nothing panics while holding it";

impl Waker {
    /// There may be something to do.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Calls other processes whenever jobs were enqueued here, and is called by them: by Redis where there is one, else by the database where it
    /// can. As often as once in a while, whatever the number of jobs, because the server tells everybody everything. Goes on until it is
    /// dropped.
    pub(super) async fn keep_in_touch(self: Arc<Self>, db: &Db, redis: Option<&Redis>) {
        let waker = Arc::clone(&self);
        let heard: Arc<dyn Fn() + Send + Sync> = Arc::new(move || waker.wake());
        match redis {
            Some(redis) => tokio::join!(redis.listen(CHANNEL, heard), self.call(|| redis.notify(CHANNEL))),
            None if db.backend() == Backend::Postgres => {
                tokio::join!(db.listen(CHANNEL, heard), self.call(|| db.notify(CHANNEL)))
            }
            None => std::future::pending().await,
        };
    }

    async fn call<F: Future<Output = Result<()>>>(&self, others: impl Fn() -> F) {
        loop {
            self.others.notified().await;
            let mut failures = 0;
            while let Err(error) = others().await {
                failures += 1;
                tracing::debug!(%error, "other processes can't be told of jobs; trying again");
                tokio::time::sleep(relay::after(failures)).await;
            }
            tokio::time::sleep(BETWEEN_CALLS).await;
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
