//! Redis between services and the admin worker: killed, emptied, and full of garbage. Nothing is lost and nothing comes twice.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use app_kernel::base::clock::Clock;
use app_kernel::base::secret::Secret;
use app_kernel::feature::audit::verify;
use app_kernel::feature::metering::get_usage;
use app_kernel::prelude::*;
use app_kernel::service::run_admin_worker;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use tokio::sync::oneshot;

use super::killed_services::shop;
use super::moment;
use crate::support::redis_server::RedisServer;
use crate::support::{Dice, scale, seed};

on_every_database!(a_lost_redis_loses_nothing_of_the_audit_and_the_usage);

const WRITERS: usize = 4;
/// How long everything may take to arrive once Redis is well. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says something to Redis, as a person on a terminal would.
fn tell(url: &Secret, words: &str) {
    let address = url.expose().trim_start_matches("redis://").to_owned();
    let deadline = Instant::now() + PATIENCE;
    let mut connection = loop {
        // It may just have been started.
        match TcpStream::connect(&address) {
            Ok(connection) => break connection,
            Err(error) => assert!(Instant::now() < deadline, "Redis does not listen: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    connection.write_all(format!("{words}\r\n").as_bytes()).expect("it reads");
    assert_ne!(connection.read(&mut [0; 64]).expect("it answers"), 0);
}

/// Promise: R-05, R2, R3
async fn a_lost_redis_loses_nothing_of_the_audit_and_the_usage(database: TestDatabase) {
    let Some(mut redis) = RedisServer::start() else { return };
    let url = redis.redis().url().clone();
    let (losses, seed) = (scale(2), seed());
    let mut dice = Dice::new(seed);
    let admin_database = TestDatabase::sqlite().await;
    let (redis_url, admin_db_url) = (Some(url.clone()), Some(admin_database.url().clone()));
    let build = |config| {
        let (redis_url, admin_db_url) = (redis_url.clone(), admin_db_url.clone());
        shop(ServiceConfig { redis_url, admin_db_url, admin_worker_embedded: false, ..config })
    };
    let service = TestService::start_on(database, build).await;
    // It knows nothing of the service and its database.
    let data_dir = admin_database.data_dir().display().to_string();
    let worker = ServiceConfig {
        redis_url: redis_url.clone(),
        admin_db_url: admin_db_url.clone(),
        data_dir,
        backup_enabled: false,
        ..ServiceConfig::default()
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let worker =
        tokio::spawn(async move { run_admin_worker(&worker, &Clock::system(), async { drop(stopped.await) }).await });

    let (written, is_over) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let writer = async || {
        let client = service.anonymous();
        while is_over.load(Ordering::Relaxed) == 0 {
            client.post("/things", ()).await.expect(201);
            written.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let faults = async {
        for _ in 0..losses {
            tokio::time::sleep(moment(&mut dice, Duration::from_millis(500))).await;
            tell(&url, "XADD app_kernel.admin:events * body garbage kind audit token x");
            tell(&url, "XADD app_kernel.admin:events * nothing of ours");
            tell(&url, "FLUSHALL");
            tokio::time::sleep(moment(&mut dice, Duration::from_millis(500))).await;
            redis.kill();
            tokio::time::sleep(moment(&mut dice, Duration::from_millis(300))).await;
            redis.start_again();
        }
        tell(&url, "XADD app_kernel.admin:events * body {} kind usage token x");
        is_over.store(1, Ordering::Relaxed);
    };
    let writers = futures_util::future::join_all((0..WRITERS).map(|_| writer()));
    tokio::join!(writers, faults);

    let (db, admin) = (service.db(), service.kernel().admin_db().expect("an admin database"));
    let number =
        async |db: &Db, sql: &str| db.query(sql, ()).await.expect("a query")[0]["n"].as_int().expect("a number");
    let (deadline, commits) =
        (Instant::now() + PATIENCE, number(&db, "SELECT COUNT(*) AS [n] FROM [things_history]").await);
    let requests = i64::try_from(written.load(Ordering::Relaxed)).expect("a number");
    assert_eq!(commits, requests);
    loop {
        let left = number(&db, "SELECT COUNT(*) AS [n] FROM [kernel_changes]").await;
        let counted = get_usage(&admin).app("shop").await.expect("usage").get("requests");
        if left == 0 && counted >= requests {
            assert_eq!(counted, requests, "seed {seed}");
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{left} changes are left and {counted} of {requests} requests counted, seed {seed}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let entries = number(&admin, "SELECT COUNT(*) AS [n] FROM [kernel_audit_log]").await;
    assert_eq!(entries, commits, "seed {seed}");
    verify(&admin, "shop", None).await.expect("a look").expect("nothing is wrong with the chain");
    stop.send(()).expect("the worker listens");
    worker.await.expect("it ends").expect("and ends well");
    println!(
        "R-05 held: Redis emptied and killed {losses} times, {requests} requests 2xx, {commits} commits, {entries} audit rows, 0 duplicates, {requests} counted, seed {seed}"
    );
}
