//! What goes out, and what comes back.

use std::sync::Arc;

use app_kernel::engine::http_client::{HttpErrorKind, HttpRequest};
use app_kernel::http_client;
use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestService};
use axum::Router;
use axum::http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::raw_server::{Act, RawServer, say};

/// How long a call may take on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// A server that tells what it was asked; axum's own, as a service's test would use one for a server far away.
async fn mirror() -> String {
    let tell = |method: Method, uri: axum::http::Uri, headers: HeaderMap, body: String| async move {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        axum::Json(json!({
            "method": method.as_str(), "uri": uri.to_string(), "body": body,
            "type": header("content-type"), "token": header("authorization"), "request": header("x-request-id"),
        }))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(tell)).await });
    format!("http://{address}")
}

/// Promise: L1, L8
#[tokio::test]
async fn a_call_without_any_setup_carries_what_it_was_given() {
    let base = format!("{}/v2", mirror().await);
    let client = http_client(&base).expect("a client");
    let told: Value = client.get("/droplets").query(&[("page", "2"), ("q", "a b&c")]).json().await.expect("an answer");
    assert_eq!((told["method"].as_str(), told["uri"].as_str()), (Some("GET"), Some("/v2/droplets?page=2&q=a+b%26c")));

    let sent = client.post("droplets").json_body(&json!({ "name": "web" })).await.expect("an answer");
    let told: Value = sent.json().expect("JSON");
    assert_eq!((told["body"].as_str(), told["type"].as_str()), (Some(r#"{"name":"web"}"#), Some("application/json")));

    let told: Value = client.put("/form").form_body(&[("a", "1"), ("b", "2")]).json().await.expect("an answer");
    assert_eq!((&told["body"], &told["type"]), (&json!("a=1&b=2"), &json!("application/x-www-form-urlencoded")));
    for (request, method) in [(client.patch("/"), "PATCH"), (client.delete("/"), "DELETE")] {
        assert_eq!(request.body("x").json::<Value>().await.expect("an answer")["method"], method);
    }
}

/// Promise: L3, R-31
#[tokio::test]
async fn a_thousand_tasks_with_their_own_tokens_on_one_pool_mix_nothing() {
    let (base, calls) = (mirror().await, if crate::support::is_full() { 20 } else { 4 });
    let shared = http_client(&base).expect("a client");
    // Each call has a socket at either end, and a process has only so many.
    let sockets = Arc::new(Semaphore::new(100));
    let tasks = (0..1000).map(|n| {
        let sockets = Arc::clone(&sockets);
        let client =
            shared.clone().with_bearer_token(&format!("token-{n}")).with_timeout(PATIENCE).with_try_timeout(PATIENCE);
        tokio::spawn(async move {
            for call in 0..calls {
                let _socket = sockets.acquire().await.expect("nobody closes it");
                let wanted = if call % 2 == 0 { format!("Bearer token-{n}") } else { format!("Bearer own-{n}") };
                let request = client.get("/").idempotency_key("1");
                let request = if call % 2 == 0 { request } else { request.bearer_token(&format!("own-{n}")) };
                assert_eq!(request.json::<Value>().await.expect("an answer")["token"], wanted);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("its own tokens only");
    }
    assert_eq!(shared.get("/").json::<Value>().await.expect("an answer")["token"], Value::Null);
    println!("R-31 held: {} calls of 1,000 tasks with their own tokens on one base URL, 0 mixed", calls * 1000);
}

/// Promise: R-31
#[tokio::test]
async fn a_redirect_is_an_answer_and_takes_no_credentials_elsewhere() {
    let thief = RawServer::start([say("200 OK", "", "thanks")]).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let server = RawServer::start([say(status, &format!("location: {}/\r\n", thief.url()), "")]).await;
        let client = http_client(&server.url()).expect("a client").with_bearer_token("hunter2");
        let answer = client.get("/").send().await.expect("an answer");
        assert_eq!(answer.header("location"), Some(format!("{}/", thief.url()).as_str()));
        let error = client.get("/").await.expect_err("no success");
        assert_eq!(error.status().map(|status| status.as_u16()), Some(answer.status().as_u16()));
    }
    assert_eq!(thief.arrived(), Vec::<String>::new());
}

#[tokio::test]
async fn an_error_carries_the_status_and_a_part_of_the_body_but_tells_neither_body_nor_path() {
    let body = format!("hunter2{}", "x".repeat(10_000));
    let server = RawServer::start([say("422 Unprocessable", "", &body)]).await;
    let error =
        http_client(&server.url()).expect("a client").get("/bot-hunter2?key=hunter2").await.expect_err("no success");
    assert_eq!((error.status().map(|status| status.as_u16()), error.body().len()), (Some(422), 4096));
    assert!(error.body().starts_with("hunter2"));
    let told = format!("{error} {error:?}") + &format!("{:?}", Error::from(error));
    assert!(told.contains("answered 422") && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn an_answer_of_another_shape_is_told_without_its_values() {
    let server = RawServer::start([say("200 OK", "", r#"{"n": "hunter2"}"#), say("200 OK", "", "<html>hunter2")]).await;
    let client = http_client(&server.url()).expect("a client");
    for wanted in ["JSON of another shape, at line 1", "no JSON, at line 1"] {
        let error = client.get("/").json::<std::collections::BTreeMap<String, i64>>().await.expect_err("another shape");
        assert!(error.to_string().contains(wanted) && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

async fn answer(request: HttpRequest) -> Result<Json<Value>> {
    Ok(Json(request.json().await?))
}

/// Promise: L1
#[tokio::test]
async fn a_handler_asks_with_its_requests_id_and_its_client_hears_no_internals() {
    let (good, bad) = (mirror().await, RawServer::start([Act::Close]).await);
    let bad_url = bad.url();
    let service = TestService::start(move |config| {
        Service::new("asking", config).routes_with(move |kernel: Kernel| {
            let good = kernel.http_client(&good).expect("a client");
            let bad = kernel.http_client(&bad_url).expect("a client");
            let ask = move || answer(good.get("/"));
            let fail = move || answer(bad.post("/"));
            let router = Router::new().route("/ask", axum::routing::get(ask));
            ApiRouter::from(router.route("/fail", axum::routing::get(fail)))
        })
    })
    .await;
    let client: Client = service.anonymous().with_header("x-request-id", "trace-1");
    assert_eq!(client.get("/ask").await.expect(200).json()["request"], "trace-1");

    let problem = client.get("/fail").await.expect(502);
    assert_eq!(problem.json()["code"], "upstream_failed");
    assert!(!problem.text().contains("127.0.0.1"), "{}", problem.text());
    let pools = service.kernel().http_pools().clone();
    assert_eq!(pools.stats().len(), 2);
    let held = pools.client(&pools.stats()[0].origin).expect("a client");
    service.stop().await;
    let error = held.get("/").await.expect_err("its connections are closed with the service");
    assert!(matches!(error.kind(), HttpErrorKind::Stopping), "{error}");
}
