//! Connections that wait for work, with the statements that were prepared on them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use foldhash::fast::RandomState;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, Statement};

use super::super::Options;
use super::connect::Connector;

/// How many prepared statements a connection keeps. Where there are more, it starts afresh: simple, and rare.
const MOST_STATEMENTS: usize = 512;

pub(super) type Pool = managed::Pool<Connections>;
/// A connection out of the pool; it goes back when it is dropped.
pub(super) type Pooled = managed::Object<Connections>;
pub(super) type PoolError = managed::PoolError<Error>;

/// A connection and the statements that were prepared on it.
pub(super) struct Connection {
    pub(super) client: Client,
    /// Moves what goes over the wire.
    mover: JoinHandle<()>,
    statements: Mutex<Statements>,
    /// Of which schema the statements speak, see [`Connections`].
    schema: u64,
}

type Statements = HashMap<Box<str>, Statement, RandomState>;

impl Connection {
    /// The statement of this text, prepared once.
    pub(super) async fn prepared(&self, sql: &str) -> Result<Statement, Error> {
        if let Some(statement) = self.statements().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements();
        if statements.len() >= MOST_STATEMENTS {
            statements.clear();
        }
        statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    pub(super) fn forget(&self, sql: &str) {
        self.statements().remove(sql);
    }

    fn statements(&self) -> MutexGuard<'_, Statements> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Whatever it still waits for, nobody asks for any more.
        self.mover.abort();
    }
}

/// Makes connections to one server.
pub(super) struct Connections {
    connector: Connector,
    /// How often the schema was changed here. Statements that were prepared before may speak of columns that are gone.
    schema: AtomicU64,
}

impl Connections {
    pub(super) fn schema_has_changed(&self) {
        self.schema.fetch_add(1, Ordering::Release);
    }
}

impl managed::Manager for Connections {
    type Type = Connection;
    type Error = Error;

    async fn create(&self) -> Result<Connection, Error> {
        let schema = self.schema.load(Ordering::Acquire);
        // Boxed: it is seldom and deep, and the compiler looks into all that whoever takes a connection waits for.
        let connecting: BoxFuture<'_, _> = Box::pin(self.connector.connect());
        let (client, mover) = connecting.await?;
        Ok(Connection { client, mover, statements: Mutex::default(), schema })
    }

    /// Asks the server nothing: a connection that closed is seen at once, and ours come back clean.
    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<Error> {
        if connection.client.is_closed() {
            return Err(RecycleError::message("the connection is closed"));
        }
        let schema = self.schema.load(Ordering::Acquire);
        if connection.schema != schema {
            connection.statements().clear();
            connection.schema = schema;
        }
        Ok(())
    }
}

/// An empty pool.
pub(super) fn new(connector: Connector, options: &Options) -> Pool {
    super::super::pool::new(Connections { connector, schema: AtomicU64::new(0) }, options)
}
