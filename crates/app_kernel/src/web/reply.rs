//! Answers. The only place where an [`Error`] becomes a response: `application/problem+json` (RFC 9457), with a sentence
//! for the client and never a word about the inside. What is our fault is logged here, once, with its causes.

mod page;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, SchemaObject};
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::extract::Json;
use crate::base::error::Error;

pub use axum::response::NoContent;
pub(crate) use page::ErrorPage;

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The most fields that one answer names.
pub const MAX_FIELD_ERRORS: usize = 100;

/// What every error looks like (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct ProblemBody<'a> {
    /// Always `about:blank`: the status and the code say what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What went wrong, as a sentence for people.
    detail: &'a str,
    /// What went wrong, as a word for programs.
    code: &'a str,
    /// The request's identifier, as in the `X-Request-ID` header and the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// Every field that is wrong, where the problem is about fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ProblemField<'a>>,
    /// What some problems say beside.
    #[serde(flatten, serialize_with = "as_members")]
    #[schemars(skip)]
    members: &'a [(&'static str, String)],
}

fn as_members<S: serde::Serializer>(members: &&[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
}

/// What is wrong with one field.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProblemField")]
pub struct ProblemField<'a> {
    /// Where the field is, as a JSON Pointer (RFC 6901); for parameters, a slash and the name.
    pointer: &'a str,
    /// What is wrong with it: `is required`.
    detail: &'a str,
}

/// Rides on a response that was made from an [`Error`], so that [`complete`] can put the request's identifier into it.
/// Where nobody completes it, the error is logged without one when the response is gone.
#[derive(Debug, Clone)]
pub struct Problem(Arc<Pending>);

struct Pending {
    error: Error,
    write: Write,
    is_logged: AtomicBool,
}

/// Writes the body of an answer to an error.
type Write = Arc<dyn Fn(&Error, StatusCode, Option<&str>) -> Vec<u8> + Send + Sync>;

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl Pending {
    fn log_once(&self, request_id: Option<&str>) {
        if !self.is_logged.swap(true, Ordering::Relaxed) {
            log(&self.error, request_id);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.log_once(None);
    }
}

impl Problem {
    /// The word in `code`, for the request's log line.
    #[must_use]
    pub fn code(&self) -> &str {
        self.0.error.error_code()
    }
}

/// The response to an error.
#[must_use]
pub fn problem(error: &Error, request_id: Option<&str>) -> Response {
    log(error, request_id);
    render(error, request_id)
}

/// Puts the request's identifier into a response that was made from an [`Error`], and logs it where it is our fault.
/// Any other response passes as it is. The edge calls this for every response, before the body is compressed.
#[must_use]
pub fn complete(mut response: Response, request_id: &str) -> Response {
    let Some(Problem(pending)) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    pending.log_once(Some(request_id));
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from((pending.write)(&pending.error, status_of(&pending.error), Some(request_id)));
    response
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        pending(self, Arc::new(body))
    }
}

/// A response to an error that [`complete`] finishes.
fn pending(error: Error, write: Write) -> Response {
    let mut response = render(&error, None);
    *response.body_mut() = Body::from(write(&error, status_of(&error), None));
    let pending = Pending { error, write, is_logged: AtomicBool::new(false) };
    response.extensions_mut().insert(Problem(Arc::new(pending)));
    response
}

fn render(error: &Error, request_id: Option<&str>) -> Response {
    let status = status_of(error);
    let mut response = Response::new(Body::from(body(error, status, request_id)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(secs) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

/// A status that is no error's would tell the client that all went well.
fn status_of(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.http_status())
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn body(error: &Error, status: StatusCode, request_id: Option<&str>) -> Vec<u8> {
    let fields = error.field_errors().iter().take(MAX_FIELD_ERRORS);
    let problem = ProblemBody {
        kind: "about:blank",
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: error.message(),
        code: error.error_code(),
        request_id,
        errors: fields.map(|field| ProblemField { pointer: &field.pointer, detail: &field.message }).collect(),
        members: error.members(),
    };
    serde_json::to_vec(&problem).expect("a struct of texts and numbers can be written")
}

fn log(error: &Error, request_id: Option<&str>) {
    let status = status_of(error);
    if !status.is_server_error() {
        return;
    }
    tracing::error!(
        target: "app_kernel::error",
        request_id,
        status = status.as_u16(),
        code = error.error_code(),
        causes = causes(error),
        "{}",
        error.message()
    );
}

/// The chain of causes, the nearest first.
fn causes(error: &Error) -> Option<String> {
    let first = std::error::Error::source(error)?;
    let chain = std::iter::successors(Some(first), |cause| cause.source());
    Some(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Every operation may answer with a problem.
impl OperationOutput for Error {
    type Inner = ProblemBody<'static>;

    fn operation_response(_: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        let json_schema = super::openapi::output_schema::<ProblemBody<'static>>(operation);
        let media = MediaType {
            schema: Some(SchemaObject { json_schema, external_docs: None, example: None }),
            ..MediaType::default()
        };
        Some(aide::openapi::Response {
            description: "A problem".to_owned(),
            content: [(PROBLEM_JSON.to_owned(), media)].into_iter().collect(),
            ..aide::openapi::Response::default()
        })
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Self::operation_response(ctx, operation).map(|response| (None, response)).into_iter().collect()
    }
}

/// 202 without a body: it was understood, and is done beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Accepted;

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        StatusCode::ACCEPTED.into_response()
    }
}

impl OperationOutput for Accepted {
    type Inner = ();

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<aide::openapi::Response> {
        Some(aide::openapi::Response { description: "It is done beside the request".to_owned(), ..Default::default() })
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        let status = Some(StatusCode::ACCEPTED.as_u16());
        Self::operation_response(ctx, operation).map(|response| (status, response)).into_iter().collect()
    }
}

/// 201, with the thing that was made and where it lies now.
#[derive(Debug, Clone)]
pub struct Created<T> {
    location: Option<HeaderValue>,
    value: T,
}

impl<T> Created<T> {
    /// 201 with the thing itself.
    #[must_use]
    pub fn new(value: T) -> Self {
        Created { location: None, value }
    }

    /// Where it lies now: an absolute path such as `/api/v1/widgets/42`. Left out where it can't stand in a header.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<str>) -> Self {
        self.location = HeaderValue::from_str(path.as_ref()).ok();
        self
    }
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.value).into_response();
        if response.status() == StatusCode::OK {
            *response.status_mut() = StatusCode::CREATED;
            if let Some(location) = self.location {
                response.headers_mut().insert(LOCATION, location);
            }
        }
        response
    }
}

impl<T: JsonSchema> OperationOutput for Created<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        Json::<T>::operation_response(ctx, operation)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        Self::operation_response(ctx, operation).map(|response| (Some(201), response)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::body::to_bytes;
    use serde_json::{Value, json};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;
    use crate::base::error::ErrorKind;

    async fn json_of(response: Response) -> Value {
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Promise: A4
    #[tokio::test]
    async fn every_kind_of_error_has_one_shape() {
        let kinds = [
            (ErrorKind::Invalid, 400, "Bad Request", "invalid"),
            (ErrorKind::Unauthenticated, 401, "Unauthorized", "unauthenticated"),
            (ErrorKind::Forbidden, 403, "Forbidden", "forbidden"),
            (ErrorKind::NotFound, 404, "Not Found", "not_found"),
            (ErrorKind::Conflict, 409, "Conflict", "conflict"),
            (ErrorKind::TooManyRequests, 429, "Too Many Requests", "too_many_requests"),
            (ErrorKind::Unavailable, 503, "Service Unavailable", "unavailable"),
            (ErrorKind::Internal, 500, "Internal Server Error", "internal"),
        ];
        for (kind, status, title, code) in kinds {
            let response = Error::new(kind, "a sentence").into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers().contains_key(WWW_AUTHENTICATE), status == 401);
            let expected = json!({ "type": "about:blank", "title": title, "status": status, "detail": "a sentence", "code": code });
            assert_eq!(json_of(response).await, expected);
        }
    }

    /// Promise: A4, R-29
    #[tokio::test]
    async fn the_fields_that_are_wrong_stand_in_errors() {
        let error =
            Error::invalid("the body does not fit").field("/name", "is required").field("/tags/2", "must be a text");
        let response = error.into_response();
        assert_eq!(response.status(), 422);
        assert_eq!(
            json_of(response).await["errors"],
            json!([{ "pointer": "/name", "detail": "is required" }, { "pointer": "/tags/2", "detail": "must be a text" }])
        );
    }

    #[tokio::test]
    async fn completing_adds_the_request_id_and_keeps_the_head() {
        let error = Error::too_many_requests("slow down").retry_after_secs(7);
        let response = complete(error.into_response(), "req-1");
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        assert_eq!(json_of(response).await["request_id"], "req-1");
    }

    #[tokio::test]
    async fn a_problem_has_the_members_that_its_error_names() {
        let error = Error::unauthenticated("one more step").member("challenge", "c-1");
        assert_eq!(json_of(complete(error.into_response(), "req-1")).await["challenge"], "c-1");
    }

    #[tokio::test]
    async fn completing_leaves_other_responses_alone() {
        let response = complete("hello".into_response(), "req-1");
        assert_eq!(to_bytes(response.into_body(), 10).await.expect("a body"), "hello");
    }

    #[tokio::test]
    async fn a_status_that_is_no_error_becomes_500() {
        for status in [0, 200, 302, 9999] {
            assert_eq!(Error::conflict("odd").status(status).into_response().status(), 500);
        }
        assert_eq!(Error::conflict("pay first").status(402).into_response().status(), 402);
    }

    #[tokio::test]
    async fn the_cause_is_never_sent() {
        let response = Error::internal("saving failed").cause("password=hunter2").into_response();
        assert!(!json_of(complete(response, "r")).await.to_string().contains("hunter2"));
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            struct Text(String);
            impl tracing::field::Visit for Text {
                fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                    self.0 += &format!("{field}={value:?} ");
                }
            }
            let mut text = Text(format!("{} {} ", event.metadata().level(), event.metadata().target()));
            event.record(&mut text);
            self.0.lock().expect("a lock").push(text.0.trim_end().to_owned());
        }
    }

    fn logged(work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), work);
        lines.0.lock().expect("a lock").clone()
    }

    #[test]
    fn our_fault_is_logged_once_with_its_causes_and_the_request() {
        let broken = || Error::internal("saving failed").cause("disk on fire");
        let with_edge = logged(|| drop(complete(broken().into_response(), "req-1")));
        assert_eq!(
            with_edge,
            [
                "ERROR app_kernel::error message=saving failed request_id=\"req-1\" status=500 code=\"internal\" causes=\"disk on fire\""
            ]
        );
        let without_edge = logged(|| drop(broken().into_response()));
        assert_eq!(
            without_edge,
            ["ERROR app_kernel::error message=saving failed status=500 code=\"internal\" causes=\"disk on fire\""]
        );
        assert!(logged(|| drop(Error::conflict("taken").into_response())).is_empty());
    }
}
