//! API keys: how programs get in, and what they can't do there.

mod costs;
mod extractors;
mod journeys;
mod lives;
mod mutations;
mod workspaces;

use app_kernel::feature::api_keys::NewApiKey;
use app_kernel::prelude::*;
use app_kernel::testing::{Answer, Client, TestDatabase, TestService};
use serde_json::{Value, json};

use crate::workspaces::Project;

scope! {
    /// Starting and stopping.
    pub(crate) DeploymentsWrite = "deployments:write";
}

async fn who(auth: Auth) -> Json<Value> {
    Json(json!({
        "kind": auth.kind().as_str(),
        "user_id": auth.user_id,
        "workspace_id": auth.workspace_id,
        "role": auth.role,
        "api_key_id": auth.api_key_id(),
        "may_write": auth.has_scope("deployments:write"),
    }))
}

async fn deploy(auth: RequireScope<DeploymentsWrite>, Json(new): Json<Project>) -> Result<Created<Saved<Project>>> {
    auth.db().save(new).await.map(Created::new)
}

async fn deployments(auth: Auth) -> Result<Json<Vec<Saved<Project>>>> {
    auth.require_scope("deployments:read")?;
    auth.db().find("", ()).await.map(Json)
}

/// What a service must not do, and can't: let a key make keys.
async fn breed(auth: Auth, db: Db) -> Result<Created<NewApiKey>> {
    create_api_key(&db, &auth.user_id).scopes(["*"]).await.map(Created::new)
}

/// The app of the tests of workspaces, with doors for programs.
pub(crate) fn app(config: ServiceConfig) -> Service {
    crate::workspaces::app(config)
        .api_keys(["deployments:*", "reports:read"])
        .route("/who", get(who))
        .route("/workspaces/{id}/who", get(who))
        .route("/deployments", post(deploy).get(deployments))
        .route("/breed", post(breed))
}

pub(crate) async fn start(database: TestDatabase) -> TestService {
    TestService::start_on(database, app).await
}

/// The key that an answer tells.
#[track_caller]
pub(crate) fn key_in(answer: &Answer) -> String {
    answer.json()["key"].as_str().unwrap_or_else(|| panic!("no key: {}", answer.text())).to_owned()
}

/// A key of somebody's own.
pub(crate) async fn make_key(client: &Client, body: Value) -> (String, String) {
    let answer = client.post("/api-keys", body).await.expect(201);
    (answer.id(), key_in(&answer))
}

/// A key of a workspace.
pub(crate) async fn make_key_of(client: &Client, workspace_id: &str, body: Value) -> (String, String) {
    let answer = client.post(&format!("/workspaces/{workspace_id}/api-keys"), body).await.expect(201);
    (answer.id(), key_in(&answer))
}

/// A program with this key.
pub(crate) fn program(service: &TestService, key: &str) -> Client {
    service.anonymous().with_token(key)
}

/// What `/who` tells a program.
pub(crate) async fn who_is(client: &Client) -> Value {
    client.get("/who").await.expect(200).json()
}
