//! Who asks: the seam that a feature fills. It is asked once, before the router, and never refuses anybody: extractors do.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;

use crate::base::caller::Caller;

/// Finds out who sent a request.
pub trait Authenticate: Send + Sync + 'static {
    /// Whether the request carries a proof at all; without one nobody is asked. Must be cheap.
    fn has_credentials(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(AUTHORIZATION)
    }

    /// Reads the proof. Puts what extractors want to know (the user, the key, why a proof is no good) into `parts.extensions`;
    /// a proof that is no good makes an anonymous caller, and the extractors that need more refuse it.
    fn authenticate<'a>(&'a self, parts: &'a mut Parts) -> BoxFuture<'a, Caller>;
}
