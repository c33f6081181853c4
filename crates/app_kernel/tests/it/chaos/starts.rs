//! Many processes that start at once on an empty database: one migrates, all serve, on one schema.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::store::db::{Backend, Db, DbOptions, Options};
use app_kernel::testing::{Client, TestDatabase, on_every_database};
use serde_json::json;

use crate::support::program::{Place, quickstart};
use crate::support::scale;

on_every_database!(of_many_starts_at_once_one_migrates);

/// A service on this database.
fn place(url: &Secret) -> Place {
    Place::new().with("DATABASE_URL", url.expose()).with("JWT_SECRET", "a secret of the tests, long enough for all")
}

/// Tables, columns and indexes, as the database describes them.
async fn schema(db: &Db) -> Vec<String> {
    let queries: &[&str] = match db.backend() {
        Backend::Sqlite => &[
            "SELECT name || ' ' || coalesce(sql, '') AS line FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name",
        ],
        Backend::Postgres => &[
            "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '') AS line \
             FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1",
            "SELECT indexdef AS line FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
        ],
        Backend::MySql => &[
            "SELECT CONCAT(table_name, '.', column_name, ' ', column_type, ' ', is_nullable, ' ', COALESCE(column_default, '')) AS line \
             FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1",
            "SELECT CONCAT(table_name, ' ', index_name, ' ', seq_in_index, ' ', COALESCE(column_name, ''), ' ', non_unique) AS line \
             FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1",
        ],
    };
    let mut lines = Vec::new();
    for query in queries {
        let rows = db.query(*query, ()).await.expect("a query");
        lines.extend(rows.iter().filter_map(|row| row["line"].as_str().map(str::to_owned)));
    }
    lines
}

async fn open(url: &Secret) -> Db {
    let driver = Options { pool_size: Some(1), ..Options::default() };
    Db::open(url, &[], DbOptions { driver, ..DbOptions::default() }).await.expect("the database opens")
}

/// What one start, all alone, makes of an empty database.
async fn schema_of_one(backend: Backend) -> Vec<String> {
    let database = TestDatabase::fresh(backend).await;
    let place = place(database.url());
    let ended = tokio::task::spawn_blocking(move || place.run(&["migrate"])).await.expect("it runs");
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let db = open(database.url()).await;
    let schema = schema(&db).await;
    db.close().await;
    schema
}

/// Starts so many at once, asks each whether it is ready, and stops them.
async fn start_all(url: &Secret, starts: usize) {
    quickstart(); // built before the clock of any of them runs
    let starting = (0..starts).map(|_| {
        let place = place(url);
        tokio::task::spawn_blocking(move || (place.serve(), place))
    });
    let mut serving = Vec::new();
    for started in starting.collect::<Vec<_>>() {
        serving.push(started.await.expect("every one of them serves"));
    }
    for (number, (service, _)) in serving.iter().enumerate() {
        let client = Client::new(service.url());
        client.get("/readyz").await.expect(200);
        let person = json!({ "email": format!("{number}@example.com"), "password": "correct horse battery staple" });
        if number < 3 {
            client.post("/auth/register", person).await.expect(201);
        }
    }
    for (service, place) in serving {
        let ended = tokio::task::spawn_blocking(move || service.stop()).await.expect("it stops");
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        drop(place);
    }
}

/// One migration recorded, and the schema is that of a start without company.
async fn assert_one_migration(database: &TestDatabase, through: &str, starts: usize) {
    let db = open(database.url()).await;
    let recorded = db.query("SELECT COUNT(*) AS [n] FROM [kernel_migrations]", ()).await.expect("a query");
    assert_eq!(recorded[0]["n"].as_int(), Some(1), "migrations that were recorded");
    assert_eq!(schema(&db).await, schema_of_one(database.backend()).await);
    db.close().await;
    println!("R-11 held: {starts} starts at once {through}, 1 migration recorded, {starts} ready, identical schema");
}

/// Promise: R-11
async fn of_many_starts_at_once_one_migrates(database: TestDatabase) {
    let starts = scale(2).max(4);
    start_all(database.url(), starts).await;
    assert_one_migration(&database, &format!("on {}", database.backend().as_str()), starts).await;
}

/// pgbouncer in transaction mode before the PostgreSQL of the tests. Killed when dropped.
struct Pgbouncer {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Pgbouncer {
    fn start(server: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it has one").port();
        drop(listener);
        // `postgres://user:password@host:port/name?..`
        let address = server.split_once("://").map_or(server, |(_, rest)| rest);
        let (credentials, host) = address.rsplit_once('@').expect("an address with a user");
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        let host = host.split(['/', '?']).next().unwrap_or_default();
        let (host, server_port) = host.rsplit_once(':').unwrap_or((host, "5432"));
        std::fs::write(folder.path().join("users"), format!("\"{user}\" \"{password}\"\n")).expect("a file");
        // Few sessions for many clients, so that each statement may meet another one.
        let text = format!(
            "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {0}/users\npool_mode = transaction\ndefault_pool_size = 4\n\
             max_client_conn = 1000\nlogfile = {0}/log\npidfile =\n",
            folder.path().display()
        );
        let file = folder.path().join("ini");
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(executable());
        command.arg("--quiet").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(user) = user_beside_root() {
            let log = folder.path().join("log");
            std::fs::write(&log, "").expect("a file");
            std::fs::set_permissions(&log, PermissionsExt::from_mode(0o666)).expect("ours");
            command.args(["--user", user]);
        }
        let child = command.spawn().expect("pgbouncer starts");
        Pgbouncer { child, folder, port }
    }

    /// The address of a database behind it.
    fn url(&self, database: &Secret) -> Secret {
        let (server, name) = database.expose().rsplit_once('/').expect("an address has a database");
        let (user, _) = server.rsplit_once('@').expect("an address with a user");
        Secret::new(format!("{user}@127.0.0.1:{}/{name}?pgbouncer=true", self.port))
    }

    async fn wait_until_ready(&mut self, url: &Secret) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = Db::open(url, &[], DbOptions::default()).await {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "pgbouncer does not serve: {error}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn executable() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&folders).chain([Path::new("/usr/sbin").to_owned()]);
    let mut files = folders.map(|folder| folder.join("pgbouncer"));
    files.find(|file| file.is_file()).expect("pgbouncer is not there; install it (Debian: apt-get install pgbouncer)")
}

/// pgbouncer refuses to be root.
fn user_beside_root() -> Option<&'static str> {
    let is_root = MetadataExt::uid(&std::fs::metadata("/proc/self").expect("this is Linux")) == 0;
    is_root.then_some("nobody")
}

/// Promise: R-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_starts_through_pgbouncer_one_migrates() {
    if std::env::var("DATABASES").is_ok_and(|list| !list.contains("postgres")) {
        return println!("deselected by DATABASES");
    }
    let database = TestDatabase::postgres().await;
    let mut pgbouncer = Pgbouncer::start(database.url().expose());
    let url = pgbouncer.url(database.url());
    pgbouncer.wait_until_ready(&url).await;
    let starts = scale(2).max(4);
    start_all(&url, starts).await;
    assert_one_migration(&database, "through pgbouncer", starts).await;
}
