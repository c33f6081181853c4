//! The only place that names a driver crate. A closed set of three behind the same function names:
//! [`Driver`] (a connected database), [`Session`] (a connection for the length of one operation),
//! [`Transaction`] (a connection held by a caller) and [`RowRef`] (a row, borrowed).

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod address;
#[cfg(feature = "testing")]
mod administer;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod finish;
pub(crate) mod kept;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod server;
#[cfg(all(test, feature = "mysql", feature = "postgres"))]
mod server_tests;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
#[cfg(feature = "postgres")]
mod tls;
mod watch;

#[cfg(feature = "testing")]
pub(crate) use administer::Administrator;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use server::Server;
pub(crate) use watch::{Vitals, Watch, Watched};

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use super::dialect::{Backend, Dialect};
use super::error::DbError;
use super::row::DecodeError;
use super::url::DatabaseUrl;
use super::value::{ColumnType, Value};
use crate::base::error::Error;
#[cfg(any(feature = "postgres", feature = "mysql"))]
use crate::base::metrics::Histogram;

/// How a database is opened, beside its address.
#[derive(Debug, Clone)]
pub struct Options {
    /// Connections to a server, or reader threads on SQLite.
    pub pool_size: Option<usize>,
    /// SQLite: whether each commit is on the disk before it is acknowledged.
    pub sqlite_full_sync: bool,
    /// SQLite: looks only. No file is made or changed; where there is none, the database is an empty one.
    pub read_only: bool,
    /// How long to wait for a new connection, or for one to become free.
    pub connect_timeout: Duration,
    /// How long one statement may take before it is given up.
    pub statement_timeout: Duration,
}

/// How long a statement of long work may take: a large table is read, filled or rewritten by one.
const LONGEST_STATEMENT: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Options {
    fn default() -> Self {
        Options {
            pool_size: None,
            sqlite_full_sync: true,
            read_only: false,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

/// A piece of work on one connection: plain data that can be sent to a thread and, after a conflict, run again.
pub(crate) trait Operation: Send + Sync + 'static {
    /// What it answers.
    type Output: Send + 'static;

    /// Does the work. On SQLite this never waits for anything but the file, and its future is ready at the first poll.
    fn run(&self, session: &mut Session<'_>) -> impl Future<Output = Result<Self::Output, DbError>> + Send;

    /// Whether it writes change records, for others to be told after the commit.
    fn leaves_changes(&self) -> bool {
        false
    }

    /// Whether it is one statement on this database, and so needs no transaction around it.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        allow(dead_code, reason = "SQLite groups writes into transactions anyhow")
    )]
    fn is_one_statement(&self, _backend: Backend) -> bool {
        false
    }

    /// Whether it is one statement that reads a row by its key, and so is quick. On PostgreSQL others of the kind may be on their way on the
    /// same connection; on SQLite it is done at once, where that is possible.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        allow(dead_code, reason = "MySQL asks what it looks up")
    )]
    fn is_lookup(&self) -> bool {
        false
    }

    /// What a lookup looks up, where others may be looked up with it.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code, reason = "only on MySQL do lookups become one statement"))]
    fn by_key(&self) -> Option<&dyn ByKey<Self::Output>> {
        None
    }

    /// Who watches its statements.
    #[cfg_attr(not(feature = "mysql"), allow(dead_code, reason = "a session knows it"))]
    fn watch(&self) -> Option<&Watch> {
        None
    }
}

/// A lookup of a row by a text that is its key.
#[cfg_attr(not(feature = "mysql"), allow(dead_code, reason = "only on MySQL do lookups become one statement"))]
pub(crate) trait ByKey<T>: Send + Sync {
    /// The statement that reads the row of one key. Those with the same go together.
    fn statement(&self) -> &Arc<str>;

    /// The one that reads the rows of so many keys, in any order. Their first column is the key.
    fn for_several(&self, keys: usize, dialect: &dyn Dialect) -> String;

    /// The key.
    fn key(&self) -> &str;

    /// What it answers where this is the row of the key, or where there is none.
    fn answer(&self, row: Option<&RowRef<'_>>) -> Result<T, DecodeError>;
}

/// A statement and its parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) sql: &'a str,
    pub(crate) params: &'a [Value],
}

/// What an operation does after the statements at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// More statements, or it depends.
    More,
    /// Nothing, where these succeed: a transaction of its own may end with them.
    Nothing,
}

macro_rules! sqlite_or_server {
    ($self:expr, $inner:ident => $do:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite($inner) => $do,
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            Self::Server($inner) => $do,
        }
    };
}

macro_rules! for_each_driver {
    ($self:expr, $inner:ident => $do:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite($inner) => $do,
            #[cfg(feature = "postgres")]
            Self::Postgres($inner) => $do,
            #[cfg(feature = "mysql")]
            Self::MySql($inner) => $do,
        }
    };
}

/// A connected database.
#[derive(Debug)]
pub(crate) enum Driver {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Driver),
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    Server(Server),
}

impl Driver {
    /// Opens the database and makes sure that it answers.
    pub(crate) async fn connect(url: &DatabaseUrl, options: &Options) -> Result<Self, DbError> {
        match url.backend {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite => sqlite::Driver::connect(url, options).await.map(Driver::Sqlite),
            #[cfg(feature = "postgres")]
            Backend::Postgres => {
                postgres::Driver::connect(url, options).await.map(|driver| Driver::Server(Server::Postgres(driver)))
            }
            #[cfg(feature = "mysql")]
            Backend::MySql => {
                mysql::Driver::connect(url, options).await.map(|driver| Driver::Server(Server::MySql(driver)))
            }
            #[allow(unreachable_patterns)]
            other => Err(DbError::Refused(Error::invalid(format!(
                "DATABASE_URL asks for {}, which this binary was built without; build it with the Cargo feature `{}`",
                other.as_str(),
                other.as_str()
            )))),
        }
    }

    /// How its statements are written.
    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        sqlite_or_server!(self, driver => driver.dialect())
    }

    /// Runs a piece of work that only reads.
    pub(crate) async fn read<O: Operation>(&self, operation: O) -> Result<O::Output, DbError> {
        sqlite_or_server!(self, driver => driver.read(operation).await)
    }

    /// Runs a piece of work in one transaction, or as its one statement. It ends whole or not at all, even if the caller's future is dropped.
    /// Not tried again here: see [`DbError::is_worth_a_retry`].
    pub(crate) async fn write<O: Operation>(&self, operation: Arc<O>) -> Result<O::Output, DbError> {
        sqlite_or_server!(self, driver => driver.write(operation).await)
    }

    /// As [`Driver::write`], for work that changes the schema. On SQLite, foreign keys are off meanwhile and there is no time limit.
    pub(crate) async fn change_schema<O: Operation>(&self, operation: Arc<O>) -> Result<O::Output, DbError> {
        match self {
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(driver) => driver.change_schema(operation).await,
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            Driver::Server(server) => server.write(operation).await,
        }
    }

    /// Forgets prepared statements, which may speak of columns that another connection changed. MySQL and SQLite find that out themselves.
    pub(crate) fn forget_statements(&self) {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Server(Server::Postgres(driver)) => driver.forget_statements(),
            #[cfg(any(feature = "sqlite", feature = "mysql"))]
            _ => {}
        }
    }

    /// Opens a transaction for a caller. Dropping it rolls back.
    pub(crate) async fn begin(&self) -> Result<Transaction, DbError> {
        match self {
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(driver) => driver.begin().await.map(Transaction::Sqlite),
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            Driver::Server(server) => server.begin().await.map(Transaction::Server),
        }
    }

    /// Calls `heard` once it listens to a channel and whenever somebody notifies it, until the connection breaks: true where it makes sense to
    /// listen again. False, at once, where the database can't tell.
    pub(crate) async fn listen(
        &self,
        #[cfg_attr(not(feature = "postgres"), allow(unused_variables))] channel: &str,
        #[cfg_attr(not(feature = "postgres"), allow(unused_variables))] heard: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<bool, DbError> {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Server(Server::Postgres(driver)) => driver.listen(channel, heard).await,
            #[cfg(any(feature = "sqlite", feature = "mysql"))]
            _ => Ok(false),
        }
    }

    /// How busy it is at this moment.
    pub(crate) fn load(&self) -> Load {
        sqlite_or_server!(self, driver => driver.load())
    }

    /// How long SQLite's write-ahead log is, in bytes; none where the database is a server.
    pub(crate) fn log_bytes(&self) -> Option<u64> {
        match self {
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(driver) => Some(driver.log_bytes()),
            #[cfg(any(feature = "postgres", feature = "mysql"))]
            _ => None,
        }
    }

    /// One connection apart from those that serve, for work that takes long: without their time limit, and to be closed after the work,
    /// whatever state that left it in.
    pub(crate) async fn connect_apart(url: &DatabaseUrl) -> Result<Self, DbError> {
        let options = Options { pool_size: Some(1), statement_timeout: LONGEST_STATEMENT, ..Options::default() };
        Driver::connect(url, &options).await
    }

    /// Finishes what is under way and closes all connections.
    pub(crate) async fn close(&self) {
        sqlite_or_server!(self, driver => driver.close().await);
    }
}

/// How busy a database is.
#[derive(Debug)]
pub(crate) enum Load {
    /// A server, by its pool of connections.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    Pool {
        /// The most that there may be.
        most: usize,
        open: usize,
        /// Those of them that nobody uses.
        idle: usize,
        /// Operations that wait for one.
        waiting: usize,
        /// How long they waited.
        waits: Histogram,
    },
    /// SQLite, by its queues.
    #[cfg(feature = "sqlite")]
    Queues { reads: usize, writes: usize },
}

/// Whether another process has this file of SQLite open.
pub(crate) fn is_in_use(path: &std::path::Path) -> Result<bool, DbError> {
    #[cfg(feature = "sqlite")]
    return sqlite::copy::is_in_use(path);
    #[cfg(not(feature = "sqlite"))]
    return Err(DbError::Other(format!("{} can't be looked at without SQLite", path.display()).into()));
}

/// A transaction held by a caller, operation by operation. Dropped without [`Transaction::commit`], it rolls back.
#[derive(Debug)]
pub(crate) enum Transaction {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Transaction),
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    Server(server::Transaction),
}

impl Transaction {
    /// Runs a piece of work inside. After an error, only rolling back makes sense.
    pub(crate) async fn run<O: Operation>(&mut self, operation: O) -> Result<O::Output, DbError> {
        sqlite_or_server!(self, transaction => transaction.run(operation).await)
    }

    /// Makes it last.
    pub(crate) async fn commit(self) -> Result<(), DbError> {
        sqlite_or_server!(self, transaction => transaction.commit().await)
    }

    /// Undoes it.
    pub(crate) async fn rollback(self) {
        sqlite_or_server!(self, transaction => transaction.rollback().await);
    }
}

/// Gives the next piece of what is sent to the server; none at the end.
pub(crate) type NextPiece<'a> = dyn FnMut() -> crate::base::error::Result<Option<bytes::Bytes>> + Send + 'a;

/// What is done with each row as it comes.
type OnRow<'a> = dyn FnMut(&RowRef<'_>) -> Result<(), DecodeError> + Send + 'a;

/// A connection for the length of one operation.
pub(crate) struct Session<'a> {
    on: On<'a>,
    watch: Option<Watch>,
}

/// Which connection it is.
enum On<'a> {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Session<'a>),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Session<'a>),
    #[cfg(feature = "mysql")]
    MySql(mysql::Session<'a>),
}

impl<'a> From<On<'a>> for Session<'a> {
    fn from(on: On<'a>) -> Self {
        Session { on, watch: None }
    }
}

impl On<'_> {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        for_each_driver!(self, session => session.execute(sql, params).await)
    }

    async fn query(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<(), DbError> {
        for_each_driver!(self, session => session.query(sql, params, on_row).await)
    }

    async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        for_each_driver!(self, session => session.batch(sql).await)
    }

    fn dialect(&self) -> &'static dyn Dialect {
        for_each_driver!(self, session => session.dialect())
    }
}

impl Session<'_> {
    /// How statements are written here.
    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        self.on.dialect()
    }

    /// Runs a statement and tells how many rows it touched. Prepared once for each connection.
    pub(crate) async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let watching = Watch::begin(self.watch.as_ref(), sql);
        watching.end(self.on.execute(sql, params).await)
    }

    /// Runs statements one after the other, up to the first that fails, and tells how many rows the first one touched.
    /// A question mark in their texts is the place of a parameter. MySQL takes all of them in one journey, which is seen as the first.
    pub(crate) async fn execute_together(
        &mut self,
        statements: &[Statement<'_>],
        #[cfg_attr(not(feature = "mysql"), allow(unused_variables))] follows: Follows,
    ) -> Result<u64, DbError> {
        let Some((first, others)) = statements.split_first() else { return Ok(0) };
        match &mut self.on {
            #[cfg(feature = "mysql")]
            On::MySql(session) => {
                let watching = Watch::begin(self.watch.as_ref(), first.sql);
                watching.end(session.execute_together(statements, follows).await)
            }
            #[allow(unreachable_patterns, reason = "where MySQL is all there is")]
            _ => {
                let touched = self.execute(first.sql, first.params).await?;
                for statement in others {
                    self.execute(statement.sql, statement.params).await?;
                }
                Ok(touched)
            }
        }
    }

    /// Runs a query and decodes each row as it comes. Prepared once for each connection.
    pub(crate) async fn query<T: Send>(
        &mut self,
        sql: &str,
        params: &[Value],
        mut decode: impl FnMut(&RowRef<'_>) -> Result<T, DecodeError> + Send,
    ) -> Result<Vec<T>, DbError> {
        let mut rows = Vec::new();
        let mut on_row = |row: &RowRef<'_>| {
            rows.push(decode(row)?);
            Ok(())
        };
        self.each_row(sql, params, &mut on_row).await?;
        Ok(rows)
    }

    /// One function whatever the rows become: what waits for an answer is large, and there is a query in every corner.
    async fn each_row(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<(), DbError> {
        let watching = Watch::begin(self.watch.as_ref(), sql);
        watching.end(self.on.query(sql, params, on_row).await)
    }

    /// Writes the whole database as this session's transaction sees it to an empty file that SQLite can open.
    pub(crate) fn copy_out(&mut self, copy: &std::path::Path) -> Result<(), DbError> {
        match &mut self.on {
            #[cfg(feature = "sqlite")]
            On::Sqlite(session) => session.copy_out(copy),
            #[allow(unreachable_patterns, reason = "where only SQLite is built in")]
            _ => Err(DbError::Refused(Error::internal(format!(
                "{} is no file: {}",
                self.dialect().backend().as_str(),
                copy.display()
            )))),
        }
    }

    /// Runs `COPY … FROM STDIN` and sends what `next` gives, piece by piece, until it has no more. Answers how many rows came.
    /// PostgreSQL only: the others have no such statement.
    pub(crate) async fn copy_in(&mut self, sql: &str, next: &mut NextPiece<'_>) -> Result<u64, DbError> {
        match &mut self.on {
            #[cfg(feature = "postgres")]
            On::Postgres(session) => session.copy_in(sql, next).await,
            #[allow(unreachable_patterns, reason = "where PostgreSQL is the only database")]
            _ => {
                // What they never ask for.
                let _ = (sql, next);
                Err(DbError::Other("only PostgreSQL copies from its client".into()))
            }
        }
    }

    /// Runs statements without parameters, one after the other, not prepared: for DDL.
    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        self.on.batch(sql).await
    }
}

/// A row as the driver holds it, read column by column.
pub enum RowRef<'a> {
    #[doc(hidden)]
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::RowRef<'a>),
    #[doc(hidden)]
    #[cfg(feature = "postgres")]
    Postgres(postgres::RowRef<'a>),
    #[doc(hidden)]
    #[cfg(feature = "mysql")]
    MySql(mysql::RowRef<'a>),
    /// One that no driver gave: a version that the history kept.
    #[doc(hidden)]
    Kept(kept::RowRef<'a>),
}

macro_rules! for_each_row {
    ($self:expr, $row:ident => $do:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite($row) => $do,
            #[cfg(feature = "postgres")]
            Self::Postgres($row) => $do,
            #[cfg(feature = "mysql")]
            Self::MySql($row) => $do,
            Self::Kept($row) => $do,
        }
    };
}

macro_rules! typed_reads {
    ($($(#[$doc:meta])* $name:ident -> $ty:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// Where the column holds something else, or nothing.
        pub fn $name(&self, index: usize) -> Result<$ty, DecodeError> {
            for_each_row!(self, row => row.$name(index))
        }
    )*};
}

impl RowRef<'_> {
    typed_reads! {
        /// Whether the column holds nothing.
        is_null -> bool;
        /// The column as text; decimals, UUIDs and JSON are text too.
        text -> &str;
        /// The column as true or false.
        bool -> bool;
        /// The column as a whole number.
        int -> i64;
        /// The column as a floating-point number; a whole number will do.
        float -> f64;
        /// The column as a moment.
        timestamp -> Timestamp;
        /// The column as a day.
        date -> Date;
        /// The column as a time of day.
        time -> Time;
        /// The column as bytes.
        bytes -> &[u8];
        /// The column as whatever the database says it is: for raw SQL, where no schema tells.
        any -> Value;
    }

    /// How many columns the row has.
    #[must_use]
    pub fn len(&self) -> usize {
        for_each_row!(self, row => row.len())
    }

    /// Whether the row has no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of a column.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        for_each_row!(self, row => row.name(index))
    }

    /// The column as a value of a known type.
    ///
    /// # Errors
    /// Where the column holds something else.
    pub fn value(&self, index: usize, ty: ColumnType) -> Result<Value, DecodeError> {
        if self.is_null(index)? {
            return Ok(Value::Null);
        }
        Ok(match ty {
            ColumnType::Text | ColumnType::Decimal | ColumnType::Uuid => Value::Text(self.text(index)?.to_owned()),
            ColumnType::Bool => Value::Bool(self.bool(index)?),
            ColumnType::Int => Value::Int(self.int(index)?),
            ColumnType::Float => Value::Float(self.float(index)?),
            ColumnType::Timestamp => Value::Timestamp(self.timestamp(index)?),
            ColumnType::Date => Value::Date(self.date(index)?),
            ColumnType::Time => Value::Time(self.time(index)?),
            ColumnType::Bytes => Value::Bytes(self.bytes(index)?.to_vec()),
            ColumnType::Json => {
                let json = serde_json::from_str(self.text(index)?).map_err(|_| self.unfit(index, "is not JSON"))?;
                Value::Json(Box::new(json))
            }
        })
    }

    /// The error for a column whose value does not fit what reads it.
    #[must_use]
    pub fn unfit(&self, index: usize, problem: impl Into<Cow<'static, str>>) -> DecodeError {
        DecodeError { column: self.name(index).to_owned(), problem: problem.into() }
    }
}
