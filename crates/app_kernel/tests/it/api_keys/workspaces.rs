//! Keys that belong to a workspace: made by its admins, good there alone, and resting on whoever made them.

use app_kernel::feature::auth::Session;
use app_kernel::feature::workspaces::MemberRole;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{app, key_in, make_key, make_key_of, program, start, who_is};
use crate::workspaces::{make_workspace, person, put};

on_every_database!(
    a_workspace_s_key_is_good_there_alone_and_managed_by_its_admins,
    a_workspace_s_key_stops_when_its_maker_leaves_until_an_admin_rotates_it,
    a_workspace_that_insists_on_a_second_factor_lets_in_only_keys_made_with_one,
);

/// Promise: M2, R-27
async fn a_workspace_s_key_is_good_there_alone_and_managed_by_its_admins(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob, carol) =
        (person(&service, "ann").await, person(&service, "bob").await, person(&service, "carol").await);
    let (acme, other) = (make_workspace(&ann.client, "Acme").await, make_workspace(&ann.client, "Other").await);
    put(&service, &acme, &bob.id, MemberRole::Admin).await;
    put(&service, &acme, &carol.id, MemberRole::Member).await;
    let (id, key) = make_key_of(&ann.client, &acme, json!({ "name": "CI", "scopes": ["deployments:*"] })).await;
    let ci = program(&service, &key);

    // Its own workspace is the one where nothing names another; no other is there for it, though Ann belongs to it.
    let who = who_is(&ci).await;
    assert_eq!((&who["workspace_id"], &who["user_id"]), (&json!(acme), &json!(ann.id)));
    let named = format!("/workspaces/{acme}/who");
    assert_eq!(ci.get(&named).await.expect(200).json(), who);
    assert_eq!(ci.get(&format!("/who?workspace_id={acme}")).await.expect(200).json(), who);
    for path in [
        format!("/workspaces/{other}/who"),
        format!("/who?workspace_id={}", ann.personal),
        "/who?workspace_id=x".to_owned(),
    ] {
        ci.get(&path).await.expect_problem(404, "not_found");
    }
    ci.clone().with_header("x-workspace-id", &other).get("/who").await.expect_problem(404, "not_found");
    assert_eq!(
        ci.clone().with_header("x-workspace-id", &other).get(&named).await.expect(200).json(),
        who,
        "the path goes first"
    );
    let made = ci.post("/deployments", json!({ "name": "v1" })).await.expect(201).json();
    assert_eq!(made["workspace_id"], json!(acme));
    let listed = ci.get("/deployments").await.expect(200).json();
    assert_eq!(listed, json!([made]));

    // The change tells who it was.
    let sql = "SELECT [caller], [user_id] FROM [kernel_changes] WHERE [entity] = 'projects' AND [entity_id] = ?";
    let change = service.db().query(sql, [made["id"].as_str().expect("an id")]).await.expect("a change");
    assert_eq!((change[0]["caller"].as_str(), change[0]["user_id"].as_str()), (Some("api_key"), Some(ann.id.as_str())));

    let keys = format!("/workspaces/{acme}/api-keys");
    let one = format!("{keys}/{id}");
    assert_eq!(bob.client.get(&keys).await.expect(200).json()[0]["id"], json!(id));
    assert_eq!(bob.client.get(&one).await.expect(200).json()["user_id"], json!(ann.id));
    for (method, path) in [("get", &keys), ("get", &one), ("delete", &one)] {
        let answer = if method == "get" { carol.client.get(path).await } else { carol.client.delete(path).await };
        answer.expect_problem(403, "forbidden");
    }
    carol.client.post(&keys, json!({ "name": "mine" })).await.expect_problem(403, "forbidden");
    carol.client.post(&format!("{one}/rotate"), json!({})).await.expect_problem(403, "forbidden");
    assert_eq!(ann.client.get("/api-keys").await.expect(200).json(), json!([]), "it is not hers alone");
    ann.client.delete(&format!("/api-keys/{id}")).await.expect_problem(404, "not_found");
    ann.client.get(&format!("/workspaces/{other}/api-keys/{id}")).await.expect_problem(404, "not_found");
    bob.client.delete(&one).await.expect(204);
    ci.get("/who").await.expect_problem(401, "invalid_api_key");
}

/// Promise: M2, R-27
async fn a_workspace_s_key_stops_when_its_maker_leaves_until_an_admin_rotates_it(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let acme = make_workspace(&ann.client, "Acme").await;
    put(&service, &acme, &bob.id, MemberRole::Admin).await;
    let (id, key) = make_key_of(&bob.client, &acme, json!({ "name": "CI", "scopes": ["deployments:*"] })).await;
    let ci = program(&service, &key);
    assert_eq!(who_is(&ci).await["role"], "admin");
    ann.client.patch(&format!("/workspaces/{acme}/members/{}", bob.id), json!({ "role": "member" })).await.expect(200);
    assert_eq!(who_is(&ci).await["role"], "member", "a key is no more than its maker");

    ann.client.delete(&format!("/workspaces/{acme}/members/{}", bob.id)).await.expect(204);
    ci.get("/who").await.expect_problem(401, "invalid_api_key");
    ci.get(&format!("/workspaces/{acme}/who")).await.expect_problem(401, "invalid_api_key");
    let rotated = ann.client.post(&format!("/workspaces/{acme}/api-keys/{id}/rotate"), json!({})).await.expect(201);
    let next = program(&service, &key_in(&rotated));
    let who = who_is(&next).await;
    assert_eq!((&who["user_id"], &who["role"], &who["may_write"]), (&json!(ann.id), &json!("owner"), &json!(true)));
    ci.get("/who").await.expect_problem(401, "invalid_api_key");

    // With the workspace, its keys are gone.
    ann.client.delete(&format!("/workspaces/{acme}")).await.expect(204);
    next.get("/who").await.expect_problem(401, "invalid_api_key");
    next.get("/deployments").await.expect_problem(401, "invalid_api_key");
}

/// Promise: H5, M2
async fn a_workspace_that_insists_on_a_second_factor_lets_in_only_keys_made_with_one(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let acme = make_workspace(&ann.client, "Acme").await;
    let without = [
        make_key(&ann.client, json!({ "name": "mine" })).await.1,
        make_key_of(&ann.client, &acme, json!({ "name": "ours" })).await.1,
    ];
    // As if she had signed in with a code.
    let mut session =
        service.db().find::<Session>("[user_id] = ?", [&ann.id]).first().await.expect("a read").expect("a session");
    session.second_factor_at = Some(service.now());
    service.db().save(session).await.expect("saved");
    let beside = service.beside(app).await;
    let ann_now = beside.anonymous().with_token(ann.client.token().expect("a token"));
    let with = [
        make_key(&ann_now, json!({ "name": "mine" })).await.1,
        make_key_of(&ann_now, &acme, json!({ "name": "ours" })).await.1,
    ];
    ann_now.patch(&format!("/workspaces/{acme}"), json!({ "requires_second_factor": true })).await.expect(200);
    let path = format!("/workspaces/{acme}/who");
    for key in &without {
        program(&service, key).get(&path).await.expect_problem(403, "second_factor_required");
    }
    for key in &with {
        program(&service, key).get(&path).await.expect(200);
    }
    who_is(&program(&service, &without[0])).await;
}
