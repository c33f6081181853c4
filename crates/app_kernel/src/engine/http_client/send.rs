//! Sends a call: tries, waits, and the deadline over all of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use tokio::time::{sleep, timeout};

use super::body;
use super::error::{HttpError, HttpErrorKind};
use super::pool::{Upstream, one_more};
use super::response::HttpResponse;
use super::retry::{self, Outcome};
use crate::engine::carried;
use crate::engine::outbound::chain;

/// What a call may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// With all tries and waits.
    pub(super) total: Duration,
    /// One try.
    pub(super) each: Duration,
    pub(super) tries: u32,
    /// Of an answer's body.
    pub(super) most_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let (total, each) = (Duration::from_secs(30), Duration::from_secs(10));
        Limits { total, each, tries: 3, most_bytes: 8 * 1024 * 1024 }
    }
}

/// A call that can be sent, as often as it takes.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) limits: Limits,
}

type Tried = Result<HttpResponse, HttpErrorKind>;

/// Sends it, again where that is safe and may help, and answers with what came last.
pub(super) async fn perform(upstream: &Upstream, mut call: Call) -> Result<HttpResponse, HttpError> {
    let began = Instant::now();
    let left = || call.limits.total.saturating_sub(began.elapsed());
    one_more(&upstream.counts.requests);
    complete(&mut call.headers);
    let most_tries = if retry::may_arrive_twice(&call.method, &call.headers) { call.limits.tries } else { 1 };

    let mut tried = try_once(upstream, &call, left()).await;
    let mut tries = u32::from(!matches!(tried, Err(HttpErrorKind::Away { .. } | HttpErrorKind::Stopping)));
    while tries < most_tries {
        let Some(wait) = retry::wait(outcome(&tried), retry::BACKOFF.wait(tries), left()) else { break };
        sleep(wait).await;
        match try_once(upstream, &call, left()).await {
            // The failure before says more.
            Err(HttpErrorKind::Away { .. } | HttpErrorKind::Stopping) => break,
            next => tried = next,
        }
        one_more(&upstream.counts.retries);
        tries += 1;
    }

    // Neither path nor query nor headers: any of them may hold a secret.
    let (origin, method, elapsed_ms) = (&upstream.origin, &call.method, began.elapsed().as_millis());
    match tried {
        Ok(mut response) => {
            response.tries = tries;
            let status = response.status.as_u16();
            tracing::debug!(%method, origin, status, tries, elapsed_ms, "{method} {origin} answered {status}");
            Ok(response)
        }
        Err(kind) => {
            tracing::debug!(%method, origin, tries, elapsed_ms, cause = %kind, "{method} {origin} came to nothing");
            Err(HttpError::new(kind, origin, tries))
        }
    }
}

/// What every request says, where nobody said otherwise.
fn complete(headers: &mut HeaderMap) {
    for (name, value) in carried::headers() {
        headers.entry(name).or_insert(value);
    }
    let usual =
        [(ACCEPT, "*/*"), (ACCEPT_ENCODING, "gzip"), (USER_AGENT, concat!("app_kernel/", env!("CARGO_PKG_VERSION")))];
    for (name, value) in usual {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn outcome(tried: &Tried) -> Outcome {
    match tried {
        Ok(response) => retry::outcome_of_status(response.status, response.retry_after()),
        Err(kind) => retry::outcome_of_failure(kind),
    }
}

async fn try_once(upstream: &Upstream, call: &Call, left: Duration) -> Tried {
    let transport = upstream.transport()?;
    let under_way = upstream.admit()?;
    let exchange = async {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = call.uri.clone();
        *request.headers_mut() = call.headers.clone();
        let response = transport.request(request).await.map_err(|cause| HttpErrorKind::Unreachable(chain(&cause)))?;
        let (mut head, body) = response.into_parts();
        let body = body::read(body, &mut head.headers, call.limits.most_bytes).await?;
        let (status, version, headers) = (head.status, head.version, head.headers);
        Ok(HttpResponse { status, version, headers, body, origin: upstream.origin.clone(), tries: 1 })
    };
    let tried = timeout(left.min(call.limits.each), exchange).await.unwrap_or(Err(HttpErrorKind::TimedOut));
    if matches!(&tried, Ok(response) if response.status.is_server_error()) || tried.is_err() {
        one_more(&upstream.counts.failures);
    }
    if is_away(&tried) {
        under_way.failed()
    } else {
        under_way.answered()
    }
    tried
}

/// Whether the server as a whole is away. A 500 is not: one route that fails, perhaps for one caller's input, shuts nobody out.
fn is_away(tried: &Tried) -> bool {
    match tried {
        Ok(response) => [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]
            .contains(&response.status),
        Err(kind) => matches!(kind, HttpErrorKind::Unreachable(_) | HttpErrorKind::TimedOut),
    }
}
