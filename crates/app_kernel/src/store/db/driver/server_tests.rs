//! The drivers of PostgreSQL and MySQL against real servers: one function for both, a fresh database for each test.
//! `TEST_POSTGRES_URL` and `TEST_MYSQL_URL` name the servers; `DATABASES=sqlite` is the way to leave them out.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

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

on_both! {
    /// Promise: C13, R-14
    every_value_comes_back_as_it_went,
    null_is_null_in_every_column,
    /// Promise: R-29
    what_a_column_cannot_hold_is_unfit,
    broken_constraints_are_named,
    an_update_counts_the_rows_it_matched,
    a_failed_write_leaves_nothing,
    statements_sent_together_are_kept_or_undone_together,
    a_swallowed_failure_cannot_be_committed,
    /// Promise: R-07
    a_write_whose_caller_left_runs_to_its_end,
    /// Promise: R-07
    callers_that_leave_at_any_moment_leave_nothing_open,
    /// Promise: R-07
    a_read_whose_caller_left_gives_its_connection_back,
    a_dropped_transaction_is_rolled_back,
    a_transaction_that_was_cut_off_cannot_be_committed,
    a_transaction_commits_what_it_was_told,
    a_deadlock_is_worth_another_try,
    /// Promise: R-09
    a_killed_connection_costs_at_most_one_failure,
    /// Promise: R-09
    a_statement_that_takes_too_long_is_given_up,
    a_batch_has_no_limit_of_time,
    an_exhausted_pool_says_so_in_time,
    a_changed_table_does_not_break_prepared_statements,
    no_round_trip_is_wasted,
    a_start_that_fails_names_the_cause_and_the_cure,
    tls_is_spoken_where_it_is_asked_for,
    a_closed_pool_finishes_what_is_under_way,
}

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

/// The torture set (of values that all databases must give back bit by bit).
fn torture() -> Vec<(ColumnType, Vec<Value>)> {
    // The last one is nearly the end of jiff's time.
    let times =
        ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2038-01-19T03:14:08Z", "9999-12-30T21:59:59.999999Z"];
    let all_bytes: Vec<u8> = (0..=255).collect();
    let texts = [
        "",
        " ",
        "a ",
        "A",
        "é",
        "e\u{301}",
        "ß",
        "İı",
        "👩‍👩‍👧‍👦",
        "\u{10FFFF}",
        "\u{FEFF}first",
        "\u{202E}abc",
        "\r\n\t",
        "'\"`[](){}",
        "\\",
        "\\N",
        "NULL",
        "=1+1",
        "-- ;",
        "?",
        "$1",
        ":name",
        "%_",
    ];
    let mut texts: Vec<Value> = texts.map(Value::from).to_vec();
    texts.push(Value::Text("x".repeat(1024 * 1024)));
    texts.extend([65_535, 65_536, 65_537].map(|n| Value::Text("y".repeat(n))));
    let json = [
        json!({"z": 1, "a": [null, true, 1.5, "é"], "big": 9_007_199_254_740_993_i64}),
        json!([]),
        json!("text"),
        json!(12),
    ];
    let floats = [0.1, 1e308, 5e-324, -0.0, 1.0 / 3.0, f64::MAX, f64::MIN_POSITIVE];
    let ints = [0, 1, -1, i64::from(i32::MAX) + 1, (1 << 53) + 1, i64::MAX, i64::MIN];
    vec![
        (ColumnType::Text, texts),
        (ColumnType::Bool, vec![Value::Bool(true), Value::Bool(false)]),
        (ColumnType::Int, ints.map(Value::Int).to_vec()),
        (ColumnType::Float, floats.map(Value::Float).to_vec()),
        (ColumnType::Decimal, ["0.1", "-12345678901234567890.000000001"].map(Value::from).to_vec()),
        (ColumnType::Timestamp, times.map(|t| Value::Timestamp(t.parse().expect("a time"))).to_vec()),
        (
            ColumnType::Date,
            ["0001-01-01", "1969-12-31", "9999-12-31"].map(|t| Value::Date(t.parse().expect("a day"))).to_vec(),
        ),
        (ColumnType::Time, ["00:00:00", "23:59:59.999999"].map(|t| Value::Time(t.parse().expect("a time"))).to_vec()),
        (ColumnType::Uuid, vec![Value::from("0190d5f4-7c3e-7000-8000-000000000001")]),
        (ColumnType::Bytes, vec![Value::Bytes(all_bytes), Value::Bytes(vec![]), Value::Bytes(vec![0; 70_000])]),
        (ColumnType::Json, json.map(|json| Value::Json(Box::new(json))).to_vec()),
    ]
}

impl Database {
    /// Whether a value came back. -0.0 and 0.0 are the same number and other bits; MariaDB does not keep the sign.
    fn is_same(&self, found: &Value, sent: &Value) -> bool {
        match (found, sent) {
            (Value::Float(a), Value::Float(b)) if self.is_postgres() || *b != 0.0 => a.to_bits() == b.to_bits(),
            (a, b) => a == b,
        }
    }
}

async fn every_value_comes_back_as_it_went(db: Database) {
    let driver = db.connect().await;
    for (ty, values) in torture() {
        let column = driver.dialect().column_type(ty, false);
        driver.read(Batch(format!("CREATE TABLE t (c0 {column})"))).await.expect("a table");
        for value in values {
            let insert = Execute("INSERT INTO t (c0) VALUES (?)", vec![value.clone()]);
            assert_eq!(driver.write(Arc::new(insert)).await.unwrap_or_else(|error| panic!("{value:?}: {error:?}")), 1);
            let twice = Together("INSERT INTO t (c0) VALUES (?)", vec![value.clone(), value.clone()]);
            assert_eq!(driver.write(Arc::new(twice)).await.unwrap_or_else(|error| panic!("{value:?}: {error:?}")), 1);
            let typed = driver.read(Typed(vec![ty])).await.expect("the rows by their type");
            assert_eq!(typed.len(), 3);
            let is_right = typed.iter().all(|row| db.is_same(&row[0], &value));
            assert!(is_right, "{ty:?}: {typed:?} are not {value:?}");
            let any = driver.read(Any("SELECT c0 FROM t".to_owned(), vec![])).await.expect("the row by itself");
            match (&any[0][0], &value) {
                // MySQL's JSON columns are texts, so that nothing is rewritten.
                (Value::Text(text), Value::Json(json)) => assert_eq!(text, &json.to_string()),
                (any, value) => assert!(db.is_same(any, value), "{ty:?}: {any:?} is not {value:?}"),
            }
            driver.write(Arc::new(Execute("DELETE FROM t", vec![]))).await.expect("an empty table");
        }
        driver.read(Batch("DROP TABLE t".to_owned())).await.expect("it goes");
    }
    driver.close().await;
}

async fn null_is_null_in_every_column(db: Database) {
    let driver = db.connect().await;
    let types: Vec<_> = torture().into_iter().map(|(ty, _)| ty).collect();
    let columns = types.iter().enumerate().map(|(i, ty)| format!("c{i} {}", driver.dialect().column_type(*ty, false)));
    driver.read(Batch(format!("CREATE TABLE t ({})", columns.collect::<Vec<_>>().join(", ")))).await.expect("a table");
    let insert = Execute(
        "INSERT INTO t (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        vec![Value::Null; types.len()],
    );
    driver.write(Arc::new(insert)).await.expect("a row of nothing");
    let nothing = vec![vec![Value::Null; types.len()]];
    assert_eq!(driver.read(Typed(types)).await.expect("the row by its types"), nothing);
    assert_eq!(driver.read(Any("SELECT * FROM t".to_owned(), vec![])).await.expect("the row by itself"), nothing);
    let error = driver.read(Read(|row| row.int(2))).await.expect_err("null is no number");
    assert_eq!(format!("{error}"), "column `c2` is null");
    let error = driver.read(Read(|row| row.int(99))).await.expect_err("there is no such column");
    assert_eq!(format!("{error}"), "column `` is missing: the row has 11 columns");
    driver.close().await;
}

/// One read of the table `t`.
struct Read<T: 'static>(fn(&RowRef<'_>) -> Result<T, DecodeError>);

impl<T: Send + 'static> Operation for Read<T> {
    type Output = Vec<T>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<T>, DbError> {
        session.query("SELECT * FROM t", &[], self.0).await
    }
}

async fn what_a_column_cannot_hold_is_unfit(db: Database) {
    let driver = db.connect().await;
    let table = "CREATE TABLE t (small SMALLINT, short VARCHAR(3), at_time TIME, on_day DATE, amount NUMERIC(5, 2))";
    driver.read(Batch(table.to_owned())).await.expect("a table");
    let day = Value::Date(jiff::civil::date(-1, 1, 1));
    for (sql, value) in [
        ("INSERT INTO t (small) VALUES (?)", Value::Int(70_000)),
        ("INSERT INTO t (small) VALUES (?)", Value::from("seven")),
        ("INSERT INTO t (short) VALUES (?)", Value::from("four")),
        ("INSERT INTO t (at_time) VALUES (?)", Value::from("noon")),
        ("INSERT INTO t (amount) VALUES (?)", Value::from("12345.67")),
        ("INSERT INTO t (amount) VALUES (?)", Value::Float(f64::NAN)),
        ("INSERT INTO t (amount) VALUES (?)", Value::Float(f64::INFINITY)),
    ] {
        let outcome = driver.write(Arc::new(Execute(sql, vec![value.clone()]))).await;
        assert!(matches!(outcome, Err(DbError::Unfit(_))), "{value:?}: {outcome:?}");
    }
    if !db.is_postgres() {
        let outcome = driver.write(Arc::new(Execute("INSERT INTO t (on_day) VALUES (?)", vec![day]))).await;
        assert!(matches!(outcome, Err(DbError::Unfit(_))), "{outcome:?}");
    }
    // A text can be any of them.
    for (column, text, back) in [
        ("amount", "12.30", "12.30"),
        ("small", "-7", "-7"),
        ("on_day", "2026-01-30", "2026-01-30"),
        ("at_time", "12:30:00", "12:30:00"),
    ] {
        let sql = placed(driver.dialect(), &format!("INSERT INTO t ({column}) VALUES (?)"));
        driver.write(Arc::new(OwnExecute(sql, vec![Value::from(text)]))).await.expect("it fits");
        let found = driver
            .read(Any(format!("SELECT {column} FROM t WHERE {column} IS NOT NULL"), vec![]))
            .await
            .expect("a row");
        let shown = serde_json::to_value(&found[0][0]).expect("a value");
        assert_eq!(shown.as_str().map_or_else(|| shown.to_string(), ToOwned::to_owned), back);
    }
    driver.close().await;
}

struct OwnExecute(String, Vec<Value>);

impl Operation for OwnExecute {
    type Output = u64;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, DbError> {
        session.execute(&self.0, &self.1).await
    }
}

async fn broken_constraints_are_named(db: Database) {
    let driver = db.connect().await;
    let name = |name: &str| {
        let mut sql = String::new();
        driver.dialect().quote(name, &mut sql);
        sql
    };
    let id = driver.dialect().column_type(ColumnType::Text, true);
    for sql in [
        format!("CREATE TABLE owners (id {id} PRIMARY KEY)"),
        format!(
            "CREATE TABLE things (id {id} PRIMARY KEY, name {id} NOT NULL, n BIGINT, owner_id {id}, \
             CONSTRAINT {} CHECK (n > 0), CONSTRAINT {} FOREIGN KEY (owner_id) REFERENCES owners (id))",
            name("ck.things.n"),
            name("fk.things.owner_id")
        ),
        format!("CREATE UNIQUE INDEX {} ON things (name)", name("uq.things.name")),
        "INSERT INTO owners (id) VALUES ('ann')".to_owned(),
        "INSERT INTO things (id, name, n, owner_id) VALUES ('1', 'a', 1, 'ann')".to_owned(),
    ] {
        driver.read(Batch(sql)).await.expect("the tables");
    }
    let broken = async |sql: &'static str| match driver.write(Arc::new(Execute(sql, vec![]))).await {
        Err(DbError::Duplicate { constraint }) => format!("duplicate {constraint}"),
        Err(DbError::ForeignKey { constraint }) => format!("foreign key {constraint}"),
        Err(DbError::Check { constraint }) => format!("check {constraint}"),
        Err(DbError::NotNull { column }) => format!("not null {column}"),
        other => panic!("{sql}: {other:?}"),
    };
    let primary = if db.is_postgres() { "duplicate things.id" } else { "duplicate id" };
    let found = broken("INSERT INTO things (id, name) VALUES ('1', 'b')").await;
    assert!(found == primary || found == "duplicate things.id", "{found}");
    assert_eq!(broken("INSERT INTO things (id, name) VALUES ('2', 'a')").await, "duplicate uq.things.name");
    assert_eq!(
        broken("INSERT INTO things (id, name, owner_id) VALUES ('2', 'b', 'bob')").await,
        "foreign key fk.things.owner_id"
    );
    assert_eq!(broken("DELETE FROM owners").await, "foreign key fk.things.owner_id");
    assert_eq!(broken("INSERT INTO things (id, name, n) VALUES ('2', 'b', 0)").await, "check ck.things.n");
    assert_eq!(broken("INSERT INTO things (id, name) VALUES ('2', NULL)").await, "not null name");
    assert_eq!(broken("INSERT INTO things (id) VALUES ('2')").await, "not null name");
    driver.close().await;
}

async fn an_update_counts_the_rows_it_matched(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    write(&driver, vec![add("a"), add("b")]).await.expect("two rows");
    for _ in 0..2 {
        let same = Execute("UPDATE items SET n = 5 WHERE id IN (?, ?, ?)", vec!["a".into(), "b".into(), "c".into()]);
        assert_eq!(driver.write(Arc::new(same)).await.expect("an update"), 2);
    }
    driver.close().await;
}

async fn a_failed_write_leaves_nothing(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let outcome = write(&driver, vec![add("a"), add("b"), add("a")]).await;
    assert!(matches!(outcome, Err(DbError::Duplicate { .. })), "{outcome:?}");
    assert_eq!(items(&driver).await, 0);
    write(&driver, vec![add("a"), add("b")]).await.expect("the connection is good");
    assert_eq!(items(&driver).await, 2);
    driver.close().await;
}

async fn statements_sent_together_are_kept_or_undone_together(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let insert = |ids: [&str; 3]| {
        let ids = ids.map(Value::from).to_vec();
        driver.write(Arc::new(Together("INSERT INTO items (id, n) VALUES (?, 0)", ids)))
    };
    for twice in [["a", "a", "b"], ["a", "b", "b"]] {
        let outcome = insert(twice).await;
        assert!(
            matches!(&outcome, Err(DbError::Duplicate { constraint }) if constraint.ends_with("id")),
            "{outcome:?}"
        );
        assert_eq!(items(&driver).await, 0);
    }
    assert_eq!(insert(["a", "b", "c"]).await.expect("the connection is good"), 1);
    assert_eq!(items(&driver).await, 3);
    // In a transaction of somebody else they end nothing.
    let mut transaction = driver.begin().await.expect("a transaction");
    let touch = Together("UPDATE items SET n = n + 1 WHERE id = ?", ["a", "b"].map(Value::from).to_vec());
    assert_eq!(transaction.run(touch).await.expect("two rows"), 1);
    transaction.rollback().await;
    assert_eq!(number(&driver, "SELECT count(*) FROM items WHERE n > 0").await, 0);
    driver.close().await;
}

async fn a_swallowed_failure_cannot_be_committed(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let outcome = write(&driver, vec![add("a"), Step::TryAdd("a".into())]).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    let outcome = write(&driver, vec![add("a"), Step::TryAdd("a".into()), add("b")]).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    assert_eq!(items(&driver).await, 0);
    driver.close().await;
}

async fn a_write_whose_caller_left_runs_to_its_end(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let (here, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    {
        let half_way = write(&driver, vec![add("a"), Step::Gate(here.clone(), go.clone()), add("b")]);
        tokio::select! {
            _ = half_way => panic!("the gate is closed"),
            () = here.notified() => {}
        }
    }
    go.notify_one();
    // The one connection is free again only after the end.
    assert_eq!(items(&driver).await, 2);
    eventually(0, async || db.open_transactions(&driver).await).await;
    driver.close().await;
}

async fn callers_that_leave_at_any_moment_leave_nothing_open(db: Database) {
    let options = Options { pool_size: Some(4), connect_timeout: Duration::from_secs(30), ..Options::default() };
    let driver = db.with_items(&options).await;
    let work = (0..400_u64).map(|i| {
        let driver = &driver;
        async move {
            let write = write(driver, vec![add(format!("{i}-a")), add(format!("{i}-b"))]);
            // A fixed spread over the length of a write, in steps of 37 µs.
            drop(timeout(Duration::from_micros(i % 100 * 37), write).await);
            drop(timeout(Duration::from_micros(i % 50 * 31), items(driver)).await);
        }
    });
    for chunk in work.collect::<Vec<_>>().into_iter().array_chunks_of(20) {
        futures_util::future::join_all(chunk).await;
    }
    let watcher = db.connect().await;
    eventually(0, async || db.open_transactions(&watcher).await).await;
    let halves = "SELECT count(*) FROM items a WHERE NOT EXISTS (SELECT 1 FROM items b WHERE b.id <> a.id \
                  AND substring(b.id, 1, length(b.id) - 2) = substring(a.id, 1, length(a.id) - 2))";
    assert_eq!(number(&watcher, halves).await, 0);
    let all = futures_util::future::join_all((0..8).map(|_| items(&driver))).await;
    assert!(all.iter().all(|n| *n == all[0]), "{all:?}");
    watcher.close().await;
    driver.close().await;
}

/// Splits work into groups that run together.
trait ArrayChunks: Iterator + Sized {
    fn array_chunks_of(self, size: usize) -> impl Iterator<Item = Vec<Self::Item>>;
}

impl<I: Iterator> ArrayChunks for I {
    fn array_chunks_of(mut self, size: usize) -> impl Iterator<Item = Vec<Self::Item>> {
        std::iter::from_fn(move || {
            let chunk: Vec<_> = self.by_ref().take(size).collect();
            (!chunk.is_empty()).then_some(chunk)
        })
    }
}

async fn a_read_whose_caller_left_gives_its_connection_back(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let slow = if db.is_postgres() { "SELECT 1 FROM pg_sleep(0.2)" } else { "SELECT SLEEP(0.2)" };
    let read = driver.read(Any(slow.to_owned(), vec![]));
    assert!(timeout(Duration::from_millis(50), read).await.is_err(), "it takes longer");
    assert_eq!(items(&driver).await, 0);
    driver.close().await;
}

async fn a_dropped_transaction_is_rolled_back(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let mut transaction = driver.begin().await.expect("a transaction");
    transaction.run(Steps(vec![add("a")])).await.expect("a row");
    drop(transaction);
    // On the same connection, since there is only one.
    assert_eq!(items(&driver).await, 0);
    eventually(0, async || db.open_transactions(&driver).await).await;
    let transaction = driver.begin().await.expect("another");
    transaction.rollback().await;
    drop(driver.begin().await.expect("one that never did anything"));
    write(&driver, vec![add("a")]).await.expect("the connection is good");
    driver.close().await;
}

async fn a_transaction_that_was_cut_off_cannot_be_committed(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let (here, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut transaction = driver.begin().await.expect("a transaction");
    tokio::select! {
        _ = transaction.run(Steps(vec![add("a"), Step::Gate(here.clone(), go.clone())])) => panic!("the gate is closed"),
        () = here.notified() => {}
    }
    let outcome = transaction.run(Steps(vec![add("b")])).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    let outcome = transaction.commit().await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    go.notify_one();
    assert_eq!(items(&driver).await, 0);
    driver.close().await;
}

async fn a_transaction_commits_what_it_was_told(db: Database) {
    let driver = db.with_items(&Options::default()).await;
    let mut transaction = driver.begin().await.expect("a transaction");
    transaction.run(Steps(vec![add("a")])).await.expect("a row");
    let inside = transaction.run(Any("SELECT count(*) FROM items".to_owned(), vec![])).await.expect("its own view");
    assert_eq!((inside[0][0].as_int(), items(&driver).await), (Some(1), 0));
    transaction.commit().await.expect("it lasts");
    assert_eq!(items(&driver).await, 1);

    let mut transaction = driver.begin().await.expect("a transaction");
    let outcome = transaction.run(Steps(vec![add("b"), add("a")])).await;
    assert!(matches!(outcome, Err(DbError::Duplicate { .. })), "{outcome:?}");
    let outcome = transaction.commit().await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    assert_eq!(items(&driver).await, 1);
    driver.close().await;
}

async fn a_deadlock_is_worth_another_try(db: Database) {
    let driver = db.with_items(&Options::default()).await;
    write(&driver, vec![add("a"), add("b")]).await.expect("two rows");
    let here = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    let go = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    let crosswise = |i: usize, first, second| {
        write(&driver, vec![Step::Touch(first), Step::Gate(here[i].clone(), go[i].clone()), Step::Touch(second)])
    };
    let both_hold_one = async {
        here[0].notified().await;
        here[1].notified().await;
        go.iter().for_each(|go| go.notify_one());
    };
    let (one, two, ()) = tokio::join!(crosswise(0, "a", "b"), crosswise(1, "b", "a"), both_hold_one);
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    won.expect("one of them goes on");
    let error = lost.expect_err("the other was stopped");
    assert!(error.is_worth_a_retry(), "{error:?}");
    eventually(0, async || db.open_transactions(&driver).await).await;
    driver.close().await;
}

async fn a_killed_connection_costs_at_most_one_failure(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let killer = db.connect_with(&one_connection()).await;
    for round in 0..3 {
        let mut transaction = (round == 2).then_some(driver.begin().await.expect("a transaction"));
        let who = if db.is_postgres() { "SELECT pg_backend_pid()" } else { "SELECT connection_id()" };
        let id = match &mut transaction {
            Some(open) => open.run(Any(who.to_owned(), vec![])).await.expect("an id")[0][0].as_int().expect("a number"),
            None => {
                drop(transaction.take());
                number(&driver, who).await
            }
        };
        let kill = if db.is_postgres() { format!("SELECT pg_terminate_backend({id})") } else { format!("KILL {id}") };
        killer.read(Batch(kill)).await.expect("it is gone");
        if let Some(open) = transaction {
            let outcome = open.commit().await;
            assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
        }
        let outcome = write(&driver, vec![add(format!("first {round}"))]).await;
        assert!(matches!(outcome, Ok(()) | Err(DbError::Away(_))), "{outcome:?}");
        write(&driver, vec![add(format!("second {round}"))]).await.expect("a new connection");
    }
    killer.close().await;
    driver.close().await;
}

async fn a_statement_that_takes_too_long_is_given_up(db: Database) {
    let options = Options { statement_timeout: Duration::from_millis(300), ..one_connection() };
    let driver = db.with_items(&options).await;
    let slow =
        if db.is_postgres() { "SELECT 1 FROM pg_sleep(60)" } else { "SELECT count(*) FROM (SELECT SLEEP(60)) s" };
    for _ in 0..2 {
        let outcome = driver.read(Any(slow.to_owned(), vec![])).await;
        assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
        assert_eq!(items(&driver).await, 0);
    }
    driver.close().await;
}

async fn a_batch_has_no_limit_of_time(db: Database) {
    let options = Options { statement_timeout: Duration::from_millis(100), ..one_connection() };
    let driver = db.with_items(&options).await;
    let slow = if db.is_postgres() { "SELECT pg_sleep(1.3)" } else { "DO SLEEP(1.3)" };
    driver.read(Batch(slow.to_owned())).await.expect("as long as it takes");
    let outcome = driver.read(Batch("SELECT nonsense".to_owned())).await;
    assert!(matches!(outcome, Err(DbError::Other(_))), "{outcome:?}");
    let limit = if db.is_postgres() {
        "SELECT current_setting('statement_timeout')"
    } else {
        "SELECT @@max_statement_time * 1000"
    };
    if db.is_postgres() || is_mariadb(&driver).await {
        let found = driver.read(Any(limit.to_owned(), vec![])).await.expect("the limit is back");
        let text = serde_json::to_string(&found[0][0]).expect("a value");
        assert!(text.contains("100"), "{text}");
    }
    driver.close().await;
}

async fn is_mariadb(driver: &Driver) -> bool {
    let version = driver.read(Any("SELECT version()".to_owned(), vec![])).await.expect("a version");
    version[0][0].as_str().is_some_and(|text| text.contains("MariaDB"))
}

async fn an_exhausted_pool_says_so_in_time(db: Database) {
    let options = Options { connect_timeout: Duration::from_millis(300), ..one_connection() };
    let driver = db.with_items(&options).await;
    let mut transaction = driver.begin().await.expect("the only connection");
    transaction.run(Steps(vec![add("a")])).await.expect("a row");
    let outcome = driver.read(Any("SELECT 1".to_owned(), vec![])).await;
    assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
    transaction.commit().await.expect("it lasts");
    assert_eq!(items(&driver).await, 1);
    driver.close().await;
}

async fn a_changed_table_does_not_break_prepared_statements(db: Database) {
    let driver = db.with_items(&one_connection()).await;
    let other = db.connect().await;
    write(&driver, vec![add("a")]).await.expect("a row");
    let all = || Any("SELECT * FROM items".to_owned(), vec![]);
    assert_eq!(driver.read(all()).await.expect("prepared")[0].len(), 2);
    other.read(Batch("ALTER TABLE items ADD COLUMN extra INTEGER".to_owned())).await.expect("a new column");
    assert_eq!(driver.read(all()).await.expect("prepared again")[0].len(), 3);
    other.read(Batch("ALTER TABLE items ADD COLUMN more INTEGER".to_owned())).await.expect("a new column");
    // In a transaction, the whole of it can be tried again.
    match driver.write(Arc::new(all())).await {
        Err(error) if error.is_worth_a_retry() => {
            assert_eq!(driver.write(Arc::new(all())).await.expect("prepared again")[0].len(), 4);
        }
        outcome => assert_eq!(outcome.expect("prepared again")[0].len(), 4),
    }
    other.close().await;
    driver.close().await;
}

async fn no_round_trip_is_wasted(db: Database) {
    let counter = Arc::new(AtomicUsize::new(0));
    let url = through_a_counter(&db.url, counter.clone()).await;
    let driver = connect(db.backend, &url, &one_connection()).await;
    drop(db.with_items(&one_connection()).await);
    let (one, two, together, read) = (
        async |id: &str| {
            let insert = Execute("INSERT INTO items (id, n) VALUES (?, 0)", vec![id.into()]);
            driver.write(Arc::new(insert)).await.expect("one statement");
        },
        async |id: &str| {
            write(&driver, vec![add(format!("{id}-1")), add(format!("{id}-2"))]).await.expect("two statements")
        },
        async |ids: [&str; 2]| {
            let ids = ids.map(Value::from).to_vec();
            let both = Together("INSERT INTO items (id, n) VALUES (?, 0)", ids);
            driver.write(Arc::new(both)).await.expect("two statements together");
        },
        async || items(&driver).await,
    );
    let spent = async |work: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>| {
        let before = counter.load(Ordering::SeqCst);
        work.await;
        counter.load(Ordering::SeqCst) - before
    };
    // The first time, statements are prepared.
    one("a").await;
    two("b").await;
    read().await;
    assert_eq!(spent(Box::pin(async { _ = read().await })).await, 1);
    assert_eq!(spent(Box::pin(one("c"))).await, 1);
    // PostgreSQL: BEGIN with the first statement, the second, COMMIT. MySQL sends each alone.
    assert_eq!(spent(Box::pin(two("d"))).await, if db.is_postgres() { 3 } else { 4 });
    // Sent together, they are one text on MySQL, with the beginning and the end.
    assert_eq!(spent(Box::pin(together(["e", "f"]))).await, if db.is_postgres() { 3 } else { 1 });
    driver.close().await;
}

/// An address that leads to the same server, where each turn of the client is counted.
async fn through_a_counter(url: &str, counter: Arc<AtomicUsize>) -> String {
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let (authority, path) = rest.split_once('/').expect("a database");
    let (user, host) = authority.split_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let host = host.to_owned();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&host).await.expect("the server");
            tokio::spawn(count_turns(client, server, counter.clone()));
        }
    });
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}://{user}127.0.0.1:{port}/{path}")
}

async fn count_turns(mut client: TcpStream, mut server: TcpStream, counter: Arc<AtomicUsize>) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_server_next = false;
    loop {
        tokio::select! {
            n = client.read(&mut asked) => match n {
                Ok(n) if n > 0 => {
                    if !is_server_next {
                        counter.fetch_add(1, Ordering::SeqCst);
                    }
                    is_server_next = true;
                    if server.write_all(&asked[..n]).await.is_err() { return }
                }
                _ => return,
            },
            n = server.read(&mut answered) => match n {
                Ok(n) if n > 0 => {
                    is_server_next = false;
                    if client.write_all(&answered[..n]).await.is_err() { return }
                }
                _ => return,
            },
        }
    }
}

async fn a_start_that_fails_names_the_cause_and_the_cure(db: Database) {
    let options = Options { connect_timeout: Duration::from_secs(2), ..Options::default() };
    let refused = async |url: &str| {
        let text = text_of(try_connect(db.backend, url, &options).await.expect_err("no such database"));
        assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
        text
    };
    let name = if db.is_postgres() { "PostgreSQL" } else { "MySQL" };
    let scheme = db.backend.as_str();
    assert_eq!(
        refused(&format!("{scheme}://ann:hunter2@127.0.0.1:1/app")).await,
        format!(
            "DATABASE_URL: cannot reach {name} at 127.0.0.1:1: nothing listens there; start it, or correct the host and port"
        )
    );
    let text = refused(&format!("{scheme}://ann:hunter2@no-such-host.invalid/app")).await;
    assert!(
        text.contains("at no-such-host.invalid:") && text.contains("the host is unknown; correct its name"),
        "{text}"
    );
    let text = refused(&with_database(&db.server, "not_there")).await;
    let cure = if db.is_postgres() { "make it: createdb not_there" } else { "make it: CREATE DATABASE `not_there`" };
    assert!(text.starts_with(&format!("DATABASE_URL: {name} at ")) && text.ends_with(cure), "{text}");
    let socket = if db.is_postgres() { "host=/nowhere" } else { "socket=/nowhere/mysqld.sock" };
    let text = refused(&format!("{scheme}:///app?{socket}")).await;
    assert!(
        text.contains("at /nowhere/") && text.contains("there is no such socket; start it, or correct the path"),
        "{text}"
    );
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = silent.local_addr().expect("an address").port();
    let text = refused(&format!("{scheme}://ann:hunter2@127.0.0.1:{port}/app")).await;
    assert!(text.contains("no answer within 2 s"), "{text}");
}

async fn tls_is_spoken_where_it_is_asked_for(db: Database) {
    let plain = db.connect().await;
    let can = if db.is_postgres() {
        number(&plain, "SELECT (current_setting('ssl') = 'on')::int").await == 1
    } else {
        let found = plain.read(Any("SHOW VARIABLES LIKE 'have_ssl'".to_owned(), vec![])).await.expect("a setting");
        found.is_empty() || found[0][1] == "YES"
    };
    plain.close().await;
    let options = Options { connect_timeout: Duration::from_secs(5), ..Options::default() };
    let with = async |mode: &str| {
        let separator = if db.url.contains('?') { '&' } else { '?' };
        try_connect(db.backend, &format!("{}{separator}sslmode={mode}", db.url), &options).await
    };
    for mode in ["disable", "prefer"] {
        with(mode).await.unwrap_or_else(|error| panic!("{mode}: {}", text_of(error))).close().await;
    }
    if !can {
        let text = text_of(with("require").await.expect_err("the server has no TLS"));
        assert!(text.contains("TLS"), "{text}");
        return;
    }
    let encrypted = with("require").await.unwrap_or_else(|error| panic!("{}", text_of(error)));
    let sql = if db.is_postgres() {
        "SELECT count(*) FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()"
    } else {
        "SELECT count(*) FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher' AND variable_value <> ''"
    };
    if db.is_postgres() || is_mariadb(&encrypted).await {
        assert_eq!(number(&encrypted, sql).await, 1);
    }
    encrypted.close().await;
    // A test server's certificate is signed by nobody whom the web trusts.
    let text = text_of(with("verify-full").await.expect_err("an unknown root"));
    assert!(text.contains("refuses: TLS failed") && text.contains("sslrootcert=FILE"), "{text}");
}

async fn a_closed_pool_finishes_what_is_under_way(db: Database) {
    let driver = Arc::new(db.with_items(&Options::default()).await);
    let (here, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let steps = Steps(vec![add("a"), Step::Gate(here.clone(), go.clone()), add("b")]);
    let writer = driver.clone();
    let under_way = tokio::spawn(async move { writer.write(Arc::new(steps)).await });
    here.notified().await;
    let closing = tokio::spawn({
        let driver = driver.clone();
        async move { driver.close().await }
    });
    tokio::task::yield_now().await;
    go.notify_one();
    under_way.await.expect("no panic").expect("both rows");
    closing.await.expect("no panic");
    let outcome = driver.read(Any("SELECT 1".to_owned(), vec![])).await;
    assert!(matches!(outcome, Err(DbError::Away(_))), "{outcome:?}");
    let again = db.connect().await;
    assert_eq!(items(&again).await, 2);
    again.close().await;
}

/// What only one of them has.
mod types_of_postgres {
    use super::*;

    #[tokio::test]
    async fn raw_sql_reads_every_common_type() {
        on(Backend::Postgres, async |db: Database| {
            let driver = db.connect().await;
            driver.read(Batch("CREATE TYPE mood AS ENUM ('sad', 'ok')".to_owned())).await.expect("a type");
            let sql = "SELECT 1::int2, 2::int4, 3::oid, 1.5::float4, 12.50::numeric, sum(x), \
                       'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid, '{\"b\": 1}'::jsonb, 'ok'::mood, 'x'::name, 'ab'::char(3), \
                       '2026-01-30 12:00'::timestamp, pg_advisory_unlock_all(), NULL FROM (VALUES (1::int8), (2)) v (x)";
            let found = driver.read(Any(sql.to_owned(), vec![])).await.expect("a row");
            let at: Timestamp = "2026-01-30T12:00:00Z".parse().expect("a time");
            let wanted = vec![
                Value::Int(1),
                Value::Int(2),
                Value::Int(3),
                Value::Float(1.5),
                Value::from("12.50"),
                Value::from("3"),
                Value::from("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                Value::Json(Box::new(json!({"b": 1}))),
                Value::from("ok"),
                Value::from("x"),
                Value::from("ab "),
                Value::Timestamp(at),
                Value::Null,
                Value::Null,
            ];
            assert_eq!(found, [wanted]);
            let error = driver.read(Any("SELECT '1 day'::interval AS long".to_owned(), vec![])).await.expect_err("no such value");
            assert_eq!(
                error.to_string(),
                "column `long` is of the PostgreSQL type `interval` and can't be read as a text; cast it to text"
            );
            for infinite in ["'infinity'::timestamptz", "'-infinity'::date", "'24:00'::time"] {
                let outcome = driver.read(Any(format!("SELECT {infinite}"), vec![])).await;
                assert!(matches!(outcome, Err(DbError::Decode(_))), "{infinite}: {outcome:?}");
            }
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn parameters_take_the_type_that_the_statement_wants() {
        on(Backend::Postgres, async |db: Database| {
            let driver = db.connect().await;
            let sql = "SELECT ?::numeric, ?::uuid, ?::timestamptz, ?::int2, ?::float8, ?::jsonb, ?::text, ?::date, ?::bool::text";
            let params = vec![
                Value::Int(12),
                Value::from("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
                Value::from("2026-01-30T12:00:00Z"),
                Value::Int(7),
                Value::Int(8),
                Value::from("[1]"),
                Value::Json(Box::new(json!({"a": 1}))),
                Value::Timestamp("2026-01-30T12:00:00Z".parse().expect("a time")),
                Value::Bool(true),
            ];
            let found = driver.read(Any(sql.to_owned(), params)).await.expect("a row");
            let wanted = vec![
                Value::from("12"),
                Value::from("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
                Value::Timestamp("2026-01-30T12:00:00Z".parse().expect("a time")),
                Value::Int(7),
                Value::Float(8.0),
                Value::Json(Box::new(json!([1]))),
                Value::from("{\"a\":1}"),
                Value::Date(jiff::civil::date(2026, 1, 30)),
                Value::from("true"),
            ];
            assert_eq!(found, [wanted]);
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn prepared_statements_do_not_pile_up() {
        on(Backend::Postgres, async |db: Database| {
            let driver = db.connect_with(&one_connection()).await;
            for i in 0..700 {
                assert_eq!(number(&driver, &format!("SELECT {i}")).await, i);
            }
            assert!(number(&driver, "SELECT count(*) FROM pg_prepared_statements").await < 650);
            driver.close().await;
        })
        .await;
    }
}

/// What only the other has.
mod types_of_mysql {
    use super::*;

    #[tokio::test]
    async fn raw_sql_reads_every_common_type() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect().await;
            let sql = "SELECT CAST(12.50 AS DECIMAL(5,2)), SUM(x), CAST(18446744073709551615 AS UNSIGNED), b'101' + 0, \
                       CAST('ab' AS BINARY), CAST('2026-01-30' AS DATE), CAST('2026-01-30 12:00:00' AS DATETIME), \
                       CAST('12:30:00' AS TIME), 1.5e0, NULL, 'x' FROM (SELECT 1 AS x UNION ALL SELECT 2) v";
            let found = driver.read(Any(sql.to_owned(), vec![])).await.expect("a row");
            let wanted = vec![
                Value::from("12.50"),
                Value::from("3"),
                Value::from("18446744073709551615"),
                Value::Int(5),
                Value::Bytes(b"ab".to_vec()),
                Value::Date(jiff::civil::date(2026, 1, 30)),
                Value::Timestamp("2026-01-30T12:00:00Z".parse().expect("a time")),
                Value::Time(jiff::civil::time(12, 30, 0, 0)),
                Value::Float(1.5),
                Value::Null,
                Value::from("x"),
            ];
            assert_eq!(found, [wanted]);
            for long in ["CAST('25:00:00' AS TIME)", "CAST('-01:00:00' AS TIME)"] {
                let outcome = driver.read(Any(format!("SELECT {long}"), vec![])).await;
                assert!(matches!(outcome, Err(DbError::Decode(_))), "{long}: {outcome:?}");
            }
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn prepared_statements_do_not_pile_up() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect_with(&one_connection()).await;
            for i in 0..600 {
                assert_eq!(number(&driver, &format!("SELECT {i}")).await, i);
            }
            let sql = "SHOW SESSION STATUS WHERE Variable_name IN ('Com_stmt_close', 'Com_stmt_prepare')";
            let counts = driver.read(Any(sql.to_owned(), vec![])).await.expect("two counts");
            let [closed, prepared] =
                [0, 1].map(|row| counts[row][1].as_str().and_then(|text| text.parse::<i64>().ok()));
            assert_eq!((closed, prepared), (Some(512), Some(601)));
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn each_session_is_strict_and_in_utc() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect().await;
            let sql = "SELECT @@session.time_zone, @@session.character_set_connection, @@session.collation_connection, \
                       @@session.sql_mode, @@session.innodb_lock_wait_timeout";
            let found = driver.read(Any(sql.to_owned(), vec![])).await.expect("the settings");
            let modes = found[0][3].as_str().expect("a text").to_owned();
            assert_eq!(found[0][..3], ["+00:00", "utf8mb4", "utf8mb4_bin"].map(Value::from));
            assert!(modes.contains("STRICT_ALL_TABLES") && !modes.contains("ANSI_QUOTES"), "{modes}");
            assert!(!modes.contains("NO_BACKSLASH_ESCAPES"), "{modes}");
            assert_eq!(found[0][4].as_int(), Some(10));
            driver.close().await;
        })
        .await;
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_from_a_missing_database() {
        on(Backend::MySql, async |db: Database| {
            let driver = db.connect().await;
            let user = format!("u{}", &db.name[db.name.len() - 12..]);
            let make = format!(
                "CREATE USER '{user}'@'%' IDENTIFIED BY 'p@ss/?#%: +&é'; GRANT ALL ON {}.* TO '{user}'@'%'",
                db.name
            );
            driver.read(Batch(make)).await.expect("a user");
            let (_, place) = db.url.split_once('@').expect("a user in the address");
            let options = Options::default();
            let good = format!("mysql://{user}:p%40ss%2F%3F%23%25%3A%20%2B%26%C3%A9@{place}");
            let outcome = try_connect(Backend::MySql, &good, &options).await.map_err(text_of);
            let bad = try_connect(Backend::MySql, &format!("mysql://{user}:hunter2@{place}"), &options)
                .await
                .map_err(text_of);
            driver.read(Batch(format!("DROP USER '{user}'@'%'"))).await.expect("it goes");
            outcome.expect("the password is right").close().await;
            let text = bad.expect_err("the password is wrong");
            assert!(text.contains("correct the user or the password") && !text.contains("hunter2"), "{text}");
            driver.close().await;
        })
        .await;
    }
}
