//! How many requests somebody may make.

use std::time::{Duration, Instant};

use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestRedis, TestService};
use futures_util::future::join_all;

#[cfg(target_os = "linux")]
use crate::support::redis_server::RedisServer;

async fn hello() -> &'static str {
    "hello"
}

/// So many requests in a minute.
fn limited(config: ServiceConfig, requests: u32) -> Service {
    let config = ServiceConfig { rate_limit_enabled: Some(true), rate_limit_requests: requests, ..config };
    let two = RateLimit::new(2, Duration::from_secs(10));
    let shared = RateLimit::new(3, Duration::from_secs(10)).together("reports");
    Service::new("limits", config)
        .route("/hello", get(hello))
        .route("/search", get(hello).layer(two.clone()))
        .route("/reports/a", get(hello).layer(shared.clone()))
        .route("/reports/b", get(hello).layer(shared))
        .routes(
            ApiRouter::<Kernel>::new().api_route("/many/{id}", get(hello)).api_route("/more", get(hello)).layer(two),
        )
}

async fn start(requests: u32) -> TestService {
    TestService::start(|config| limited(config, requests)).await
}

/// Promise: J1, J2, B3
#[tokio::test]
async fn who_has_had_all_waits_and_is_told_how_long() {
    let service = start(5).await;
    let client = service.anonymous();
    for left in (0..5).rev() {
        let answer = client.get("/hello").await.expect(200);
        let said = |name| answer.header(name).map(str::to_owned).unwrap_or_default();
        assert_eq!(said("ratelimit-policy"), "\"default\";q=5;w=60");
        assert_eq!(said("ratelimit"), format!("\"default\";r={left};t=60"));
        assert_eq!((said("x-ratelimit-limit"), said("x-ratelimit-remaining")), ("5".to_owned(), left.to_string()));
        assert_eq!(said("x-ratelimit-reset"), (service.now().as_second() + 60).to_string());
    }
    service.advance(Duration::from_secs(20));
    let refused = client.get("/hello").await.expect_problem(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("40"));
    assert_eq!(refused.header("ratelimit"), Some("\"default\";r=0;t=40"));
    client.get("/nowhere").await.expect(429);
    for path in ["/healthz", "/readyz"] {
        let answer = client.get(path).await.expect(200);
        assert_eq!(answer.header("ratelimit"), None, "{path} is never refused, nor counted");
    }
    service.advance(Duration::from_secs(40));
    client.get("/hello").await.expect(200);
}

/// Promise: J1
#[tokio::test]
async fn a_window_is_as_long_as_it_is_said() {
    let short = |config| limited(ServiceConfig { rate_limit_window: 10, ..config }, 1);
    let service = TestService::start(short).await;
    let client = service.anonymous();
    assert_eq!(client.get("/hello").await.expect(200).header("ratelimit-policy"), Some("\"default\";q=1;w=10"));
    service.advance(Duration::from_secs(9));
    client.get("/hello").await.expect(429);
    service.advance(Duration::from_secs(1));
    client.get("/hello").await.expect(200);
}

/// Promise: J2, R-33
#[tokio::test]
async fn people_are_counted_by_themselves_and_bad_tokens_by_their_address() {
    // Each signs up by two requests of nobody.
    let service = start(6).await;
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    for _ in 0..6 {
        ann.get("/hello").await.expect(200);
    }
    ann.get("/hello").await.expect(429);
    let again = service.sign_in("ann").await;
    again.get("/hello").await.expect(429);
    bob.get("/hello").await.expect(200);
    // Five requests of nobody so far; a token that proves nothing does not help.
    let liars = ["x", "sk_live_nothing", "eyJhbGciOiJub25lIn0.e30."];
    service.anonymous().with_token(liars[0]).get("/hello").await.expect(200);
    for liar in liars {
        service.anonymous().with_token(liar).get("/hello").await.expect(429);
    }
    bob.get("/hello").await.expect(200);
}

/// Promise: R-33
#[tokio::test]
async fn a_forged_address_changes_nothing() {
    let service = start(3).await;
    for n in 0..6 {
        let client = service.anonymous().with_header("x-forwarded-for", &format!("203.0.113.{n}"));
        client.get("/hello").await.expect(if n < 3 { 200 } else { 429 });
    }
    let trusting = TestService::start(|config| {
        limited(ServiceConfig { trusted_proxies: vec!["127.0.0.0/8".to_owned()], ..config }, 3)
    })
    .await;
    for n in 0..6 {
        // The proxy appends the true one; what stands left of it is invented. One subscriber has many addresses.
        let forwarded = format!("198.51.100.{n}, 2001:db8:1:2::{n}");
        let client = trusting.anonymous().with_header("x-forwarded-for", &forwarded);
        client.get("/hello").await.expect(if n < 3 { 200 } else { 429 });
    }
    trusting.anonymous().with_header("x-forwarded-for", "2001:db8:1:3::1").get("/hello").await.expect(200);
}

#[tokio::test]
async fn a_route_has_a_limit_of_its_own_beside() {
    let service = start(50).await;
    let client = service.anonymous();
    let answer = client.get("/search").await.expect(200);
    let values: Vec<_> =
        answer.headers.get_all("ratelimit").iter().map(|value| value.to_str().expect("text")).collect();
    assert_eq!(values, ["\"GET /search\";r=1;t=10", "\"default\";r=49;t=60"]);
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("1"), "the nearest one");
    // The same route, at the prefix.
    client.get("/api/v1/search").await.expect(200);
    let refused = client.get("/search").await.expect_problem(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("10"));
    client.get("/hello").await.expect(200);
    // Around a router each route counts for itself, by its template.
    for (path, status) in [("/many/1", 200), ("/many/2", 200), ("/many/3", 429), ("/more", 200)] {
        client.get(path).await.expect(status);
    }
    // Unless they count together.
    for (path, status) in [("/reports/a", 200), ("/reports/b", 200), ("/reports/a", 200), ("/reports/b", 429)] {
        client.get(path).await.expect(status);
    }
    service.advance(Duration::from_secs(10));
    client.get("/search").await.expect(200);
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let off = |config: ServiceConfig| {
        Service::new("off", ServiceConfig { rate_limit_enabled: Some(false), rate_limit_requests: 1, ..config })
            .route("/search", get(hello).layer(RateLimit::new(1, Duration::from_secs(60))))
    };
    let service = TestService::start(off).await;
    for _ in 0..5 {
        let answer = service.anonymous().get("/search").await.expect(200);
        assert_eq!(answer.header("ratelimit"), None);
    }
}

/// Requests at several processes at once; how many of them passed.
async fn burst(clients: &[Client], requests: usize) -> usize {
    let ask = |n: usize| {
        let client = &clients[n % clients.len()];
        async move { client.get("/hello").await.status }
    };
    let statuses = join_all((0..requests).map(ask)).await;
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    statuses.iter().filter(|status| **status == 200).count()
}

/// Promise: B3, J1
#[tokio::test]
async fn with_redis_a_hundred_in_a_minute_are_the_limit_where_nothing_is_said() {
    let hello = |config| {
        let config = ServiceConfig { rate_limit_enabled: None, ..config };
        Service::new("limits", config).route("/hello", get(hello))
    };
    let unlimited = TestService::start(hello).await;
    assert_eq!(burst(&[unlimited.anonymous()], 120).await, 120, "nobody is limited without Redis");
    let Some(redis) = TestRedis::shared() else { return };
    let service = TestService::start(|config| hello(config).redis(redis.patient())).await;
    let client = [service.anonymous()];
    assert_eq!(burst(&client, 120).await, 100);
    service.advance(Duration::from_secs(59));
    assert_eq!(burst(&client, 20).await, 0);
    service.advance(Duration::from_secs(1));
    assert_eq!(burst(&client, 20).await, 20);
}

/// Promise: R-33, B3
#[tokio::test]
async fn three_processes_admit_no_more_than_the_limit() {
    let Some(redis) = TestRedis::shared() else { return };
    let build = |config| limited(config, 30).redis(redis.patient());
    let first = TestService::start(build).await;
    let processes = [first.beside(build).await, first.beside(build).await, first];
    let clients = processes.each_ref().map(TestService::anonymous);
    assert_eq!(burst(&clients, 300).await, 30);
    processes[0].advance(Duration::from_secs(59));
    assert_eq!(burst(&clients, 30).await, 0);
    processes[0].advance(Duration::from_secs(1));
    assert_eq!(burst(&clients, 300).await, 30);
    println!("R-33 held: 630 requests at 3 processes in two windows, 60 admitted of 60");
}

/// Promise, J1
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_limit_outlives_its_redis() {
    let Some(mut server) = RedisServer::start() else { return };
    let url = server.redis().url().clone();
    let build = |config| limited(ServiceConfig { redis_url: Some(url.clone()), ..config }, 30);
    let service = TestService::start(build).await;
    let client = [service.anonymous()];
    assert_eq!(burst(&client, 20).await, 20);
    server.kill();
    // What was admitted is not forgotten, and nobody gets an error.
    assert_eq!(burst(&client, 100).await, 10);
    server.start_again();
    let deadline = Instant::now() + Duration::from_secs(60);
    while client[0].get("/readyz").await.expect(200).json()["checks"]["redis"] != "ok" {
        assert!(Instant::now() < deadline, "Redis is not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.advance(Duration::from_secs(60));
    server.hang();
    let began = Instant::now();
    assert_eq!(burst(&client, 100).await, 30);
    // Half a second for each of the first few questions, which come at once; the rest is patience with a busy machine.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    server.go_on();
    println!("R-08, R-33 held: Redis killed and hung, 220 requests, 0 errors, 60 admitted of 60");
}
