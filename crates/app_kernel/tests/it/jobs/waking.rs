//! Workers hear of jobs that other processes enqueue, by Redis or by PostgreSQL. Their own looks are so far apart here that they find nothing:
//! what they do not hear of, they would begin hours later.

use std::time::Duration;

use app_kernel::base::breaker::BreakerRule;
use app_kernel::feature::jobs::JobState;
use app_kernel::prelude::*;
use app_kernel::store::db::Backend;
use app_kernel::store::redis::RedisOptions;
use app_kernel::testing::{TestDatabase, TestRedis, TestService, on_every_database};

use super::{app, jobs, mark, marks, state, until, word};
#[cfg(target_os = "linux")]
use crate::support::redis_server::RedisServer;

on_every_database!(
    a_worker_hears_of_jobs_of_its_own_process_at_once,
    a_worker_hears_of_jobs_of_other_processes_by_redis,
    a_worker_that_nobody_tells_looks_for_itself,
    a_database_that_can_calls_also_after_it_has_ended_the_connection,
);

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(100 * 3600);
/// More than those that a worker finds when it begins, and when it begins to listen.
const JOBS: usize = 5;

fn idle(config: ServiceConfig) -> ServiceConfig {
    ServiceConfig { worker_poll: NEVER, ..config }
}

fn worker(config: ServiceConfig) -> ServiceConfig {
    ServiceConfig { worker_embedded: true, shutdown_timeout: Duration::from_secs(1), ..idle(config) }
}

/// Has one job after the other run.
async fn one_after_the_other(enqueuer: &TestService) {
    for n in 0..JOBS {
        let id = jobs(enqueuer).enqueue(mark, word(n.to_string())).await.expect("enqueued").job_id;
        until(&format!("job {n} is done"), || async { state(enqueuer, &id).await == JobState::Succeeded }).await;
    }
}

/// Promise: B2, I4
async fn a_worker_hears_of_jobs_of_its_own_process_at_once(database: TestDatabase) {
    let service = TestService::start_on(database, |config| app(worker(config))).await;
    one_after_the_other(&service).await;
}

/// Promise: B2
async fn a_worker_hears_of_jobs_of_other_processes_by_redis(database: TestDatabase) {
    let Some(redis) = TestRedis::shared() else { return };
    let enqueuer = TestService::start_on(database, |config| app(idle(config)).redis(redis.patient())).await;
    let _worker = enqueuer.beside(|config| app(worker(config)).redis(redis.patient())).await;
    one_after_the_other(&enqueuer).await;
    enqueuer.stop().await;
}

async fn a_worker_that_nobody_tells_looks_for_itself(database: TestDatabase) {
    if database.backend() == Backend::Postgres {
        return; // it is told
    }
    let enqueuer = TestService::start_on(database, |config| app(idle(config))).await;
    let often = |config| app(ServiceConfig { worker_poll: Duration::from_millis(200), ..worker(config) });
    let _worker = enqueuer.beside(often).await;
    one_after_the_other(&enqueuer).await;
    enqueuer.stop().await;
}

/// Promise: B2
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_redis_that_was_killed_calls_again_once_it_is_back() {
    let Some(mut server) = RedisServer::start() else { return };
    // Soon asked again, so that the test need not wait.
    let rule = BreakerRule { failures: 3, pause: Duration::from_millis(100) };
    let redis = server.redis().with(RedisOptions { patience: Duration::from_secs(10), breaker: rule });
    let enqueuer = TestService::start(|config| app(idle(config)).redis(redis.clone())).await;
    let _worker = enqueuer.beside(|config| app(worker(config)).redis(redis.clone())).await;
    one_after_the_other(&enqueuer).await;
    server.kill();
    let meanwhile = jobs(&enqueuer).enqueue(mark, word("meanwhile")).await.expect("Redis need not be there").job_id;
    server.start_again();
    until("what came meanwhile is done", || async { state(&enqueuer, &meanwhile).await == JobState::Succeeded }).await;
    one_after_the_other(&enqueuer).await;
    assert_eq!(marks(&enqueuer.db()).await.len(), 2 * JOBS + 1);
    enqueuer.stop().await;
}

/// Promise: B2
async fn a_database_that_can_calls_also_after_it_has_ended_the_connection(database: TestDatabase) {
    if database.backend() != Backend::Postgres {
        return; // it can't
    }
    let enqueuer = TestService::start_on(database, |config| app(idle(config))).await;
    let _worker = enqueuer.beside(|config| app(worker(config))).await;
    one_after_the_other(&enqueuer).await;
    let end = "SELECT COUNT(pg_terminate_backend(pid)) AS [ended] FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE '%LISTEN app_kernel_jobs%' AND pid <> pg_backend_pid()";
    let ended = enqueuer.db().query(end, ()).await.expect("an answer")[0]["ended"].as_int().expect("a number");
    assert!(ended >= 1, "the worker listens");
    one_after_the_other(&enqueuer).await;
    enqueuer.stop().await;
}
