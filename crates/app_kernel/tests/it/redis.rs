//! What a service does while its Redis is killed, hangs and comes back.

use std::time::{Duration, Instant};

use app_kernel::base::breaker::BreakerRule;
use app_kernel::base::secret::Secret;
use app_kernel::prelude::*;
use app_kernel::store::redis::{Redis, RedisOptions};
use app_kernel::testing::{Client, TestDatabase, TestRedis, TestService};
use serde_json::json;

use crate::support::redis_server::RedisServer;

/// How long something may take to be noticed. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn service_of(config: ServiceConfig) -> Service {
    Service::new("redis_tests", config).route("/hello", get(async || "hello"))
}

/// Asks until it is answered that Redis is in this state.
async fn until_redis_is(client: &Client, state: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.get("/readyz").await.expect(200).json();
        assert_eq!(answer["checks"]["database"], "ok", "{answer}");
        let status = if answer["checks"]["redis"] == "ok" { "ok" } else { "degraded" };
        assert_eq!(answer["status"], status, "{answer}");
        if answer["checks"]["redis"] == state {
            return;
        }
        assert!(Instant::now() < deadline, "Redis is not {state}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Promise: R-08, A1
#[tokio::test]
async fn a_service_goes_on_while_redis_is_killed_hangs_and_comes_back() {
    let Some(mut server) = RedisServer::start() else { return };
    let url = server.redis().url().clone();
    let service =
        TestService::start(|config| service_of(ServiceConfig { redis_url: Some(url.clone()), ..config })).await;
    let client = service.anonymous();
    until_redis_is(&client, "ok").await;
    for round in 0..2 {
        if round == 0 {
            server.kill();
        } else {
            server.hang();
        }
        until_redis_is(&client, "unavailable").await;
        for n in 0..10 {
            client.get("/hello").await.expect(200);
            let who = json!({ "email": format!("p{round}{n}@example.com"), "password": "wrong password" });
            client.post("/auth/login", who).await.expect_problem(401, "invalid_credentials");
        }
        if round == 0 {
            server.start_again();
        } else {
            server.go_on();
        }
        until_redis_is(&client, "ok").await;
    }
    println!("R-08 held: killed and hung, each request answered, found back without a restart");
}

/// Promise: R-08
#[tokio::test]
async fn a_start_does_not_wait_for_redis() {
    let Some(mut server) = RedisServer::start() else { return };
    server.kill();
    let url = server.redis().url().clone();
    let service = TestService::start(|config| service_of(ServiceConfig { redis_url: Some(url), ..config })).await;
    until_redis_is(&service.anonymous(), "unavailable").await;
    server.start_again();
    until_redis_is(&service.anonymous(), "ok").await;
}

/// Promise: R-08
#[tokio::test]
async fn a_redis_that_hangs_costs_its_patience_a_few_times_and_then_nothing() {
    let Some(server) = RedisServer::start() else { return };
    let rule = BreakerRule { failures: 3, pause: Duration::from_secs(3600) };
    let redis = server.redis().with(RedisOptions { breaker: rule, ..RedisOptions::default() });
    redis.ping().await.expect("it answers");
    server.hang();
    for is_away in [false, false, true] {
        let error = redis.ping().await.expect_err("it hangs");
        assert_eq!((error.http_status(), redis.is_away()), (503, is_away));
        assert!(std::error::Error::source(&error).is_some(), "it was asked: {error:?}");
    }
    let refused = redis.ping().await.expect_err("left alone");
    assert!(std::error::Error::source(&refused).is_none(), "it was asked: {refused:?}");
}

/// Promise
#[tokio::test]
async fn a_wrong_password_is_no_reason_not_to_serve_and_an_address_that_is_none_is() {
    let Some(redis) = TestRedis::shared() else { return };
    let with_password = redis.url().expose().replacen("://", "://ann:hunter2@", 1);
    let config = |url: &str, config| ServiceConfig { redis_url: Some(Secret::new(url)), ..config };
    let service = TestService::start(|base| service_of(config(&with_password, base))).await;
    until_redis_is(&service.anonymous(), "unavailable").await;

    let database = TestDatabase::sqlite().await;
    let base = ServiceConfig { database_url: Some(database.url().clone()), ..ServiceConfig::default() };
    let error = service_of(config("localhost:6379?hunter2", base)).start().await.err().expect("a refusal");
    assert!(error.to_string().starts_with("REDIS_URL can't be used; it must be an address such as redis://"));
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

/// Two services share a server, and none sees the keys of the other.
#[tokio::test]
async fn each_service_has_keys_of_its_own() {
    let Some(redis) = TestRedis::shared() else { return };
    let [one, other] = ["one", "one:two"]
        .map(|name| Redis::new(redis.url(), name, RedisOptions::default()).expect("an address").prefix().to_owned());
    assert!(!other.starts_with(&one) && !one.starts_with(&other), "{one} {other}");
}
