//! One call, put together step by step. What is wrong with a step is told when it is sent.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::base_url::BaseUrl;
use super::error::{HttpError, HttpErrorKind};
use super::pool::Upstream;
use super::response::HttpResponse;
use super::send::{self, Call, Limits};
use super::{HttpClient, set_header};

/// A call. Awaiting it sends it, and answers with the response where its status is one of success (2xx).
#[must_use = "a call that is not awaited is not made"]
pub struct HttpRequest {
    upstream: Arc<Upstream>,
    base: BaseUrl,
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
    limits: Limits,
    wrong: Option<String>,
}

impl HttpRequest {
    pub(super) fn new(client: &HttpClient, method: Method, path: &str) -> Self {
        HttpRequest {
            upstream: Arc::clone(&client.upstream),
            base: client.base.clone(),
            method,
            path: path.to_owned(),
            query: None,
            headers: client.headers.clone(),
            body: Bytes::new(),
            limits: client.limits,
            wrong: client.wrong.clone(),
        }
    }

    /// Adds a query, percent-encoded: `&[("page", "2")]`, or any struct of plain values.
    pub fn query<T: Serialize + ?Sized>(mut self, query: &T) -> Self {
        match serde_urlencoded::to_string(query) {
            Ok(more) => match &mut self.query {
                Some(query) => {
                    query.push('&');
                    query.push_str(&more);
                }
                None => self.query = Some(more),
            },
            Err(_) => self.is_wrong("the query is no list of names and plain values"),
        }
        self
    }

    /// Sends this header, in place of one of that name which the handle has.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Err(wrong) = set_header(&mut self.headers, name, value) {
            self.is_wrong(&wrong);
        }
        self
    }

    /// Sends this token as `Authorization: Bearer`, in place of the handle's.
    pub fn bearer_token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Sends this `Idempotency-Key`: the server promises to do the thing once however often it arrives, so any method is tried again.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Sends this value as JSON.
    pub fn json_body<T: Serialize + ?Sized>(self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.typed_body("application/json", body.into()),
            Err(_) => self.but("the body can't be written as JSON"),
        }
    }

    /// Sends these values as an HTML form does.
    pub fn form_body<T: Serialize + ?Sized>(self, values: &T) -> Self {
        match serde_urlencoded::to_string(values) {
            Ok(body) => self.typed_body("application/x-www-form-urlencoded", body.into()),
            Err(_) => self.but("the form is no list of names and plain values"),
        }
    }

    /// Sends these bytes. Their type is said with [`HttpRequest::header`].
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// How long the call may take with all its tries, in place of the handle's limit.
    pub fn timeout(mut self, total: Duration) -> Self {
        self.limits.total = total;
        self
    }

    /// Sends it and answers what came, whatever its status.
    ///
    /// # Errors
    /// Where there is no answer, or it is too long.
    pub async fn send(self) -> Result<HttpResponse, HttpError> {
        let HttpRequest { upstream, base, method, path, query, headers, body, limits, wrong } = self;
        let uri = match wrong {
            Some(wrong) => Err(HttpErrorKind::Invalid(wrong)),
            None => base.join(&path, query.as_deref()),
        };
        let uri = uri.map_err(|kind| HttpError::new(kind, base.origin(), 0))?;
        send::perform(&upstream, Call { method, uri, headers, body, limits }).await
    }

    /// Sends it and reads the answer of a 2xx as JSON.
    ///
    /// # Errors
    /// Where there is no answer, its status is another, or its body is not of this shape.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, HttpError> {
        self.await?.json()
    }

    fn typed_body(mut self, content_type: &str, body: Bytes) -> Self {
        self.body = body;
        if self.headers.contains_key(CONTENT_TYPE) { self } else { self.header("content-type", content_type) }
    }

    fn but(mut self, wrong: &str) -> Self {
        self.is_wrong(wrong);
        self
    }

    /// The first thing that is wrong is told.
    fn is_wrong(&mut self, wrong: &str) {
        self.wrong.get_or_insert_with(|| wrong.to_owned());
    }
}

impl IntoFuture for HttpRequest {
    type Output = Result<HttpResponse, HttpError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.send().await?.error_for_status() })
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.base.origin();
        f.debug_struct("HttpRequest").field("method", &self.method).field("origin", &origin).finish_non_exhaustive()
    }
}
