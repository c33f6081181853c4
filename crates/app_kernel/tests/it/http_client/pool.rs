//! Connections: shared, counted, closed.

use std::time::{Duration, Instant};

use app_kernel::engine::http_client::{HttpErrorKind, HttpPools};
use axum::Router;
use axum::http::Version;
use axum::routing::get;

use crate::support::tls_server::{AUTHORITY, TlsServer};

fn pools() -> HttpPools {
    HttpPools::trusting(AUTHORITY).expect("an authority")
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Promise: L2, L7
#[tokio::test]
async fn calls_to_one_origin_share_a_connection() {
    for (alpn, version) in
        [(["h2", "http/1.1"].as_slice(), Version::HTTP_2), (&["http/1.1"], Version::HTTP_11), (&[], Version::HTTP_11)]
    {
        let (server, pools) = (TlsServer::start(hello(), alpn).await, pools());
        for n in 0..20 {
            let client = pools.client(&server.url()).expect("a client").with_bearer_token(&n.to_string());
            let answer = client.get("/").await.expect("an answer");
            assert_eq!((answer.text().as_str(), answer.version()), ("hello", version));
        }
        assert_eq!(server.connections(), 1, "{alpn:?}");
        if version == Version::HTTP_2 {
            let client = pools.client(&server.url()).expect("a client");
            let calls: Vec<_> = (0..100).map(|_| tokio::spawn(client.get("/").send())).collect();
            for call in calls {
                call.await.expect("no panic").expect("an answer");
            }
            assert_eq!(server.connections(), 1, "all at once share it too");
        }
        let stats = &pools.stats()[0];
        assert_eq!((stats.connections_open, stats.connections_opened, stats.in_flight), (1, 1, 0));
    }
}

/// Promise: R-31
#[tokio::test]
async fn a_server_with_a_strangers_certificate_is_told_nothing() {
    let server = TlsServer::start(hello(), &[]).await;
    let client = HttpPools::new().client(&server.url()).expect("a client").with_bearer_token("hunter2");
    let error = client.post("/").await.expect_err("nobody knows that authority");
    assert!(matches!(error.kind(), HttpErrorKind::Unreachable(cause) if cause.contains("certificate")), "{error}");
}

/// Promise: L6
#[tokio::test]
async fn closed_pools_let_go_of_their_connections_and_ask_nobody() {
    let (server, pools) = (TlsServer::start(hello(), &["h2"]).await, pools());
    let client = pools.client(&server.url()).expect("a client");
    client.get("/").await.expect("an answer");
    assert_eq!(client.stats().connections_open, 1);
    pools.close();
    while client.stats().connections_open > 0 {
        tokio::task::yield_now().await;
    }
    for error in [client.get("/").await.expect_err("closed"), pools.client(&server.url()).expect_err("closed")] {
        assert!(matches!(error.kind(), HttpErrorKind::Stopping), "{error}");
    }
    assert_eq!(server.connections(), 1);
}

/// Promise: L6
#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_after_five_minutes() {
    let (server, pools) = (TlsServer::start(hello(), &["http/1.1"]).await, pools());
    let client = pools.client(&server.url()).expect("a client");
    client.get("/").await.expect("an answer");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(299)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.stats().connections_open, 1);
    // The pool looks now and then.
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(client.stats().connections_open, 0);
}

/// Promise: L6
#[test]
fn a_pool_outlives_the_runtime_that_its_connections_ran_in() {
    let pools = pools();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let serving =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    for alpn in [["h2"], ["http/1.1"]] {
        let server = serving.block_on(TlsServer::start(hello(), &alpn));
        for _ in 0..3 {
            let client = pools.client(&server.url()).expect("a client");
            let answer = runtime().block_on(async move { client.get("/").await });
            assert_eq!(answer.expect("an answer").text(), "hello");
        }
    }
}

/// Promise: L9
#[tokio::test]
async fn a_call_on_a_pooled_connection_costs_a_fraction_of_one_with_its_own() {
    const CALLS: usize = 20;
    let server = TlsServer::start(hello(), &["http/1.1"]).await;
    let fresh: Vec<_> = (0..CALLS).map(|_| pools().client(&server.url()).expect("a client")).collect();
    let pooled = pools().client(&server.url()).expect("a client");
    pooled.get("/").await.expect("an answer");
    // One of each in turn, so that what else the machine does hits both alike; the median of each.
    let (mut alone, mut shared) = (Vec::new(), Vec::new());
    for client in fresh {
        alone.push(time(&client).await);
        shared.push(time(&pooled).await);
    }
    assert_eq!(server.connections(), CALLS + 1);
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (alone, shared) = (median(&mut alone), median(&mut shared));
    assert!(alone > shared * 3 / 2, "a new connection took {alone:?}, a pooled one {shared:?}");
    let ratio = alone.as_secs_f64() / shared.as_secs_f64();
    println!(
        "L9 held: {alone:?} with a new connection over TLS, {shared:?} with a pooled one, {ratio:.1} times as much"
    );
}

async fn time(client: &app_kernel::engine::http_client::HttpClient) -> Duration {
    let began = Instant::now();
    client.get("/").await.expect("an answer");
    began.elapsed()
}
