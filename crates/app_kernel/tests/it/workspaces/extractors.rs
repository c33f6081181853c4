//! Which workspace a request is about, and what its handler can reach.

use app_kernel::feature::auth::{Role, Session, User};
use app_kernel::feature::workspaces::MemberRole;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::{Value, json};

use super::{make_workspace, person, put, start};

on_every_database!(a_handler_that_forgets_the_workspace_leaks_nothing);

/// Promise: H5, R-27
async fn a_handler_that_forgets_the_workspace_leaks_nothing(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let acme = make_workspace(&ann.client, "Acme").await;
    let in_acme = format!("/projects?workspace_id={acme}");
    let gear = ann.client.post(&in_acme, json!({ "name": "gear" })).await.expect(201);
    assert_eq!(gear.json()["workspace_id"], acme.as_str());
    ann.client.post("/projects", json!({ "name": "diary" })).await.expect(201);
    bob.client.post("/projects", json!({ "name": "gear" })).await.expect(201);
    let names = async |path: &str, who: &app_kernel::testing::Client| -> Vec<Value> {
        let list = who.get(path).await.expect(200).json();
        list.as_array().expect("a list").iter().map(|project| project["name"].clone()).collect()
    };
    assert_eq!(names(&in_acme, &ann.client).await, ["gear"]);
    assert_eq!(names("/projects", &ann.client).await, ["diary"]);

    // Bob reaches neither by workspace nor by id nor by what he sends along.
    bob.client.get(&in_acme).await.expect_problem(404, "not_found");
    bob.client.post(&in_acme, json!({ "name": "spy" })).await.expect_problem(404, "not_found");
    bob.client.get(&format!("/projects/{}", gear.id())).await.expect_problem(404, "not_found");
    let smuggled = json!({ "name": "spy", "workspace_id": acme });
    assert_eq!(bob.client.post("/projects", smuggled).await.expect(422).wrong_fields(), ["/workspace_id"]);
    assert_eq!(names(&in_acme, &ann.client).await, ["gear"]);

    put(&service, &acme, &bob.id, MemberRole::Member).await;
    assert_eq!(names(&in_acme, &bob.client).await, ["gear"]);
    bob.client.get(&format!("/projects/{}?workspace_id={acme}", gear.id())).await.expect(200);
    bob.client.delete(&in_acme).await.expect_problem(403, "forbidden");
    put(&service, &acme, &bob.id, MemberRole::Admin).await;
    assert_eq!(bob.client.delete(&in_acme).await.expect(200).json(), 1);
    let owners_only = format!("/owners-only?workspace_id={acme}");
    bob.client.get(&owners_only).await.expect_problem(403, "forbidden");
    assert_eq!(ann.client.get(&owners_only).await.expect(200).text(), acme);
    assert_eq!(names("/projects", &ann.client).await, ["diary"], "the others' are untouched");

    // The change is recorded in the workspace that the request was about.
    crate::audit::carried(&service.db()).await;
    let sql = "SELECT [workspace_id] FROM [kernel_audit_log] WHERE [entity] = 'projects' AND [entity_id] = ? ORDER BY [position]";
    let changes = service.db().query(sql, [gear.id()]).await.expect("changes");
    assert_eq!(changes.iter().map(|row| row["workspace_id"].as_str()).collect::<Vec<_>>(), [Some(acme.as_str()); 2]);
}

/// Promise: H5
#[tokio::test]
async fn path_query_header_and_the_personal_one_come_in_this_order() {
    let service = TestService::start(super::app).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let one = make_workspace(&ann.client, "One").await;
    let two = make_workspace(&ann.client, "Two").await;
    let three = make_workspace(&ann.client, "Three").await;
    let bobs = make_workspace(&bob.client, "Bob's").await;
    for (workspace, name) in [(&one, "in one"), (&two, "in two"), (&three, "in three")] {
        ann.client.post(&format!("/projects?workspace_id={workspace}"), json!({ "name": name })).await.expect(201);
    }
    let headed = ann.client.clone().with_header("x-workspace-id", &three);
    for path in [
        "/workspaces/{one}/projects?workspace_id={two}",
        "/boards/{one}?workspace_id={two}",
        "/projects?workspace_id={two}",
        "/projects?other=1",
        "/projects?workspace%5Fid={two}",
    ] {
        let list = headed.get(&path.replace("{one}", &one).replace("{two}", &two)).await.expect(200).json();
        let expected = if path.contains("{one}") {
            "in one"
        } else if path.contains("{two}") {
            "in two"
        } else {
            "in three"
        };
        assert_eq!(list[0]["name"], expected, "{path}");
    }
    assert_eq!(ann.client.get("/projects").await.expect(200).json(), json!([]), "the personal one");

    // CurrentUser says the same, and answers for it.
    assert_eq!(ann.client.get("/where-am-i").await.expect(200).json(), json!(ann.personal));
    assert_eq!(headed.get("/where-am-i").await.expect(200).json(), json!(three));
    assert_eq!(headed.get(&format!("/maybe?workspace_id={two}")).await.expect(200).json(), json!(two));
    let stranger = ann.client.clone().with_header("x-workspace-id", &bobs);
    for path in ["/where-am-i", "/maybe", "/projects", "/where-am-i?x=1"] {
        stranger.get(path).await.expect_problem(404, "not_found");
    }
    for path in
        [format!("/where-am-i?workspace_id={bobs}"), "/where-am-i?workspace_id=".to_owned(), format!("/boards/{bobs}")]
    {
        headed.get(&path).await.expect_problem(404, "not_found");
    }
    let twice = format!("/projects?workspace_id={one}&workspace_id={two}");
    assert_eq!(ann.client.get(&twice).await.expect(422).wrong_fields(), ["/workspace_id"]);
    assert_eq!(service.anonymous().get(&format!("/maybe?workspace_id={one}")).await.expect(200).json(), Value::Null);
    service.anonymous().get(&format!("/projects?workspace_id={one}")).await.expect_problem(401, "unauthenticated");

    // What is about no workspace does not ask for one: a stale header locks nobody out.
    stranger.get("/workspaces").await.expect(200);
    stranger.get("/auth/me").await.expect(200);
    stranger.get(&format!("/workspaces/{one}")).await.expect(200);
    stranger.post("/auth/logout", json!({})).await.expect(204);

    // Admins of the service belong to their own workspaces only, and may name any.
    let mut ann_now = service.db().find::<User>("[id] = ?", [&bob.id]).first().await.expect("a read").expect("bob");
    ann_now.role = Role::Admin;
    service.db().save(ann_now).await.expect("saved");
    let other = service.beside(super::app).await;
    let admin = other.anonymous().with_token(bob.client.token().expect("a token"));
    assert_eq!(admin.get(&format!("/any?workspace_id={one}")).await.expect(200).json(), json!(bob.personal));
    admin.get(&format!("/projects?workspace_id={one}")).await.expect_problem(404, "not_found");
}

/// Promise: H5
#[tokio::test]
async fn a_workspace_may_let_in_only_those_who_signed_in_with_a_second_factor() {
    let service = TestService::start(super::app).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let acme = make_workspace(&ann.client, "Acme").await;
    put(&service, &acme, &bob.id, MemberRole::Admin).await;
    let path = format!("/workspaces/{acme}");
    let insist = |required: bool| json!({ "requires_second_factor": required });
    ann.client.patch(&path, insist(true)).await.expect_problem(403, "second_factor_required");
    ann.client.patch(&path, insist(false)).await.expect(200);

    // As if she had signed in with a code.
    let mut session =
        service.db().find::<Session>("[user_id] = ?", [&ann.id]).first().await.expect("a read").expect("a session");
    session.second_factor_at = Some(service.now());
    service.db().save(session).await.expect("saved");
    let other = service.beside(super::app).await;
    let ann_now = other.anonymous().with_token(ann.client.token().expect("a token"));
    let personal = format!("/workspaces/{}", ann.personal);
    ann_now.patch(&personal, insist(true)).await.expect_problem(409, "personal_workspace");
    bob.client.patch(&path, insist(true)).await.expect_problem(403, "forbidden");
    let view = ann_now.patch(&path, insist(true)).await.expect(200).json();
    assert_eq!((&view["requires_second_factor"], &view["name"]), (&json!(true), &json!("Acme")));

    for path in [&path, &format!("/projects?workspace_id={acme}"), &format!("/where-am-i?workspace_id={acme}")] {
        bob.client.get(path).await.expect_problem(403, "second_factor_required");
        ann_now.get(path).await.expect(200);
    }
    bob.client.get("/projects").await.expect(200);
    let listed = bob.client.get("/workspaces").await.expect(200).json();
    assert_eq!(listed[1]["requires_second_factor"], true, "he sees why");
}

/// Promise: H5
#[tokio::test]
async fn the_document_tells_how_a_workspace_is_named_and_who_is_turned_away() {
    let service = TestService::start(super::app).await;
    let document = service.anonymous().get("/openapi.json").await.expect(200).json();
    let operation = |path: &str, method: &str| document["paths"][format!("/api/v1{path}")][method].clone();
    let list = operation("/projects", "get");
    let parameters: Vec<_> = list["parameters"]
        .as_array()
        .expect("parameters")
        .iter()
        .map(|p| (p["in"].clone(), p["name"].clone()))
        .collect();
    assert_eq!(parameters, [(json!("query"), json!("workspace_id")), (json!("header"), json!("X-Workspace-ID"))]);
    let answers = |operation: &Value| -> Vec<String> {
        let answers = operation["responses"].as_object().expect("answers").keys();
        answers.filter(|status| ["401", "403", "404"].contains(&status.as_str())).cloned().collect()
    };
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    assert_eq!(sorted(answers(&list)), ["401", "404"]);
    assert_eq!(sorted(answers(&operation("/projects", "delete"))), ["401", "403", "404"]);
    assert_eq!(sorted(answers(&operation("/workspaces/{id}", "patch"))), ["401", "403", "404"]);
    assert_eq!(sorted(answers(&operation("/workspaces/join/{token}", "post"))), ["401", "404"]);
    let names: Vec<_> = operation("/workspaces/{id}/members/{user_id}", "delete")["parameters"]
        .as_array()
        .expect("parameters")
        .iter()
        .filter(|p| p["in"] == "path")
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, ["id", "user_id"]);
}
