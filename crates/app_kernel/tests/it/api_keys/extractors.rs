//! What a key opens, what it does not, and how a request shows it.

use app_kernel::testing::{TestDatabase, TestService, Wire, on_every_database};
use serde_json::{Value, json};

use super::{app, make_key, program, start, who_is};
use crate::workspaces::{make_workspace, person};

on_every_database!(scopes_open_what_they_cover, a_request_shows_one_proof);

/// Promise: M4
async fn scopes_open_what_they_cover(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    for (scopes, writes, reads) in [
        (&[][..], false, false),
        (&["reports:read"], false, false),
        (&["deployments:write"], true, false),
        (&["deployments:read"], false, true),
        (&["deployments:*"], true, true),
    ] {
        let (_, key) = make_key(&ann.client, json!({ "name": "CI", "scopes": scopes })).await;
        let ci = program(&service, &key);
        let who = who_is(&ci).await;
        assert_eq!((&who["kind"], &who["user_id"]), (&json!("api_key"), &json!(ann.id)));
        assert_eq!(who["may_write"], writes, "{scopes:?}");
        let wrote = ci.post("/deployments", json!({ "name": format!("by {scopes:?}") })).await;
        let read = ci.get("/deployments").await;
        match writes {
            true => drop(wrote.expect(201)),
            false => {
                let refused = wrote.expect_problem(403, "insufficient_scope").json();
                assert_eq!(refused["scope"], "deployments:write");
            }
        }
        if reads {
            read.expect(200)
        } else {
            read.expect_problem(403, "insufficient_scope")
        };
    }
    // People have all scopes.
    let who = ann.client.get("/who").await.expect(200).json();
    let expected = json!({
        "kind": "user", "user_id": ann.id, "workspace_id": ann.personal, "role": "owner", "api_key_id": null, "may_write": true
    });
    assert_eq!(who, expected);
    ann.client.post("/deployments", json!({ "name": "by Ann" })).await.expect(201);
    ann.client.get("/deployments").await.expect(200);
    service.anonymous().get("/who").await.expect_problem(401, "unauthenticated");
}

/// Promise: M3, R-21, R-29
async fn a_request_shows_one_proof(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let (_, key) = make_key(&ann.client, json!({ "name": "CI" })).await;
    let token = ann.client.token().expect("a token").to_owned();
    let ask = async |headers: &str| {
        let head = format!("GET /who HTTP/1.1\r\n{headers}");
        Wire::ask(&service.url(), head.as_bytes(), b"").await
    };
    let both = "too_many_credentials";
    for (headers, status, code) in [
        (format!("authorization: Bearer {key}"), 200, ""),
        (format!("x-api-key: {key}"), 200, ""),
        (format!("authorization: Basic YW5uOnB3\r\nx-api-key: {key}"), 200, ""),
        (format!("authorization: Bearer {token}\r\nx-api-key: {key}"), 401, both),
        (format!("authorization: Bearer {key}\r\nx-api-key: {key}"), 401, both),
        (format!("authorization: Bearer {key}\r\nauthorization: Bearer {key}"), 401, both),
        (format!("authorization: Bearer {token}\r\nauthorization: Bearer {key}"), 401, both),
        (format!("x-api-key: {key}\r\nx-api-key: {key}"), 401, both),
        (format!("authorization: Bearer {key}, Bearer {key}"), 401, "invalid_api_key"),
        (format!("authorization: Bearer {key}{}", "x".repeat(5000)), 401, "invalid_api_key"),
        (format!("x-api-key: {token}"), 401, "invalid_api_key"),
        ("x-api-key: ".to_owned(), 401, "invalid_api_key"),
        ("x-api-key: sk_live_\u{e9}".to_owned(), 401, "invalid_api_key"),
        (format!("authorization: Bearer {}", key.replace("live", "test")), 401, "invalid_api_key"),
        (format!("authorization: {key}"), 401, "unauthenticated"),
        (format!("authorization: Basic {key}"), 401, "unauthenticated"),
    ] {
        let answer = ask(&headers).await;
        match status {
            200 => drop(answer.expect(200)),
            _ => {
                let refused = answer.expect_problem(status, code);
                assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
                assert!(!refused.text().contains(&key[12..]), "{}", refused.text());
            }
        }
    }
    // A key in the address is nothing.
    service.anonymous().get(&format!("/who?api_key={key}")).await.expect_problem(401, "unauthenticated");
}

/// Promise: M4, R-27
#[tokio::test]
async fn a_key_opens_nothing_that_asks_for_a_user() {
    let service = TestService::start(app).await;
    let ann = person(&service, "ann").await;
    let acme = make_workspace(&ann.client, "Acme").await;
    let made =
        app_kernel::feature::api_keys::create_api_key(&service.db(), &ann.id).scopes(["*"]).await.expect("a key");
    let ci = program(&service, &made.key);
    let in_acme = |path: &str| format!("/workspaces/{acme}{path}");
    for path in [
        "/auth/me".to_owned(),
        "/auth/sessions".to_owned(),
        "/auth/second-factor".to_owned(),
        "/api-keys".to_owned(),
        "/projects".to_owned(),
        "/where-am-i".to_owned(),
        "/maybe".to_owned(),
        "/any".to_owned(),
        "/workspaces".to_owned(),
        in_acme(""),
        in_acme("/members"),
        in_acme("/projects"),
        in_acme("/api-keys"),
    ] {
        ci.get(&path).await.expect_problem(403, "api_key_not_allowed");
    }
    for path in ["/auth/change-password", "/auth/logout", "/api-keys", "/workspaces"] {
        ci.post(path, json!({})).await.expect_problem(403, "api_key_not_allowed");
    }
    ci.delete("/auth/sessions").await.expect_problem(403, "api_key_not_allowed");
    ci.delete(&in_acme("")).await.expect_problem(403, "api_key_not_allowed");
    ci.get("/healthz").await.expect(200);
    ann.client.get("/auth/me").await.expect(200);
}

/// Promise: M3
#[tokio::test]
async fn the_document_tells_which_routes_take_keys_and_which_scope_they_need() {
    let service = TestService::start(app).await;
    let document = service.anonymous().get("/openapi.json").await.expect(200).json();
    let scheme = &document["components"]["securitySchemes"]["api_key"];
    assert_eq!(
        (&scheme["type"], &scheme["in"], &scheme["name"]),
        (&json!("apiKey"), &json!("header"), &json!("X-API-Key"))
    );
    let operation = |path: &str, method: &str| document["paths"][format!("/api/v1{path}")][method].clone();
    let people = json!([{ "bearer": [] }, { "password": [] }]);
    let everybody = |scopes: Value| json!([{ "bearer": [] }, { "password": [] }, { "api_key": scopes }]);
    assert_eq!(operation("/who", "get")["security"], everybody(json!([])));
    assert_eq!(operation("/deployments", "post")["security"], everybody(json!(["deployments:write"])));
    assert!(operation("/deployments", "post")["responses"].get("403").is_some());
    for (path, method) in [("/projects", "get"), ("/api-keys", "post"), ("/workspaces/{id}/api-keys", "get")] {
        assert_eq!(operation(path, method)["security"], people, "{method} {path}");
    }
}
