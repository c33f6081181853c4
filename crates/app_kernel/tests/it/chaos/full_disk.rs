//! A disk that fills up under load and is freed again: reads go on, writes are refused with 507, nothing that was acknowledged is lost,
//! and the service recovers without a restart.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::store::db::{Backend, Db, DbOptions};
use app_kernel::testing::Client;
use serde_json::json;

use super::assert_whole;
use crate::support::disk::Disk;
use crate::support::program::Place;
use crate::support::scale;
use crate::support::servers::Servers;

/// Who writes at once.
const WRITERS: usize = 8;
/// How long a test may wait for what it looks for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the writers were answered.
#[derive(Debug, Default)]
struct Answers {
    saved: BTreeSet<String>,
    refused: usize,
}

/// Saves large widgets until it is told to stop.
async fn write(client: Client, stop: Arc<AtomicBool>) -> Answers {
    let mut answers = Answers::default();
    let color = "x".repeat(8_000);
    while !stop.load(Ordering::Relaxed) {
        let answer = client.post("/widgets", json!({ "name": "gear", "color": color })).await;
        if answer.status == 507 {
            answer.expect_problem(507, "disk_full");
            answers.refused += 1;
        } else {
            answers.saved.insert(answer.expect(201).id());
        }
    }
    answers
}

/// Reads all the while; every answer must be good.
async fn read(client: Client, id: String, stop: Arc<AtomicBool>) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        client.get(&format!("/widgets/{id}")).await.expect(200);
        client.get("/readyz").await.expect(200);
        reads += 2;
    }
    reads
}

/// Saves one small widget after the other until one is answered so.
async fn save_until(client: &Client, status: u16) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let mut tries = 0;
    loop {
        tries += 1;
        let answer = client.post("/widgets", json!({ "name": "cog" })).await;
        if answer.status == status {
            return tries;
        }
        assert!(matches!(answer.status, 201 | 507), "{}: {}", answer.status, answer.text());
        assert!(Instant::now() < deadline, "no {status} within {PATIENCE:?}");
    }
}

/// Fills the disk under a service on this database, `times` times.
async fn fill_and_free(disk: &Disk, url: &Secret, times: usize) {
    let place = Place::new().with("DATABASE_URL", url.expose());
    let place = place.with("JWT_SECRET", "a secret of the tests, long enough for all");
    let service = tokio::task::spawn_blocking(move || (place.serve(), place)).await.expect("it starts");
    let client = Client::new(service.0.url());
    let person = json!({ "email": "ann@example.com", "password": "correct horse battery staple" });
    client.post("/auth/register", &person).await.expect(201);
    let login = client.post("/auth/login", &person).await.expect(200).json();
    let client = client.with_token(login["access_token"].as_str().expect("a token"));
    let id = client.post("/widgets", json!({ "name": "first" })).await.expect(201).id();
    let (mut saved, mut refused, mut reads) = (BTreeSet::from([id.clone()]), 0, 0);
    for _ in 0..times {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(write(client.clone(), Arc::clone(&stop)))).collect();
        let reader = tokio::spawn(read(client.clone(), id.clone(), Arc::clone(&stop)));
        tokio::task::block_in_place(|| disk.fill_but(256 << 10));
        // Small ones fit for longer than large ones.
        save_until(&client, 507).await;
        client.get("/widgets").await.expect(200);
        tokio::task::block_in_place(|| disk.free());
        save_until(&client, 201).await;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            let answers = writer.await.expect("every answer was 201 or 507");
            saved.extend(answers.saved);
            refused += answers.refused;
        }
        reads += reader.await.expect("every read was answered");
    }
    assert!(refused > 0 && reads > 0, "{refused} refused, {reads} reads");
    let ended = tokio::task::spawn_blocking(move || service.0.stop()).await.expect("it stops");
    assert_eq!(ended.code, Some(0), "{}", ended.err);

    let db = Db::open(url, &[], DbOptions::default()).await.expect("the database opens");
    let rows = db.query("SELECT [id] FROM [widgets]", ()).await.expect("a query");
    let kept: BTreeSet<String> = rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect();
    let lost: Vec<&String> = saved.difference(&kept).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let versions = db.query("SELECT COUNT(*) AS [n] FROM [widgets_history]", ()).await.expect("a query");
    assert_eq!(versions[0]["n"].as_int(), Some(kept.len() as i64), "each has its version");
    assert_whole(&db).await;
    let name = db.backend().as_str();
    db.close().await;
    println!(
        "R-18 held: {times} times full on {name}, {} saved, 0 lost, {refused} refused with 507, {reads} reads answered meanwhile",
        saved.len()
    );
}

/// Promise: R-18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_sqlite_refuses_writes_and_nothing_else() {
    let Some(disk) = Disk::tmpfs("R-18", 48) else { return };
    let url = Secret::new(format!("sqlite:///{}/app.db", disk.path().display()));
    fill_and_free(&disk, &url, scale(2)).await;
}

/// Promise: R-18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_a_server_refuses_writes_and_nothing_else() {
    // A server whose own log finds no space ends. So the log lies elsewhere, as it should; only the tables are on this disk.
    let Some(disk) = Disk::ext4("R-18", 96) else { return };
    let Some(servers) = Servers::start(&[Backend::Postgres, Backend::MySql], None) else { return };
    for backend in servers.backends() {
        let folder = disk.path().join(backend.as_str());
        std::fs::create_dir(&folder).expect("a folder");
        let url = match backend {
            Backend::Postgres => {
                give_to(&folder, &servers.folder().join("postgres"));
                servers.run(backend, &format!("CREATE TABLESPACE small LOCATION '{}'", folder.display())).await;
                servers.run(backend, "CREATE DATABASE shop TABLESPACE small").await;
                servers.url(backend, "shop")
            }
            _ => {
                let data = servers.folder().join("mysql");
                give_to(&folder, &data);
                symlink(&folder, data.join("shop")).expect("a link");
                servers.url(backend, "shop")
            }
        };
        fill_and_free(&disk, &url, scale(1)).await;
    }
}

/// Makes a folder belong to whom another one belongs to.
fn give_to(folder: &Path, like: &Path) {
    let owner = std::fs::metadata(like).expect("a folder");
    chown(folder, Some(owner.uid()), Some(owner.gid())).expect("root may");
}
