//! A fresh database for each test, gone when the test ends, however it ends.
//!
//! SQLite's lies in a temporary folder. PostgreSQL's and MySQL's are made on the servers that `TEST_POSTGRES_URL` and
//! `TEST_MYSQL_URL` name, whose users must be allowed to create databases. A server that is not there fails the test: nothing is
//! skipped in silence. `DATABASES=sqlite` is the way to run less; a test it deselects says so.
//!
//! ```
//! use app_kernel::testing::{TestDatabase, on_every_database};
//!
//! on_every_database!(a_database_is_fresh);
//!
//! /// Runs three times: as `sqlite::a_database_is_fresh`, `postgres::…` and `mysql::…`.
//! async fn a_database_is_fresh(database: TestDatabase) {
//!     assert!(database.url().expose().contains("app_kernel_test_"));
//! }
//! # fn main() {}
//! ```

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Once};
use std::time::Duration;

use crate::base::clock::{Clock, Timestamp};
use crate::base::error::{Error, Result};
use crate::base::id::new_id;
use crate::base::secret::Secret;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::Administrator;
use crate::store::db::url::DatabaseUrl;

/// What the names of all test databases start with; a UUIDv7 without hyphens follows, so a name tells its age.
const PREFIX: &str = "app_kernel_test_";
/// A test database this old belongs to a run that was killed.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A fresh, empty database. Dropped with its last clone, also when the test panics.
#[derive(Debug, Clone)]
pub struct TestDatabase(Arc<Home>);

#[derive(Debug)]
struct Home {
    backend: Backend,
    url: Secret,
    /// Where SQLite's file lies, and the data of a service beside each database. Removes itself when dropped.
    folder: tempfile::TempDir,
    /// The server that has the database, and its name there.
    on_server: Option<(DatabaseUrl, String)>,
}

impl TestDatabase {
    /// A path for an SQLite file in a folder of its own.
    ///
    /// # Panics
    /// Where the temporary folder can't be written.
    pub async fn sqlite() -> Self {
        let folder = new_folder(&new_name());
        let url = Secret::new(format!("sqlite:///{}", folder.path().join("app.db").display()));
        TestDatabase(Arc::new(Home { backend: Backend::Sqlite, url, folder, on_server: None }))
    }

    /// A new database on the server that `TEST_POSTGRES_URL` names.
    ///
    /// # Panics
    /// Where the variable is not set or the server refuses.
    pub async fn postgres() -> Self {
        static SWEEP: Once = Once::new();
        Self::on_server(Backend::Postgres, "TEST_POSTGRES_URL", &SWEEP).await
    }

    /// A new database on the server that `TEST_MYSQL_URL` names.
    ///
    /// # Panics
    /// Where the variable is not set or the server refuses.
    pub async fn mysql() -> Self {
        static SWEEP: Once = Once::new();
        Self::on_server(Backend::MySql, "TEST_MYSQL_URL", &SWEEP).await
    }

    /// A fresh database of this kind.
    ///
    /// # Panics
    /// Where its server is not there or refuses.
    pub async fn fresh(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::sqlite().await,
            Backend::Postgres => Self::postgres().await,
            Backend::MySql => Self::mysql().await,
        }
    }

    async fn on_server(backend: Backend, variable: &str, sweep: &Once) -> Self {
        let server = server_url(variable, std::env::var(variable).ok());
        let name = new_name();
        let mut sweep_first = false;
        sweep.call_once(|| sweep_first = true);
        if let Err(error) = create(&server, &name, sweep_first).await {
            panic!("making a database on the server that {variable} names failed: {error:?}");
        }
        TestDatabase(Arc::new(Home {
            backend,
            url: Secret::new(with_database(server.text.expose(), &name)),
            folder: new_folder(&name),
            on_server: Some((server, name)),
        }))
    }

    /// Its address, as `DATABASE_URL` would say it.
    #[must_use]
    pub fn url(&self) -> &Secret {
        &self.0.url
    }

    /// A folder of its own, as `DATA_DIR` would say it; for what a service keeps beside its database.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.0.folder.path().join("data")
    }

    /// Which database it is on.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.0.backend
    }
}

fn new_folder(name: &str) -> tempfile::TempDir {
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| sweep_folders(&std::env::temp_dir()));
    let folder = tempfile::Builder::new().prefix(name).rand_bytes(0).tempdir();
    folder.expect("the temporary folder can be written")
}

impl Drop for Home {
    fn drop(&mut self) {
        let Some((server, name)) = &self.on_server else {
            return;
        };
        let (server, database) = (server.clone(), name.clone());
        // A thread with a runtime of its own: this one may be inside a runtime that is ending, or unwinding.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system has a thread to give");
            runtime.block_on(drop_one(&server, &database))
        });
        match dropping.join() {
            Ok(Ok(())) => {}
            // Said, but not panicked over: it must not hide why the test failed, and a later run sweeps.
            Ok(Err(error)) => eprintln!("dropping the test database {name} failed: {error:?}"),
            Err(_) => eprintln!("dropping the test database {name} panicked"),
        }
    }
}

fn server_url(variable: &str, value: Option<String>) -> DatabaseUrl {
    let Some(url) = value.filter(|url| !url.is_empty()) else {
        panic!("{variable} is not set; run ./test, which starts a server, or set DATABASES=sqlite to run less");
    };
    let parsed = DatabaseUrl::parse(&Secret::new(url));
    let mut server = parsed.unwrap_or_else(|error| panic!("{variable}: {error}"));
    // One must be connected to some database to make another; these are on every server.
    let text = server.text.expose();
    if database_of(text).is_empty() {
        let always_there = match server.backend {
            Backend::Postgres => "postgres",
            _ => "information_schema",
        };
        server.text = Secret::new(with_database(text, always_there));
    }
    server
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (server, _, query) = split_url(url);
    format!("{server}/{name}{query}")
}

/// The database that an address names, or nothing.
fn database_of(url: &str) -> &str {
    split_url(url).1.trim_start_matches('/')
}

/// Scheme and host, path, and query with its question mark.
fn split_url(url: &str) -> (&str, &str, &str) {
    let (address, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let host_at = address.find("://").map_or(0, |at| at + 3);
    let path_at = address[host_at..].find('/').map_or(address.len(), |at| host_at + at);
    let (server, path) = address.split_at(path_at);
    (server, path, query)
}

async fn create(server: &DatabaseUrl, name: &str, sweep_first: bool) -> Result<()> {
    let administrator = Administrator::connect(server).await?;
    if sweep_first {
        sweep_server(&administrator, server.backend).await?;
    }
    administrator.run(create_statement(server.backend, name)).await?;
    administrator.close().await;
    Ok(())
}

fn create_statement(backend: Backend, name: &str) -> String {
    match backend {
        // template0: making a database fails while somebody is connected to the one it is copied from.
        Backend::Postgres => format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"),
        // Whatever character set the server prefers: our tables must name their own.
        _ => format!("CREATE DATABASE {name}"),
    }
}

async fn drop_one(server: &DatabaseUrl, name: &str) -> Result<()> {
    let administrator = Administrator::connect(server).await?;
    drop_database(&administrator, server.backend, name).await?;
    administrator.close().await;
    Ok(())
}

async fn drop_database(administrator: &Administrator, backend: Backend, name: &str) -> Result<()> {
    if backend == Backend::Postgres {
        let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        return Ok(administrator.run(statement).await?);
    }
    // A transaction that was left open holds locks that would keep the database from going.
    let open = format!("SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE db = '{name}'");
    for connection in administrator.texts(open).await? {
        // It may have ended by itself meanwhile.
        let _gone = administrator.run(format!("KILL {connection}")).await;
    }
    Ok(administrator.run(format!("DROP DATABASE IF EXISTS {name}")).await?)
}

async fn sweep_server(administrator: &Administrator, backend: Backend) -> Result<()> {
    let names = match backend {
        Backend::Postgres => "SELECT datname::text FROM pg_database",
        _ => "SELECT CAST(schema_name AS CHAR) FROM information_schema.schemata",
    };
    for name in administrator.texts(names).await? {
        if is_leftover(&name, Clock::system().now()) {
            // Another run may be sweeping the same one.
            let _gone = drop_database(administrator, backend, &name).await;
        }
    }
    Ok(())
}

fn sweep_folders(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if is_leftover(&entry.file_name().to_string_lossy(), Clock::system().now()) {
            // Another run may be sweeping the same one.
            let _gone = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn new_name() -> String {
    format!("{PREFIX}{}", new_id().replace('-', ""))
}

/// Whether the name is that of a test database whose run must have been killed.
fn is_leftover(name: &str, now: Timestamp) -> bool {
    let born = name.strip_prefix(PREFIX).and_then(birth);
    born.is_some_and(|born| now.duration_since(born) > LEFTOVER_AGE.try_into().unwrap_or_default())
}

/// When a UUIDv7 without hyphens was made (RFC 9562, 5.7: milliseconds in the first 48 bits).
fn birth(id: &str) -> Option<Timestamp> {
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let millis = i64::from_str_radix(&id[..12], 16).ok()?;
    Timestamp::from_millisecond(millis).ok()
}

/// Runs one test on a fresh database, on a runtime of its own that ends before the database goes.
/// [`on_every_database!`](crate::testing::on_every_database) calls it.
///
/// # Panics
/// Where the test does, or where the database can't be made.
#[doc(hidden)]
pub fn run<F>(backend: Backend, test: impl FnOnce(TestDatabase) -> F) -> ExitCode
where
    F: Future<Output: Termination>,
{
    if !selects(backend.as_str()) {
        println!("deselected by DATABASES");
        return ExitCode::SUCCESS;
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // Declared before the runtime, so dropped after it: when the test panics, too.
    let database;
    let runtime = builder.worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system has threads to give");
    database = runtime.block_on(TestDatabase::fresh(backend));
    runtime.block_on(test(database.clone())).report()
}

/// Whether tests of this server run.
///
/// # Panics
/// Where `DATABASES` has a word that is none.
pub(super) fn selects(server: &str) -> bool {
    let selection = std::env::var("DATABASES").ok();
    is_selected(server, selection.as_deref()).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether tests of this server run. `DATABASES` is a comma list; without it, all do.
fn is_selected(server: &str, databases: Option<&str>) -> Result<bool> {
    let words = databases.unwrap_or_default().split(',').map(str::trim);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let known = ["sqlite", "postgres", "mysql", "redis"];
    if let Some(word) = words.iter().find(|word| !known.contains(word)) {
        return Err(Error::invalid(format!("DATABASES has `{word}`; it must be a comma list of {}", known.join(", "))));
    }
    Ok(words.is_empty() || words.contains(&server))
}

/// One test function, three tests: `on_every_database!(name_a, name_b);` at the top of a test file makes `sqlite::name_a`,
/// `postgres::name_a`, `mysql::name_a` and so on, each calling `name_a` with a fresh [`TestDatabase`].
///
/// The functions are `async fn name(database: TestDatabase)` and may return what a `#[test]` may.
#[doc(hidden)]
#[macro_export]
macro_rules! __on_every_database {
    ($($name:ident),+ $(,)?) => {
        $crate::__on_every_database!(@backend sqlite, Sqlite, $($name),+);
        $crate::__on_every_database!(@backend postgres, Postgres, $($name),+);
        $crate::__on_every_database!(@backend mysql, MySql, $($name),+);
    };
    (@backend $module:ident, $backend:ident, $($name:ident),+) => {
        mod $module {
            $(
                #[test]
                fn $name() -> ::std::process::ExitCode {
                    $crate::testing::databases::run($crate::store::db::Backend::$backend, super::$name)
                }
            )+
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_an_address_is_replaced_and_nothing_else() {
        let cases = [
            ("postgres://u:p%40ss@h:5432/old?sslmode=require", "postgres://u:p%40ss@h:5432/new?sslmode=require"),
            ("mysql://root@127.0.0.1:3306", "mysql://root@127.0.0.1:3306/new"),
            ("postgres:///old?host=/run/postgresql", "postgres:///new?host=/run/postgresql"),
        ];
        for (url, wanted) in cases {
            assert_eq!(with_database(url, "new"), wanted);
        }
    }

    #[test]
    fn a_server_may_be_named_without_a_database() {
        let connects_to = |url: &str| server_url("TEST", Some(url.to_owned())).text.expose().to_owned();
        assert_eq!(connects_to("mysql://root@h:3306"), "mysql://root@h:3306/information_schema");
        assert_eq!(connects_to("postgres://h/?sslmode=require"), "postgres://h/postgres?sslmode=require");
        assert_eq!(connects_to("postgres://h/mine"), "postgres://h/mine");
    }

    #[test]
    fn a_name_tells_its_age_and_only_our_own_old_ones_are_swept() {
        let name = new_name();
        let born = birth(&name[PREFIX.len()..]).expect("a UUIDv7");
        let (hour, day) = (Duration::from_secs(3600), LEFTOVER_AGE);
        assert!(!is_leftover(&name, born + hour));
        assert!(is_leftover(&name, born + day + hour));
        for foreign in ["app_kernel_test_", "app_kernel_test_mine", "postgres", &name[1..], &format!("{name}0")] {
            assert!(!is_leftover(foreign, born + day + hour), "{foreign}");
        }
    }

    #[test]
    fn databases_selects_and_refuses_what_it_does_not_know() {
        let selected = |backend: Backend, list| is_selected(backend.as_str(), list).expect("a known list");
        assert!(selected(Backend::MySql, None));
        assert!(selected(Backend::MySql, Some("")));
        assert!(selected(Backend::Sqlite, Some("sqlite, mysql")));
        assert!(!selected(Backend::Postgres, Some("sqlite, mysql")));
        let refusal = is_selected("sqlite", Some("sqlight")).expect_err("an unknown word");
        assert_eq!(
            refusal.to_string(),
            "DATABASES has `sqlight`; it must be a comma list of sqlite, postgres, mysql, redis"
        );
    }

    #[test]
    #[should_panic(
        expected = "TEST_MYSQL_URL is not set; run ./test, which starts a server, or set DATABASES=sqlite to run less"
    )]
    fn a_server_that_is_not_named_fails_the_test_with_the_cure() {
        server_url("TEST_MYSQL_URL", None);
    }

    crate::__on_every_database!(
        a_fresh_database_is_there_and_goes_when_its_test_panics,
        a_transaction_left_open_does_not_keep_a_database,
        a_leftover_of_yesterday_is_swept
    );

    /// Whether the database of this address exists, seen from beside it.
    async fn exists(url: &str) -> bool {
        let name = url.rsplit('/').next().unwrap_or_default();
        let (variable, names) = match url.split(':').next() {
            Some("sqlite") => {
                return Path::new(&url["sqlite:///".len()..]).parent().is_some_and(Path::is_dir);
            }
            Some("postgres") => ("TEST_POSTGRES_URL", "SELECT datname::text FROM pg_database"),
            _ => ("TEST_MYSQL_URL", "SELECT CAST(schema_name AS CHAR) FROM information_schema.schemata"),
        };
        let server = server_url(variable, std::env::var(variable).ok());
        let administrator = Administrator::connect(&server).await.expect("the server answers");
        let names = administrator.texts(names).await.expect("a list of databases");
        administrator.close().await;
        names.iter().any(|found| found == name)
    }

    async fn a_fresh_database_is_there_and_goes_when_its_test_panics(database: TestDatabase) {
        let backend = database.backend();
        let (tell, told) = std::sync::mpsc::channel();
        let failing = std::thread::spawn(move || {
            run(backend, |database| async move {
                let url = database.url().expose().to_owned();
                tell.send((exists(&url).await, url)).expect("the test listens");
                panic!("a test that fails, on purpose");
            })
        });
        let failed = tokio::task::spawn_blocking(move || failing.join().is_err()).await;
        let (was_there, url) = told.recv().expect("the failing test told its address");
        assert!(was_there && failed.expect("the thread was joined"));
        assert_ne!(&url, database.url().expose());
        assert!(!exists(&url).await, "{url} is still there");
    }

    async fn a_transaction_left_open_does_not_keep_a_database(database: TestDatabase) {
        if database.backend() == Backend::Sqlite {
            return; // a folder is removed whoever has it open
        }
        let doomed = TestDatabase::fresh(database.backend()).await;
        let url = doomed.url().clone();
        let guest = Administrator::connect(&DatabaseUrl::parse(&url).expect("an address")).await;
        let guest = guest.expect("the database answers");
        guest.run("CREATE TABLE held (n INT)").await.expect("a table");
        for statement in ["BEGIN", "INSERT INTO held VALUES (1)"] {
            guest.run(statement).await.expect(statement);
        }
        tokio::task::spawn_blocking(move || drop(doomed)).await.expect("dropping does not panic");
        assert!(!exists(url.expose()).await);
    }

    async fn a_leftover_of_yesterday_is_swept(database: TestDatabase) {
        let old = Clock::system().now() - LEFTOVER_AGE - Duration::from_secs(1);
        let name = format!("{PREFIX}{:012x}{}", old.as_millisecond(), &new_name()[PREFIX.len() + 12..]);
        let url = match &database.0.on_server {
            None => {
                let folder = &database.0.folder;
                let parent = folder.path().parent().expect("the temporary folder");
                std::fs::create_dir(parent.join(&name)).expect("a folder");
                sweep_folders(parent);
                format!("sqlite:///{}/app.db", parent.join(&name).display())
            }
            Some((server, _)) => {
                let administrator = Administrator::connect(server).await.expect("the server answers");
                let statement = create_statement(server.backend, &name);
                administrator.run(statement).await.expect("a database");
                sweep_server(&administrator, server.backend).await.expect("a sweep");
                with_database(server.text.expose(), &name)
            }
        };
        assert!(!exists(&url).await, "{url} is still there");
        assert!(exists(database.url().expose()).await, "a living one was swept");
    }

    #[tokio::test]
    async fn a_database_goes_with_its_last_clone() {
        let database = TestDatabase::sqlite().await;
        let (url, clone) = (database.url().expose().to_owned(), database.clone());
        drop(database);
        assert!(exists(&url).await);
        drop(clone);
        assert!(!exists(&url).await);
    }
}
