//! What is there for which variables.

use std::collections::BTreeMap;

use app_kernel::prelude::*;
use app_kernel::service::check;
use app_kernel::testing::TestService;
use serde_json::json;

use super::{ROUTES, with_providers};
use crate::auth::auth_only;
use crate::support::oauth_provider::Provider;

fn config(variables: &[(&str, &str)]) -> ServiceConfig {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ServiceConfig::from_variables(variables).expect("a configuration")
}

/// Promise: G1, B10
#[tokio::test]
async fn the_table_at_start_says_who_is_on_and_what_is_not_set() {
    let lines = async |variables: &[(&str, &str)]| {
        let facts = check(&config(variables)).await.facts;
        let oauth = facts.into_iter().filter(|fact| fact.name.starts_with("oauth/"));
        oauth.map(|fact| format!("{} {} {}", fact.name, fact.is_on, fact.detail)).collect::<Vec<_>>()
    };
    let off = ["oauth/google false GOOGLE_CLIENT_ID is not set", "oauth/github false GITHUB_CLIENT_ID is not set"];
    assert_eq!(lines(&[]).await, off);
    let github = [("GITHUB_CLIENT_ID", "x"), ("GITHUB_CLIENT_SECRET", "hunter2")];
    assert_eq!(lines(&github).await, [off[0], "oauth/github false DATABASE_URL is not set"]);
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite:///{}", folder.path().join("app.db").display());
    let all = [
        ("DATABASE_URL", &*database),
        ("JWT_SECRET", "a secret of the tests, long enough for all"),
        ("GITHUB_CLIENT_ID", "x"),
        ("GITHUB_CLIENT_SECRET", "hunter2"),
        ("OIDC_OKTA_ISSUER", "https://okta.example.com"),
        ("OIDC_OKTA_CLIENT_ID", "x"),
        ("OIDC_OKTA_CLIENT_SECRET", "hunter2"),
    ];
    let wanted = [
        off[0],
        "oauth/github true /auth/oauth/github, by https://github.com",
        "oauth/okta true /auth/oauth/okta, by https://okta.example.com",
    ];
    assert_eq!(lines(&all).await, wanted);
}

/// Promise: B10, G5, T1
#[tokio::test]
async fn without_credentials_there_are_no_routes_and_with_them_all_are_described() {
    let service = TestService::start(auth_only).await;
    for path in ["google", "google/callback", "accounts"] {
        service.anonymous().get(&format!("{ROUTES}/{path}")).await.expect_problem(404, "not_found");
    }
    let paths = async |service: &TestService| {
        let document = service.anonymous().get("/openapi.json").await.expect(200).json();
        let paths = document["paths"].as_object().expect("paths").clone();
        let methods =
            |methods: &serde_json::Value| methods.as_object().expect("methods").keys().cloned().collect::<Vec<_>>();
        let oauth = paths.iter().filter(|(path, _)| path.contains("/auth/oauth"));
        oauth
            .map(|(path, item)| (path.trim_start_matches(ROUTES).to_owned(), methods(item)))
            .collect::<BTreeMap<_, _>>()
    };
    assert!(paths(&service).await.is_empty());
    let provider = Provider::start().await;
    let service = TestService::start(with_providers(&provider)).await;
    let wanted = [
        ("/accounts", vec!["get"]),
        ("/exchange", vec!["post"]),
        ("/link", vec!["post"]),
        ("/{provider}", vec!["get", "delete"]),
        ("/{provider}/callback", vec!["get"]),
    ];
    let own = |(path, methods): (&str, Vec<&str>)| (path.to_owned(), methods.into_iter().map(str::to_owned).collect());
    assert_eq!(paths(&service).await, wanted.into_iter().map(own).collect::<BTreeMap<_, Vec<String>>>());
    for (path, status) in [("accounts", 401), ("nobody", 404)] {
        assert_eq!(service.anonymous().get(&format!("{ROUTES}/{path}")).await.status, status);
    }
    service.anonymous().post(&format!("{ROUTES}/exchange"), json!({ "code": "x", "more": 1 })).await.expect(422);
}

/// Promise: R-32
#[tokio::test]
async fn a_configuration_in_debug_has_no_secret() {
    let config = config(&[("GITHUB_CLIENT_ID", "our-id"), ("GITHUB_CLIENT_SECRET", "hunter2")]);
    let text = format!("{config:?}");
    assert!(text.contains("our-id") && !text.contains("hunter2"), "{text}");
}
