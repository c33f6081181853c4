//! Floods of logins, and what their times tell.

use std::time::{Duration, Instant};

use app_kernel::testing::{Answer, Client, TestDatabase};
use axum::http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::{address, sign_up, start};
use crate::support::program::Place;
use crate::support::{figure, is_full};

/// Logins that begin in a second.
const RATE: usize = 300;
/// What a flood may cost: a hash takes 19 MiB, and a thread that has hashed keeps them for a while. If all who knock were let in at once, it
/// would be 5 GiB for each second.
const MOST_MORE_MIB: u64 = 512;

/// The value in the middle, or another one further on.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn log_in_from(client: &Client, n: usize) -> impl Future<Output = (Answer, Duration)> + Send + use<> {
    let from = format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
    let client = client.clone().with_header("x-forwarded-for", &from);
    async move {
        let asked = Instant::now();
        let body = json!({ "email": format!("p{n}@example.com"), "password": "wrong horse" });
        let answer = client.post("/auth/login", body).await;
        (answer, asked.elapsed())
    }
}

/// The most memory that a process had, in MiB.
fn peak_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024
}

/// A crowd from everywhere that knows no password begins 300 logins each second, whether they are answered or not.
///
/// Promise
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_leaves_the_rest_alone_and_the_memory_bounded() {
    let logins = figure(300, 30 * RATE);
    let place = Place::new().with("DATABASE_URL", "sqlite:///app.db").with("TRUSTED_PROXIES", "127.0.0.1");
    let serving = place.with("JWT_SECRET", "a secret of the tests, long enough for all").serve();
    let client = Client::new(serving.url());
    // So that it has what it needs anyway.
    for n in 0..20 {
        assert_eq!(log_in_from(&client, 1 << 20 | n).await.0.status, 401);
    }
    let before = peak_mib(serving.id());
    let crowd = client.clone();
    let flood = tokio::spawn(async move {
        let mut under_way = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE as u32);
        for n in 0..logins {
            ticks.tick().await;
            under_way.spawn(log_in_from(&crowd, n));
        }
        under_way.join_all().await
    });
    let mut others = Vec::new();
    while !flood.is_finished() {
        let asked = Instant::now();
        client.get("/healthz").await.expect(200);
        others.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answers = flood.await.expect("no panic");
    for (answer, _) in &answers {
        assert!(answer.status == 401 || answer.status == 503 && answer.json()["code"] == "busy", "{answer:?}");
    }
    let tried: Vec<Duration> =
        answers.iter().filter(|(answer, _)| answer.status == 401).map(|(_, time)| *time).collect();
    let more = peak_mib(serving.id()).saturating_sub(before);
    let (count, p99, login) = (others.len(), percentile(others, 99), percentile(tried.clone(), 50));
    assert!(more <= MOST_MORE_MIB, "the flood took {more} MiB");
    assert!(p99 < login, "/healthz waits as long as a login: {p99:?} of {login:?}");
    println!(
        "R-24 held: {logins} logins at {RATE}/s, {} looked at, none failed; /healthz {count} times, p99 {p99:.1?}, a login {login:.1?}; {more} MiB more",
        tried.len()
    );
}

/// Medians of two that are asked in turn, for so many pairs; `settle` waits after each pair for what it set off.
async fn medians(pairs: usize, ask: impl AsyncFn(&str), settle: impl AsyncFn()) -> [Duration; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for pair in 0..pairs {
        // Whoever comes second may profit from the first.
        for which in [pair % 2, 1 - pair % 2] {
            let asked = Instant::now();
            ask(["ann", "nobody"][which]).await;
            times[which].push(asked.elapsed());
        }
        settle().await;
    }
    times.map(|times| percentile(times, 50))
}

/// Promise: R-24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_do_not_tell_who_exists() {
    let pairs = figure(15, 1000);
    let service = start(TestDatabase::sqlite().await).await;
    sign_up(&service, "ann").await.expect(201);
    service.mail_to(&address("ann")).await;
    let client = service.anonymous();
    let log_in = async |name: &str| {
        let body = json!({ "email": address(name), "password": "wrong horse" });
        client.post("/auth/login", body).await.expect_problem(401, "invalid_credentials");
        service.advance(Duration::from_secs(30));
    };
    log_in("ann").await;
    let logins = medians(pairs, log_in, async || {}).await;
    let request = async |name: &str| {
        let body = json!({ "email": address(name) }).to_string().into_bytes();
        let asked = client.send(Method::POST, "/auth/password-reset/request", Some("application/json"), body);
        asked.await.expect(202);
        service.advance(Duration::from_secs(13 * 60));
    };
    // Of each pair, one is known, and is written to.
    let mailed = async || drop(service.mail_to(&address("ann")).await);
    request("ann").await;
    mailed().await;
    let requests = medians(pairs, request, mailed).await;
    let mut told = Vec::new();
    for (what, [known, unknown]) in [("login", logins), ("password reset", requests)] {
        let ratio = known.as_secs_f64() / unknown.as_secs_f64();
        // A missing hash is a tenth of the time. In a few pairs on a busy machine, less than that says nothing.
        let bound = if is_full() { 1.05 } else { 4.0 };
        assert!((1.0 / bound..=bound).contains(&ratio), "{what}: known {known:?}, unknown {unknown:?}, {pairs} pairs");
        told.push(format!("{what} {known:.2?} and {unknown:.2?} ({:+.1} %)", 100.0 * (ratio - 1.0)));
    }
    println!("R-24 held: medians of {pairs} pairs, known and unknown: {}", told.join(", "));
}
