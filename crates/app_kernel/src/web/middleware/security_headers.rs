//! Headers that make browsers careful. A handler that sets one itself is never overruled.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

const YEAR: HeaderValue = HeaderValue::from_static("max-age=31536000");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

#[derive(Debug, Clone)]
pub(in crate::web) struct SecurityHeaders([(HeaderName, HeaderValue); 7]);

impl SecurityHeaders {
    /// `for_any_origin`: pages from elsewhere may read us, so they may embed us too.
    pub(in crate::web) fn new(for_any_origin: bool) -> Self {
        let resource_policy = if for_any_origin { "cross-origin" } else { "same-origin" };
        SecurityHeaders([
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static(resource_policy)),
            // The filter of old browsers made holes of its own.
            (X_XSS_PROTECTION, HeaderValue::from_static("0")),
        ])
    }

    pub(in crate::web) fn apply(&self, headers: &mut HeaderMap, over_tls: bool, is_secret: bool) {
        for (name, value) in &self.0 {
            headers.entry(name).or_insert_with(|| value.clone());
        }
        if over_tls {
            headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(YEAR);
        }
        if is_secret {
            headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
        }
    }
}
