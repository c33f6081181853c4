//! Every request has an id: the client's own, where it is harmless to repeat, else a new one. It stands on every response and in every log line.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::id::new_id;

pub(in crate::web) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST: usize = 128;

/// The id of the request that is being answered, as in the `X-Request-ID` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id as text: `^[A-Za-z0-9._-]{1,128}$`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is made of ASCII letters, digits and `._-`")
    }

    /// The id as a header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The client's id if there is exactly one and it is fit, else a new one. A header that is not fit is replaced, so that nobody reads it.
    pub(in crate::web) fn take(headers: &mut HeaderMap) -> Self {
        let mut given = headers.get_all(&X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (None, _) => Self::new(),
            (Some(id), None) if is_fit(id.as_bytes()) => RequestId(id.clone()),
            _ => {
                let id = Self::new();
                headers.insert(&X_REQUEST_ID, id.header());
                id
            }
        }
    }

    fn new() -> Self {
        RequestId(HeaderValue::from_maybe_shared(bytes::Bytes::from(new_id())).expect("a UUID is ASCII"))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_fit(id: &[u8]) -> bool {
    matches!(id.len(), 1..=LONGEST)
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(given: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for id in given {
            headers.append(&X_REQUEST_ID, id.parse().expect("a header value"));
        }
        RequestId::take(&mut headers).as_str().to_owned()
    }

    /// Promise: A2
    #[test]
    fn a_fit_id_is_kept_and_any_other_replaced() {
        let longest = "a".repeat(128);
        for fit in ["a", "Trace-1.2_3", "019b6c3e-5f3a-7cc2-9d1e-2f6a4b8c0d1e", &longest] {
            assert_eq!(taken(&[fit]), fit);
        }
        let too_long = "a".repeat(129);
        for unfit in ["", "a b", "a/b", "a\tb", "\"a\"", "a,b", "{}", &too_long] {
            let id = taken(&[unfit]);
            assert!(id.len() == 36 && id.as_bytes()[14] == b'7', "`{unfit}` became `{id}`");
        }
    }

    #[test]
    fn two_ids_are_none() {
        assert_eq!(taken(&["one", "two"]).len(), 36);
    }

    #[test]
    fn nobody_behind_us_reads_an_unfit_id() {
        let mut headers = HeaderMap::new();
        headers.append(&X_REQUEST_ID, "a b".parse().expect("a header value"));
        headers.append(&X_REQUEST_ID, "c d".parse().expect("a header value"));
        let id = RequestId::take(&mut headers);
        assert_eq!(headers.get_all(&X_REQUEST_ID).iter().collect::<Vec<_>>(), [&id.header()]);
    }
}
