//! What extractors answer, to the byte.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures_util::stream;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::base::caller::Caller;
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::kernel::Kernel;
use crate::store::db::Db;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    name: String,
    items: Vec<Item>,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Item {
    price: f64,
    #[serde(default = "one")]
    count: u32,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
struct SignUp {
    #[garde(length(min = 2, max = 20))]
    first_name: String,
    #[garde(email)]
    email: String,
    #[garde(dive)]
    #[serde(default)]
    home_addresses: Vec<Address>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
struct Address {
    #[garde(length(equal = 5))]
    zip_code: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Page {
    #[serde(default = "one")]
    limit: u32,
    after: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Search {
    #[serde(flatten)]
    page: Page,
    #[serde(default)]
    tag: Vec<String>,
    #[serde(default)]
    min: Vec<f64>,
    active: Option<bool>,
    text: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Strict {
    limit: Option<u8>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct PartPath {
    widget: String,
    number: u16,
}

async fn echo<T>(Json(value): Json<T>) -> Json<T> {
    Json(value)
}

fn routes() -> Router {
    Router::new()
        .route("/orders", post(echo::<Order>))
        .route("/numbers", post(echo::<Vec<f64>>))
        .route("/any", post(echo::<Value>))
        .route("/optional", post(async |order: Option<Json<Order>>| Json(order.map(|Json(order)| order.name))))
        .route("/sign-up", post(async |Valid(Json(new)): Valid<Json<SignUp>>| Json(new)))
        .route("/search", get(async |Query(search): Query<Search>| Json(search)))
        .route("/strict", get(async |Query(strict): Query<Strict>| Json(strict)))
        .route("/map", get(async |Query(map): Query<BTreeMap<String, i32>>| Json(map)))
        .route("/form", post(async |Form(strict): Form<Strict>| Json(strict)))
        .route("/one/{id}", get(async |Path(id): Path<u32>| Json(id)))
        .route("/two/{widget}/{number}", get(async |Path((a, b)): Path<(String, i8)>| Json(json!([a, b]))))
        .route(
            "/part/{widget}/{number}",
            get(async |Path(part): Path<PartPath>| Json(json!([part.widget, part.number]))),
        )
        .route("/wrong/{id}", get(async |Path(both): Path<(String, String)>| Json(both)))
        .route("/failing", post(async || -> Result<NoReply> { Err(Error::conflict("that name is taken")) }))
        .layer(DefaultBodyLimit::max(4096))
}

struct NoReply;

impl IntoResponse for NoReply {
    fn into_response(self) -> axum::response::Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

async fn send(request: Request<Body>) -> (u16, Value) {
    let response = routes().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let is_error = status >= 400;
    let media = response.headers().get(CONTENT_TYPE).expect("a media type").clone();
    assert_eq!(media, if is_error { "application/problem+json" } else { "application/json" });
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (status, serde_json::from_slice(&body).expect("JSON"))
}

async fn post_as(media: &str, path: &str, body: impl Into<Body>) -> (u16, Value) {
    let mut request = Request::builder().method(Method::POST).uri(path);
    if !media.is_empty() {
        request = request.header(CONTENT_TYPE, media);
    }
    send(request.body(body.into()).expect("a request")).await
}

async fn post_json(path: &str, body: impl Into<Body>) -> (u16, Value) {
    post_as("application/json", path, body).await
}

async fn get_json(path: &str) -> (u16, Value) {
    send(Request::builder().uri(path).body(Body::empty()).expect("a request")).await
}

fn problem(status: u16, title: &str, code: &str, detail: &str) -> (u16, Value) {
    (status, json!({ "type": "about:blank", "title": title, "status": status, "detail": detail, "code": code }))
}

fn unprocessable(what: &str, errors: &[(&str, &str)]) -> (u16, Value) {
    let (status, mut body) = problem(422, "Unprocessable Entity", "invalid", &format!("{what} does not fit"));
    let errors = errors.iter().map(|(pointer, detail)| json!({ "pointer": pointer, "detail": detail }));
    body["errors"] = errors.collect();
    (status, body)
}

fn malformed(why: &str) -> (u16, Value) {
    problem(400, "Bad Request", "malformed_json", &format!("the body is not valid JSON: {why}"))
}

#[tokio::test]
async fn json_goes_in_and_out() {
    let order = json!({ "name": "gears", "items": [{ "price": 1.5, "count": 2 }], "note": null });
    assert_eq!(post_json("/orders", order.to_string()).await, (200, order.clone()));
    assert_eq!(post_as("Application/JSON ; charset=utf-8", "/orders", order.to_string()).await.0, 200);
    assert_eq!(post_as("application/merge-patch+json", "/orders", order.to_string()).await.0, 200);
}

/// Promise: A4, R-29
#[tokio::test]
async fn a_body_of_another_kind_is_415() {
    let refusal = |wanted: &str| {
        problem(415, "Unsupported Media Type", "unsupported_media_type", &format!("the Content-Type must be {wanted}"))
    };
    for media in ["", "text/plain", "application/xml", "application/+json", "text/json", "application/jsonx", "json"] {
        assert_eq!(post_as(media, "/orders", "{}").await, refusal("application/json"), "{media}");
    }
    assert_eq!(post_json("/form", "limit=1").await, refusal("application/x-www-form-urlencoded"));
}

/// Promise: A4, R-29
#[tokio::test]
async fn a_body_that_is_too_long_is_413() {
    let refusal = problem(413, "Payload Too Large", "body_too_large", "the body is longer than this service takes");
    assert_eq!(post_json("/any", format!("\"{}\"", "x".repeat(4095))).await, refusal);
    assert_eq!(post_json("/any", format!("\"{}\"", "x".repeat(4094))).await.0, 200);
}

/// Promise: A4, R-29
#[tokio::test]
async fn text_that_is_not_json_is_400_with_its_place() {
    let cases: [(&[u8], &str); 12] = [
        (b"", "EOF while parsing a value at line 1 column 0"),
        (b"{\"name\":\n  oops}", "expected value at line 2 column 3"),
        (b"{\"name\": \"a\", \"items\": []", "EOF while parsing an object at line 1 column 25"),
        (b"{\"name\": \"a\", \"items\": []} {}", "trailing characters at line 1 column 28"),
        (b"{\"name\": \"a\", \"items\": [],}", "trailing comma at line 1 column 27"),
        (b"{'name': 'a'}", "key must be a string at line 1 column 2"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"{\"name\": \"\xc3\x28\"}", "it is not UTF-8"),
        (b"\xef\xbb\xbf{}", "expected value at line 1 column 1"),
        (b"{\"name\": \"\\ud800\"}", "unexpected end of hex escape at line 1 column 17"),
        (b"{\"name\": 1, \"items\": nope}", "expected ident at line 1 column 23"),
        (b"null x", "trailing characters at line 1 column 6"),
    ];
    for (body, why) in cases {
        assert_eq!(post_json("/orders", body.to_vec()).await, malformed(why), "{}", String::from_utf8_lossy(body));
    }
    for number in ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "1.", ".5", "+1", "0x10"] {
        let (status, body) = post_json("/numbers", format!("[{number}]")).await;
        assert_eq!((status, &body["code"]), (400, &json!("malformed_json")), "{number}: {body}");
    }
}

/// Promise: A4, R-28
#[tokio::test]
async fn json_within_json_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(post_json("/any", nested(MAX_JSON_DEPTH)).await.0, 200);
    let refusal = problem(400, "Bad Request", "too_deep", "the body is nested deeper than 64 levels");
    assert_eq!(post_json("/any", nested(MAX_JSON_DEPTH + 1)).await, refusal);
    assert_eq!(post_json("/any", "{\"a\":".repeat(65)).await, refusal);
    // Brackets in texts, also behind quotes that are escaped, are no nesting.
    assert_eq!(post_json("/any", json!("[{".repeat(100)).to_string()).await.0, 200);
    assert_eq!(post_json("/any", json!(format!("\\\"{}", "[".repeat(100))).to_string()).await.0, 200);
    assert_eq!(post_json("/any", format!("[{}[]]", "[],".repeat(100))).await.0, 200);
}

/// Promise: A4, R-29
#[tokio::test]
async fn all_fields_that_are_wrong_are_named_at_once() {
    type Wrong<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, Wrong<'_>); 8] = [
        ("[]", &[("", "must be an object")]),
        ("null", &[("", "must be an object")]),
        ("{}", &[("/name", "is required"), ("/items", "is required")]),
        (
            r#"{"name": 1, "items": [{"price": 1}, {"count": -1}, {"price": "2", "count": 1.5}, 7], "extra": 1, "a/b": 1}"#,
            &[
                ("/name", "must be a text"),
                ("/items/1/price", "is required"),
                ("/items/1/count", "must be at least 0"),
                ("/items/2/price", "must be a number"),
                ("/items/2/count", "must be a whole number"),
                ("/items/3", "must be an object"),
                ("/extra", "is not a known field"),
                ("/a~1b", "is not a known field"),
            ],
        ),
        (r#"{"name": "a", "name": "b", "items": []}"#, &[("/name", "is given more than once")]),
        (r#"{"name": "a", "items": null, "note": []}"#, &[("/items", "must be a list"), ("/note", "must be a text")]),
        (
            r#"{"name": "a", "items": [{"price": 1, "count": 4294967296}]}"#,
            &[("/items/0/count", "must be at most 4294967295")],
        ),
        (
            r#"{"name": "a", "items": [{"price": 1, "count": 99999999999999999999}]}"#,
            &[("/items/0/count", "must be a whole number")],
        ),
    ];
    for (body, errors) in cases {
        assert_eq!(post_json("/orders", body).await, unprocessable("the body", errors), "{body}");
    }
}

#[tokio::test]
async fn an_answer_names_a_hundred_mistakes_at_most() {
    let (status, body) = post_json("/numbers", json!(vec!["x"; 500]).to_string()).await;
    assert_eq!((status, body["errors"].as_array().map(Vec::len)), (422, Some(100)));
    assert_eq!(body["detail"], "the body does not fit; the first 100 of its mistakes are listed");
}

/// What only serde knows is said too, beside what the schema says.
#[tokio::test]
async fn a_type_with_its_own_rules_is_heard() {
    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    struct Booking {
        #[serde(deserialize_with = "even")]
        seats: u8,
        name: String,
    }
    fn even<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        let n = u8::deserialize(deserializer)?;
        if n.is_multiple_of(2) { Ok(n) } else { Err(serde::de::Error::custom("seats come in pairs")) }
    }
    let service = Router::new().route("/", post(echo::<Booking>));
    let request = Request::post("/").header(CONTENT_TYPE, "application/json").body(Body::from(r#"{"seats": 3}"#));
    let response = service.oneshot(request.expect("a request")).await.expect("an answer");
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let expected = json!([
        { "pointer": "/name", "detail": "is required" },
        { "pointer": "/seats", "detail": "can't be read: seats come in pairs" },
    ]);
    assert_eq!(body["errors"], expected);
}

#[tokio::test]
async fn an_optional_body_may_be_empty_but_not_wrong() {
    assert_eq!(post_as("", "/optional", "").await, (200, Value::Null));
    assert_eq!(post_json("/optional", "").await, (200, Value::Null));
    assert_eq!(post_json("/optional", r#"{"name":"a","items":[]}"#).await, (200, json!("a")));
    assert_eq!(post_json("/optional", "{}").await.0, 422);
    assert_eq!(post_as("", "/optional", "{}").await.0, 415);
}

/// Promise: C15
#[tokio::test]
async fn rules_that_are_broken_are_named_as_the_client_knows_the_fields() {
    let good = json!({ "firstName": "Ann", "email": "ann@example.com", "homeAddresses": [{ "zipCode": "12345" }] });
    assert_eq!(post_json("/sign-up", good.to_string()).await, (200, good));
    let bad =
        json!({ "firstName": "A", "email": "ann", "homeAddresses": [{ "zipCode": "12345" }, { "zipCode": "1" }] });
    let (status, body) = post_json("/sign-up", bad.to_string()).await;
    let pointers: Vec<_> =
        body["errors"].as_array().expect("errors").iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(
        (status, pointers),
        (422, vec![json!("/email"), json!("/firstName"), json!("/homeAddresses/1/zipCode")])
    );
    assert_eq!(body["errors"][1]["detail"], "length is lower than 2");
}

#[tokio::test]
async fn the_query_becomes_what_the_type_wants() {
    let cases = [
        ("/search", json!({ "limit": 1, "after": null, "tag": [], "min": [], "active": null, "text": null })),
        (
            "/search?limit=20&after=-3&tag=a&tag=b+c%26&min=1&min=2.5&active=true&text=7&other=1",
            json!({ "limit": 20, "after": -3, "tag": ["a", "b c&"], "min": [1.0, 2.5], "active": true, "text": "7" }),
        ),
        (
            "/search?after=&active=&text=&tag=&%zz=%&&",
            json!({ "limit": 1, "after": null, "tag": [""], "min": [], "active": null, "text": "" }),
        ),
        ("/map?a=1&b=-2", json!({ "a": 1, "b": -2 })),
    ];
    for (path, expected) in cases {
        assert_eq!(get_json(path).await, (200, expected), "{path}");
    }
}

/// Promise: A4, R-29
#[tokio::test]
async fn a_query_that_does_not_fit_is_422_with_every_name() {
    let wrong = |errors: &[(&str, &str)]| unprocessable("the query", errors);
    assert_eq!(
        get_json("/search?limit=-1&after=x&min=1&min=NaN&active=yes").await,
        wrong(&[
            ("/limit", "must be at least 0"),
            ("/after", "must be a whole number"),
            ("/min/1", "must be a number"),
            ("/active", "must be true or false"),
        ])
    );
    assert_eq!(get_json("/search?limit=1&limit=2").await, wrong(&[("/limit", "is given more than once")]));
    assert_eq!(
        get_json("/strict?limit=300&offset=1").await,
        wrong(&[("/limit", "must be at most 255"), ("/offset", "is not a known field")])
    );
    assert_eq!(get_json("/map?a=x").await, wrong(&[("/a", "must be a whole number")]));
    assert_eq!(
        get_json("/search?text=%ff").await,
        problem(400, "Bad Request", "malformed_parameters", "the query is not UTF-8")
    );
}

#[tokio::test]
async fn a_form_is_read_like_a_query() {
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    assert_eq!(post_as(form, "/form", "limit=7").await, (200, json!({ "limit": 7 })));
    assert_eq!(post_as(form, "/form", "limit=").await, (200, json!({ "limit": null })));
    assert_eq!(
        post_as(form, "/form", "limit=x").await,
        unprocessable("the form", &[("/limit", "must be a whole number")])
    );
    assert_eq!(
        post_as(form, "/form", vec![0xff]).await,
        problem(400, "Bad Request", "malformed_parameters", "the form is not UTF-8")
    );
}

/// Promise: A4, R-29
#[tokio::test]
async fn a_path_that_does_not_fit_is_422_with_the_name() {
    let wrong = |name: &str, why: &str| unprocessable("the path", &[(name, why)]);
    assert_eq!(get_json("/one/7").await, (200, json!(7)));
    assert_eq!(get_json("/two/a%20b/-7").await, (200, json!(["a b", -7])));
    assert_eq!(get_json("/part/a/7").await, (200, json!(["a", 7])));
    assert_eq!(get_json("/one/x").await, wrong("/id", "must be a whole number from 0 up that is not too large"));
    assert_eq!(get_json("/two/a/200").await, wrong("/number", "must be a whole number that is not too large"));
    assert_eq!(
        get_json("/part/a/-1").await,
        wrong("/number", "must be a whole number from 0 up that is not too large")
    );
    assert_eq!(
        get_json("/one/%ff").await,
        problem(400, "Bad Request", "malformed_parameters", "the path is not UTF-8")
    );
}

#[tokio::test]
async fn a_handler_that_wants_other_parameters_than_its_route_has_is_our_fault() {
    let refusal = problem(500, "Internal Server Error", "internal", "the route's parameters don't fit its handler");
    assert_eq!(get_json("/wrong/1").await, refusal);
}

#[tokio::test]
async fn a_handler_may_return_our_result() {
    assert_eq!(post_json("/failing", "").await, problem(409, "Conflict", "conflict", "that name is taken"));
}

/// Promise: R-29
#[tokio::test]
async fn no_input_is_our_fault() {
    let service = routes();
    let status =
        async |request: Request<Body>| service.clone().oneshot(request).await.expect("an answer").status().as_u16();
    let body = r#"{"name": "gear \u00e9", "items": [{"price": 1.5e3, "count": 2}, {"price": -0, "count": null}], "note": "n"}"#;
    let query = "limit=20&after=-3&tag=a&tag=b+c%26&min=1&min=2.5&active=true&text=7&other=1";
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 11).expect("64 bits") % below
    };
    for _ in 0..10_000 {
        let (mut json, mut text) = (body.as_bytes().to_vec(), query.as_bytes().to_vec());
        for _ in 0..=random(4) {
            let (from, to, at) = (random(json.len()), random(json.len()), random(text.len()));
            match random(3) {
                0 => json[from] = u8::try_from(random(256)).expect("a byte"),
                1 => drop(json.drain(from.min(to)..from.max(to))),
                _ => json.insert(to, b"{}[]\",:\\0e-tn"[random(13)]),
            }
            json.push(b' ');
            text[at] = b"%&=+-0aeNZ~"[random(11)];
        }
        let request = Request::post("/orders").header(CONTENT_TYPE, "application/json").body(Body::from(json.clone()));
        let answer = status(request.expect("a request")).await;
        assert!(matches!(answer, 200 | 400 | 422), "{answer}: {}", String::from_utf8_lossy(&json));
        let path = format!("/search?{}", String::from_utf8_lossy(&text));
        let answer = status(Request::get(&path).body(Body::empty()).expect("a request")).await;
        assert!(matches!(answer, 200 | 400 | 422), "{answer}: {path}");
    }
}

/// Promise: R-28
#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault_or_what_the_edge_says() {
    let chunks = |error: std::io::Error| Body::from_stream(stream::iter([Ok("{"), Err(error)]));
    let broken = chunks(std::io::Error::other("reset by peer"));
    assert_eq!(
        post_json("/orders", broken).await,
        problem(400, "Bad Request", "body_interrupted", "the body broke off")
    );
    let too_slow = Error::invalid("the body came too slowly").status(408).code("body_timeout");
    let answer = problem(408, "Request Timeout", "body_timeout", "the body came too slowly");
    assert_eq!(post_json("/orders", chunks(std::io::Error::other(too_slow))).await, answer);
}

#[tokio::test]
async fn the_request_knows_its_caller() {
    let kernel = Kernel::new(ServiceConfig::default(), Clock::system(), None);
    let service = Router::new()
        .route(
            "/",
            get(async |caller: Caller| {
                let id = caller.request_id().unwrap_or_default();
                format!("{} {id}", caller.kind().as_str())
            }),
        )
        .route("/db", get(async |_: Db| "a database"))
        .route("/port", get(async |kernel: Kernel| kernel.config().port.to_string()))
        .with_state(kernel);
    let text = async |path: &str, caller: Option<Caller>| {
        let mut request = Request::get(path).body(Body::empty()).expect("a request");
        request.extensions_mut().extend(caller.into_iter().fold(axum::http::Extensions::new(), |mut all, caller| {
            all.insert(caller);
            all
        }));
        let response = service.clone().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        (status, String::from_utf8(to_bytes(response.into_body(), 999).await.expect("a body").to_vec()).expect("text"))
    };
    assert_eq!(text("/", None).await, (200, "anonymous ".to_owned()));
    assert_eq!(text("/", Some(Caller::user("ann").in_request("r-1"))).await, (200, "user r-1".to_owned()));
    assert_eq!(text("/port", None).await, (200, "8000".to_owned()));
    let (status, body) = text("/db", None).await;
    assert!(status == 503 && body.contains("set DATABASE_URL"), "{body}");
}
