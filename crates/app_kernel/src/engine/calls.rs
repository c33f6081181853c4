//! How processes of a service call each other: by Redis where there is one, else by the database where it can tell, which only PostgreSQL can.
//! A call says that there is something to look for, and nothing else. One that is lost costs the time until the next look.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::error::Result;
use crate::engine::relay;
use crate::store::db::{Backend, Db};
use crate::store::redis::Redis;

/// Between two calls to other processes.
const BETWEEN_CALLS: Duration = Duration::from_millis(50);

/// One conversation of the processes of a service.
#[derive(Debug)]
pub(crate) struct Calls {
    channel: &'static str,
    /// There is something for other processes to look for.
    others: Notify,
}

impl Calls {
    /// The conversation of this name.
    pub(crate) fn new(channel: &'static str) -> Self {
        Calls { channel, others: Notify::new() }
    }

    /// Has other processes called soon.
    pub(crate) fn call(&self) {
        self.others.notify_one();
    }

    /// Runs `heard` when another process calls, and when it has begun to listen (again), since it may have missed some. Goes on until it is
    /// dropped.
    pub(crate) async fn listen(&self, db: &Db, redis: Option<&Redis>, heard: Arc<dyn Fn() + Send + Sync>) {
        match redis {
            Some(redis) => redis.listen(self.channel, heard).await,
            None => db.listen(self.channel, heard).await,
        }
    }

    /// Calls other processes whenever [`Calls::call`] asks for it: as often as once in a while, however often that is, because the server tells
    /// everybody everything. Goes on until it is dropped.
    pub(crate) async fn tell(&self, db: &Db, redis: Option<&Redis>) {
        match redis {
            Some(redis) => self.repeat(|| redis.notify(self.channel)).await,
            None if db.backend() == Backend::Postgres => self.repeat(|| db.notify(self.channel)).await,
            None => std::future::pending().await,
        }
    }

    async fn repeat<F: Future<Output = Result<()>>>(&self, notify: impl Fn() -> F) {
        loop {
            self.others.notified().await;
            let mut failures = 0;
            while let Err(error) = notify().await {
                failures += 1;
                tracing::debug!(%error, "other processes can't be called on {}; trying again", self.channel);
                tokio::time::sleep(relay::after(failures)).await;
            }
            tokio::time::sleep(BETWEEN_CALLS).await;
        }
    }
}
