//! A small HTTP client for tests. Its answers fail the test with all there is to know.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;

/// Somebody who talks to a service.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http<HttpConnector, Full<bytes::Bytes>>,
    url: String,
    headers: HeaderMap,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for messages.
    pub(super) asked: String,
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: bytes::Bytes,
}

impl Client {
    /// Talks to the server at `http://host:port`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Client { http: Http::builder(TokioExecutor::new()).build_http(), url: url.into(), headers: HeaderMap::new() }
    }

    /// The same, with a token in each request.
    ///
    /// # Panics
    /// Where the token can't be a header.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// The same, with a header in each request.
    ///
    /// # Panics
    /// Where the name or value can't be a header.
    #[must_use]
    pub fn with_header(self, name: &str, value: &str) -> Self {
        self.with_bytes(name, value.as_bytes())
    }

    /// The same, with a header that need not be text.
    ///
    /// # Panics
    /// Where the name or value can't be a header.
    #[must_use]
    pub fn with_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        self.headers.insert(name, HeaderValue::from_bytes(value).expect("a header's value"));
        self
    }

    /// The token it sends.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, Vec::new()).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None, Vec::new()).await
    }

    /// POST of a JSON body.
    pub async fn post(&self, path: &str, body: impl Serialize) -> Answer {
        self.send_json(Method::POST, path, body).await
    }

    /// PUT of a JSON body.
    pub async fn put(&self, path: &str, body: impl Serialize) -> Answer {
        self.send_json(Method::PUT, path, body).await
    }

    /// PATCH of a JSON body.
    pub async fn patch(&self, path: &str, body: impl Serialize) -> Answer {
        self.send_json(Method::PATCH, path, body).await
    }

    /// POST of a form.
    pub async fn post_form(&self, path: &str, form: &str) -> Answer {
        self.send(Method::POST, path, Some("application/x-www-form-urlencoded"), form.as_bytes().to_vec()).await
    }

    async fn send_json(&self, method: Method, path: &str, body: impl Serialize) -> Answer {
        let body = serde_json::to_vec(&body).expect("the test's body is JSON");
        self.send(method, path, Some("application/json"), body).await
    }

    /// Any request.
    ///
    /// # Panics
    /// Where no answer comes.
    // Boxed: the future of a long test has many of these, and the compiler looks into all that lie within it.
    pub fn send<'a>(
        &'a self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> BoxFuture<'a, Answer> {
        let asked = format!("{method} {path}");
        let answer = self.ask(method, path, content_type, body);
        Box::pin(async move {
            let (parts, body) = answer.await.into_parts();
            let body =
                body.collect().await.unwrap_or_else(|error| panic!("{asked} got half an answer: {error:?}")).to_bytes();
            Answer { asked, status: parts.status.as_u16(), headers: parts.headers, body }
        })
    }

    /// The same up to the head of the answer.
    pub(super) fn ask<'a>(
        &'a self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> BoxFuture<'a, Response<Incoming>> {
        let asked = format!("{method} {path}");
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let mut request = request.body(Full::new(body.into())).expect("the test's request is one");
        request.headers_mut().extend(self.headers.clone());
        Box::pin(async move {
            self.http.request(request).await.unwrap_or_else(|error| panic!("{asked} got no answer: {error:?}"))
        })
    }
}

impl Answer {
    /// Fails the test unless the status is this one.
    ///
    /// # Panics
    /// Where it is another; tells the body.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} was answered {}: {}", self.asked, self.status, self.text());
        self
    }

    /// Fails the test unless this is a problem document of this status and code, about this very request.
    ///
    /// # Panics
    /// Where it is anything else; tells the body.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
        let problem = answer.json();
        assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{problem}");
        assert_eq!(problem["request_id"].as_str(), answer.header("x-request-id"), "{problem}");
        answer
    }

    /// The pointers of the fields that a problem document names, in its order.
    ///
    /// # Panics
    /// Where the body is no JSON.
    #[track_caller]
    #[must_use]
    pub fn wrong_fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["pointer"].as_str().map(str::to_owned)).collect()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{} was not answered in JSON ({error}): {}", self.asked, self.text()))
    }

    /// The `id` of the entity in the body.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    #[must_use]
    pub fn id(&self) -> String {
        self.json()["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{} was answered without an id: {}", self.asked, self.text()))
            .to_owned()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, where it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
