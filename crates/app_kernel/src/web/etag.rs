//! Entity tags: a client that says which version it has is answered `304 Not Modified` where that is the present one.
//!
//! A tag is a hash of the body, so the handler still runs and only the transfer is saved. It is made for JSON answers to
//! `GET` up to 64 KiB: those are the ones that a client polls, and hashing one costs less than writing it.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::response::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::Route;
use axum::routing::future::RouteFuture;
use bytes::Bytes;
use foldhash::quality::FixedState;
use http_body_util::BodyExt;
use http_body_util::combinators::Collect;
use tower::{Layer, Service};

/// The longest body that is hashed.
const LONGEST_BODY: u64 = 64 << 10;
/// Two numbers of sixteen digits, a hyphen and the quotes.
const LONGEST_TAG: usize = 35;

/// The tag of a body: strong, from 64 bits of hash and the length.
#[must_use]
pub(crate) fn of(body: &[u8]) -> HeaderValue {
    // A fast hash with a fixed seed. A version of it that differs costs each client one full answer.
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(body);
    let mut tag = [b'"'; LONGEST_TAG];
    let hash_end = push_hex(&mut tag, 1, hasher.finish(), 16);
    tag[hash_end] = b'-';
    let length = body.len() as u64;
    let end = push_hex(&mut tag, hash_end + 1, length, (length.checked_ilog2().unwrap_or(0) / 4 + 1) as usize);
    tag[end] = b'"';
    HeaderValue::from_bytes(&tag[..=end]).expect("hexadecimal digits in quotes can stand in a header")
}

/// Writes so many hexadecimal digits, and tells where they end.
fn push_hex(text: &mut [u8], at: usize, number: u64, digits: usize) -> usize {
    for (i, slot) in text[at..at + digits].iter_mut().rev().enumerate() {
        *slot = b"0123456789abcdef"[(number >> (4 * i)) as usize % 16];
    }
    at + digits
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
#[derive(Debug, Clone, Copy)]
pub(crate) struct TagAnswers;

#[derive(Debug, Clone)]
pub(crate) struct Tagging(Route);

impl Layer<Route> for TagAnswers {
    type Service = Tagging;

    fn layer(&self, route: Route) -> Tagging {
        Tagging(route)
    }
}

impl Service<Request> for Tagging {
    type Response = Response;
    type Error = Infallible;
    type Future = TaggedFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> TaggedFuture {
        let is_read = request.method() == Method::GET;
        let if_none_match = if is_read { request.headers().get(IF_NONE_MATCH).cloned() } else { None };
        TaggedFuture { stage: Stage::Asking { answer: self.0.call(request), is_read }, if_none_match }
    }
}

/// The answer, with its tag. Not boxed: it is on the way of every request.
pub(crate) struct TaggedFuture {
    stage: Stage,
    if_none_match: Option<HeaderValue>,
}

enum Stage {
    Asking {
        answer: RouteFuture<Infallible>,
        is_read: bool,
    },
    /// A body of known size was written in full before, as a rule: then nothing is waited for.
    Reading {
        head: Option<Parts>,
        body: Collect<Body>,
    },
}

impl Future for TaggedFuture {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.stage {
                Stage::Asking { answer, is_read } => {
                    let Ok(response) = ready!(Pin::new(answer).poll(cx));
                    if !*is_read || !is_taggable(&response) {
                        return Poll::Ready(Ok(response));
                    }
                    let (head, body) = response.into_parts();
                    this.stage = Stage::Reading { head: Some(head), body: body.collect() };
                }
                Stage::Reading { head, body } => {
                    let body = ready!(Pin::new(body).poll(cx));
                    let head = head.take().expect("a future is not polled after its end");
                    let response = match body {
                        Ok(body) => tagged(head, body.to_bytes(), this.if_none_match.as_ref()),
                        Err(_) => Response::from_parts(head, Body::empty()),
                    };
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

fn is_taggable(response: &Response) -> bool {
    let headers = response.headers();
    response.status() == StatusCode::OK
        && headers.get(CONTENT_TYPE).is_some_and(|media| media == "application/json")
        && !headers.contains_key(ETAG)
        && !headers.get(CACHE_CONTROL).is_some_and(|rule| rule.as_bytes().windows(8).any(|word| word == b"no-store"))
        && response.body().size_hint().exact().is_some_and(|length| length <= LONGEST_BODY)
}

fn tagged(mut head: Parts, body: Bytes, if_none_match: Option<&HeaderValue>) -> Response {
    let etag = of(&body);
    let is_current = is_current(if_none_match, &etag);
    head.headers.insert(ETAG, etag);
    if is_current {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(CONTENT_TYPE);
        head.headers.remove(CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_hash_and_a_length_in_quotes() {
        for (body, length) in
            [(vec![], "0"), (vec![b'a'; 15], "f"), (vec![b'a'; 16], "10"), (vec![b'a'; 65_536], "10000")]
        {
            let tag = of(&body);
            let text = tag.to_str().expect("ASCII");
            let (hash, told) = text.trim_matches('"').split_once('-').expect("two numbers");
            assert!(text.starts_with('"') && text.ends_with('"') && hash.len() == 16, "{text}");
            assert!(hash.bytes().all(|digit| digit.is_ascii_hexdigit()) && told == length, "{text}");
        }
        assert_ne!(of(b"one"), of(b"two"));
    }
}
