//! What the document says of a small service, and that the page needs nothing but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use aide::axum::ApiRouter;
use aide::axum::routing::{get, post};
use axum::body::{Body, to_bytes};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
};
use axum::http::{HeaderMap, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::base::clock::{Clock, Timestamp};
use crate::base::config::ServiceConfig;
use crate::store::db::Db;
use crate::store::db::row::{Row, Saved};
use crate::web::edge::EdgeRules;
use crate::web::extract::{Form, Json, Path, Query, Valid};
use crate::web::rate_limit::RequestLimits;
use crate::web::reply::{Created, NoContent};

/// A thing somebody owns.
#[derive(Debug, Serialize, Deserialize, JsonSchema, garde::Validate)]
struct Widget {
    /// What people call it.
    #[garde(length(min = 1, max = 80))]
    name: String,
    #[serde(default = "blue")]
    #[garde(skip)]
    color: Color,
    #[garde(skip)]
    maker: Option<Maker>,
    #[garde(skip)]
    #[serde(default)]
    parts: BTreeMap<String, Vec<Part>>,
    #[garde(skip)]
    #[serde(skip_deserializing)]
    owner_id: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Color {
    Red,
    /// As the sky.
    Blue,
}

fn blue() -> Color {
    Color::Blue
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Maker {
    name: String,
    since: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Part {
    Screw { length: f64 },
    Group { parts: Vec<Part>, size: (u8, u8) },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Page {
    /// How many at most.
    #[serde(default = "hundred")]
    limit: u32,
    after: Option<String>,
}

fn hundred() -> u32 {
    100
}

#[derive(Debug, Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Login {
    username: String,
    password: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Token {
    access_token: String,
}

mod other {
    use super::{Deserialize, JsonSchema, Serialize};

    /// Another type of the same name.
    #[derive(Debug, Serialize, Deserialize, JsonSchema)]
    pub(super) struct Maker {
        country: String,
    }
}

struct SignedIn;

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for SignedIn {
    type Rejection = Error;

    async fn from_request_parts(_: &mut axum::http::request::Parts, _: &S) -> Result<Self> {
        Ok(SignedIn)
    }
}

impl aide::OperationInput for SignedIn {
    fn operation_input(_: &mut aide::generate::GenContext, operation: &mut Operation) {
        require_token(operation);
    }
}

fn saved() -> Saved<Widget> {
    Saved {
        id: "1".to_owned(),
        entity: Widget {
            name: "gear".to_owned(),
            color: Color::Red,
            maker: None,
            parts: BTreeMap::new(),
            owner_id: String::new(),
        },
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        deleted_at: None,
        version: 1,
    }
}

async fn create(_: SignedIn, _: Valid<Json<Widget>>) -> Result<Created<Saved<Widget>>> {
    Ok(Created::new(saved()).at("/api/v1/widgets/1"))
}

async fn list(_: SignedIn, _: Query<Page>) -> Result<Json<Vec<Saved<Widget>>>> {
    Ok(Json(vec![saved()]))
}

async fn read(_: SignedIn, Path(_): Path<String>) -> Result<Json<Saved<Widget>>> {
    Ok(Json(saved()))
}

async fn part(_: Path<(String, u32)>) -> Result<Json<Row>> {
    Err(Error::not_found("there is no such part"))
}

async fn remove(_: Path<String>, _: Db) -> Result<NoContent> {
    Ok(NoContent)
}

async fn login(_: Form<Login>) -> Result<Json<Token>> {
    Ok(Json(Token { access_token: "t".to_owned() }))
}

async fn makers(_: Json<other::Maker>) -> Json<Maker> {
    Json(Maker { name: String::new(), since: None })
}

fn routes() -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route("/widgets", post(create).get(list))
        .api_route("/widgets/{id}", get(read).delete(remove))
        .api_route("/widgets/{id}/parts/{number}", get(part))
        .api_route("/auth/login", post(login))
        .api_route("/makers", post(makers))
        .api_route("/files/{*path}", get(async |_: Path<String>| "a file"))
        .route("/undocumented", axum::routing::get(async || "hello"))
}

/// The routes put together, with what stands before them by the kernel's configuration.
fn assembled(api: ApiRouter<Kernel>, kernel: &Kernel, name: &str, version: &str) -> Result<(Router, Document)> {
    let limits = RequestLimits::new(kernel.config(), kernel.clock(), None);
    let rules = EdgeRules::from_config(kernel.config()).expect("rules");
    let before = Before { limits: &limits, rules: &rules, keeps_answers: kernel.config().idempotency_enabled };
    assemble(api, ApiRouter::new(), kernel, name, version, &before)
}

fn service_of(config: ServiceConfig) -> (Router, Document) {
    let kernel = Kernel::new(config, Clock::system(), None);
    assembled(routes(), &kernel, "widget <service>", "1.2.3").expect("a service")
}

fn service() -> (Router, Document) {
    service_of(ServiceConfig { idempotency_enabled: false, ..ServiceConfig::default() })
}

fn document() -> Value {
    read_document(&service().1)
}

fn read_document(document: &Document) -> Value {
    serde_json::from_slice(&document.json).expect("JSON")
}

async fn fetch(path: &str, headers: &[(axum::http::HeaderName, &str)]) -> (u16, HeaderMap, Vec<u8>) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let response = service().0.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, to_bytes(body, usize::MAX).await.expect("a body").to_vec())
}

/// The whole document, for people to look at when it changes.
#[test]
fn the_document_of_a_small_service() {
    let text = serde_json::to_string_pretty(&document()).expect("JSON");
    insta::assert_snapshot!(text);
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    fn walk<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| walk(value, found));
            }
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    walk(&document, &mut found);
    for reference in &found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(found.contains(format!("#/components/schemas/{name}").as_str()), "{name}");
    }
    assert!(!document.to_string().contains(CARRIED));
}

/// Every answer of the limit and of kept answers is described where it can come, and only there.
#[test]
fn what_answers_before_a_route_does_is_described() {
    let config = ServiceConfig { rate_limit_enabled: Some(true), ..ServiceConfig::default() };
    let document = read_document(&service_of(config).1);
    let refusals = |path: &str, method: &str| {
        let answers = &document["paths"][path][method]["responses"];
        ["409", "422", "429"]
            .map(|status| answers[status]["$ref"].as_str().map(|at| at.rsplit('/').next().unwrap_or(at)))
    };
    let (conflict, unfit, many) = (Some("Conflict"), Some("Unprocessable"), Some("TooManyRequests"));
    assert_eq!(refusals("/api/v1/widgets", "post"), [conflict, unfit, many]);
    assert_eq!(refusals("/api/v1/widgets/{id}", "delete"), [conflict, unfit, many]);
    assert_eq!(refusals("/api/v1/files/{path}", "get"), [None, None, many], "it does nothing twice");
    assert_eq!(refusals("/api/v1/auth/login", "post"), [None, unfit, many], "an answer with tokens is not kept");
    let takes_key = |path: &str, method: &str| {
        let parameters = document["paths"][path][method]["parameters"].as_array().into_iter().flatten();
        parameters.into_iter().any(|parameter| parameter["$ref"] == "#/components/parameters/IdempotencyKey")
    };
    assert!(takes_key("/api/v1/widgets", "post") && takes_key("/api/v1/widgets/{id}", "delete"));
    assert!(!takes_key("/api/v1/widgets", "get") && !takes_key("/api/v1/auth/login", "post"));
    assert_eq!(document["components"]["parameters"]["IdempotencyKey"]["name"], "Idempotency-Key");
    let headers = document["components"]["responses"]["TooManyRequests"]["headers"].as_object().expect("headers");
    let names = headers.keys().map(String::as_str).collect::<BTreeSet<_>>();
    let wanted = [
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
    ];
    assert_eq!(names, BTreeSet::from(wanted));

    let without = self::document();
    assert!(!without.to_string().contains("429") && !without.to_string().contains("Idempotency-Key"));
}

#[test]
fn operations_are_unique_and_named_by_their_routes() {
    let document = document();
    let ids = |path: &str, method: &str| document["paths"][path][method]["operationId"].clone();
    assert_eq!(ids("/api/v1/widgets", "post"), "post_widgets");
    assert_eq!(ids("/api/v1/widgets/{id}", "get"), "get_widgets_by_id");
    assert_eq!(ids("/api/v1/widgets/{id}/parts/{number}", "get"), "get_widgets_by_id_parts_by_number");
    assert_eq!(ids("/api/v1/files/{path}", "get"), "get_files_by_path");
    assert_eq!(document["paths"].as_object().expect("paths").len(), 6, "the root alias is not listed");
}

#[test]
fn what_is_read_and_what_is_written_are_described_apart() {
    let document = document();
    let schema = |name: &str| &document["components"]["schemas"][name];
    assert!(schema("Widget")["properties"]["owner_id"].is_null(), "a client can't set it");
    assert!(!schema("Saved_for_Widget")["properties"]["owner_id"].is_null(), "a client sees it");
    assert_eq!(schema("Maker")["required"], json!(["name", "since"]));
    assert_eq!(schema("MakerInput")["required"], json!(["name"]));
    assert_eq!(schema("MakerInput2")["description"], "Another type of the same name.");
}

/// The routes of a service may be built on a thread and put together on another.
#[test]
fn a_router_from_another_thread_is_described_as_well() {
    let routes = std::thread::spawn(routes).join().expect("a router");
    let config = ServiceConfig { idempotency_enabled: false, ..ServiceConfig::default() };
    let kernel = Kernel::new(config, Clock::system(), None);
    let (_, document) = assembled(routes, &kernel, "widget <service>", "1.2.3").expect("a service");
    assert_eq!(document.json, service().1.json);
}

#[test]
fn without_a_login_route_nobody_is_told_to_log_in_there() {
    let kernel = Kernel::new(ServiceConfig::default(), Clock::system(), None);
    let api = ApiRouter::new().api_route("/widgets", get(list));
    let (_, document) = assembled(api, &kernel, "s", "1").expect("a service");
    let document: Value = serde_json::from_slice(&document.json).expect("JSON");
    assert_eq!(document["paths"]["/api/v1/widgets"]["get"]["security"], json!([{ "bearer": [] }]));
    assert!(document["components"]["securitySchemes"]["password"].is_null());
}

#[tokio::test]
async fn routes_answer_at_the_prefix_and_at_the_root() {
    for path in ["/api/v1/widgets/1", "/widgets/1"] {
        let (status, _, body) = fetch(path, &[]).await;
        assert_eq!(
            (status, serde_json::from_slice::<Value>(&body).expect("JSON")["name"].clone()),
            (200, json!("gear"))
        );
    }
    assert_eq!(fetch("/api/v1/undocumented", &[]).await.0, 200);
    assert_eq!(fetch("/api/v1/openapi.json", &[]).await.0, 404);
    let (router, _) = service_of(ServiceConfig { root_alias: false, ..ServiceConfig::default() });
    let response = router.oneshot(Request::get("/widgets/1").body(Body::empty()).expect("a request")).await;
    assert_eq!(response.expect("an answer").status(), 404);
    let (router, document) = service_of(ServiceConfig { api_prefix: String::new(), ..ServiceConfig::default() });
    let response = router.oneshot(Request::get("/widgets/1").body(Body::empty()).expect("a request")).await;
    assert_eq!(response.expect("an answer").status(), 200);
    assert!(String::from_utf8_lossy(&document.json).contains("\"/widgets/{id}\""));
}

#[tokio::test]
async fn what_was_made_is_answered_with_its_place() {
    let request =
        Request::post("/widgets").header(CONTENT_TYPE, "application/json").body(Body::from(r#"{"name":"gear"}"#));
    let response = service().0.oneshot(request.expect("a request")).await.expect("an answer");
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["location"], "/api/v1/widgets/1");
}

#[tokio::test]
async fn the_configured_body_limit_holds() {
    let (router, _) = service_of(ServiceConfig { max_body_bytes: 10, ..ServiceConfig::default() });
    let request =
        Request::post("/widgets").header(CONTENT_TYPE, "application/json").body(Body::from(r#"{"name":"gear"}"#));
    assert_eq!(router.oneshot(request.expect("a request")).await.expect("an answer").status(), 413);
}

#[test]
fn two_handlers_for_one_path_are_an_error_that_names_it() {
    let refusal = without_conflicts(|| routes().api_route("/widgets", get(list))).map(drop).expect_err("a refusal");
    assert!(refusal.to_string().contains("`GET /widgets`"), "{refusal}");
    let kernel = Kernel::new(ServiceConfig::default(), Clock::system(), None);
    let api = ApiRouter::new().api_route("/docs", get(list));
    let refusal = assembled(api, &kernel, "s", "1").map(drop).expect_err("a refusal");
    assert!(refusal.to_string().contains("`GET /docs`"), "{refusal}");
}

#[tokio::test]
async fn the_document_is_served_once_and_then_revalidated() {
    let (status, headers, body) = fetch("/openapi.json", &[]).await;
    assert_eq!(status, 200);
    assert_eq!(headers[CONTENT_TYPE], "application/json");
    assert_eq!(body, service().1.json);
    let etag = headers[ETAG].to_str().expect("text").to_owned();
    let (status, _, body) = fetch("/openapi.json", &[(IF_NONE_MATCH, &etag)]).await;
    assert_eq!((status, body.len()), (304, 0));
}

/// All that the page loads is served by us, and its policy lets the browser load nothing else.
#[tokio::test]
async fn the_page_works_offline() {
    let (status, headers, page) = fetch("/docs", &[]).await;
    let page = String::from_utf8(page).expect("text");
    assert_eq!(status, 200);
    assert_eq!(headers[CONTENT_TYPE], "text/html; charset=utf-8");
    assert!(page.contains("<title>widget &lt;service&gt;</title>"));
    let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("text");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("http"), "{policy}");

    let mut loaded = 0;
    for part in page.split(['<', '>']).filter(|part| part.starts_with("script ") || part.starts_with("link ")) {
        let (_, rest) = part.split_once("src=\"").or_else(|| part.split_once("href=\"")).expect("a source");
        let source = rest.split('"').next().expect("a quoted source");
        if source.starts_with("data:") {
            continue;
        }
        assert!(!source.contains("//"), "{source}");
        let (status, _, text) = fetch(&format!("/{source}"), &[]).await;
        assert_eq!(status, 200, "{source}");
        loaded += 1;
        if source.ends_with(".css") {
            let text = String::from_utf8(text).expect("text");
            for url in text.split("url(").skip(1) {
                assert!(url.trim_start_matches(['"', '\'']).starts_with("data:"), "{}", &url[..40]);
            }
            assert!(!text.contains("@import"));
        }
    }
    assert_eq!(loaded, 3);
}

#[tokio::test]
async fn the_pages_files_are_those_that_were_reviewed() {
    let sums = include_str!("../assets/README.md");
    for file in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        let (_, headers, plain) = fetch(&format!("/docs/{file}"), &[]).await;
        assert!(!headers.contains_key(CONTENT_ENCODING));
        let sum: String = ring::digest::digest(&ring::digest::SHA256, &plain)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(sums.contains(&format!("{sum}  {file}")), "{file}");

        let (_, headers, gzip) = fetch(&format!("/docs/{file}"), &[(ACCEPT_ENCODING, "br, gzip;q=0.5")]).await;
        assert_eq!(headers[CONTENT_ENCODING], "gzip");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut unpacked).expect("gzip");
        assert_eq!(unpacked, plain);
        let (_, headers, _) = fetch(&format!("/docs/{file}"), &[(ACCEPT_ENCODING, "gzip;q=0")]).await;
        assert!(!headers.contains_key(CONTENT_ENCODING));
    }
}
