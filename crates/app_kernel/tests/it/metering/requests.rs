//! What is counted, and that it is counted once.

use std::path::PathBuf;
use std::time::Duration;

use app_kernel::feature::api_keys::create_api_key;
use app_kernel::feature::metering::{By, get_usage, track_usage};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::json;

use super::{thinker, usage_with};
use crate::jobs::until;

on_every_database!(
    requests_are_counted_by_endpoint_status_user_and_workspace,
    a_service_counts_what_it_likes_and_asks_by_period,
    what_a_process_left_is_counted_by_the_next,
    what_was_applied_by_a_process_that_died_before_it_could_say_so_is_not_counted_again,
    usage_is_never_purged,
);

/// Promise: Q5
async fn usage_is_never_purged(database: TestDatabase) {
    let purging = |config| {
        thinker(ServiceConfig {
            audit_keep_days: Some(1),
            worker_embedded: true,
            job_retention: Duration::ZERO,
            ..config
        })
    };
    let service = TestService::start_on(database, purging).await;
    let ann = service.sign_up("ann").await;
    ann.post("/think/7", json!({})).await.expect(200);
    let (month, then) = (service.now().to_string()[..7].to_owned(), usage_with(&service, "requests", 3).await);
    crate::audit::carried(&service.db()).await;
    service.advance(Duration::from_secs(10 * 365 * 24 * 3600));
    // Whatever is swept out goes at a start: sessions, and what the audit told of the sign-up.
    let next = service.beside(purging).await;
    let db = next.db();
    let rows = async |table: &str| db.query(format!("SELECT [id] FROM [{table}]"), ()).await.expect("a query").len();
    until("what is old is gone", async || rows("kernel_audit_log").await + rows("kernel_sessions").await == 0).await;
    let admin = next.kernel().admin_db().expect("an admin database");
    let now = get_usage(&admin).app("thinker").period(month).await.expect("usage");
    assert_eq!((now.get("tokens"), now.get("requests")), (7, then.get("requests")));
}

/// Promise: Q1, Q3, B6
async fn requests_are_counted_by_endpoint_status_user_and_workspace(database: TestDatabase) {
    let service = TestService::start_on(database, thinker).await;
    let (ann, nobody) = (service.sign_up("ann").await, service.anonymous());
    let me = ann.get("/auth/me").await.expect(200).json();
    for name in ["one", "two"] {
        nobody.get(&format!("/hello/{name}")).await.expect(200);
        nobody.get(&format!("/api/v1/hello/{name}")).await.expect(200);
    }
    ann.post("/think/7", json!({})).await.expect(200);
    nobody.post("/think/7", json!({})).await.expect(401);
    nobody.get("/healthz").await.expect(200);
    nobody.get("/nowhere").await.expect(404);
    usage_with(&service, "requests", 9).await;

    let admin = service.kernel().admin_db().expect("an admin database");
    let by = async |by: By| -> Vec<(Option<String>, i64)> {
        let lines = get_usage(&admin).app("thinker").by(by).await.expect("usage");
        lines
            .into_iter()
            .map(|line| (line.of, line.usage.get("requests")))
            .filter(|(_, requests)| *requests > 0)
            .collect()
    };
    let endpoints: Vec<(Option<String>, i64)> = [
        ("GET /auth/me", 1),
        ("GET /hello/{name}", 4),
        ("POST /auth/login", 1),
        ("POST /auth/register", 1),
        ("POST /think/{tokens}", 2),
    ]
    .map(|(endpoint, requests)| (Some(endpoint.to_owned()), requests))
    .to_vec();
    assert_eq!(by(By::Endpoint).await, endpoints, "health checks and what is not there do not count");
    let statuses = [("200", 7), ("201", 1), ("401", 1)].map(|(status, n)| (Some(status.to_owned()), n)).to_vec();
    assert_eq!(by(By::Status).await, statuses);
    let id = |member: &str| me[member].as_str().map(str::to_owned);
    assert_eq!(by(By::User).await, [(None, 7), (id("id"), 2)]);
    assert_eq!(by(By::Workspace).await, [(None, 7), (id("workspace_id"), 2)]);
    let usage = get_usage(&admin).app("thinker").endpoint("GET /hello/{name}").await.expect("usage");
    assert_eq!((usage.get("requests"), usage.get("bytes")), (4, 4 * "hello".len() as i64));
    assert!(usage.get("latency_us") > 0);
    assert_eq!(get_usage(&admin).app("another").await.expect("usage").get("requests"), 0);

    ann.get("/usage").await.expect(403);
    service.db().execute("UPDATE [kernel_users] SET [role] = 'admin'", ()).await.expect("a promotion");
    let root = service.sign_in("ann").await;
    let report = root.get("/usage?by=endpoint&endpoint=GET%20/hello/%7Bname%7D").await.expect(200).json();
    assert_eq!(report["total"]["requests"], 4);
    assert_eq!(report["lines"][0]["of"], "GET /hello/{name}");
    root.get("/usage?period=soon").await.expect(422);

    let key = create_api_key(&service.db(), me["id"].as_str().expect("an id")).await.expect("a key");
    service.anonymous().with_token(&key.key).post("/think/7", json!({})).await.expect(403);
    usage_with(&service, "requests", 14).await;
    assert_eq!(by(By::Key).await, [(None, 13), (Some(key.info.id.clone()), 1)]);
}

/// Promise: Q2, Q3
async fn a_service_counts_what_it_likes_and_asks_by_period(database: TestDatabase) {
    let service = TestService::start_on(database, thinker).await;
    let kernel = service.kernel().clone();
    let month = |at: Timestamp| at.to_string()[..7].to_owned();
    let first = service.now();
    track_usage(&kernel)
        .user("ann")
        .workspace("w")
        .count("tokens", 1000)
        .count("tokens", 500)
        .count("deployments", 1)
        .record()
        .expect("room");
    track_usage(&kernel).workspace("w").count("tokens", 500).record().expect("room");
    service.advance(Duration::from_secs(40 * 24 * 3600));
    let later = service.now();
    track_usage(&kernel).user("ann").workspace("w").count("tokens", 7).record().expect("room");
    track_usage(&kernel).workspace("another").key("k").count("tokens", 90_000).record().expect("room");
    usage_with(&service, "tokens", 92_007).await;
    let admin = kernel.admin_db().expect("an admin database");
    let of_key = get_usage(&admin).key("k").await.expect("usage");
    assert_eq!((of_key.get("tokens"), of_key.get("deployments")), (90_000, 0));
    let deployments = get_usage(&admin).metric("deployments").await.expect("usage");
    assert_eq!((deployments.get("deployments"), deployments.get("tokens")), (1, 0));
    assert_eq!(get_usage(&admin).app("another").await.expect("usage").get("tokens"), 0);
    let of = async |period: &str| {
        let usage = get_usage(&admin).app("thinker").workspace("w").period(period).await.expect("usage");
        (usage.get("tokens"), usage.get("deployments"))
    };
    assert_eq!((of(&month(first)).await, of(&month(later)).await), ((2000, 1), (7, 0)));
    assert_eq!(of(&later.to_string()[..10]).await, (7, 0));
    let ann = get_usage(&admin).app("thinker").user("ann").await.expect("usage");
    assert_eq!(ann.get("tokens"), 1507);
    get_usage(&admin).period("January").await.expect_err("no period");
    track_usage(&kernel).count("a b", 1).record().expect_err("no name");
    track_usage(&kernel).count("tokens", -1).record().expect_err("less than nothing");
    track_usage(&kernel).count("requests", 1).record().expect_err("they count themselves");
}

fn files(database: &TestDatabase) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(database.data_dir().join("usage")).expect("usage is noted down");
    let folders = folders.map(|folder| folder.expect("an entry").path());
    folders
        .flat_map(|folder| std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("an entry").path()))
        .collect()
}

/// Promise: R-06, R2
async fn what_a_process_left_is_counted_by_the_next(database: TestDatabase) {
    // Nobody moves what this one notes down: as if it were killed at once.
    let killed =
        TestService::start_on(database, |config| thinker(ServiceConfig { admin_worker_embedded: false, ..config }))
            .await;
    for _ in 0..5 {
        killed.anonymous().get("/hello/ann").await.expect(200);
    }
    let database = killed.stop().await;
    // One for each thread that noted something down.
    let left = &files(&database)[0];
    let mut bytes = std::fs::read(left).expect("it can be read");
    bytes.extend_from_slice(b"0badc0de {\"d\":\"20");
    std::fs::write(left, bytes).expect("it can be written");

    let service = TestService::start_on(database, thinker).await;
    assert_eq!(usage_with(&service, "requests", 5).await.get("requests"), 5, "what was torn is not counted");
    service.anonymous().get("/hello/bob").await.expect(200);
    let database = service.stop().await;
    assert_eq!(files(&database), Vec::<PathBuf>::new(), "what is applied is gone");
    let service = TestService::start_on(database, thinker).await;
    assert_eq!(usage_with(&service, "requests", 6).await.get("requests"), 6, "and is not counted again");
}

/// Promise: R-06
async fn what_was_applied_by_a_process_that_died_before_it_could_say_so_is_not_counted_again(database: TestDatabase) {
    let silent = |config| thinker(ServiceConfig { admin_worker_embedded: false, ..config });
    let killed = TestService::start_on(database, silent).await;
    for _ in 0..5 {
        killed.anonymous().get("/hello/ann").await.expect(200);
    }
    let database = killed.stop().await;
    let left: Vec<_> = files(&database).into_iter().map(|file| (std::fs::read(&file).expect("bytes"), file)).collect();
    let service = TestService::start_on(database, thinker).await;
    usage_with(&service, "requests", 5).await;
    let database = service.stop().await;
    // As if it had been killed between counting and removing: the files are there, and the database knows how far it is.
    let service = TestService::start_on(database, silent).await;
    for (bytes, file) in &left {
        let id = file.file_name().and_then(|name| name.to_str()).expect("a name");
        let sql = "INSERT INTO [kernel_usage_spools] ([id], [app], [applied], [created_at], [updated_at], [version]) VALUES (?, 'thinker', ?, ?, ?, 1)";
        let (length, now) = (i64::try_from(bytes.len()).expect("a length"), service.now());
        service.db().execute(sql, (id, length, now, now)).await.expect("a row");
        std::fs::write(file, bytes).expect("it can be written");
    }
    let database = service.stop().await;
    let service = TestService::start_on(database.clone(), thinker).await;
    service.anonymous().get("/hello/bob").await.expect(200);
    until("what was left is looked at", async || left.iter().all(|(_, file)| !file.exists())).await;
    assert_eq!(usage_with(&service, "requests", 6).await.get("requests"), 6);
}
