//! Several processes with one Redis are one service to whoever guesses.

use app_kernel::prelude::*;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, TestRedis, TestService};
use futures_util::future::join_all;
use serde_json::json;

use super::{address, auth_only, log_in_with, new_user, sign_up, start};
use crate::support::redis_server::RedisServer;

/// Three processes of one service.
async fn processes(redis: &TestRedis) -> [TestService; 3] {
    let build = |config: ServiceConfig| auth_only(config).redis(redis.patient());
    let first = TestService::start(build).await;
    [first.beside(build).await, first.beside(build).await, first]
}

/// Promise
#[tokio::test]
async fn wrong_passwords_count_together_in_all_processes() {
    let Some(redis) = TestRedis::shared() else { return };
    let processes = processes(&redis).await;
    sign_up(&processes[0], "ann").await.expect(201);
    for n in 0..20 {
        log_in_with(&processes[n % 3], "ann", "wrong horse").await.expect_problem(401, "invalid_credentials");
    }
    for process in &processes {
        let answer = log_in_with(process, "ann", PASSWORD).await.expect_problem(429, "too_many_attempts");
        assert_eq!(answer.header("retry-after"), Some("15"));
        log_in_with(process, "bob", "wrong horse").await.expect(401);
    }
    processes[0].advance(std::time::Duration::from_secs(15));
    log_in_with(&processes[1], "ann", PASSWORD).await.expect(200);
}

/// Promise: R-33
#[tokio::test]
async fn a_burst_at_three_processes_gets_no_more_mails_than_the_limit() {
    let Some(redis) = TestRedis::shared() else { return };
    let processes = processes(&redis).await;
    let clients = processes.each_ref().map(TestService::anonymous);
    let asked = (0..60).map(|n| {
        let client = &clients[n % 3];
        async move { client.post("/auth/password-reset/request", json!({ "email": address("bob") })).await.status }
    });
    let mut statuses = join_all(asked).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[202; 5].as_slice(), &[429; 55]].concat());
    println!("R-33 held: 60 requests at 3 processes, 5 admitted of 5");
}

/// Promise
#[tokio::test]
async fn a_redis_that_goes_away_opens_no_door() {
    let Some(mut server) = RedisServer::start() else { return };
    let url = server.redis().url().clone();
    let service = TestService::start(|config| auth_only(ServiceConfig { redis_url: Some(url), ..config })).await;
    sign_up(&service, "ann").await.expect(201);
    for _ in 0..12 {
        log_in_with(&service, "ann", "wrong horse").await.expect(401);
    }
    server.kill();
    // This process was told of all twelve, or counted them itself where the server was slow.
    for _ in 0..8 {
        log_in_with(&service, "ann", "wrong horse").await.expect(401);
    }
    log_in_with(&service, "ann", PASSWORD).await.expect_problem(429, "too_many_attempts");
}

/// Promise: R-32
#[tokio::test]
async fn redis_learns_no_address_and_keeps_nothing_for_good() {
    let Some(redis) = TestRedis::shared() else { return };
    let build = |config: ServiceConfig| auth_only(config).redis(redis.patient());
    let service = TestService::start_on(TestDatabase::sqlite().await, build).await;
    let ann = new_user(&service, "ann").await;
    log_in_with(&service, "ann", "wrong horse").await.expect(401);
    let contents = redis.contents().await;
    assert!(contents.len() >= 4, "{contents:?}");
    let text = format!("{contents:?}");
    for word in ["ann", "example.com", "127.0.0.1", PASSWORD, "wrong horse", &ann.access, &ann.refresh] {
        assert!(!text.contains(word), "{word} is in Redis: {text}");
    }
    // Another service on this server starts from its own count.
    let other = start(TestDatabase::sqlite().await).await;
    sign_up(&other, "ann").await.expect(201);
}
