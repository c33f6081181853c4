//! The drivers of PostgreSQL and MySQL against real servers: one function for both, a fresh database for each test.
//! `TEST_POSTGRES_URL` and `TEST_MYSQL_URL` name the servers; `DATABASES=sqlite` is the way to leave them out.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::*;
use crate::base::error::Error;
use crate::base::secret::Secret;

/// Makes each function a test on both databases.
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        mod postgres_server {
            $($(#[$doc])* #[tokio::test] async fn $name() { super::on(super::Backend::Postgres, super::$name).await; })*
        }
        mod mysql_server {
            $($(#[$doc])* #[tokio::test] async fn $name() { super::on(super::Backend::MySql, super::$name).await; })*
        }
    };
}

mod connections;
mod transactions;
mod values;

/// Runs one test on a database of its own.
async fn on<T, F>(backend: Backend, test: T)
where
    T: FnOnce(Database) -> F,
    F: Future<Output = ()>,
{
    let Some(server) = server_url(backend) else {
        return;
    };
    let name = format!("driver_{}", uuid::Uuid::now_v7().simple());
    let admin = connect(backend, &server, &Options { pool_size: Some(1), ..Options::default() }).await;
    let create = match backend {
        Backend::MySql => {
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        }
        _ => format!("CREATE DATABASE {name}"),
    };
    admin.read(Batch(create)).await.expect("a fresh database");
    let database = Database { backend, url: with_database(&server, &name), server, name: name.clone() };
    let outcome = AssertUnwindSafe(test(database)).catch_unwind().await;
    let force = if backend == Backend::Postgres { " WITH (FORCE)" } else { "" };
    admin.read(Batch(format!("DROP DATABASE {name}{force}"))).await.expect("the database goes");
    admin.close().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

pub(super) fn server_url(backend: Backend) -> Option<String> {
    let wanted = std::env::var("DATABASES").ok();
    if wanted.is_some_and(|list| !list.split(',').any(|name| name.trim() == backend.as_str())) {
        return None;
    }
    let variable = if backend == Backend::Postgres { "TEST_POSTGRES_URL" } else { "TEST_MYSQL_URL" };
    let url = std::env::var(variable);
    Some(url.unwrap_or_else(|_| panic!("{variable} is not set; run ./test, which starts a server")))
}

fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(base, query)| (base, format!("?{query}")));
    let (scheme, rest) = base.split_once("://").expect("the URL has a scheme");
    format!("{scheme}://{}/{name}{query}", rest.split('/').next().unwrap_or(rest))
}

async fn try_connect(backend: Backend, url: &str, options: &Options) -> Result<Driver, DbError> {
    Driver::connect(&DatabaseUrl { backend, text: Secret::new(url) }, options).await
}

async fn connect(backend: Backend, url: &str, options: &Options) -> Driver {
    try_connect(backend, url, options).await.unwrap_or_else(|error| panic!("{}", Error::from(error)))
}

/// A test's own database.
struct Database {
    backend: Backend,
    server: String,
    url: String,
    name: String,
}

impl Database {
    async fn connect(&self) -> Driver {
        self.connect_with(&Options::default()).await
    }

    async fn connect_with(&self, options: &Options) -> Driver {
        connect(self.backend, &self.url, options).await
    }

    /// With a table of ids.
    async fn with_items(&self, options: &Options) -> Driver {
        let driver = self.connect_with(options).await;
        let id = driver.dialect().column_type(ColumnType::Text, true);
        driver.read(Batch(format!("CREATE TABLE items (id {id} PRIMARY KEY, n BIGINT)"))).await.expect("a table");
        driver
    }

    fn is_postgres(&self) -> bool {
        self.backend == Backend::Postgres
    }

    /// Transactions that are open in this database, by the server's own account.
    async fn open_transactions(&self, driver: &Driver) -> i64 {
        let sql = if self.is_postgres() {
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        } else {
            "SELECT count(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p \
             ON p.id = t.trx_mysql_thread_id WHERE p.db = database() AND p.id <> connection_id()"
        };
        number(driver, sql).await
    }
}

fn one_connection() -> Options {
    Options { pool_size: Some(1), connect_timeout: Duration::from_secs(5), ..Options::default() }
}

/// `?` as the dialect writes it.
fn placed(dialect: &dyn Dialect, sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (i, part) in parts.enumerate() {
        dialect.placeholder(i + 1, &mut text);
        text.push_str(part);
    }
    text
}

/// Statements outside of any transaction's reach.
struct Batch(String);

impl Operation for Batch {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), DbError> {
        session.batch(&self.0).await
    }
}

/// One statement.
struct Execute(&'static str, Vec<Value>);

impl Operation for Execute {
    type Output = u64;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, DbError> {
        session.execute(&placed(session.dialect(), self.0), &self.1).await
    }

    fn is_one_statement(&self, _: Backend) -> bool {
        true
    }
}

struct OwnExecute(String, Vec<Value>);

impl Operation for OwnExecute {
    type Output = u64;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, DbError> {
        session.execute(&self.0, &self.1).await
    }
}

/// The same statement for each of these values, all of them sent together as the end of the transaction.
struct Together(&'static str, Vec<Value>);

impl Operation for Together {
    type Output = u64;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, DbError> {
        let sql = placed(session.dialect(), self.0);
        let statements: Vec<_> =
            self.1.iter().map(|value| Statement { sql: &sql, params: std::slice::from_ref(value) }).collect();
        session.execute_together(&statements, Follows::Nothing).await
    }
}

/// Rows, each column as the database calls it.
struct Any(String, Vec<Value>);

impl Operation for Any {
    type Output = Vec<Vec<Value>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, DbError> {
        let all = |row: &RowRef<'_>| (0..row.len()).map(|i| row.any(i)).collect();
        session.query(&placed(session.dialect(), &self.0), &self.1, all).await
    }
}

/// Columns `c0, c1, …` of the table `t`, by their types.
struct Typed(Vec<ColumnType>);

impl Operation for Typed {
    type Output = Vec<Vec<Value>>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Self::Output, DbError> {
        let columns: Vec<_> = (0..self.0.len()).map(|i| format!("c{i}")).collect();
        let sql = format!("SELECT {} FROM t", columns.join(", "));
        session.query(&sql, &[], |row| self.0.iter().enumerate().map(|(i, ty)| row.value(i, *ty)).collect()).await
    }
}

/// What a transaction does, step by step.
enum Step {
    Add(String),
    /// Adds, and goes on where that fails.
    TryAdd(String),
    Touch(&'static str),
    /// Says that it is here, and waits to be let on.
    Gate(Arc<Notify>, Arc<Notify>),
}

struct Steps(Vec<Step>);

impl Operation for Steps {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> Result<(), DbError> {
        let add = placed(session.dialect(), "INSERT INTO items (id, n) VALUES (?, 0)");
        let touch = placed(session.dialect(), "UPDATE items SET n = n + 1 WHERE id = ?");
        for step in &self.0 {
            match step {
                Step::Add(id) => drop(session.execute(&add, &[Value::from(id)]).await?),
                Step::TryAdd(id) => drop(session.execute(&add, &[Value::from(id)]).await),
                Step::Touch(id) => drop(session.execute(&touch, &[Value::from(*id)]).await?),
                Step::Gate(here, go) => {
                    here.notify_one();
                    go.notified().await;
                }
            }
        }
        Ok(())
    }
}

fn add(id: impl Into<String>) -> Step {
    Step::Add(id.into())
}

fn write(driver: &Driver, steps: Vec<Step>) -> impl Future<Output = Result<(), DbError>> + '_ {
    driver.write(Arc::new(Steps(steps)))
}

async fn number(driver: &Driver, sql: &str) -> i64 {
    let rows = driver.read(Any(sql.to_owned(), vec![])).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows[0][0].as_int().unwrap_or_else(|| panic!("{sql}: {rows:?}"))
}

async fn items(driver: &Driver) -> i64 {
    number(driver, "SELECT count(*) FROM items").await
}

/// Waits for what another task is about to bring; the last look tells.
async fn eventually(wanted: i64, look: impl AsyncFn() -> i64) {
    for _ in 0..50 {
        if look().await == wanted {
            return;
        }
        // InnoDB makes its account of transactions anew only when nobody has read it for 0.1 s: who asks more often is told the past.
        sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(look().await, wanted);
}

fn text_of(error: DbError) -> String {
    Error::from(error).to_string()
}
