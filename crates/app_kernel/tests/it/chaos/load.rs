//! Clients that ask at a steady pace, whatever becomes of their requests: how long each answer took, and what it was.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::MissedTickBehavior;

/// Longer than any answer may take: a request without one by then counts as never answered.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request and what came of it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// When it was sent, since the load began.
    pub(super) at: Duration,
    /// How long the whole answer took.
    pub(super) took: Duration,
    /// None where there was no whole answer.
    pub(super) status: Option<u16>,
    /// Whether the answer says after how long to come again.
    pub(super) says_when: bool,
}

/// Somebody who asks for one thing over and over.
#[derive(Debug, Clone)]
pub(super) struct Load {
    http: Http<HttpConnector, Full<Bytes>>,
    requests: Vec<(Method, String)>,
    headers: HeaderMap,
}

impl Load {
    /// Asks for these in turn, each a method and a whole address.
    pub(super) fn new(requests: Vec<(Method, String)>) -> Self {
        // Connections that idle for long may be closed at the other end just as they are used again.
        let mut http = Http::builder(TokioExecutor::new());
        let http = http.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(2)).build_http();
        Load { http, requests, headers: HeaderMap::new() }
    }

    /// The same, with a connection for each request.
    pub(super) fn without_reuse(mut self) -> Self {
        self.http = Http::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        self
    }

    /// The same, with a header in each request.
    pub(super) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().expect("a header's value"));
        self
    }

    /// So many requests in a second for this time; then waits for what is still under way.
    pub(super) async fn run(&self, per_second: usize, time: Duration) -> Vec<Asked> {
        let count = (time.as_secs_f64() * per_second as f64) as usize;
        self.run_while(per_second, |sent| sent < count).await
    }

    /// The same, until it is told to stop; it tells how many it has sent.
    pub(super) async fn run_while(&self, per_second: usize, goes_on: impl Fn(usize) -> bool) -> Vec<Asked> {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second as u32);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let began = Instant::now();
        let mut under_way = Vec::new();
        while goes_on(under_way.len()) {
            pace.tick().await;
            let (load, n) = (self.clone(), under_way.len());
            under_way.push(tokio::spawn(async move { load.ask(n, began).await }));
        }
        let mut all = Vec::with_capacity(under_way.len());
        for asked in under_way {
            all.push(asked.await.expect("asking does not panic"));
        }
        all
    }

    /// The request of this number.
    pub(super) async fn ask(&self, n: usize, began: Instant) -> Asked {
        let (method, address) = &self.requests[n % self.requests.len()];
        let request = Request::builder().method(method.clone()).uri(address);
        let mut request = request.body(Full::new(Bytes::new())).expect("a request");
        request.headers_mut().extend(self.headers.clone());
        let (at, sent) = (began.elapsed(), Instant::now());
        let answer = tokio::time::timeout(PATIENCE, async {
            let answer = self.http.request(request).await.ok()?;
            let (parts, body) = answer.into_parts();
            body.collect().await.ok().map(|_| (parts.status.as_u16(), says_when(&parts.headers)))
        })
        .await;
        let answer = answer.ok().flatten();
        let (status, says_when) = answer.map_or((None, false), |(status, says_when)| (Some(status), says_when));
        Asked { at, took: sent.elapsed(), status, says_when }
    }
}

fn says_when(headers: &HeaderMap) -> bool {
    headers.get("retry-after").is_some_and(|value| value.to_str().is_ok_and(|secs| secs.parse::<u32>().is_ok()))
}

/// What ninety-nine of a hundred answers took at most.
pub(super) fn p99(all: &[Asked]) -> Duration {
    let mut times: Vec<Duration> = all.iter().map(|asked| asked.took).collect();
    times.sort();
    times[(times.len() * 99).div_ceil(100).max(1) - 1]
}

/// How often each status came; 0 stands for no answer.
pub(super) fn statuses(all: &[Asked]) -> std::collections::BTreeMap<u16, usize> {
    let mut statuses = std::collections::BTreeMap::new();
    for asked in all {
        *statuses.entry(asked.status.unwrap_or(0)).or_default() += 1;
    }
    statuses
}
