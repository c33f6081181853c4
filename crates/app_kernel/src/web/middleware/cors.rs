//! Which web pages may call us. `*` is said literally and never with credentials; a list is matched exactly.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// Beyond the few that scripts may read anyway.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag, link, location, ratelimit, ratelimit-policy, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, x-request-id",
);
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
/// How long a browser may remember a preflight's answer.
const MAX_AGE_SECS: HeaderValue = HeaderValue::from_static("600");
const ANY: HeaderValue = HeaderValue::from_static("*");
const TRUE: HeaderValue = HeaderValue::from_static("true");

#[derive(Debug, Clone)]
pub(in crate::web) enum Cors {
    /// Nobody from elsewhere.
    Off,
    /// Everybody, without credentials.
    Any,
    /// These origins.
    Listed { origins: Vec<HeaderValue>, with_credentials: bool },
}

/// What a request's origin may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) enum Grant {
    /// Nothing is said about it.
    Silent,
    /// The answer is for everybody.
    Any,
    /// The answer depends on the origin, and this one gets nothing.
    Refused,
    /// The answer depends on the origin, and this one is listed.
    Origin { origin: HeaderValue, with_credentials: bool },
}

pub(in crate::web) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl Cors {
    pub(in crate::web) fn new(origins: &[String], with_credentials: bool) -> Self {
        if origins.iter().any(|origin| origin == "*") {
            return Cors::Any;
        }
        // What can't stand in a header can't be a browser's origin.
        let origins: Vec<_> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
        if origins.is_empty() { Cors::Off } else { Cors::Listed { origins, with_credentials } }
    }

    pub(in crate::web) fn allows_any(&self) -> bool {
        matches!(self, Cors::Any)
    }

    /// What is the same for whoever asks.
    pub(super) fn say_to_everybody(&self, headers: &mut HeaderMap) {
        if self.allows_any() {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    pub(in crate::web) fn grant(&self, headers: &HeaderMap) -> Grant {
        match self {
            Cors::Off => Grant::Silent,
            Cors::Any => Grant::Any,
            Cors::Listed { origins, with_credentials } => match headers.get(ORIGIN) {
                Some(origin) if origins.contains(origin) => {
                    Grant::Origin { origin: origin.clone(), with_credentials: *with_credentials }
                }
                _ => Grant::Refused,
            },
        }
    }
}

impl Grant {
    /// The answer to a preflight, but for what [`Grant::apply`] says on every response.
    pub(in crate::web) fn preflight(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(VARY, PREFLIGHT_VARY);
        if matches!(self, Grant::Any | Grant::Origin { .. }) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECS);
            // `*` would leave out Authorization, which every client of ours sends.
            for names in asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.append(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
        }
        response
    }

    /// Says what depends on the origin; the rest is said to everybody.
    pub(in crate::web) fn apply(self, headers: &mut HeaderMap) {
        match self {
            Grant::Silent | Grant::Any => {}
            Grant::Refused => add_vary(headers, HeaderValue::from_static("origin")),
            Grant::Origin { origin, with_credentials } => {
                add_vary(headers, HeaderValue::from_static("origin"));
                headers.entry(ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(origin);
                headers.entry(ACCESS_CONTROL_EXPOSE_HEADERS).or_insert(EXPOSED);
                if with_credentials {
                    headers.entry(ACCESS_CONTROL_ALLOW_CREDENTIALS).or_insert(TRUE);
                }
            }
        }
    }
}

/// Adds a name to `Vary`, unless it is there.
pub(in crate::web) fn add_vary(headers: &mut HeaderMap, name: HeaderValue) {
    let is_named = |line: &HeaderValue| {
        let words = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        words.into_iter().any(|word| word == b"*" || word.eq_ignore_ascii_case(name.as_bytes()))
    };
    if !headers.get_all(VARY).iter().any(is_named) {
        headers.append(VARY, name);
    }
}
