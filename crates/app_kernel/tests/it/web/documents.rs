//! Where the routes lie, and what is said of them.

use app_kernel::prelude::*;
use app_kernel::testing::TestService;
use serde_json::json;

use super::{start, widgets};

/// Promise: U
#[tokio::test]
async fn the_same_routes_answer_at_the_prefix_and_at_the_root() {
    let service = start().await;
    let anonymous = service.anonymous();
    let made = anonymous.post("/api/v1/widgets", json!({ "name": "gear", "size": 3 })).await.expect(201);
    let path = format!("/widgets/{}", made.id());
    let at_prefix = anonymous.get(&format!("/api/v1{path}")).await.expect(200).json();
    assert_eq!(anonymous.get(&path).await.expect(200).json(), at_prefix);
    assert_eq!(made.json(), at_prefix, "what was written is what is read");
    for path in ["/auth/me", "/api/v1/auth/me"] {
        anonymous.get(path).await.expect(401);
    }
    for at_root_only in ["/healthz", "/readyz", "/docs", "/openapi.json"] {
        anonymous.get(at_root_only).await.expect(200);
        anonymous.get(&format!("/api/v1{at_root_only}")).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn without_the_alias_only_the_prefix_answers() {
    let change = |config| ServiceConfig { root_alias: false, api_prefix: "/v7".to_owned(), ..config };
    let service = TestService::start(|config| widgets(change(config))).await;
    let anonymous = service.anonymous();
    for (path, status) in [("/widgets", 404), ("/api/v1/widgets", 404), ("/auth/me", 404), ("/v7/widgets", 200)] {
        anonymous.get(path).await.expect(status);
    }
    anonymous.get("/v7/auth/me").await.expect(401);
    let document = anonymous.get("/openapi.json").await.expect(200).json();
    let mut paths = document["paths"].as_object().expect("paths").keys();
    assert!(paths.all(|path| path.starts_with("/v7/") || ["/healthz", "/readyz", "/metrics"].contains(&path.as_str())));
}

#[tokio::test]
async fn the_document_describes_what_the_handlers_take_and_give() {
    let service = start().await;
    let document = service.anonymous().get("/openapi.json").await.expect(200).json();
    assert_eq!((&document["openapi"], &document["info"]["title"]), (&json!("3.1.0"), &json!("widget_service")));
    let create = &document["paths"]["/api/v1/widgets"]["post"];
    let body = create["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().expect("a schema");
    let schema = document.pointer(body.strip_prefix('#').expect("a pointer")).expect("it leads somewhere");
    assert_eq!(schema["required"], json!(["name", "size"]));
    for status in ["201", "422", "default"] {
        assert!(create["responses"].get(status).is_some(), "{status}: {create}");
    }
    assert!(create.get("security").is_none(), "it asks for nobody");
    let me = &document["paths"]["/api/v1/me"]["get"];
    assert_eq!(me["security"], json!([{ "bearer": [] }, { "password": [] }]));
    assert!(me["responses"].get("401").is_some(), "{me}");
    let parameters = document["paths"]["/api/v1/widgets"]["get"]["parameters"].as_array().expect("parameters");
    assert_eq!(parameters.iter().map(|p| &p["name"]).collect::<Vec<_>>(), ["limit", "newest_first"]);
    let token_url = document.pointer("/components/securitySchemes/password/flows/password/tokenUrl");
    assert_eq!(token_url, Some(&json!("/api/v1/auth/login")));
    assert!(document["paths"].get("/widgets").is_none(), "the alias is not described twice");
}

/// The page asks nobody but the service that serves it.
#[tokio::test]
async fn the_page_works_offline() {
    let service = start().await;
    let anonymous = service.anonymous();
    let page = anonymous.get("/docs").await.expect(200);
    assert!(page.header("content-type").is_some_and(|media| media.starts_with("text/html")));
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(!policy.contains("http"), "{policy}");
    let html = page.text();
    let links: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|start| html.split(start).skip(1))
        .filter_map(|s| s.split('"').next())
        .collect();
    assert!(links.len() >= 2, "{html}");
    for link in links {
        assert!(!link.contains("//"), "{link} leads elsewhere");
        if link.starts_with("data:") {
            continue;
        }
        let path = if link.starts_with('/') { link.to_owned() } else { format!("/{link}") };
        let file = anonymous.get(&path).await.expect(200);
        assert!(!file.body.is_empty(), "{path}");
    }
}
