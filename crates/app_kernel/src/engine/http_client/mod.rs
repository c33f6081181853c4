//! Calls to other services over HTTP: `http_client("https://api.example.com")?.get("/v1/products").json().await?`.
//!
//! - Handles are cheap. All handles for one origin (scheme, host, port) share its connections and its breaker; a handle's
//!   headers and token are its own, so one pool serves many tenants and mixes nothing.
//! - Connections speak HTTP/2 where the server does, else HTTP/1.1; those that are idle for five minutes are closed.
//! - A call has a deadline for all of it and one for each try. Only what may safely arrive twice is tried again: GET, HEAD,
//!   OPTIONS, PUT, DELETE (RFC 9110, 9.2.2), or whatever has an `Idempotency-Key`.
//! - After failures in a row, nobody asks a server until a probe finds it back.
//! - A path leads nowhere but below the base URL, and redirects are answers like any other: no header reaches another host.
//! - Bodies are whole and bounded, in both directions; gzip is undone within the bound.

mod base_url;
mod body;
mod connect;
mod error;
mod pool;
mod request;
mod response;
mod retry;
mod send;

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, header};

use base_url::BaseUrl;
pub use error::{HttpError, HttpErrorKind};
pub use pool::{HttpPoolStats, HttpPools};
pub use request::HttpRequest;
pub use response::HttpResponse;
use send::Limits;

/// The pools of those who have no kernel at hand. They last as long as the process.
static POOLS: LazyLock<HttpPools> = LazyLock::new(HttpPools::new);

/// A client for the service at `base`, such as `https://api.example.com` or `https://api.example.com/v2`. Needs no setup;
/// where there is a kernel, [`Kernel::http_client`](crate::kernel::Kernel::http_client) closes its connections when it stops.
///
/// # Errors
/// `Invalid` where `base` is no such URL.
pub fn http_client(base: &str) -> Result<HttpClient, HttpError> {
    POOLS.client(base)
}

/// What the pools behind [`http_client`] have done, one line for each origin.
#[must_use]
pub fn http_pool_stats() -> Vec<HttpPoolStats> {
    POOLS.stats()
}

/// A handle to one service. Cheap to clone; it never needs to be closed.
#[derive(Clone)]
pub struct HttpClient {
    upstream: Arc<pool::Upstream>,
    base: BaseUrl,
    headers: HeaderMap,
    limits: Limits,
    /// What was wrong with a header that was given; told by each call.
    wrong: Option<String>,
}

impl HttpClient {
    fn new(upstream: Arc<pool::Upstream>, base: BaseUrl) -> Self {
        HttpClient { upstream, base, headers: HeaderMap::new(), limits: Limits::default(), wrong: None }
    }

    /// Sends this token with each call of this handle, as `Authorization: Bearer`.
    #[must_use]
    pub fn with_bearer_token(mut self, token: &str) -> Self {
        self.set_bearer_token(token);
        self
    }

    /// As [`HttpClient::with_bearer_token`].
    pub fn set_bearer_token(&mut self, token: &str) {
        self.set(AUTHORIZATION.as_str(), &format!("Bearer {token}"));
    }

    /// Sends this header with each call of this handle. It is never shown; a call that has one of this name sends its own instead.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// How long a call may take with all its tries and the waits in between; 30 s where nobody says so.
    #[must_use]
    pub fn with_timeout(mut self, total: Duration) -> Self {
        self.limits.total = total;
        self
    }

    /// How long one try may take, up to the end of its answer's body; 10 s where nobody says so.
    #[must_use]
    pub fn with_try_timeout(mut self, each: Duration) -> Self {
        self.limits.each = each;
        self
    }

    /// How often a call is tried at most, where it may be tried again at all; 3 where nobody says so. 1 never tries again.
    #[must_use]
    pub fn with_tries(mut self, tries: u32) -> Self {
        self.limits.tries = tries.max(1);
        self
    }

    /// How long an answer's body may be, in bytes and with its compression undone; 8 MiB where nobody says so.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.limits.most_bytes = bytes;
        self
    }

    /// A GET below the base URL: `/droplets` and `droplets` are the same. The path may have a query.
    pub fn get(&self, path: &str) -> HttpRequest {
        self.request(Method::GET, path)
    }

    /// A POST, see [`HttpClient::get`].
    pub fn post(&self, path: &str) -> HttpRequest {
        self.request(Method::POST, path)
    }

    /// A PUT, see [`HttpClient::get`].
    pub fn put(&self, path: &str) -> HttpRequest {
        self.request(Method::PUT, path)
    }

    /// A PATCH, see [`HttpClient::get`].
    pub fn patch(&self, path: &str) -> HttpRequest {
        self.request(Method::PATCH, path)
    }

    /// A DELETE, see [`HttpClient::get`].
    pub fn delete(&self, path: &str) -> HttpRequest {
        self.request(Method::DELETE, path)
    }

    /// A request of any method, see [`HttpClient::get`].
    pub fn request(&self, method: Method, path: &str) -> HttpRequest {
        HttpRequest::new(self, method, path)
    }

    /// What this client's origin was asked, by all handles.
    #[must_use]
    pub fn stats(&self) -> HttpPoolStats {
        self.upstream.stats()
    }

    fn set(&mut self, name: &str, value: &str) {
        if let Err(wrong) = set_header(&mut self.headers, name, value) {
            self.wrong.get_or_insert(wrong);
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("origin", &self.base.origin()).finish_non_exhaustive()
    }
}

/// Sets a header that nobody may see in `Debug`, and that HTTP/2 does not keep in its table. The value is not repeated in the error.
fn set_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let header =
        header::HeaderName::from_bytes(name.as_bytes()).map_err(|_| "a header's name is no name".to_owned())?;
    if [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(&header) {
        return Err(format!("the header `{header}` is the client's own; leave it out"));
    }
    let mut value = header::HeaderValue::from_str(value)
        .map_err(|_| format!("the value of the header `{header}` has characters that may not be in one"))?;
    value.set_sensitive(true);
    headers.insert(header, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-32
    #[tokio::test]
    async fn a_handle_shows_no_credentials_and_repeats_no_bad_ones() {
        let client = http_client("http://127.0.0.1:1").expect("a client").with_bearer_token("hunter2\n");
        let error = client.get("/").send().await.expect_err("a line break is no header");
        let told = format!("{client:?} {error} {error:?}");
        assert!(told.contains("`authorization`") && !told.contains("hunter2"), "{told}");

        let good = http_client("http://127.0.0.1:1").expect("a client").with_bearer_token("hunter2");
        assert!(!format!("{good:?} {:?} {:?}", good.headers, good.get("/")).contains("hunter2"));
    }

    #[tokio::test]
    async fn headers_that_frame_the_message_are_refused() {
        let client = http_client("http://127.0.0.1:1").expect("a client");
        for name in ["Host", "content-length", "Transfer-Encoding", "connection"] {
            let error = client.get("/").header(name, "1").send().await.expect_err("ours");
            assert!(error.to_string().contains("is the client's own"), "{error}");
        }
    }
}
