//! What the pools of both servers have in common.

use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{Manager, Object, Pool, PoolConfig, PoolError, QueueMode, Timeouts};

use super::{Load, Options};
use crate::base::metrics::Histogram;

/// Connections, where nobody says how many.
const POOL_SIZE: usize = 10;

/// An empty pool.
pub(super) fn new<M: Manager>(connections: M, options: &Options) -> Pool<M> {
    let mut config = PoolConfig::new(options.pool_size.unwrap_or(POOL_SIZE).max(1));
    config.queue_mode = QueueMode::Lifo; // the last one used has its statements and plans warm
    let limit = Some(options.connect_timeout);
    config.timeouts = Timeouts { wait: limit, create: limit, recycle: limit };
    let pool = Pool::builder(connections).config(config).runtime(Runtime::Tokio1).build();
    pool.expect("a pool with limits of time has the runtime that it needs for them")
}

/// Takes a connection out, and notes how long that took, however it ended.
pub(super) async fn get<M: Manager>(pool: &Pool<M>, waits: &Histogram) -> Result<Object<M>, PoolError<M::Error>> {
    let began = Instant::now();
    let connection = pool.get().await;
    waits.observe_duration(began.elapsed());
    connection
}

/// How busy it is.
pub(super) fn load<M: Manager>(pool: &Pool<M>, waits: &Histogram) -> Load {
    let status = pool.status();
    Load::Pool {
        most: status.max_size,
        open: status.size,
        idle: status.available,
        waiting: status.waiting,
        waits: waits.clone(),
    }
}

/// Waits until the connections of a closed pool that were in use are back, which closes them; but no longer than so long.
pub(super) async fn wait_for_all<M: Manager>(pool: &Pool<M>, longest: Duration) {
    // deadpool tells nobody when they are back.
    let all_are_back = async {
        while pool.status().size > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(longest, all_are_back).await.is_err() {
        tracing::warn!("a connection to the database was still in use when the pool was closed");
    }
}
