//! Roles that serve no clients are looked at on the port of `METRICS_PORT`.

use app_kernel::testing::{Client, TestDatabase};

use crate::support::program::{Place, Serving};
#[cfg(target_os = "linux")]
use crate::support::redis_server::RedisServer;

const SECRET: &str = "a secret of the tests, long enough for all";

/// A place for processes that open a port for operators only.
fn place(database: &TestDatabase) -> Place {
    Place::new()
        .with("DATABASE_URL", database.url().expose())
        .with("JWT_SECRET", SECRET)
        .with("METRICS_PORT", "0")
        .with("BACKUP_ENABLED", "false")
}

/// Looks at a role as an orchestrator and Prometheus do; fails unless it is well and this worker is among what it tells of.
async fn look_at(role: Serving, worker: &str) {
    let client = Client::new(role.url());
    client.get("/healthz").await.expect(200);
    let ready = client.get("/readyz").await.expect(200).json();
    assert_eq!(ready["checks"]["database"], "ok", "{ready}");
    let metrics = client.get("/metrics").await.expect(200).text();
    let degraded = format!("app_kernel_worker_degraded{{worker=\"{worker}\"}} 0");
    assert!(metrics.lines().any(|line| line == degraded), "{degraded} is not in\n{metrics}");
    for path in ["/widgets", "/openapi.json", "/auth/login"] {
        client.get(path).await.expect_problem(404, "not_found");
    }
    let ended = tokio::task::block_in_place(|| role.stop());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{:?}", ended.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_runs_jobs_is_looked_at_on_its_own_port() {
    let database = TestDatabase::sqlite().await;
    let place = place(&database);
    let worker = tokio::task::block_in_place(|| place.start(&["worker"], "metrics and health on "));
    look_at(worker, "jobs").await;
}

/// With a Redis of its own: it would take what services of other tests send to theirs.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_worker_is_looked_at_on_its_own_port() {
    let Some(redis) = RedisServer::start() else { return };
    let database = TestDatabase::sqlite().await;
    let place = place(&database)
        .with("REDIS_URL", redis.redis().url().expose())
        .with("ADMIN_DB_URL", database.url().expose())
        .with("ADMIN_WORKER_EMBEDDED", "false");
    let worker = tokio::task::block_in_place(|| place.start(&["admin-worker"], "metrics and health on "));
    look_at(worker, "admin_worker").await;
}
