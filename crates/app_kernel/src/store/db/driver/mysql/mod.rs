//! MySQL 8 and MariaDB through mysql_async.
//!
//! What is always true: a connection goes back to the pool outside of any transaction and with nothing under way, or it is
//! closed. It is never reset on its way, which would cost a round trip and its prepared statements. A statement that failed
//! inside a transaction makes it impossible to commit: after a deadlock the server has rolled back everything before it.
//! Statements that need no look in between go in one journey, and with them the beginning and the end of their transaction;
//! the server stops at the first that fails.

mod connect;
mod error;
mod gather;
mod journey;
mod pool;
mod row;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::Offset;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Value as Sql};
use tokio::runtime::Handle;
use tokio::time::timeout;

pub(super) use gather::Answer;
pub(super) use row::RowRef;

use self::gather::Gatherings;
use self::pool::{Connection, Pool, Pooled};
use super::server::Purpose;
use super::{DatabaseUrl, DbError, DecodeError, Dialect, Follows, OnRow, Options, Statement, Value};
use crate::base::metrics::{Histogram, SHORT_SECONDS};
use crate::store::db::dialect::MySql;

/// How much longer than the server we wait for a statement, so that it is the server who ends it.
const GRACE: Duration = Duration::from_secs(1);
/// How long a connection that is given up may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A pool of connections. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Driver {
    pool: Pool,
    waits: Histogram,
    gatherings: Arc<Gatherings>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    connect: Duration,
    statement: Duration,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MySql").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) async fn connect(url: &DatabaseUrl, options: &Options) -> Result<Self, DbError> {
        let pool = connect::pool(url, options).await?;
        let limits = Limits { connect: options.connect_timeout, statement: options.statement_timeout };
        Ok(Driver { pool, waits: Histogram::new(SHORT_SECONDS), gatherings: Arc::default(), limits })
    }

    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        &MySql
    }

    pub(super) async fn lend(&self, purpose: Purpose) -> Result<Lease, DbError> {
        let stage = if purpose == Purpose::Transaction { Stage::Wanted } else { Stage::None };
        let connection = super::pool::get(&self.pool, &self.waits).await.map_err(error::from_pool)?;
        let (is_busy, has_ended, is_last_chance) = (false, false, false);
        Ok(Lease { connection: Some(connection), stage, is_busy, has_ended, is_last_chance, limits: self.limits })
    }

    pub(crate) fn load(&self) -> super::Load {
        super::pool::load(&self.pool, &self.waits)
    }

    pub(crate) async fn close(&self) {
        pool::close(&self.pool, self.limits.statement + GRACE).await;
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
    connection: Option<Pooled>,
    stage: Stage,
    /// An answer is awaited; where it was not, nobody knows what the server is doing.
    is_busy: bool,
    /// The connection ended under a statement.
    has_ended: bool,
    /// It was dropped once, and is being rolled back. Where that is cut off too, as when the runtime ends, the connection is closed.
    is_last_chance: bool,
    limits: Limits,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Lease {
    pub(super) fn session(&mut self) -> super::Session<'_> {
        super::On::MySql(Session { lease: self, is_whole_transaction: false }).into()
    }

    pub(super) fn whole_transaction(&mut self) -> super::Session<'_> {
        super::On::MySql(Session { lease: self, is_whole_transaction: true }).into()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("only the drop takes it")
    }

    /// Runs a statement; in a transaction, its failure is remembered.
    async fn statement(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<u64, DbError> {
        let params = to_params(params)?;
        self.begin_where_wanted().await?;
        let limit = self.limits.statement + GRACE;
        self.is_busy = true;
        let exchanged = {
            // Pinned, as a future that is moved stands twice in the one that waits for it.
            let exchange = pin!(execute(self.connection(), sql, params, on_row));
            timeout(limit, exchange).await
        };
        let outcome = match exchanged {
            Err(_) => Err(Fault::Silence(limit)),
            Ok(outcome) => {
                self.has_ended = matches!(&outcome, Err(Fault::MySql(error)) if error::is_end_of_connection(error));
                self.is_busy = self.has_ended;
                outcome
            }
        };
        outcome.map_err(|fault| self.failed(fault))
    }

    /// Runs a text of several statements, and tells how many rows the first but `START TRANSACTION` touched.
    async fn journey(&mut self, text: &str, statements: usize, commits: bool) -> Result<u64, DbError> {
        self.check_usable()?;
        let begins = self.stage == Stage::Wanted;
        let limit = self.limits.statement * u32::try_from(statements).unwrap_or(u32::MAX) + GRACE;
        self.is_busy = true;
        let exchanged = {
            let exchange = pin!(async {
                let mut result = self.connection().wire.query_iter(text).await?;
                if begins {
                    result.next().await?; // the answer to START TRANSACTION has no rows: on to the next
                }
                let touched = result.affected_rows();
                result.drop_result().await?;
                Ok(touched)
            });
            timeout(limit, exchange).await
        };
        let outcome = match exchanged {
            Err(_) => Err(Fault::Silence(limit)),
            Ok(outcome) => {
                self.is_busy = outcome.as_ref().is_err_and(error::is_end_of_connection);
                outcome.map_err(Fault::MySql)
            }
        };
        let touched = outcome.map_err(|fault| self.failed(fault))?;
        if commits {
            self.stage = Stage::None;
        } else if begins {
            self.stage = Stage::Open;
        }
        Ok(touched)
    }

    async fn begin_where_wanted(&mut self) -> Result<(), DbError> {
        self.check_usable()?;
        if self.stage == Stage::Wanted {
            self.plain("START TRANSACTION", Some(self.limits.statement + GRACE))
                .await
                .map_err(|fault| self.failed(fault))?;
            self.stage = Stage::Open;
        }
        Ok(())
    }

    /// Sends text without parameters, as it is.
    async fn plain(&mut self, sql: &str, limit: Option<Duration>) -> Result<(), Fault> {
        self.is_busy = true;
        let outcome = {
            let exchange = pin!(self.connection().wire.query_drop(sql));
            match limit {
                Some(limit) => timeout(limit, exchange).await.map_err(|_| Fault::Silence(limit))?,
                None => exchange.await,
            }
        };
        self.is_busy = matches!(&outcome, Err(error) if error::is_end_of_connection(error));
        Ok(outcome?)
    }

    pub(super) async fn commit(&mut self) -> Result<(), DbError> {
        match self.stage {
            Stage::None | Stage::Wanted => Ok(()),
            Stage::Failed => {
                self.rollback().await;
                Err(failed_before())
            }
            Stage::Open => match self.plain("COMMIT", Some(self.limits.statement + GRACE)).await {
                Ok(()) => {
                    self.stage = Stage::None;
                    Ok(())
                }
                Err(fault) => {
                    let error = self.failed(fault);
                    self.rollback().await;
                    Err(error)
                }
            },
        }
    }

    /// Where this fails, the connection is not used again.
    pub(super) async fn rollback(&mut self) {
        if matches!(self.stage, Stage::Open | Stage::Failed) && !self.is_busy {
            // A lock by name, as the migration takes, would outlive the transaction.
            match self.plain("ROLLBACK; DO RELEASE_ALL_LOCKS()", Some(self.limits.connect)).await {
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
        let is_open = matches!(self.stage, Stage::Open | Stage::Failed);
        if !self.is_busy && !is_open {
            return; // and so back to the pool
        }
        // Without a runtime, or in one that ends, the connection is closed, and the server rolls back.
        let runtime = match Handle::try_current() {
            Ok(runtime) if !self.is_last_chance => runtime,
            _ => return drop(Pooled::take(connection)),
        };
        if self.is_busy {
            if let Some(pool) = Pooled::pool(&connection) {
                pool.manager().one_broke();
            }
            runtime.spawn(timeout(GOODBYE, Pooled::take(connection).wire.disconnect()));
        } else {
            let mut lease = Lease {
                connection: Some(connection),
                stage: self.stage,
                is_busy: false,
                has_ended: false,
                is_last_chance: true,
                limits: self.limits,
            };
            runtime.spawn(async move { lease.rollback().await });
        }
    }
}

/// Why a statement gave no result.
enum Fault {
    MySql(mysql_async::Error),
    Decode(DecodeError),
    Silence(Duration),
}

impl Fault {
    fn into_error(self) -> DbError {
        match self {
            Fault::MySql(error) => error::from_mysql(error),
            Fault::Decode(error) => DbError::Decode(error),
            Fault::Silence(limit) => DbError::Away(format!("no answer to a statement within {limit:?}").into()),
        }
    }
}

impl From<mysql_async::Error> for Fault {
    fn from(error: mysql_async::Error) -> Self {
        Fault::MySql(error)
    }
}

fn failed_before() -> DbError {
    DbError::Other("an earlier statement of this transaction failed".into())
}

async fn execute(connection: &mut Connection, sql: &str, params: Params, on_row: &mut OnRow<'_>) -> Result<u64, Fault> {
    let statement = connection.prepared(sql).await?;
    let mut result = connection.wire.exec_iter(statement, params).await?;
    let touched = result.affected_rows();
    let mut undecodable = None;
    // Read to the end whatever happens: what is left unread would lie in the way of the next statement.
    while let Some(row) = result.next().await? {
        if undecodable.is_none() {
            undecodable = on_row(&super::RowRef::MySql(RowRef(&row))).err();
        }
    }
    result.drop_result().await?;
    undecodable.map_or(Ok(touched), |error| Err(Fault::Decode(error)))
}

fn to_params(values: &[Value]) -> Result<Params, DbError> {
    if values.is_empty() {
        return Ok(Params::Empty);
    }
    values.iter().map(to_sql).collect::<Result<_, _>>().map(Params::Positional)
}

fn to_sql(value: &Value) -> Result<Sql, DbError> {
    Ok(match value {
        Value::Null => Sql::NULL,
        Value::Bool(b) => Sql::Int(i64::from(*b)),
        Value::Int(n) => Sql::Int(*n),
        Value::Float(x) if x.is_finite() => Sql::Double(*x),
        Value::Float(_) => return Err(unfit("a number that is not finite does not fit MySQL")),
        Value::Text(text) => Sql::Bytes(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => Sql::Bytes(bytes.clone()),
        Value::Timestamp(at) => {
            let at = Offset::UTC.to_datetime(*at);
            let time = at.time();
            to_date(at.date(), time)?
        }
        Value::Date(date) => to_date(*date, jiff::civil::Time::midnight())?,
        Value::Time(time) => {
            let [hour, minute, second] = clock(*time);
            Sql::Time(false, 0, hour, minute, second, micros(*time))
        }
        Value::Json(json) => Sql::Bytes(json.to_string().into_bytes()),
    })
}

fn to_date(date: jiff::civil::Date, time: jiff::civil::Time) -> Result<Sql, DbError> {
    let year = u16::try_from(date.year()).ok().filter(|year| *year > 0);
    let year = year.ok_or_else(|| unfit("a day before the year 1 does not fit MySQL"))?;
    let [hour, minute, second] = clock(time);
    Ok(Sql::Date(year, date.month() as u8, date.day() as u8, hour, minute, second, micros(time)))
}

fn clock(time: jiff::civil::Time) -> [u8; 3] {
    [time.hour(), time.minute(), time.second()].map(|part| part as u8)
}

fn micros(time: jiff::civil::Time) -> u32 {
    time.subsec_nanosecond() as u32 / 1000
}

fn unfit(problem: &'static str) -> DbError {
    DbError::Unfit(problem.into())
}

/// A connection for the length of one operation.
pub(crate) struct Session<'a> {
    lease: &'a mut Lease,
    /// The transaction is this operation's alone: with its last statements, it may be committed.
    is_whole_transaction: bool,
}

impl Session<'_> {
    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        &MySql
    }

    pub(crate) async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        self.lease.statement(sql, params, &mut |_| Ok(())).await
    }

    pub(crate) async fn execute_together(
        &mut self,
        statements: &[Statement<'_>],
        follows: Follows,
    ) -> Result<u64, DbError> {
        let stage = self.lease.stage;
        let begins = stage == Stage::Wanted;
        let commits = self.is_whole_transaction && stage != Stage::None && follows == Follows::Nothing;
        let is_worth_it = statements.len() > 1 || begins || commits;
        if let Some(text) = is_worth_it.then(|| journey::text(begins, statements, commits)).flatten() {
            return self.lease.journey(&text, statements.len(), commits).await;
        }
        let mut touched = Vec::with_capacity(statements.len());
        for statement in statements {
            touched.push(self.execute(statement.sql, statement.params).await?);
        }
        Ok(touched.first().copied().unwrap_or(0))
    }

    pub(crate) async fn query(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<(), DbError> {
        self.lease.statement(sql, params, on_row).await.map(|_| ())
    }

    /// Without a time limit: an index over a large table takes as long as it takes. MySQL commits before and after DDL,
    /// whatever transaction is open.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        let lease = &mut *self.lease;
        lease.begin_where_wanted().await?;
        let limit = Some(lease.limits.statement + GRACE);
        let no_limit = connect::statement_limit(Duration::ZERO);
        lease.plain(&no_limit, limit).await.map_err(|fault| lease.failed(fault))?;
        let outcome = lease.plain(sql, None).await;
        if !lease.is_busy {
            let restored = connect::statement_limit(lease.limits.statement);
            if let Err(fault) = lease.plain(&restored, limit).await {
                lease.is_busy = true; // without its limit, the connection is not used again
                return Err(lease.failed(fault));
            }
        }
        outcome.map_err(|fault| lease.failed(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_meaning_as_parameters() {
        let at: jiff::Timestamp = "1969-12-31T23:59:59.999999Z".parse().expect("a time");
        let sent = |value: Value| to_sql(&value).map_err(|error| crate::base::error::Error::from(error).to_string());
        assert_eq!(sent(Value::Timestamp(at)), Ok(Sql::Date(1969, 12, 31, 23, 59, 59, 999_999)));
        assert_eq!(sent(Value::Bool(true)), Ok(Sql::Int(1)));
        let time: jiff::civil::Time = "12:30:00.000001".parse().expect("a time");
        assert_eq!(sent(Value::Time(time)), Ok(Sql::Time(false, 0, 12, 30, 0, 1)));
        let unfit = Err("a value does not fit its column".to_owned());
        assert_eq!(sent(Value::Float(f64::INFINITY)), unfit);
        assert_eq!(sent(Value::Date(jiff::civil::date(-1, 1, 1))), unfit);
    }
}
