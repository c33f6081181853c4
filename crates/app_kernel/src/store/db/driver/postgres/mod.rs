//! PostgreSQL through tokio-postgres and deadpool.
//!
//! What is always true: a connection goes back to the pool outside of any transaction and with nothing under way, or it is
//! closed. A transaction costs no round trip to begin: BEGIN is sent together with its first statement. A statement that
//! failed inside a transaction makes it impossible to commit, since PostgreSQL answers such a COMMIT with a silent rollback.
//! Behind pgbouncer a session is ours for a transaction only: then nothing is left in it, neither settings nor statements.

mod connect;
mod error;
mod lanes;
mod params;
mod pool;
mod row;

use std::future::{Future as _, poll_fn};
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use deadpool::managed::Object;
use futures_util::future::{OptionFuture, maybe_done};
use futures_util::{SinkExt as _, TryStreamExt};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::{Client, Statement};

pub(super) use row::RowRef;

use self::lanes::{Lanes, Seat};
use self::params::Param;
use self::pool::{Connection, Pool, Pooled};
use super::server::Purpose;
use super::{DatabaseUrl, DbError, DecodeError, Dialect, OnRow, Options, Value};
use crate::base::error::Error;
use crate::base::metrics::{Histogram, SHORT_SECONDS};
use crate::store::db::dialect::Postgres;

/// How much longer than the server we wait for a statement, so that it is the server who ends it.
const GRACE: Duration = Duration::from_secs(1);

/// A pool of connections.
pub(crate) struct Driver {
    pool: Pool,
    waits: Histogram,
    lanes: Lanes,
    limits: Arc<Limits>,
    address: Box<connect::Address>,
}

#[derive(Debug)]
struct Limits {
    connect: Duration,
    statement: Duration,
    /// How a transaction begins.
    begin: String,
    /// Each transaction may run in another session, which pgbouncer lends.
    is_pooled: bool,
    /// The address has a limit of its own for statements, which then is the session's default.
    is_in_address: bool,
}

impl Limits {
    /// Lifts the server's limit, for the session or, where that is lent, for the transaction.
    fn lifted(&self) -> &'static str {
        if self.is_pooled { "SET LOCAL statement_timeout = 0" } else { "SET statement_timeout = 0" }
    }

    /// Sets the server's limit again, after it was lifted.
    fn restored(&self) -> String {
        let millis = self.statement.as_millis();
        match (self.is_pooled, self.is_in_address) {
            (true, _) => format!("SET LOCAL statement_timeout = {millis}"),
            (false, true) => "RESET statement_timeout".to_owned(),
            (false, false) => format!("SET statement_timeout = {millis}"),
        }
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("pool", &self.pool.status()).finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) async fn connect(url: &DatabaseUrl, options: &Options) -> Result<Self, DbError> {
        let address = connect::Address::read(url.text.expose(), options)?;
        let pool = address.pool(options)?;
        address.check(&pool, options).await?;
        let limits = Limits {
            connect: options.connect_timeout,
            statement: options.statement_timeout,
            begin: address.begin(options),
            is_pooled: address.is_pooled,
            is_in_address: address.has_limit("statement_timeout"),
        };
        let (waits, lanes) = (Histogram::new(SHORT_SECONDS), Lanes::default());
        Ok(Driver { pool, waits, lanes, limits: Arc::new(limits), address: Box::new(address) })
    }

    /// Calls `heard` once it listens to a channel, and for each notification there until the connection breaks. Ends at once where there can be none.
    pub(crate) async fn listen(&self, channel: &str, heard: Arc<dyn Fn() + Send + Sync>) -> Result<bool, DbError> {
        let Some((_client, ended)) = self.address.listen(channel, Arc::clone(&heard)).await? else { return Ok(false) };
        heard();
        let _broke = ended.await;
        Ok(true)
    }

    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        &Postgres
    }

    pub(crate) fn load(&self) -> super::Load {
        super::pool::load(&self.pool, &self.waits)
    }

    pub(crate) fn forget_statements(&self) {
        self.pool.manager().schema_has_changed();
    }

    pub(super) async fn lend(&self, purpose: Purpose) -> Result<Lease, DbError> {
        match purpose {
            // Where sessions are lent for a transaction, nothing can be prepared for those who would share one.
            Purpose::Lookup if !self.limits.is_pooled => {
                let began = Instant::now();
                let lane = self.lanes.enter(&self.pool).await;
                self.waits.observe_duration(began.elapsed());
                Ok(self.lease(Held::Shared(lane.map_err(error::from_pool)?), Stage::None))
            }
            Purpose::Lookup | Purpose::Statements => self.take(Stage::None).await,
            Purpose::Transaction => self.take(Stage::Wanted).await,
        }
    }

    pub(crate) async fn close(&self) {
        self.pool.close();
        super::pool::wait_for_all(&self.pool, self.limits.statement + GRACE).await;
    }

    async fn take(&self, stage: Stage) -> Result<Lease, DbError> {
        let connection = super::pool::get(&self.pool, &self.waits).await.map_err(error::from_pool)?;
        Ok(self.lease(Held::Own(connection), stage))
    }

    fn lease(&self, connection: Held, stage: Stage) -> Lease {
        let limits = Arc::clone(&self.limits);
        Lease { connection: Some(connection), stage, is_busy: false, is_last_chance: false, limits }
    }
}

/// A connection that work has.
#[allow(clippy::large_enum_variant, reason = "most have their own, and a box would cost each of them an allocation")]
enum Held {
    /// Nobody else uses it.
    Own(Pooled),
    /// Other lookups are on their way on it too.
    Shared(Seat),
}

impl Held {
    /// Has it closed rather than used again.
    fn close(self) {
        match self {
            Held::Own(connection) => drop(Object::take(connection)),
            Held::Shared(lane) => lane.give_up(),
        }
    }
}

impl Deref for Held {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match self {
            Held::Own(connection) => connection,
            Held::Shared(lane) => lane,
        }
    }
}

/// How far the transaction of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none: each statement commits itself.
    None,
    /// The next statement is to open it.
    Wanted,
    /// It is open.
    Open,
    /// A statement failed: it can only be rolled back.
    Failed,
}

/// A connection out of the pool. When it is dropped, it rolls back what is open and returns to the pool, or it is closed.
pub(super) struct Lease {
    /// None only while it is being dropped.
    connection: Option<Held>,
    stage: Stage,
    /// An answer is awaited; where it was not, nobody knows what the server is doing.
    is_busy: bool,
    /// It was dropped once, and is being rolled back. Where that is cut off too, as when the runtime ends, the connection is closed.
    is_last_chance: bool,
    limits: Arc<Limits>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Lease {
    pub(super) fn session(&mut self) -> super::Session<'_> {
        super::On::Postgres(Session { lease: self }).into()
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only the drop takes it")
    }

    fn client(&self) -> &Client {
        &self.connection().client
    }

    /// Runs a statement; in a transaction, its failure is remembered.
    async fn statement(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<u64, DbError> {
        self.check_usable()?;
        match self.attempt(sql, params, on_row).await {
            Err(Fault::Postgres(error)) if error::is_stale_statement(&error) => {
                // The table was changed since the statement was prepared. Nothing has been done.
                self.connection().forget(sql);
                if self.stage == Stage::None {
                    self.attempt(sql, params, on_row).await.map_err(|fault| self.failed(fault))
                } else {
                    self.stage = Stage::Failed;
                    Err(DbError::TryAgain(Box::new(error)))
                }
            }
            outcome => outcome.map_err(|fault| self.failed(fault)),
        }
    }

    async fn attempt(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<u64, Fault> {
        self.is_busy = true;
        let limit = self.limits.statement + GRACE;
        let outcome = {
            // Pinned, as a future that is moved stands twice in the one that waits for it.
            let exchange = pin!(async {
                let statement = if self.limits.is_pooled { None } else { Some(self.connection().prepared(sql).await?) };
                let begins = self.stage == Stage::Wanted;
                let begin = begins.then(|| self.client().batch_execute(&self.limits.begin));
                let mut begun = pin!(maybe_done(OptionFuture::from(begin)));
                // Asked once, BEGIN is sent: both are on their way before the first answer is back, and the server takes them in this order.
                poll_fn(|cx| Poll::Ready(begun.as_mut().poll(cx).is_ready())).await;
                let executed = execute(self.client(), statement.as_ref(), sql, params, on_row).await;
                begun.as_mut().await;
                // BEGIN on an idle connection can fail only with the connection.
                begun.take_output().flatten().transpose()?;
                Ok((begins, executed?))
            });
            timeout(limit, exchange).await.map_err(|_| Fault::Silence(limit))?
        };
        self.is_busy = false;
        if self.stage == Stage::Wanted && matches!(outcome, Ok((true, _)) | Err(Fault::Decode(_))) {
            self.stage = Stage::Open;
        }
        outcome.map(|(_, touched)| touched)
    }

    /// Sends text without parameters, as it is.
    async fn plain(&mut self, sql: &str, limit: Option<Duration>) -> Result<(), Fault> {
        self.is_busy = true;
        let outcome = {
            let exchange = pin!(self.client().batch_execute(sql));
            match limit {
                Some(limit) => timeout(limit, exchange).await.map_err(|_| Fault::Silence(limit))?,
                None => exchange.await,
            }
        };
        self.is_busy = false;
        Ok(outcome?)
    }

    pub(super) async fn commit(&mut self) -> Result<(), DbError> {
        match self.stage {
            Stage::None | Stage::Wanted => Ok(()),
            Stage::Failed => {
                self.rollback().await;
                Err(failed_before())
            }
            Stage::Open => {
                let outcome = self.plain("COMMIT", Some(self.limits.statement + GRACE)).await;
                // Whatever was answered, the transaction is over; without an answer, the connection is closed.
                self.stage = Stage::None;
                outcome.map_err(Fault::into_error)
            }
        }
    }

    /// Where this fails, the connection is not used again.
    pub(super) async fn rollback(&mut self) {
        if matches!(self.stage, Stage::Open | Stage::Failed) && !self.is_busy {
            match self.plain("ROLLBACK", Some(self.limits.connect)).await {
                Ok(()) => self.stage = Stage::None,
                Err(fault) => {
                    self.is_busy = true;
                    tracing::debug!(error = ?fault.into_error(), "a rollback failed; its connection is closed");
                }
            }
        }
    }

    fn check_usable(&self) -> Result<(), DbError> {
        if self.is_busy {
            return Err(DbError::Away("the connection was given up after a statement without an answer".into()));
        }
        if self.stage == Stage::Failed { Err(failed_before()) } else { Ok(()) }
    }

    fn failed(&mut self, fault: Fault) -> DbError {
        // What we could not decode did not fail on the server.
        if self.stage != Stage::None && !matches!(fault, Fault::Decode(_)) {
            self.stage = Stage::Failed;
        }
        fault.into_error()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if self.is_busy {
            connection.close();
        } else if matches!(self.stage, Stage::Open | Stage::Failed) {
            // Without a runtime, or in one that ends, the connection is closed, and the server rolls back.
            let runtime = match Handle::try_current() {
                Ok(runtime) if !self.is_last_chance => runtime,
                _ => return connection.close(),
            };
            let mut lease = Lease {
                connection: Some(connection),
                stage: self.stage,
                is_busy: false,
                is_last_chance: true,
                limits: self.limits.clone(),
            };
            runtime.spawn(async move { lease.rollback().await });
        }
    }
}

/// Why a statement gave no result.
enum Fault {
    Postgres(tokio_postgres::Error),
    Decode(DecodeError),
    Silence(Duration),
}

impl Fault {
    fn into_error(self) -> DbError {
        match self {
            Fault::Postgres(error) => error::from_postgres(error),
            Fault::Decode(error) => DbError::Decode(error),
            Fault::Silence(limit) => DbError::Away(format!("no answer to a statement within {limit:?}").into()),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Fault::Postgres(error)
    }
}

fn failed_before() -> DbError {
    DbError::Other("an earlier statement of this transaction failed".into())
}

/// Runs a prepared statement, or its text without preparing it under a name, which is one round trip too.
async fn execute(
    client: &Client,
    statement: Option<&Statement>,
    sql: &str,
    params: &[Value],
    on_row: &mut OnRow<'_>,
) -> Result<u64, Fault> {
    let rows = match statement {
        Some(statement) if statement.columns().is_empty() => {
            return Ok(client.execute_raw(statement, params.iter().map(Param)).await?);
        }
        Some(statement) => client.query_raw(statement, params.iter().map(Param)).await?,
        None => client.query_typed_raw(sql, params.iter().map(|value| (Param(value), params::guessed(value)))).await?,
    };
    let mut rows = pin!(rows);
    while let Some(row) = rows.try_next().await? {
        on_row(&super::RowRef::Postgres(RowRef(&row))).map_err(Fault::Decode)?;
    }
    Ok(rows.rows_affected().unwrap_or(0))
}

/// Why a copy did not end well: at the server, or where its pieces come from.
enum CopyFault {
    Server(tokio_postgres::Error),
    Source(Error),
}

impl From<tokio_postgres::Error> for CopyFault {
    fn from(error: tokio_postgres::Error) -> Self {
        CopyFault::Server(error)
    }
}

async fn copy_in(client: &Client, sql: &str, next: &mut super::NextPiece<'_>) -> Result<u64, CopyFault> {
    let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await?);
    while let Some(piece) = next().map_err(CopyFault::Source)? {
        sink.feed(piece).await?;
    }
    Ok(sink.as_mut().finish().await?)
}

/// A connection for the length of one operation.
pub(crate) struct Session<'a> {
    lease: &'a mut Lease,
}

impl Session<'_> {
    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        &Postgres
    }

    pub(crate) async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        self.lease.statement(sql, params, &mut |_| Ok(())).await
    }

    pub(crate) async fn query(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<(), DbError> {
        self.lease.statement(sql, params, on_row).await.map(|_| ())
    }

    /// With the time limit of a statement: the server has it too.
    pub(crate) async fn copy_in(&mut self, sql: &str, next: &mut super::NextPiece<'_>) -> Result<u64, DbError> {
        let lease = &mut *self.lease;
        lease.check_usable()?;
        let limit = lease.limits.statement + GRACE;
        if lease.stage == Stage::Wanted {
            lease.plain("BEGIN", Some(limit)).await.map_err(|fault| lease.failed(fault))?;
            lease.stage = Stage::Open;
        }
        lease.is_busy = true;
        let outcome = timeout(limit, copy_in(lease.client(), sql, next)).await;
        // A copy that is given up before its end is ended by the client itself, with an error of the server.
        lease.is_busy = outcome.is_err();
        match outcome {
            Err(_) => Err(lease.failed(Fault::Silence(limit))),
            Ok(Err(CopyFault::Server(error))) => Err(lease.failed(Fault::Postgres(error))),
            Ok(Err(CopyFault::Source(error))) => {
                lease.stage = if lease.stage == Stage::None { Stage::None } else { Stage::Failed };
                Err(error.into())
            }
            Ok(Ok(rows)) => Ok(rows),
        }
    }

    /// Without a time limit: an index over a large table takes as long as it takes.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        let lease = &mut *self.lease;
        lease.check_usable()?;
        let limit = Some(lease.limits.statement + GRACE);
        if lease.stage == Stage::Wanted {
            let limits = Arc::clone(&lease.limits);
            lease.plain(&limits.begin, limit).await.map_err(|fault| lease.failed(fault))?;
            lease.stage = Stage::Open;
        }
        let has_limit = !lease.limits.is_pooled || lease.stage == Stage::Open;
        if has_limit {
            let lifted = lease.limits.lifted();
            lease.plain(lifted, limit).await.map_err(|fault| lease.failed(fault))?;
        }
        let outcome = lease.plain(sql, None).await.map_err(|fault| lease.failed(fault));
        // Prepared statements may speak of columns that are gone.
        if let Some(Held::Own(connection)) = &lease.connection
            && let Some(pool) = Object::pool(connection)
        {
            pool.manager().schema_has_changed();
        }
        if has_limit && lease.stage != Stage::Failed {
            let restored = lease.limits.restored();
            let restored = lease.plain(&restored, limit).await.map_err(|fault| lease.failed(fault));
            if let (Ok(()), Err(error)) = (&outcome, restored) {
                return Err(error);
            }
        }
        outcome
    }
}
