//! The headers of every answer, most of which make browsers careful. A handler that sets one itself is never overruled.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::cors::Cors;

/// Room for them and for what an answer adds as a rule, so that no map grows.
const MOST_HEADERS: usize = 24;
const YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What every answer says, unless it says something else itself.
#[derive(Debug, Clone)]
pub(in crate::web) struct StandingHeaders(HeaderMap);

impl StandingHeaders {
    /// Those that make browsers careful, and what `cors` says to everybody.
    pub(in crate::web) fn new(cors: &Cors) -> Self {
        // Pages from elsewhere that may read us may embed us too.
        let resource_policy = if cors.allows_any() { "cross-origin" } else { "same-origin" };
        let mut headers = HeaderMap::with_capacity(MOST_HEADERS);
        for (name, value) in [
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (CONTENT_SECURITY_POLICY, "frame-ancestors 'none'"),
            (REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), resource_policy),
            // The filter of old browsers made holes of its own.
            (X_XSS_PROTECTION, "0"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        cors.say_to_everybody(&mut headers);
        StandingHeaders(headers)
    }

    /// Puts them below those of an answer. A copy of all costs less than to look for each, and has room for the others.
    pub(in crate::web) fn apply(&self, headers: &mut HeaderMap, over_tls: bool, is_secret: bool) {
        let own = std::mem::replace(headers, self.0.clone());
        if over_tls {
            headers.insert(STRICT_TRANSPORT_SECURITY, YEAR);
        }
        if is_secret {
            headers.insert(CACHE_CONTROL, NO_STORE);
        }
        headers.extend(own);
    }
}
