//! Whether a call is tried again, and when. Pure: no clock, no I/O.

use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Method, StatusCode};
use jiff::fmt::rfc2822;

use super::error::HttpErrorKind;
use crate::base::backoff::Backoff;
use crate::base::clock::Timestamp;

/// The waits between tries.
pub(super) const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(5) };

/// What became of a try, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is as it is.
    Final,
    /// It may go better next time.
    Failed {
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
}

/// Whether a request may arrive twice (RFC 9110, 9.2.2; TRACE is never sent). The key makes any method such a one.
pub(super) fn may_arrive_twice(method: &Method, headers: &HeaderMap) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE].contains(method)
        || headers.contains_key("idempotency-key")
}

/// What an answer means for a next try: the server failed, or says when to come back. A 501 fails each time.
pub(super) fn outcome_of_status(status: StatusCode, retry_after: Option<Duration>) -> Outcome {
    match status {
        StatusCode::TOO_MANY_REQUESTS if retry_after.is_some() => Outcome::Failed { retry_after },
        StatusCode::NOT_IMPLEMENTED => Outcome::Final,
        status if status.is_server_error() => Outcome::Failed { retry_after },
        _ => Outcome::Final,
    }
}

/// What a failure means for a next try.
pub(super) fn outcome_of_failure(kind: &HttpErrorKind) -> Outcome {
    match kind {
        HttpErrorKind::Unreachable(_) | HttpErrorKind::TimedOut => Outcome::Failed { retry_after: None },
        _ => Outcome::Final,
    }
}

/// How long to wait before the next try; none where there is none. `jitter` is what the backoff says, and `left` what there is of the
/// time for the whole call: a server that wants more than that is not waited for.
pub(super) fn wait(outcome: Outcome, jitter: Duration, left: Duration) -> Option<Duration> {
    let Outcome::Failed { retry_after } = outcome else { return None };
    let wait = retry_after.map_or(jitter, |asked| asked.saturating_add(jitter.min(BACKOFF.first)));
    (wait < left).then_some(wait)
}

/// How long the server asks to wait, in seconds or until a date (RFC 9110, 10.2.3); none where it does not say or can't be read.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Promise: R-31
    #[test]
    fn only_what_may_arrive_twice_is_tried_again() {
        let (none, mut key) = (HeaderMap::new(), HeaderMap::new());
        key.insert("idempotency-key", "1".parse().expect("a value"));
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH", "PURGE", "get"] {
            let is_idempotent = matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
            let method = method.parse().expect("a method");
            assert_eq!(may_arrive_twice(&method, &none), is_idempotent, "{method}");
            assert!(may_arrive_twice(&method, &key));
        }
    }

    /// Promise: L4
    #[test]
    fn a_server_that_failed_is_asked_again_within_the_time() {
        let after = |status: u16, retry_after| {
            let status = StatusCode::from_u16(status).expect("a status");
            wait(outcome_of_status(status, retry_after), SECOND / 10, 10 * SECOND)
        };
        for status in [500, 502, 503, 504, 507, 599] {
            assert_eq!(after(status, None), Some(SECOND / 10), "{status}");
        }
        for status in [200, 204, 301, 304, 400, 401, 404, 408, 409, 429, 501] {
            assert_eq!(after(status, None), None, "{status}");
        }
        for status in [429, 503] {
            assert_eq!(
                after(status, Some(2 * SECOND)),
                Some(2 * SECOND + SECOND / 10),
                "what the server asks, and no less"
            );
            assert_eq!(after(status, Some(10 * SECOND)), None, "longer than there is time");
            assert_eq!(after(status, Some(Duration::MAX)), None);
        }
        let failed = outcome_of_failure(&HttpErrorKind::TimedOut);
        assert_eq!(wait(failed, SECOND, SECOND), None, "nothing would be left to ask in");
        assert_eq!(outcome_of_failure(&HttpErrorKind::TooLong { most: 1 }), Outcome::Final);
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().expect("a time");
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(120 * SECOND));
        assert_eq!(read("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37 * SECOND));
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for text in ["", "soon", "-1", "1.5"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
