//! Connections that wait for work, with the statements that were prepared on them. mysql_async has a pool of its own, but there each
//! connection comes back through a task, which may wake another thread, and one whose asker left while it was looked at is lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleResult};
use foldhash::fast::RandomState;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, Statement};

use super::super::pool;
use super::Options;

/// A connection that was taken so long ago may have been closed meanwhile, by the server or on the way: it is asked first.
const TRUSTED: Duration = Duration::from_secs(1);
/// How many prepared statements a connection keeps. Where there are more, it starts afresh: simple, and rare.
const MOST_STATEMENTS: usize = 256;

pub(super) type Pool = managed::Pool<Connections>;
/// A connection out of the pool; it goes back when it is dropped.
pub(super) type Pooled = managed::Object<Connections>;
pub(super) type PoolError = managed::PoolError<Error>;

/// A connection and the statements that were prepared on it. mysql_async can remember them, but reads each text anew to find them.
pub(super) struct Connection {
    pub(super) wire: Conn,
    statements: HashMap<Box<str>, Statement, RandomState>,
}

impl Connection {
    /// The statement of this text, prepared once.
    pub(super) async fn prepared(&mut self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= MOST_STATEMENTS {
            for (_, statement) in self.statements.drain() {
                self.wire.close(statement).await?;
            }
        }
        let statement = self.wire.prep(sql).await?;
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }
}

/// Makes connections to one server.
pub(super) struct Connections {
    opts: Opts,
    born: Instant,
    /// When a connection broke last, in microseconds since `born`. What broke one may have broken all that there were.
    broke: AtomicU64,
}

impl Connections {
    fn micros(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.born).as_micros()).unwrap_or(u64::MAX)
    }

    /// From now on, those that were used before are asked whether they are still there.
    pub(super) fn one_broke(&self) {
        self.broke.store(self.micros(Instant::now()), Ordering::Relaxed);
    }
}

impl managed::Manager for Connections {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection, Error> {
        Ok(Connection { wire: Conn::new(self.opts.clone()).await?, statements: HashMap::default() })
    }

    async fn recycle(&self, connection: &mut Connection, metrics: &Metrics) -> RecycleResult<Error> {
        let used = self.micros(metrics.recycled.unwrap_or(metrics.created));
        if metrics.last_used() > TRUSTED || used < self.broke.load(Ordering::Relaxed) {
            connection.wire.ping().await?;
        }
        Ok(())
    }
}

/// An empty pool.
pub(super) fn new(opts: Opts, options: &Options) -> Pool {
    pool::new(Connections { opts, born: Instant::now(), broke: AtomicU64::new(0) }, options)
}

/// Says goodbye on all connections: on those in use as they come back, for which it waits so long.
pub(super) async fn close(connections: &Pool, longest: Duration) {
    let idle = connections.retain(|_, _| false).removed;
    connections.close();
    for connection in idle {
        if let Err(error) = connection.wire.disconnect().await {
            tracing::debug!(%error, "a MySQL connection did not close in order");
        }
    }
    pool::wait_for_all(connections, longest).await;
}
