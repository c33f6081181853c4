use std::time::Duration;

use axum::Extension;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::base::caller::CallerKind;

fn routes() -> Router {
    Router::new()
        .route("/ok", get(async || "fine"))
        .route("/api/v1/auth/me", get(async || "x".repeat(5000)))
        .route(
            "/own",
            get(async || {
                ([("x-frame-options", "SAMEORIGIN"), ("content-security-policy", "default-src 'self'")], "mine")
            }),
        )
        .route("/panic", get(async || -> &str { panic!("the sky fell") }))
        .route(
            "/late_panic",
            get(async || -> &str {
                tokio::task::yield_now().await;
                panic!("the sky fell later")
            }),
        )
        .route("/wordless", get(async || StatusCode::CONFLICT))
        .route("/worded", get(async || (StatusCode::CONFLICT, "mine")))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/who",
            get(async |Extension(caller): Extension<Caller>, ClientAddress(client): ClientAddress| {
                format!("{} {:?} {:?} {client}", caller.kind().as_str(), caller.user_id(), caller.request_id())
            }),
        )
        .route(
            "/long",
            get(async || ([("content-type", "application/json"), ("etag", "\"v1\"")], "1234567890".repeat(200))),
        )
        .route("/short", get(async || ([("content-type", "application/json")], "{}")))
        .route("/image", get(async || ([("content-type", "image/png")], "1234567890".repeat(200))))
        .route("/events", get(async || ([("content-type", "text/event-stream")], "data: 1\n\n".repeat(200))))
}

fn edge_of(change: impl FnOnce(&mut ServiceConfig)) -> Edge {
    let mut config = ServiceConfig::default();
    change(&mut config);
    Edge::new(routes(), Arc::new(EdgeRules::from_config(&config).expect("rules")), None)
}

fn edge() -> Edge {
    edge_of(|_| {})
}

/// `"GET /ok"` with headers.
fn request(line: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::empty()).expect("a request")
}

async fn ask(edge: &Edge, line: &str, headers: &[(&str, &str)]) -> Response {
    let Ok(response) = edge.clone().oneshot(request(line, headers)).await;
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().expect("text"))
}

async fn body(response: Response) -> Bytes {
    response.into_body().collect().await.expect("a body").to_bytes()
}

async fn document(response: Response) -> Value {
    assert_eq!(text(response.headers(), "content-type"), "application/problem+json");
    serde_json::from_slice(&body(response).await).expect("JSON")
}

/// Promise: A2, A4, R-28
#[tokio::test]
async fn every_kind_of_answer_carries_the_request_id() {
    let edge = edge_of(|config| config.max_body_bytes = 10);
    for (line, headers, status) in [
        ("GET /ok", vec![], 200),
        ("GET /api/v1/auth/me", vec![], 200),
        ("GET /nowhere", vec![], 404),
        ("DELETE /ok", vec![], 405),
        ("POST /length", vec![("content-length", "11")], 413),
        ("GET /panic", vec![], 500),
        ("GET /late_panic", vec![], 500),
        ("OPTIONS /ok", vec![("origin", "https://a.com"), ("access-control-request-method", "GET")], 204),
        (&format!("GET /{}", "a".repeat(20_000)), vec![], 414),
    ] {
        let response = ask(&edge, line, &headers).await;
        assert_eq!(response.status(), status, "{line:.40}");
        let id = text(response.headers(), "x-request-id").to_owned();
        assert_eq!(id.len(), 36, "{line:.40}");
        if status >= 400 {
            let document = document(response).await;
            assert_eq!((&document["status"], &document["request_id"]), (&status.into(), &id.into()), "{line:.40}");
        }
        let with_id = [headers, vec![("x-request-id", "mine-1.2_3")]].concat();
        let response = ask(&edge, line, &with_id).await;
        assert_eq!(text(response.headers(), "x-request-id"), "mine-1.2_3", "{line:.40}");
    }
}

/// Promise: A4
#[tokio::test]
async fn a_panic_tells_the_client_nothing() {
    let response = ask(&edge(), "GET /panic", &[]).await;
    let body = body(response).await;
    let text = String::from_utf8_lossy(&body);
    assert!(!text.contains("sky") && !text.contains(".rs"), "{text}");
}

/// Promise: A4
#[tokio::test]
async fn a_wrong_method_keeps_its_allow_header() {
    let response = ask(&edge(), "DELETE /ok", &[]).await;
    assert_eq!(text(response.headers(), "allow"), "GET,HEAD");
    assert_eq!(document(response).await["code"], "method_not_allowed");
}

#[tokio::test]
async fn errors_without_words_get_them_and_others_are_left_alone() {
    assert_eq!(document(ask(&edge(), "GET /wordless", &[]).await).await["code"], "conflict");
    assert_eq!(body(ask(&edge(), "GET /worded", &[]).await).await, "mine");
}

/// Promise: A3
#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    for line in ["GET /ok", "GET /nowhere", "GET /panic", "OPTIONS /ok"] {
        let response = ask(&edge(), line, &[]).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("content-security-policy", "frame-ancestors 'none'"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("x-xss-protection", "0"),
            ("strict-transport-security", ""),
            // A problem is not worth keeping.
            ("cache-control", if response.status().is_success() { "" } else { "no-store" }),
        ] {
            assert_eq!(text(response.headers(), name), value, "{name} of {line}");
        }
    }
}

/// Promise: A3
#[tokio::test]
async fn a_handler_is_not_overruled() {
    let response = ask(&edge(), "GET /own", &[]).await;
    let values = |name: &str| {
        response.headers().get_all(name).iter().map(|v| v.to_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values("x-frame-options"), ["SAMEORIGIN"]);
    assert_eq!(values("content-security-policy"), ["default-src 'self'"]);
}

/// Promise: A3
#[tokio::test]
async fn answers_with_tokens_are_neither_stored_nor_compressed() {
    let response = ask(&edge(), "GET /api/v1/auth/me", &[("accept-encoding", "gzip")]).await;
    assert_eq!(text(response.headers(), "cache-control"), "no-store");
    assert_eq!(text(response.headers(), "content-encoding"), "");
    assert_eq!(text(ask(&edge(), "GET /auth/login", &[]).await.headers(), "cache-control"), "no-store");
    assert_eq!(text(ask(&edge(), "GET /ok", &[]).await.headers(), "cache-control"), "");
}

/// Promise: A3
#[tokio::test]
async fn transport_security_is_asked_for_only_over_tls_at_our_own_proxy() {
    let edge = edge_of(|config| config.trusted_proxies = vec!["10.0.0.0/8".into()]);
    for (peer, expected) in [("10.1.2.3:80", "max-age=31536000"), ("198.51.100.1:80", "")] {
        let mut request = request("GET /ok", &[("x-forwarded-proto", "https")]);
        request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().expect("an address")));
        let Ok(response) = edge.clone().oneshot(request).await;
        assert_eq!(text(response.headers(), "strict-transport-security"), expected, "{peer}");
    }
}

const CORS_HEADERS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "vary",
];
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const PREFLIGHT_VARY: &str = "origin, access-control-request-method, access-control-request-headers";

/// Promise: A6
#[tokio::test]
async fn cors_keeps_to_the_table() {
    let listed =
        |config: &mut ServiceConfig| config.cors_origins = vec!["https://a.com".into(), "https://b.com:8443".into()];
    let any = edge();
    let any_beside_a_list = edge_of(|config| config.cors_origins = vec!["https://a.com".into(), "*".into()]);
    let list = edge_of(listed);
    let list_without_credentials = edge_of(|config| {
        listed(config);
        config.cors_credentials = false;
    });
    let off = edge_of(|config| config.cors_origins = Vec::new());
    let preflight = [METHODS, "authorization,content-type", "600", PREFLIGHT_VARY];
    let plain = |vary: &'static str| ["", "", "", vary];
    let refused = ["", "", "", PREFLIGHT_VARY];
    for (name, edge, origin, asks_first, allowed, credentials, others) in [
        ("any", &any, "https://x.com", true, "*", "", preflight),
        ("any", &any, "https://x.com", false, "*", "", plain("")),
        ("any", &any, "", false, "*", "", plain("")),
        ("any beside a list", &any_beside_a_list, "https://a.com", false, "*", "", plain("")),
        ("list", &list, "https://a.com", true, "https://a.com", "true", preflight),
        ("list", &list, "https://b.com:8443", false, "https://b.com:8443", "true", plain("origin")),
        ("list", &list, "https://b.com", false, "", "", plain("origin")),
        ("list", &list, "https://A.com", false, "", "", plain("origin")),
        ("list", &list, "http://a.com", false, "", "", plain("origin")),
        ("list", &list, "https://a.com.evil.com", true, "", "", refused),
        ("list", &list, "null", false, "", "", plain("origin")),
        ("list", &list, "", false, "", "", plain("origin")),
        ("no credentials", &list_without_credentials, "https://a.com", true, "https://a.com", "", preflight),
        ("off", &off, "https://a.com", false, "", "", plain("")),
        ("off", &off, "https://a.com", true, "", "", refused),
    ] {
        let mut headers = vec![];
        if !origin.is_empty() {
            headers.push(("origin", origin));
        }
        if asks_first {
            headers.push(("access-control-request-method", "PUT"));
            headers.push(("access-control-request-headers", "authorization,content-type"));
        }
        let response = ask(edge, if asks_first { "OPTIONS /ok" } else { "GET /ok" }, &headers).await;
        assert_eq!(response.status(), if asks_first { 204 } else { 200 });
        let found = CORS_HEADERS.map(|header| text(response.headers(), header));
        let [methods, names, age, vary] = others;
        assert_eq!(
            found,
            [allowed, credentials, methods, names, age, vary],
            "{name}, origin `{origin}`, preflight {asks_first}"
        );
    }
}

/// Promise: A6
#[tokio::test]
async fn an_error_can_be_read_from_elsewhere_too() {
    let response = ask(&edge(), "GET /panic", &[("origin", "https://x.com")]).await;
    assert_eq!(text(response.headers(), "access-control-allow-origin"), "*");
    assert!(text(response.headers(), "access-control-expose-headers").contains("x-request-id"));
}

#[tokio::test]
async fn long_text_is_compressed_where_the_client_takes_it() {
    let tag_of_short = crate::web::etag::of(b"{}");
    let tag_of_short = tag_of_short.to_str().expect("text");
    for (path, accepts, encoding, etag, vary) in [
        ("/long", "gzip, br", "gzip", "W/\"v1\"", "accept-encoding"),
        ("/long", "*", "gzip", "W/\"v1\"", "accept-encoding"),
        ("/long", "gzip;q=0, *", "", "\"v1\"", "accept-encoding"),
        ("/long", "br", "", "\"v1\"", "accept-encoding"),
        ("/long", "", "", "\"v1\"", "accept-encoding"),
        ("/short", "gzip", "", tag_of_short, ""),
        ("/image", "gzip", "", "", ""),
        ("/events", "gzip", "", "", ""),
    ] {
        let response = ask(&edge(), &format!("GET {path}"), &[("accept-encoding", accepts)]).await;
        let found = ["content-encoding", "etag", "vary"].map(|name| text(response.headers(), name).to_owned());
        assert_eq!(found, [encoding, etag, vary], "{path} for `{accepts}`");
        let has_length = response.headers().contains_key("content-length");
        let body = body(response).await;
        if encoding == "gzip" {
            assert!(!has_length && body.len() < 100);
            let mut text = String::new();
            std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text).expect("gzip");
            assert_eq!(text, "1234567890".repeat(200));
        }
    }
}

/// What a stream said before a pause is with the client during the pause.
#[tokio::test]
async fn a_compressed_stream_is_not_held_back() {
    let stream =
        || stream::iter([Ok::<_, axum::Error>(Frame::data(Bytes::from("first words")))]).chain(stream::pending());
    let router = Router::new()
        .route("/", get(async move || ([("content-type", "text/plain")], Body::new(StreamBody::new(stream())))));
    let edge = Edge::new(router, Arc::new(EdgeRules::from_config(&ServiceConfig::default()).expect("rules")), None);
    let response = ask(&edge, "GET /", &[("accept-encoding", "gzip")]).await;
    assert_eq!(text(response.headers(), "content-encoding"), "gzip");
    let first = response.into_body().frame().await.expect("a frame").expect("no error").into_data().expect("data");
    let mut text = [0; 11];
    std::io::Read::read_exact(&mut flate2::read::GzDecoder::new(&first[..]), &mut text).expect("gzip");
    assert_eq!(&text, b"first words");
}

#[tokio::test]
async fn a_head_request_gets_the_head_alone() {
    let response = ask(&edge(), "HEAD /nowhere", &[]).await;
    assert_eq!(response.status(), 404);
    assert_eq!(body(response).await.len(), 0);
}

fn chunked(line: &str, parts: &'static [&'static str], then_pauses: bool) -> Request<Body> {
    let parts = stream::iter(parts).map(|part| Ok::<_, axum::Error>(Frame::data(Bytes::from(*part))));
    let body = if then_pauses {
        Body::new(StreamBody::new(parts.chain(stream::pending())))
    } else {
        Body::new(StreamBody::new(parts))
    };
    request(line, &[]).map(|_| body)
}

/// Promise: R-28
#[tokio::test]
async fn a_body_of_unknown_length_is_counted() {
    let edge = edge_of(|config| config.max_body_bytes = 10);
    let Ok(response) = edge.clone().oneshot(chunked("POST /length", &["12345", "67890"], false)).await;
    assert_eq!(body(response).await, "10");
    let Ok(response) = edge.oneshot(chunked("POST /length", &["12345", "67890", "1"], false)).await;
    assert_eq!(response.status(), 413);
    assert_eq!(document(response).await["code"], "body_too_large");
}

#[tokio::test]
async fn the_configured_limit_holds_beyond_two_megabytes() {
    let edge = edge_of(|config| config.max_body_bytes = 5 << 20);
    let body_of = |length: usize| request("POST /length", &[]).map(|_| Body::from(vec![b'x'; length]));
    let Ok(response) = edge.clone().oneshot(body_of(5 << 20)).await;
    assert_eq!(response.status(), 200);
    let Ok(response) = edge.oneshot(body_of((5 << 20) + 1)).await;
    assert_eq!(response.status(), 413);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_for_too_long_is_408() {
    let begun = tokio::time::Instant::now();
    let Ok(response) = edge().oneshot(chunked("POST /length", &["12345"], true)).await;
    assert_eq!(response.status(), 408);
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(document(response).await["code"], "body_timeout");
}

/// A body of parts, each after a pause.
fn paced(part: &'static [u8], parts: usize, pause: Duration) -> Request<Body> {
    let parts = stream::iter(0..parts).then(move |_| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, axum::Error>(Frame::data(Bytes::from_static(part)))
    });
    request("POST /length", &[]).map(|_| Body::new(StreamBody::new(Box::pin(parts))))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_goes_on_may_take_its_time() {
    let Ok(response) = edge().oneshot(paced(&[b'x'; 4096], 100, Duration::from_secs(29))).await;
    assert_eq!(body(response).await, "409600");
}

/// Promise: R-28
#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_408() {
    let begun = tokio::time::Instant::now();
    let Ok(response) = edge().oneshot(paced(b"x", 100, Duration::from_secs(1))).await;
    assert_eq!(response.status(), 408);
    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(document(response).await["code"], "body_timeout");
}

struct Doorman;

impl Authenticate for Doorman {
    fn authenticate<'a>(&'a self, parts: &'a mut Parts) -> BoxFuture<'a, Caller> {
        Box::pin(async move {
            match parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) {
                Some(b"Bearer ann") => Caller::user("ann"),
                Some(b"Bearer panic") => panic!("the doorman fainted"),
                _ => Caller::anonymous(),
            }
        })
    }
}

#[tokio::test]
async fn the_caller_is_known_to_the_handler_with_the_request() {
    let rules = Arc::new(EdgeRules::from_config(&ServiceConfig::default()).expect("rules"));
    let edge = Edge::new(routes(), rules, Some(Arc::new(Doorman)));
    for (proof, answer) in [
        (Some("Bearer ann"), "user Some(\"ann\") Some(\"r1\") 0.0.0.0"),
        (Some("Bearer bob"), "anonymous None Some(\"r1\") 0.0.0.0"),
        (None, "anonymous None Some(\"r1\") 0.0.0.0"),
    ] {
        let mut headers = vec![("x-request-id", "r1")];
        headers.extend(proof.map(|proof| ("authorization", proof)));
        assert_eq!(body(ask(&edge, "GET /who", &headers).await).await, answer);
    }
    assert_eq!(ask(&edge, "GET /who", &[("authorization", "Bearer panic")]).await.status(), 500);
    assert_eq!(CallerKind::Anonymous, Caller::anonymous().kind());
}

#[tokio::test]
async fn a_bad_network_ends_the_start() {
    let config = ServiceConfig { trusted_proxies: vec!["proxy.local".into()], ..ServiceConfig::default() };
    let refusal = EdgeRules::from_config(&config).expect_err("a refusal").to_string();
    assert!(refusal.starts_with("TRUSTED_PROXIES has `proxy.local`"), "{refusal}");
}
