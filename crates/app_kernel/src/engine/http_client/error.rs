//! Why a call to another service came to nothing.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

use crate::base::error::Error;

/// A call that came to nothing. It names the origin that was asked, never the path, the query, a header or a body: those may hold
/// secrets. As an [`Error`] that leaves a handler it is a 502, 503 or 504 that says nothing of whom we asked.
#[derive(Debug)]
pub struct HttpError {
    kind: HttpErrorKind,
    origin: String,
    tries: u32,
}

/// What went wrong.
#[derive(Clone)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// The call can't be made as it was put together; says what is wrong with it.
    Invalid(String),
    /// No connection, or it broke; in words.
    Unreachable(String),
    /// No whole answer within the time.
    TimedOut,
    /// Not asked: it failed several times in a row, and is asked again after this long.
    Away {
        /// How long nobody asks.
        retry_after: Duration,
    },
    /// Not asked: the service that would ask is stopping.
    Stopping,
    /// An answer, but none of success (2xx).
    Status {
        /// Its status.
        status: StatusCode,
        /// The first 4 KiB of its body. Not in any text of this error.
        body: Bytes,
        /// How long the server asks to wait: `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The answer's body is longer than it may be, in bytes.
    TooLong {
        /// The limit.
        most: usize,
    },
    /// The answer's body is not what it should be; in words, without its values.
    Unreadable(String),
}

impl HttpError {
    pub(super) fn new(kind: HttpErrorKind, origin: impl Into<String>, tries: u32) -> Self {
        HttpError { kind, origin: origin.into(), tries }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> &HttpErrorKind {
        &self.kind
    }

    /// The status of the answer, where there is one.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match &self.kind {
            HttpErrorKind::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The first 4 KiB of the answer's body, as text; empty where there is none.
    #[must_use]
    pub fn body(&self) -> String {
        match &self.kind {
            HttpErrorKind::Status { body, .. } => String::from_utf8_lossy(body).into_owned(),
            _ => String::new(),
        }
    }

    /// After how long a new call makes sense, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.kind {
            HttpErrorKind::Away { retry_after } => Some(*retry_after),
            HttpErrorKind::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// How often the server was asked.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = if self.origin.is_empty() { "the HTTP client" } else { &self.origin };
        write!(f, "{origin}: {}", self.kind)?;
        if self.tries > 1 {
            write!(f, " ({} tries)", self.tries)?;
        }
        Ok(())
    }
}

impl fmt::Display for HttpErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpErrorKind::Invalid(what) => f.write_str(what),
            HttpErrorKind::Unreachable(cause) => write!(f, "there is no answer: {cause}"),
            HttpErrorKind::TimedOut => f.write_str("there is no whole answer in time"),
            HttpErrorKind::Away { retry_after } => {
                let secs = secs_up(*retry_after);
                write!(f, "it failed several times in a row and is left alone; it is asked again in {secs} s")
            }
            HttpErrorKind::Stopping => f.write_str("this service is stopping and asks nobody any more"),
            HttpErrorKind::Status { status, retry_after: None, .. } => write!(f, "it answered {}", status.as_u16()),
            HttpErrorKind::Status { status, retry_after: Some(wait), .. } => {
                write!(f, "it answered {} and asks to wait {} s", status.as_u16(), secs_up(*wait))
            }
            HttpErrorKind::TooLong { most } => {
                write!(f, "its answer is longer than {most} bytes; `with_max_body` allows more")
            }
            HttpErrorKind::Unreadable(what) => f.write_str(what),
        }
    }
}

/// As it is shown: an answer's body stays out of logs.
impl fmt::Debug for HttpErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for HttpError {}

/// Whole seconds, never too few.
fn secs_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// For `?` in handlers: the client hears that another service failed, the log which one and how.
impl From<HttpError> for Error {
    fn from(cause: HttpError) -> Self {
        let away = |message| Error::unavailable(message);
        let error = match &cause.kind {
            HttpErrorKind::Invalid(_) => Error::internal("a call to another service could not be made"),
            HttpErrorKind::TimedOut => {
                away("another service that is needed here does not answer in time").status(504).code("upstream_timeout")
            }
            HttpErrorKind::Away { .. } | HttpErrorKind::Stopping => {
                away("another service that is needed here is away; try again later").code("upstream_away")
            }
            HttpErrorKind::Unreachable(_)
            | HttpErrorKind::Status { .. }
            | HttpErrorKind::TooLong { .. }
            | HttpErrorKind::Unreadable(_) => {
                away("another service that is needed here failed").status(502).code("upstream_failed")
            }
        };
        let error = match cause.kind {
            HttpErrorKind::Away { retry_after } => {
                error.retry_after_secs(u32::try_from(secs_up(retry_after)).unwrap_or(u32::MAX))
            }
            _ => error,
        };
        error.cause(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_a_handler_is_a_gateway_error_without_internals() {
        let status = |status, body: &'static str| HttpErrorKind::Status {
            status: StatusCode::from_u16(status).expect("a status"),
            body: Bytes::from_static(body.as_bytes()),
            retry_after: None,
        };
        let cases = [
            (status(401, "hunter2"), 502, "upstream_failed", None),
            (status(500, "hunter2"), 502, "upstream_failed", None),
            (HttpErrorKind::Unreachable("refused".to_owned()), 502, "upstream_failed", None),
            (HttpErrorKind::TooLong { most: 5 }, 502, "upstream_failed", None),
            (HttpErrorKind::TimedOut, 504, "upstream_timeout", None),
            (HttpErrorKind::Away { retry_after: Duration::from_millis(1500) }, 503, "upstream_away", Some(2)),
            (HttpErrorKind::Stopping, 503, "upstream_away", None),
            (HttpErrorKind::Invalid("the path is wrong".to_owned()), 500, "internal", None),
        ];
        for (kind, status, code, retry_after) in cases {
            let error = Error::from(HttpError::new(kind, "https://internal.example", 2));
            assert_eq!((error.http_status(), error.error_code(), error.retry_after()), (status, code, retry_after));
            assert!(!error.message().contains("internal.example") && !format!("{error:?}").contains("hunter2"));
            assert!(format!("{error:?}").contains("https://internal.example: "), "the log is told: {error:?}");
        }
    }
}
