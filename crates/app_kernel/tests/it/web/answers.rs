//! What happens to an answer on its way back: CORS, tags, compression, and heads alone.

use std::io::Read as _;

use app_kernel::prelude::*;
use app_kernel::testing::TestService;
use axum::http::Method;
use serde_json::json;

use super::{start, widgets};

/// Promise: A3
#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let service = start().await;
    for path in ["/healthz", "/widgets", "/no/such/route", "/panic", "/docs", "/openapi.json"] {
        let answer = service.anonymous().get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("x-xss-protection", "0"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name} of {path}");
        }
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(answer.header("strict-transport-security"), None, "{path}: this is not TLS");
    }
}

/// Promise: A6
#[tokio::test]
async fn any_origin_may_read_and_none_may_send_cookies_unless_it_is_listed() {
    let open = start().await;
    let elsewhere = |service: &TestService, origin: &str| service.anonymous().with_header("origin", origin);
    let answer = elsewhere(&open, "https://app.example").get("/widgets").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let asks_first = elsewhere(&open, "https://app.example")
        .with_header("access-control-request-method", "POST")
        .with_header("access-control-request-headers", "authorization,content-type");
    let preflight = asks_first.send(Method::OPTIONS, "/widgets", None, Vec::new()).await.expect(204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    let methods = preflight.header("access-control-allow-methods").expect("methods");
    assert!(["GET", "POST", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    let headers = preflight.header("access-control-allow-headers").expect("headers").to_ascii_lowercase();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    let refusal = elsewhere(&open, "https://app.example").get("/me").await.expect(401);
    assert_eq!(refusal.header("access-control-allow-origin"), Some("*"), "errors can be read too");

    let listed = |config| ServiceConfig { cors_origins: vec!["https://app.example".to_owned()], ..config };
    let closed = TestService::start(|config| widgets(listed(config))).await;
    let friend = elsewhere(&closed, "https://app.example").get("/widgets").await.expect(200);
    assert_eq!(friend.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(friend.header("access-control-allow-credentials"), Some("true"));
    let stranger = elsewhere(&closed, "https://app.example.evil.example").get("/widgets").await.expect(200);
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    for answer in [friend, stranger] {
        let varies = answer.header("vary").unwrap_or_default().to_ascii_lowercase();
        assert!(varies.contains("origin"), "{varies}");
    }
}

#[tokio::test]
async fn an_answer_that_has_not_changed_is_not_sent_again() {
    let service = start().await;
    let made = service.anonymous().post("/widgets", json!({ "name": "gear", "size": 3 })).await.expect(201);
    let path = made.header("location").expect("where it lies").to_owned();
    let first = service.anonymous().get(&path).await.expect(200);
    let tag = first.header("etag").expect("a tag").to_owned();
    let knowing = service.anonymous().with_header("if-none-match", &tag);
    let second = knowing.get(&path).await.expect(304);
    assert_eq!((second.text().as_str(), second.header("etag")), ("", Some(tag.as_str())));
    let mut row = first.json();
    row["size"] = 4.into();
    service.db().save_entity("widgets", json!({ "id": made.id(), "size": 4 })).await.expect("a save");
    let third = knowing.get(&path).await.expect(200);
    assert_ne!(third.header("etag"), Some(tag.as_str()));
    assert_eq!(third.json()["size"], 4);
}

#[tokio::test]
async fn long_text_is_compressed_where_the_client_takes_it_and_tokens_never() {
    let service = start().await;
    let plain = service.anonymous().get("/long").await.expect(200);
    assert_eq!(plain.header("content-encoding"), None);
    let takes_gzip = service.anonymous().with_header("accept-encoding", "gzip");
    let packed = takes_gzip.get("/long").await.expect(200);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.header("vary").is_some_and(|varies| varies.to_ascii_lowercase().contains("accept-encoding")));
    assert!(packed.body.len() * 10 < plain.body.len(), "{} bytes", packed.body.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.body);

    service.sign_up("ann").await;
    let who = json!({ "email": "ann@example.com", "password": app_kernel::testing::service::PASSWORD });
    let tokens = takes_gzip.post("/auth/login", who).await.expect(200);
    assert_eq!((tokens.header("content-encoding"), tokens.header("cache-control")), (None, Some("no-store")));
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let service = start().await;
    let head = service.anonymous().send(Method::HEAD, "/long", None, Vec::new()).await.expect(200);
    let whole = service.anonymous().get("/long").await.expect(200);
    assert_eq!(head.text(), "");
    assert_eq!(head.header("content-length"), whole.header("content-length"));
    assert_eq!(head.header("content-type"), whole.header("content-type"));
    let missing = service.anonymous().send(Method::HEAD, "/no/such/route", None, Vec::new()).await.expect(404);
    assert_eq!(missing.text(), "");
}
