//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a write that carries one is done once, however often it is sent. What comes
//! again gets the answer of the first, with `Idempotency-Replayed: true`.
//!
//! - For POST, PUT, PATCH and DELETE of all routes but those that answer tokens: `/auth` and API keys. Other methods do nothing twice anyway.
//! - A key belongs to who asks (API key, user, else the client address), the method and the path. With another query, workspace or body it is
//!   refused: 422 `idempotency_key_reused`.
//! - The write runs to its end even if the client leaves, so that whoever comes back finds its answer. Who comes while it runs waits a moment,
//!   then gets 409 `idempotency_in_progress` and `Retry-After`.
//! - Answers of 500 and more are not kept, nor those that say nothing of the write itself (401, 408, 413, 425, 429): it may be tried again.
//! - Where the process was killed in between, nobody knows whether the write took effect: 409 `idempotency_outcome_unknown`, and it is not done again.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED, LINK,
    LOCATION,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::future::{BoxFuture, Either, select};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tower::{Layer, Service};

use super::middleware::catch_panic;
use crate::base::caller::Caller;
use crate::base::error::{Error, Result};
use crate::engine::idempotency::{Answer, Answers, Attempt, Known, Write};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
static X_WORKSPACE_ID: HeaderName = HeaderName::from_static("x-workspace-id");

/// The longest key, in bytes.
const LONGEST_KEY: usize = 255;
/// The longest answer that is kept, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// How long somebody waits for the same write of somebody else, and how often it is looked for.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);
/// What is kept of an answer's head. The rest belongs to one exchange, such as its id, or must not be said twice, such as cookies.
const KEPT_HEADERS: [HeaderName; 8] =
    [CONTENT_TYPE, CONTENT_LANGUAGE, CONTENT_DISPOSITION, LOCATION, ETAG, LAST_MODIFIED, LINK, CACHE_CONTROL];

/// Says in a request that its key is looked after.
#[derive(Debug, Clone, Copy)]
struct LookedAfter;

/// The key of a write; none where it has none, or is no write.
///
/// # Errors
/// Where it is no key.
pub(in crate::web) fn key_of(parts: &Parts) -> Result<Option<String>> {
    let mut lines = parts.headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next().filter(|_| is_write(&parts.method)) else { return Ok(None) };
    let text = line.to_str().unwrap_or_default().trim();
    // As the draft writes it, and as most clients do.
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_key =
        |text: &str| !text.is_empty() && text.len() <= LONGEST_KEY && text.bytes().all(|b| b.is_ascii_graphic());
    if lines.next().is_some() || !is_key(bare) {
        let message = format!(
            "`Idempotency-Key` must be there once, with 1 to {LONGEST_KEY} visible ASCII characters; a new UUID for each write is a good one"
        );
        return Err(Error::invalid(message).code("invalid_idempotency_key"));
    }
    Ok(Some(bare.to_owned()))
}

fn is_write(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method)
}

/// A write that carries a key.
pub(in crate::web) struct Keyed {
    pub(in crate::web) key: String,
    /// Who asks: `user 0198…`.
    pub(in crate::web) who: String,
    /// The path, which is the same at the prefix and at the root.
    pub(in crate::web) path: String,
    pub(in crate::web) request_id: String,
}

/// Who a key belongs to.
pub(in crate::web) fn owner(caller: &Caller, client: std::net::IpAddr) -> String {
    match (caller.api_key_id(), caller.user_id()) {
        (Some(key), _) => format!("key {key}"),
        (None, Some(user)) => format!("user {user}"),
        (None, None) => format!("address {}", super::edge::subscriber(client)),
    }
}

/// Does a write once, or answers as it was answered.
pub(in crate::web) async fn once(answers: &Arc<Answers>, router: &Router, request: Request, keyed: Keyed) -> Response {
    let (mut parts, body) = request.into_parts();
    // Why it could not be read, the edge knows.
    let Ok(body) = body.collect().await else {
        return Error::invalid("the body could not be read to its end").into_response();
    };
    let body = body.to_bytes();
    let Keyed { key, who, path, request_id } = keyed;
    let header = |name: &HeaderName| parts.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let content = [query, header(&X_WORKSPACE_ID), header(&CONTENT_TYPE), &body];
    let write = Write::new(&format!("{who} {} {path}", parts.method), &key, &content);
    let attempt = match begin(answers, &write).await {
        Ok(attempt) => attempt,
        Err(response) => return *response,
    };
    parts.extensions.insert(LookedAfter);
    let request = Request::from_parts(parts, Body::from(body));
    let (answers, router) = (Arc::clone(answers), router.clone());
    // In a task of its own: it goes on when the client leaves.
    let run = tokio::spawn(async move { run(&answers, router, request, attempt, &request_id).await });
    run.await.unwrap_or_else(|_stopped| Error::unavailable("the service is stopping").into_response())
}

/// The attempt that is ours; else the answer.
async fn begin(answers: &Answers, write: &Write) -> Result<Attempt, Box<Response>> {
    let began = tokio::time::Instant::now();
    let mut known = answers.begin(write).await;
    let refusal = loop {
        match known {
            Ok(Known::New(attempt)) => return Ok(attempt),
            Ok(Known::Done(answer)) => return Err(Box::new(replay(answer))),
            Ok(Known::Running) if began.elapsed() < PATIENCE => {
                tokio::time::sleep(LOOK).await;
                known = match answers.look(write).await {
                    Ok(Some(known)) => Ok(known),
                    // The other one failed, and left it to the next.
                    Ok(None) => answers.begin(write).await,
                    Err(error) => Err(error),
                };
            }
            Ok(Known::Running) => {
                let message = "the same write, with this `Idempotency-Key`, is still under way; ask again in a moment";
                break Error::conflict(message).code("idempotency_in_progress").retry_after_secs(1);
            }
            Ok(Known::Unknown) => {
                let message = "the process that did this write ended before it answered, so nobody knows whether it took effect; \
                               look, and if it did not, send it with a new `Idempotency-Key`";
                break Error::conflict(message).code("idempotency_outcome_unknown");
            }
            Ok(Known::DoneWithout) => {
                let message = "this write was done, but its answer can't be told again: it was too long to be kept, or JWT_SECRET has changed";
                break Error::conflict(message).code("idempotency_answer_not_kept");
            }
            Ok(Known::Another) => {
                let message = "this `Idempotency-Key` belongs to another request: its query, workspace or body differ; use a new key for each write";
                break Error::invalid(message).status(422).code("idempotency_key_reused");
            }
            Err(error) => break error,
        }
    };
    Err(Box::new(refusal.into_response()))
}

/// Does it, keeps the answer, then gives it.
async fn run(answers: &Answers, router: Router, request: Request, attempt: Attempt, request_id: &str) -> Response {
    let mut router = router;
    let asked = std::pin::pin!(async move {
        let Ok(response) = router.call(request).await;
        response
    });
    let answered = catch_panic::catch(asked);
    let alive = std::pin::pin!(answers.keep_alive(&attempt));
    let answered = match select(answered, alive).await {
        Either::Left((answered, _)) => answered,
        Either::Right((never, _)) => match never {},
    };
    let response = answered.unwrap_or_else(|panic| panic.answer(request_id));
    let (response, kept) = if says_nothing_of_the_write(response.status()) {
        (response, answers.forget(&attempt).await)
    } else {
        let (response, answer) = take_down(response).await;
        (response, answers.keep(&attempt, answer.as_ref()).await)
    };
    if let Err(error) = kept {
        tracing::error!(request_id, cause = ?error, "a write is done and its answer could not be kept; under its Idempotency-Key it is not done again");
    }
    response
}

/// Answers after which the write may be tried again.
fn says_nothing_of_the_write(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 401 | 408 | 413 | 425 | 429)
}

/// An answer, and what is kept of it: nothing where it is long, or nobody knows how long it will be.
async fn take_down(response: Response) -> (Response, Option<Answer>) {
    if response.body().size_hint().upper().is_none_or(|bytes| bytes > LONGEST_ANSWER) {
        return (response, None);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await else {
        let error = Error::internal("the answer broke off before its end");
        return (error.into_response(), None);
    };
    let body = body.to_bytes();
    let header = |name: &HeaderName| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned()));
    let headers = KEPT_HEADERS.iter().filter_map(header).collect();
    let answer = Answer { status: parts.status.as_u16(), headers, body: body.to_vec() };
    (Response::from_parts(parts, Body::from(body)), Some(answer))
}

fn replay(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            headers.insert(name, value);
        }
    }
    headers.remove(CONTENT_LENGTH);
    headers.insert(&IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    response
}

/// Routes whose writes must carry an `Idempotency-Key`, as a layer around them: without one they answer 400 `idempotency_key_missing`.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # async fn pay() {}
/// # fn service(config: ServiceConfig) -> Service {
/// Service::new("shop", config).route("/payments", post(pay).layer(RequireIdempotencyKey))
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RequireIdempotencyKey;

impl Layer<Route> for RequireIdempotencyKey {
    type Service = RequiringIdempotencyKey;

    fn layer(&self, route: Route) -> RequiringIdempotencyKey {
        RequiringIdempotencyKey(route)
    }
}

/// A route whose writes must carry a key.
#[derive(Debug, Clone)]
pub struct RequiringIdempotencyKey(Route);

impl Service<Request> for RequiringIdempotencyKey {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let refusal = match (is_write(request.method()), request.headers().contains_key(&IDEMPOTENCY_KEY)) {
            (true, false) => Error::invalid(
                "this write must carry an `Idempotency-Key`, so that it can be sent again safely; a new UUID is a good one",
            )
            .code("idempotency_key_missing"),
            (true, true) if request.extensions().get::<LookedAfter>().is_none() => Error::unavailable(
                "this write must be done once, and keys are not looked after here: set DATABASE_URL, and IDEMPOTENCY_ENABLED to true",
            ),
            _ => return Box::pin(self.0.call(request)),
        };
        Box::pin(std::future::ready(Ok(refusal.into_response())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(method: &str, lines: &[&str]) -> Result<Option<String>> {
        let mut request = Request::builder().method(method);
        for line in lines {
            request = request.header(&IDEMPOTENCY_KEY, *line);
        }
        key_of(&request.body(Body::empty()).expect("a request").into_parts().0)
    }

    #[test]
    fn a_key_may_be_bare_or_in_quotes() {
        for text in ["8e03978e-40d5-43dd-bc93-6894a57f9324", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\""] {
            assert_eq!(key("POST", &[text]).expect("a key").as_deref(), Some("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        }
        assert_eq!(key("POST", &[]).expect("none"), None);
        assert_eq!(key("GET", &["x"]).expect("no write"), None);
        for lines in [&[""][..], &["\"\""], &["a b"], &["é"], &["a", "a"], &["x".repeat(256).as_str()]] {
            let error = key("PATCH", lines).expect_err("no key");
            assert_eq!((error.http_status(), error.error_code()), (400, "invalid_idempotency_key"), "{lines:?}");
        }
    }

    #[test]
    fn answers_that_say_nothing_of_the_write_are_not_kept() {
        let again: Vec<u16> =
            (200..600).filter(|n| says_nothing_of_the_write(StatusCode::from_u16(*n).expect("a status"))).collect();
        assert_eq!(again, [[401, 408, 413, 425, 429].as_slice(), &(500..600).collect::<Vec<u16>>()].concat());
    }
}
