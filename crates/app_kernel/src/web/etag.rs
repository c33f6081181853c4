//! Entity tags: a client that says which version it has is answered `304 Not Modified` where that is the present one.
//!
//! A tag is a hash of the body, so the handler still runs and only the transfer is saved. It is made for JSON answers to
//! `GET` up to 64 KiB: those are the ones that a client polls, and hashing one costs less than writing it.

use std::hash::{DefaultHasher, Hasher};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;

/// The longest body that is hashed.
const LONGEST_BODY: u64 = 64 << 10;

/// The tag of a body: strong, from 64 bits of hash and the length.
#[must_use]
pub(crate) fn of(body: &[u8]) -> HeaderValue {
    // SipHash with fixed keys. A version of Rust that changes it costs each client one full answer.
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    let text = format!("\"{:016x}-{:x}\"", hasher.finish(), body.len());
    HeaderValue::from_str(&text).expect("hexadecimal digits in quotes can stand in a header")
}

/// Whether `If-None-Match` names this tag (RFC 9110, 13.1.2: compared weakly).
#[must_use]
pub(crate) fn is_current(if_none_match: Option<&HeaderValue>, etag: &HeaderValue) -> bool {
    let Some(wanted) = if_none_match.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let plain = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let named = |tag: &str| tag == "*" || plain(tag.as_bytes()) == plain(etag.as_bytes());
    wanted.split(',').any(|tag| named(tag.trim()))
}

/// Middleware that tags answers. Belongs inside of compression: the tag is that of the plain body.
pub(crate) async fn tag_answers(request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let if_none_match = request.headers().get(IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    if is_taggable(&response) { tagged(response, if_none_match.as_ref()).await } else { response }
}

fn is_taggable(response: &Response) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::OK
        && headers.get(CONTENT_TYPE).is_some_and(|media| media == "application/json")
        && !headers.contains_key(ETAG)
        && !headers.get(CACHE_CONTROL).is_some_and(|rule| rule.as_bytes().windows(8).any(|word| word == b"no-store"))
        && response.body().size_hint().exact().is_some_and(|length| length <= LONGEST_BODY)
}

async fn tagged(response: Response, if_none_match: Option<&HeaderValue>) -> Response {
    let (mut parts, body) = response.into_parts();
    // A body of known size was written in full before: nothing is waited for here.
    let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else {
        return Response::from_parts(parts, Body::empty());
    };
    let etag = of(&body);
    let is_current = is_current(if_none_match, &etag);
    parts.headers.insert(ETAG, etag);
    if is_current {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        parts.headers.remove(CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}
