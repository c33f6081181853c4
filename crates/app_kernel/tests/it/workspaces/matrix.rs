//! Every route of workspaces, for everybody who may ask. The routes come from the service's own document: one that is not declared here fails.

use app_kernel::feature::workspaces::{Invite, Member, MemberRole};
use app_kernel::testing::{Client, TestService};
use serde_json::{Value, json};

use super::{Person, make_workspace, person, put};

/// Who asks, in the order of the columns below.
const ROLES: [&str; 6] = ["owner", "admin", "member", "stranger", "removed member", "anonymous"];

/// What each is answered. Strangers, and those who were removed, get 404 for whatever names a workspace.
const RULES: &[(&str, &str, [u16; 6])] = &[
    ("get", "/workspaces", [200, 200, 200, 200, 200, 401]),
    ("post", "/workspaces", [201, 201, 201, 201, 201, 401]),
    ("get", "/workspaces/{id}", [200, 200, 200, 404, 404, 401]),
    ("patch", "/workspaces/{id}", [200, 200, 403, 404, 404, 401]),
    ("delete", "/workspaces/{id}", [204, 403, 403, 404, 404, 401]),
    ("get", "/workspaces/{id}/members", [200, 200, 200, 404, 404, 401]),
    ("patch", "/workspaces/{id}/members/{user_id}", [200, 200, 403, 404, 404, 401]),
    ("delete", "/workspaces/{id}/members/{user_id}", [204, 204, 403, 404, 404, 401]),
    ("post", "/workspaces/{id}/invite", [201, 201, 403, 404, 404, 401]),
    ("get", "/workspaces/{id}/invites", [200, 200, 403, 404, 404, 401]),
    ("delete", "/workspaces/{id}/invites/{invite_id}", [204, 204, 403, 404, 404, 401]),
    // The invitation is the target's, so it is nobody's here.
    ("post", "/workspaces/join/{token}", [404, 404, 404, 404, 404, 401]),
    // The app's own, in the workspace that `?workspace_id=` or the path names.
    ("get", "/projects", [200, 200, 200, 404, 404, 401]),
    ("post", "/projects", [201, 201, 201, 404, 404, 401]),
    ("delete", "/projects", [200, 200, 403, 404, 404, 401]),
    ("get", "/projects/{id}", [200, 200, 200, 404, 404, 401]),
    ("get", "/workspaces/{id}/projects", [200, 200, 200, 404, 404, 401]),
    ("get", "/boards/{workspace_id}", [200, 200, 200, 404, 404, 401]),
    ("get", "/owners-only", [200, 403, 403, 404, 404, 401]),
    ("get", "/where-am-i", [200, 200, 200, 404, 404, 401]),
    ("get", "/maybe", [200, 200, 200, 404, 404, 200]),
    ("get", "/any", [403, 403, 403, 403, 403, 401]),
];

/// Routes that are about people, or about jobs, and not about workspaces.
fn is_elsewhere(path: &str) -> bool {
    path.starts_with("/auth/") || path.starts_with("/jobs") || ["/healthz", "/readyz"].contains(&path)
}

/// A workspace with everybody in it, as it is before each request.
struct Stage {
    workspace: String,
    project: String,
    invite: String,
    token: String,
}

struct Cast {
    roles: Vec<Client>,
    owner: Person,
    admin: Person,
    member: Person,
    removed: Person,
    target: Person,
}

impl Cast {
    async fn of(service: &TestService) -> Self {
        let [owner, admin, member] =
            [person(service, "owner").await, person(service, "admin").await, person(service, "member").await];
        let (stranger, removed) = (person(service, "stranger").await, person(service, "removed").await);
        let target = person(service, "target").await;
        let clients = [&owner, &admin, &member, &stranger, &removed].map(|person| person.client.clone());
        let roles = clients.into_iter().chain([service.anonymous()]).collect();
        Cast { roles, owner, admin, member, removed, target }
    }

    async fn stage(&self, service: &TestService) -> Stage {
        let workspace = make_workspace(&self.owner.client, "Acme").await;
        put(service, &workspace, &self.admin.id, MemberRole::Admin).await;
        put(service, &workspace, &self.member.id, MemberRole::Member).await;
        put(service, &workspace, &self.target.id, MemberRole::Member).await;
        put(service, &workspace, &self.removed.id, MemberRole::Admin).await;
        let path = |rest: &str| format!("/workspaces/{workspace}/{rest}");
        self.owner.client.delete(&path(&format!("members/{}", self.removed.id))).await.expect(204);
        let body = json!({ "name": "gear" });
        let project =
            self.owner.client.post(&format!("/projects?workspace_id={workspace}"), body).await.expect(201).id();
        let invite = self.owner.client.post(&path("invite"), json!({ "email": "new@example.com" })).await.expect(201);
        let token = invite.json()["token"].as_str().expect("a token").to_owned();
        Stage { project, invite: invite.id(), token, workspace }
    }
}

fn concrete(path: &str, stage: &Stage, target: &str) -> String {
    let is_project = path.starts_with("/projects/");
    let filled = path
        .replace("{id}", if is_project { &stage.project } else { &stage.workspace })
        .replace("{workspace_id}", &stage.workspace)
        .replace("{user_id}", target)
        .replace("{invite_id}", &stage.invite)
        .replace("{token}", &stage.token);
    if path.contains("/workspaces") || path.contains("{workspace_id}") {
        return format!("/api/v1{filled}");
    }
    format!("/api/v1{filled}?workspace_id={}", stage.workspace)
}

fn body_of(method: &str, path: &str) -> Value {
    match (method, path.rsplit('/').next().unwrap_or_default()) {
        ("patch", "{user_id}") => json!({ "role": "admin" }),
        ("post", "invite") => json!({ "email": "other@example.com" }),
        _ => json!({ "name": "Another" }),
    }
}

async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> app_kernel::testing::Answer {
    match method {
        "get" => client.get(path).await,
        "delete" => client.delete(path).await,
        "patch" => client.patch(path, body).await,
        "post" => client.post(path, body).await,
        other => panic!("{other} {path}: no rule says what to send"),
    }
}

/// What can be seen of a workspace: everything that somebody without the right must not change.
async fn state(service: &TestService, stage: &Stage) -> String {
    let db = service.db();
    let workspace = db.get::<app_kernel::feature::workspaces::Workspace>(&stage.workspace).await.expect("a read");
    let members = db.find::<Member>("[workspace_id] = ?", [&stage.workspace]).await.expect("members");
    let invites = db.find::<Invite>("[workspace_id] = ?", [&stage.workspace]).await.expect("invites");
    let projects = db.find::<super::Project>("[workspace_id] = ?", [&stage.workspace]).await.expect("projects");
    format!("{workspace:?}\n{members:?}\n{invites:?}\n{projects:?}")
}

/// Promise: R-27, H2, H3, H4, H5
#[tokio::test]
async fn everybody_gets_what_the_rules_say_on_every_route() {
    let service = TestService::start(super::app).await;
    let document = service.anonymous().get("/openapi.json").await.expect(200).json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let path = path.strip_prefix("/api/v1").unwrap_or(path).to_owned();
        let methods = item
            .as_object()
            .expect("methods")
            .keys()
            .filter(|key| ["get", "put", "post", "delete", "patch"].contains(&key.as_str()));
        routes.extend(methods.filter(|_| !is_elsewhere(&path)).map(|method| (method.clone(), path.clone())));
    }
    let known = |method: &str, path: &str| RULES.iter().find(|(m, p, _)| (*m, *p) == (method, path));
    let undeclared: Vec<_> = routes.iter().filter(|(method, path)| known(method, path).is_none()).collect();
    assert!(undeclared.is_empty(), "no rule says who may call {undeclared:?}; add a line to RULES");
    assert_eq!(routes.len(), RULES.len(), "a rule is about a route that is gone");

    let cast = Cast::of(&service).await;
    let (mut cells, mut findings) = (0, Vec::new());
    for (method, path) in &routes {
        let (.., expected) = known(method, path).expect("it was looked for");
        for ((client, role), status) in cast.roles.iter().zip(ROLES).zip(expected) {
            let stage = cast.stage(&service).await;
            let before = state(&service, &stage).await;
            let answer = ask(client, method, &concrete(path, &stage, &cast.target.id), &body_of(method, path)).await;
            cells += 1;
            if answer.status != *status {
                findings.push(format!("{role}: {method} {path} is {}, not {status}: {}", answer.status, answer.text()));
            }
            let is_refused = answer.status >= 400;
            if is_refused && before != state(&service, &stage).await {
                findings.push(format!("{role}: {method} {path} was refused and changed something"));
            }
            let tells =
                [&stage.project, &stage.invite, &stage.token].iter().any(|id| answer.text().contains(id.as_str()));
            if is_refused && tells {
                findings.push(format!("{role}: {method} {path} was refused and told something: {}", answer.text()));
            }
        }
    }
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    println!(
        "R-27 held: {} routes for {} kinds of people, {cells} answers, no foreign read or write",
        routes.len(),
        ROLES.len()
    );
}
