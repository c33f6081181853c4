//! Servers that are slow, broken, busy or hostile.

use std::io::Write as _;
use std::time::{Duration, Instant};

use app_kernel::base::breaker::BreakerRule;
use app_kernel::engine::http_client::{HttpClient, HttpErrorKind, HttpPools};
use axum::http::Method;
use futures_util::future::join_all;

use super::raw_server::{Act, RawServer, say};

/// A breaker that stays out of the way.
const NEVER: BreakerRule = BreakerRule { failures: u32::MAX, pause: Duration::from_secs(1) };

fn client(server: &RawServer) -> HttpClient {
    HttpPools::new().with_breaker(NEVER).client(&server.url()).expect("a client")
}

/// Promise: L4, R-31
#[tokio::test]
async fn what_may_arrive_twice_is_tried_again_and_nothing_else_is() {
    for failure in [Act::Close, say("503 Busy", "", ""), say("500 Oops", "", "")] {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"] {
            let server = RawServer::start([failure.clone(), failure.clone(), say("200 OK", "", "")]).await;
            let method: Method = method.parse().expect("a method");
            let answer = client(&server).request(method.clone(), "/").body("x").send().await;
            let is_safe = !matches!(method.as_str(), "POST" | "PATCH");
            let went_well = answer.is_ok_and(|answer| answer.status() == 200);
            assert_eq!(
                (went_well, server.arrived().len()),
                (is_safe, if is_safe { 3 } else { 1 }),
                "{method} {failure:?}"
            );
        }
        let server = RawServer::start([failure.clone(), say("200 OK", "", "done")]).await;
        let answer = client(&server).post("/").body("pay").idempotency_key("k-1").await.expect("an answer");
        assert_eq!((answer.text().as_str(), server.arrived().len()), ("done", 2));
        assert!(
            server.arrived().iter().all(|request| request.contains("idempotency-key: k-1") && request.ends_with("pay"))
        );
    }
}

/// Promise: R-31
#[tokio::test]
async fn a_post_to_a_server_that_closes_arrives_once_also_on_a_connection_that_was_good() {
    let server = RawServer::start([say("200 OK", "", ""), Act::Close]).await;
    let client = client(&server);
    client.get("/warm").await.expect("an answer");
    for n in 1..=20 {
        let error = client.post("/pay").body("pay").await.expect_err("closed");
        assert!(matches!(error.kind(), HttpErrorKind::Unreachable(_)), "{error}");
        assert_eq!(server.arrived().len(), 1 + n, "one arrival each");
        assert_eq!(error.tries(), 1);
    }
    println!("R-31 held: 20 POSTs to a server that closes, 20 arrivals");
}

/// Promise: L4
#[tokio::test]
async fn tries_keep_their_distance() {
    // Waits are random, up to 200 ms and then up to 400; those of many calls together are never short.
    const CALLS: u32 = 16;
    let server = RawServer::start([say("500 Oops", "", "")]).await;
    let client = client(&server);
    let time = async || {
        let began = Instant::now();
        assert_eq!(client.get("/").send().await.expect("an answer").status(), 500);
        began.elapsed()
    };
    let times = join_all((0..CALLS).map(|_| time())).await;
    assert_eq!(server.arrived().len(), 3 * CALLS as usize);
    assert!(times.iter().sum::<Duration>() > CALLS * Duration::from_millis(100), "{times:?}");
}

/// Promise: L4, R-31
#[tokio::test]
async fn a_deadline_holds_against_silence_dripping_and_half_an_answer() {
    let half = Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nth".to_owned());
    for act in [Act::Silence, Act::Drip, half, Act::Say("HTTP/1.1 200".to_owned())] {
        let server = RawServer::start([act.clone()]).await;
        let began = Instant::now();
        let error = client(&server).post("/").timeout(Duration::from_millis(300)).await.expect_err("no whole answer");
        assert!(matches!(error.kind(), HttpErrorKind::TimedOut), "{act:?}: {error}");
        assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(10));
        // A try that may be repeated ends by its own time, and all tries by the call's.
        let patient =
            client(&server).with_try_timeout(Duration::from_millis(100)).with_timeout(Duration::from_secs(20));
        let error = patient.get("/").await.expect_err("no whole answer");
        assert_eq!(error.tries(), 3, "{act:?}");
    }
}

/// Promise: R-31
#[tokio::test]
async fn a_deadline_holds_for_all_tries_together() {
    let server = RawServer::start([Act::Silence]).await;
    let (began, secs) = (Instant::now(), Duration::from_secs);
    let patient = client(&server).with_tries(5).with_try_timeout(Duration::from_millis(1900)).with_timeout(secs(2));
    let error = patient.get("/").await.expect_err("no answer");
    assert!(matches!(error.kind(), HttpErrorKind::TimedOut), "{error}");
    // Five tries would take nine seconds and a half.
    assert!(began.elapsed() < secs(9), "{:?} for {} tries", began.elapsed(), error.tries());
}

/// Promise: L4, R-31
#[tokio::test]
async fn a_server_is_waited_for_as_long_as_it_asks_unless_that_is_too_long() {
    for status in ["503 Busy", "429 Slow down"] {
        let server = RawServer::start([say(status, "retry-after: 1\r\n", ""), say("200 OK", "", "")]).await;
        let began = Instant::now();
        client(&server).get("/").await.expect("an answer");
        assert!(began.elapsed() >= Duration::from_secs(1), "it asked for a second");
        assert_eq!(server.arrived().len(), 2);

        let server = RawServer::start([say(status, "retry-after: 3600\r\n", "")]).await;
        let began = Instant::now();
        let error = client(&server).get("/").await.expect_err("it asks for an hour");
        assert_eq!((error.retry_after(), server.arrived().len()), (Some(Duration::from_secs(3600)), 1));
        assert!(began.elapsed() < Duration::from_secs(20), "nobody waits for that");
        assert!(error.to_string().contains("asks to wait 3600 s"), "{error}");
    }
}

/// Promise
#[tokio::test]
async fn a_flood_and_a_bomb_stop_at_the_limit() {
    let server = RawServer::start([Act::Flood]).await;
    let error = client(&server).with_max_body(100_000).get("/").await.expect_err("too much");
    assert!(matches!(error.kind(), HttpErrorKind::TooLong { most: 100_000 }), "{error}");
    assert_eq!((error.tries(), server.arrived().len()), (1, 1), "it would be too long again");

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b'a'; 1_000_000]).expect("memory");
    let packed = packed.finish().expect("memory");
    let router = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| async move {
        assert_eq!(headers["accept-encoding"], "gzip");
        ([("content-encoding", "gzip")], packed)
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it has one"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = HttpPools::new().client(&url).expect("a client");
    let answer = client.get("/").await.expect("it is within the limit");
    assert_eq!((answer.bytes().len(), answer.header("content-encoding")), (1_000_000, None));
    let error = client.with_max_body(100_000).get("/").await.expect_err("unpacked it is too much");
    assert!(matches!(error.kind(), HttpErrorKind::TooLong { .. }), "{error}");
}

/// Promise: L5, R-31
#[tokio::test]
async fn a_breaker_opens_after_failures_in_a_row_and_one_probe_goes_through_in_each_period() {
    let pause = Duration::from_secs(2);
    let server = RawServer::start([say("503 Busy", "", "")]).await;
    let pools = HttpPools::new().with_breaker(BreakerRule { failures: 5, pause });
    let client = pools.client(&server.url()).expect("a client");
    for _ in 0..5 {
        client.post("/").await.expect_err("busy");
    }
    assert!(client.stats().is_breaker_open);
    let error = client.get("/").await.expect_err("left alone");
    assert!(matches!(error.kind(), HttpErrorKind::Away { .. }), "{error}");
    assert_eq!((server.arrived().len(), error.tries()), (5, 0), "it was not asked");
    assert!(error.to_string().contains("it is asked again in ") && error.retry_after() <= Some(pause), "{error}");

    // While the probe is under way nobody else asks; and of those who come after the pause together, one asks.
    server.now_does(Act::Silence);
    let periods = crate::support::figure(2, 10);
    for period in 1..=periods {
        tokio::time::sleep(pause).await;
        let crowd: Vec<_> =
            (0..50).map(|_| tokio::spawn(client.post("/").timeout(Duration::from_secs(1)).send())).collect();
        for call in crowd {
            call.await.expect("no panic").expect_err("no answer");
        }
        assert_eq!(server.arrived().len(), 5 + period, "one probe");
    }
    let probed = 5 + periods;

    // A probe that nobody waits for any more makes room for the next.
    tokio::time::sleep(pause).await;
    let dropped = tokio::spawn(client.post("/").send());
    while server.arrived().len() < probed + 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    dropped.abort();
    let _ = dropped.await;
    server.now_does(say("200 OK", "", ""));
    client.post("/").await.expect("the probe was good");
    assert!(!client.stats().is_breaker_open);
    client.post("/").await.expect("an answer");
    assert_eq!(server.arrived().len(), probed + 3);
    println!("R-31 held: {periods} half-open periods with 50 calls each, 1 probe in each");
}

#[tokio::test]
async fn an_answer_that_is_a_bug_of_the_server_opens_no_breaker() {
    let server = RawServer::start([say("500 Oops", "", "")]).await;
    let client = HttpPools::new().client(&server.url()).expect("a client");
    for _ in 0..20 {
        client.post("/").await.expect_err("oops");
    }
    let stats = client.stats();
    assert_eq!(
        (stats.is_breaker_open, stats.requests, stats.failures, stats.retries, stats.refused),
        (false, 20, 20, 0, 0)
    );
}
