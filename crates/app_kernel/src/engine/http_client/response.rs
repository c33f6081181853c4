//! What another service answered.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{StatusCode, Version};
use serde::de::DeserializeOwned;

use super::error::{HttpError, HttpErrorKind};
use super::retry;
use crate::base::clock::Clock;

/// How much of a body goes into an error.
const EXCERPT_BYTES: usize = 4096;

/// A whole answer.
#[derive(Clone)]
pub struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) origin: String,
    pub(super) tries: u32,
}

impl HttpResponse {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Which HTTP it came by.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The headers; without `Content-Encoding` and `Content-Length` where compression was undone.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header as text; none where it is absent or no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body as text; what is no UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// `Unreadable` where it is no JSON or not of this shape; tells the place, not the values.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|cause| {
            let what = if cause.is_data() { "JSON of another shape" } else { "no JSON" };
            let place = format!("its answer is {what}, at line {} column {}", cause.line(), cause.column());
            HttpError::new(HttpErrorKind::Unreadable(place), &self.origin, self.tries)
        })
    }

    /// The answer, if its status is one of success (2xx).
    ///
    /// # Errors
    /// `Status` where it is not.
    pub fn error_for_status(self) -> Result<Self, HttpError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let retry_after = self.retry_after();
        let body = self.body.slice(..self.body.len().min(EXCERPT_BYTES));
        Err(HttpError::new(HttpErrorKind::Status { status: self.status, body, retry_after }, self.origin, self.tries))
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry::retry_after(&self.headers, Clock::system().now())
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.body.len();
        f.debug_struct("HttpResponse").field("status", &self.status).field("bytes", &bytes).finish_non_exhaustive()
    }
}
