//! Workspaces: who belongs to them, who may do what, and what others see of it: nothing.

mod extractors;
mod invites;
mod journeys;
mod scope;

use app_kernel::feature::workspaces::{Member, MemberRole};
use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestDatabase, TestService};
use serde_json::{Value, json};

/// What an app keeps in its workspaces.
#[derive(Debug, Clone, PartialEq, Entity, Serialize, Deserialize, JsonSchema)]
#[entity(unique(workspace_id, name))]
pub(crate) struct Project {
    pub(crate) name: String,
    #[entity(default = 0)]
    #[serde(default)]
    pub(crate) size: i64,
    #[entity(index)]
    #[serde(default)]
    pub(crate) workspace_id: String,
}

pub(crate) fn project(name: &str) -> Project {
    Project { name: name.to_owned(), size: 1, workspace_id: String::new() }
}

async fn make(db: WorkspaceDb, Json(new): Json<Project>) -> Result<Created<Saved<Project>>> {
    db.save(new).await.map(Created::new)
}

async fn list(member: WorkspaceMember) -> Result<Json<Vec<Saved<Project>>>> {
    member.db().find("", ()).await.map(Json)
}

async fn read(db: WorkspaceDb, Path(id): Path<String>) -> Result<Json<Saved<Project>>> {
    db.get(id).await?.or_not_found("project").map(Json)
}

async fn clear(admin: WorkspaceAdmin) -> Result<Json<u64>> {
    let all = admin.db().find::<Project>("", ()).await?;
    admin.db().delete_many::<Project>(all.into_iter().map(|project| project.id)).await.map(Json)
}

/// An app that forgets every condition on `workspace_id`.
pub(crate) fn app(config: ServiceConfig) -> Service {
    Service::new("workspace_tests", config)
        .entity::<Project>()
        .route("/projects", post(make).get(list).delete(clear))
        .route("/projects/{id}", get(read))
        .route("/workspaces/{id}/projects", get(list))
        .route("/boards/{workspace_id}", get(list))
        .route(
            "/owners-only",
            get(async |owner: app_kernel::feature::workspaces::WorkspaceOwner| owner.workspace_id.clone()),
        )
        .route("/where-am-i", get(async |user: CurrentUser| Json(user.workspace_id.clone())))
        .route(
            "/maybe",
            get(async |OptionalUser(user): OptionalUser| Json(user.and_then(|user| user.workspace_id.clone()))),
        )
        .route("/any", get(async |admin: AdminUser| Json(admin.workspace_id.clone())))
}

pub(crate) async fn start(database: TestDatabase) -> TestService {
    TestService::start_on(database, app).await
}

/// Somebody who signed up, with what is known of them.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) id: String,
    pub(crate) personal: String,
}

pub(crate) async fn person(service: &TestService, name: &str) -> Person {
    let client = service.sign_up(name).await;
    let me = client.get("/auth/me").await.expect(200).json();
    let text = |field: &str| me[field].as_str().expect("a text").to_owned();
    Person { id: text("id"), personal: text("workspace_id"), client }
}

pub(crate) async fn make_workspace(owner: &Client, name: &str) -> String {
    owner.post("/workspaces", json!({ "name": name })).await.expect(201).id()
}

/// Puts somebody into a workspace, around all rules.
pub(crate) async fn put(service: &TestService, workspace_id: &str, user_id: &str, role: MemberRole) {
    let member = Member { workspace_id: workspace_id.to_owned(), user_id: user_id.to_owned(), role };
    service.db().save(member).match_by(["workspace_id", "user_id"]).await.expect("a member");
}

/// The names of those in a workspace and what they are, as one of them sees it.
pub(crate) async fn people(client: &Client, workspace_id: &str) -> Vec<(String, String)> {
    let members = client.get(&format!("/workspaces/{workspace_id}/members")).await.expect(200).json();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    members.as_array().expect("a list").iter().map(|member| (text(&member["name"]), text(&member["role"]))).collect()
}
