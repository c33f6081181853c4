//! What axum and tower have works here too: routers, states, layers, and the kernel's routes in somebody else's hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestDatabase, TestService};
use axum::extract::{FromRef, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing as plain;
use serde_json::json;

use super::widgets;

/// The state of an app, which holds the kernel's.
#[derive(Clone, FromRef)]
struct Shop {
    kernel: Kernel,
    visits: Arc<AtomicU32>,
}

async fn visit(State(visits): State<Arc<AtomicU32>>) -> String {
    visits.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Takes from both: the app's state and the kernel's extractors.
async fn count(State(visits): State<Arc<AtomicU32>>, db: Db) -> Result<Json<serde_json::Value>> {
    let rows = db.count_entities("widgets").await?;
    Ok(Json(json!({ "rows": rows, "visits": visits.load(Ordering::Relaxed), "caller": db.caller().kind().as_str() })))
}

/// Promise: A11
#[tokio::test]
async fn a_plain_router_with_plain_handlers_is_merged() {
    let plain_router: axum::Router<Kernel> = axum::Router::new()
        .route("/plain", plain::get(async || "plain").post(async |body: String| body))
        .route("/plain/kernel", plain::get(async |State(kernel): State<Kernel>| kernel.config().api_prefix.clone()));
    let service = TestService::start(|config| widgets(config).routes(plain_router)).await;
    let anonymous = service.anonymous();
    for prefix in ["", "/api/v1"] {
        assert_eq!(anonymous.get(&format!("{prefix}/plain")).await.expect(200).text(), "plain");
        assert_eq!(anonymous.get(&format!("{prefix}/plain/kernel")).await.expect(200).text(), "/api/v1");
    }
    anonymous.delete("/plain").await.expect_problem(405, "method_not_allowed");
    anonymous.get("/widgets").await.expect(200);
}

/// Promise: A11, C12
#[tokio::test]
async fn an_app_brings_its_own_state() {
    let visits = Arc::new(AtomicU32::new(0));
    let shop = {
        let visits = Arc::clone(&visits);
        |kernel| {
            let routes = ApiRouter::new().api_route("/shop/count", get(count)).route("/shop/visit", plain::get(visit));
            routes.with_state(Shop { kernel, visits })
        }
    };
    let service = TestService::start(|config| widgets(config).routes_with(shop)).await;
    let ann = service.sign_up("ann").await;
    assert_eq!(ann.get("/shop/visit").await.expect(200).text(), "0");
    assert_eq!(ann.get("/api/v1/shop/visit").await.expect(200).text(), "1");
    ann.post("/widgets", json!({ "name": "gear", "size": 1 })).await.expect(201);
    let counted = ann.get("/shop/count").await.expect(200).json();
    assert_eq!(counted, json!({ "rows": 1, "visits": 2, "caller": "user" }));
    let document = service.anonymous().get("/openapi.json").await.expect(200).json();
    assert!(document["paths"].get("/api/v1/shop/count").is_some());
    assert_eq!(visits.load(Ordering::Relaxed), 2);
}

/// Promise: A11
#[tokio::test]
async fn a_router_with_a_state_of_its_own_is_nested() {
    let own: axum::Router<Kernel> =
        axum::Router::new().route("/", plain::get(async |State(motto): State<&'static str>| motto)).with_state("good");
    let service = TestService::start(|config| widgets(config).nest("/motto", own)).await;
    assert_eq!(service.anonymous().get("/motto").await.expect(200).text(), "good");
    assert_eq!(service.anonymous().get("/api/v1/motto").await.expect(200).text(), "good");
}

/// Promise: A11
#[tokio::test]
async fn a_layer_wraps_what_was_added_before_it() {
    async fn sign(request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        response.headers_mut().insert("x-signed", "yes".parse().expect("a value"));
        response
    }
    let service =
        TestService::start(|config| widgets(config).layer(from_fn(sign)).route("/later", get(async || "later")));
    let service = service.await;
    let signed = async |path: &str| {
        let answer = service.anonymous().get(path).await.expect(200);
        answer.header("x-signed").is_some()
    };
    assert!(signed("/widgets").await && signed("/api/v1/widgets").await);
    assert!(!signed("/later").await && !signed("/healthz").await);
    let refused = service.anonymous().get("/me").await.expect_problem(401, "unauthenticated");
    assert_eq!(refused.header("x-signed"), Some("yes"));
}

/// Promise: A10
#[tokio::test]
async fn the_routes_serve_in_a_server_that_is_not_ours() {
    let database = TestDatabase::sqlite().await;
    let config = ServiceConfig {
        database_url: Some(database.url().clone()),
        data_dir: database.data_dir().display().to_string(),
        ..ServiceConfig::default()
    };
    let router = widgets(config).router().await.expect("a router");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::new(&url);
    let made = client.post("/widgets", json!({ "name": "gear", "size": 1 })).await.expect(201);
    assert_eq!(client.get(&format!("/api/v1/widgets/{}", made.id())).await.expect(200).json(), made.json());
    let refused = client.post("/widgets", json!({})).await.expect(422);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    serving.abort();
}

#[tokio::test]
async fn two_handlers_for_one_path_are_an_error_that_names_it() {
    let twice = widgets(ServiceConfig::default()).route("/widgets", get(async || "mine"));
    let error = twice.start().await.err().expect("a conflict");
    assert!(error.to_string().contains("/widgets"), "{error}");
}
