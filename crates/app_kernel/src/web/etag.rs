//! Entity tags: a client that says which version it has is answered `304 Not Modified` where that is the present one.
//!
//! A tag is a hash of the body, so the handler still runs and only the transfer is saved. It is made for JSON answers to
//! `GET` up to 64 KiB: those are the ones that a client polls, and hashing one costs less than writing it.

use std::hash::{BuildHasher, Hasher};

use axum::body::{Body, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::response::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use foldhash::quality::FixedState;
use http_body_util::BodyExt;

use crate::base::digits::write_hex;

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
    write_hex(&mut tag[1..17], hasher.finish());
    tag[17] = b'-';
    let length = body.len() as u64;
    let end = 18 + (length.checked_ilog2().unwrap_or(0) / 4 + 1) as usize;
    write_hex(&mut tag[18..end], length);
    tag[end] = b'"';
    HeaderValue::from_bytes(&tag[..=end]).expect("hexadecimal digits in quotes can stand in a header")
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

/// What a request says about tags, kept for its answer.
pub(in crate::web) struct Wish {
    is_read: bool,
    if_none_match: Option<HeaderValue>,
}

impl Wish {
    pub(in crate::web) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let is_read = method == Method::GET;
        Wish { is_read, if_none_match: headers.get(IF_NONE_MATCH).filter(|_| is_read).cloned() }
    }
}

/// Tags an answer, or says instead that it is what the client has. Before compression: the tag is that of the plain body.
pub(in crate::web) async fn tag(response: Response, wish: &Wish) -> Response {
    if !wish.is_read || !is_taggable(&response) {
        return response;
    }
    let (head, body) = response.into_parts();
    // A body of known size was written in full before, as a rule: then nothing is waited for.
    match body.collect().await {
        Ok(body) => tagged(head, body.to_bytes(), wish.if_none_match.as_ref()),
        Err(_) => Response::from_parts(head, Body::empty()),
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
    use axum::Json;
    use axum::response::IntoResponse as _;

    use super::*;

    async fn ask(method: Method, if_none_match: Option<&str>, answer: impl axum::response::IntoResponse) -> Response {
        let mut headers = HeaderMap::new();
        headers.extend(if_none_match.map(|tags| (IF_NONE_MATCH, tags.parse().expect("a value"))));
        tag(answer.into_response(), &Wish::of(&method, &headers)).await
    }

    #[tokio::test]
    async fn an_answer_that_has_not_changed_is_not_sent_again() {
        let first = ask(Method::GET, None, Json("gear")).await;
        let etag = first.headers()[ETAG].to_str().expect("text").to_owned();
        assert_eq!(first.into_body().collect().await.expect("a body").to_bytes(), "\"gear\"");
        for named in [etag.as_str(), "*", &format!("\"other\", W/{etag}")] {
            let again = ask(Method::GET, Some(named), Json("gear")).await;
            assert_eq!((again.status(), again.body().is_end_stream()), (StatusCode::NOT_MODIFIED, true), "{named}");
            assert_eq!(again.headers()[ETAG].to_str().expect("text"), etag);
        }
        for (method, named, answer) in [
            (Method::GET, "\"other\"", Json("gear").into_response()),
            (Method::GET, &*etag, Json("cog").into_response()),
            (Method::POST, "*", Json("gear").into_response()),
            (Method::GET, "*", (StatusCode::UNPROCESSABLE_ENTITY, Json("gear")).into_response()),
            (Method::GET, "*", ([(CACHE_CONTROL, "no-store")], Json("gear")).into_response()),
            (Method::GET, "*", "no JSON".into_response()),
        ] {
            let status = answer.status();
            assert_eq!(ask(method, Some(named), answer).await.status(), status);
        }
    }

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
