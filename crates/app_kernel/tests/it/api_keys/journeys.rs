//! The life of a key, as its owner sees it: made, shown once, listed, used, rotated, revoked.

use std::time::Duration;

use app_kernel::feature::api_keys::{ApiKey, KeyOwner, create_api_key, list_api_keys, revoke_api_key, rotate_api_key};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{app, key_in, make_key, program, start, who_is};
use crate::workspaces::{make_workspace, person};

on_every_database!(
    a_key_is_told_once_listed_and_revoked,
    a_rotated_key_lives_on_for_the_overlap_and_no_longer,
    of_many_who_rotate_a_key_at_once_one_gets_the_next,
    code_makes_keys_as_the_routes_do,
    no_key_is_stored_readable_or_kept_in_the_history,
    the_last_use_is_kept_once_a_minute_and_never_waited_for,
);

/// Promise: M1, M2, M3
async fn a_key_is_told_once_listed_and_revoked(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let body = json!({
        "name": " CI/CD Pipeline ", "scopes": ["reports:read", "deployments:write", "reports:read"], "expires_in_days": 90,
        "rate_limit": { "requests": 100, "window_secs": 60 }
    });
    let made = ann.client.post("/api-keys", body).await.expect(201);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let (id, key) = (made.id(), key_in(&made));
    assert_eq!((key.len(), &key[..8]), (46, "sk_live_"));

    let listed = ann.client.get("/api-keys").await.expect(200);
    assert!(!listed.text().contains(&key[12..]), "a list tells a key");
    let view = listed.json()[0].clone();
    let mut told = made.json();
    assert_eq!(told.as_object_mut().expect("an object").shift_remove("key"), Some(json!(key)));
    assert_eq!(view, told);
    assert_eq!(ann.client.get(&format!("/api-keys/{id}")).await.expect(200).json(), view);
    let expected = json!({
        "id": id, "name": "CI/CD Pipeline", "hint": format!("{}…", &key[..12]),
        "scopes": ["deployments:write", "reports:read"], "user_id": ann.id, "workspace_id": null,
        "rate_limit": { "requests": 100, "window_secs": 60 }, "created_at": view["created_at"],
        "expires_at": view["expires_at"], "last_used_at": null, "replaced_by_id": null
    });
    assert_eq!(view, expected);

    // It acts as Ann, wherever she belongs to.
    let acme = make_workspace(&ann.client, "Acme").await;
    let ci = program(&service, &key);
    let who = who_is(&ci).await;
    let expected = json!({
        "kind": "api_key", "user_id": ann.id, "workspace_id": ann.personal, "role": "owner", "api_key_id": id, "may_write": true
    });
    assert_eq!(who, expected);
    assert_eq!(ci.get(&format!("/workspaces/{acme}/who")).await.expect(200).json()["workspace_id"], json!(acme));
    let by_header = service.anonymous().with_header("x-api-key", &key);
    assert_eq!(who_is(&by_header).await, who);

    // To others it is not there.
    assert_eq!(bob.client.get("/api-keys").await.expect(200).json(), json!([]));
    bob.client.get(&format!("/api-keys/{id}")).await.expect_problem(404, "not_found");
    bob.client.delete(&format!("/api-keys/{id}")).await.expect_problem(404, "not_found");
    bob.client.post(&format!("/api-keys/{id}/rotate"), json!({})).await.expect_problem(404, "not_found");

    // Revoked, it is over at once, also in a process that has just seen it.
    let beside = service.beside(app).await;
    let ci_beside = program(&beside, &key);
    who_is(&ci_beside).await;
    ann.client.delete(&format!("/api-keys/{id}")).await.expect(204);
    ci.get("/who").await.expect_problem(401, "invalid_api_key");
    ci_beside.get("/who").await.expect_problem(401, "invalid_api_key");
    assert_eq!(ann.client.get("/api-keys").await.expect(200).json(), json!([]));
    ann.client.delete(&format!("/api-keys/{id}")).await.expect_problem(404, "not_found");

    for (body, fields) in [
        (json!({}), &["/name"][..]),
        (json!({ "name": "", "scopes": ["*"] }), &["/name", "/scopes/0"]),
        (
            json!({ "name": "x", "scopes": ["*", "reports:read", "reports:*", "a b"] }),
            &["/scopes/0", "/scopes/2", "/scopes/3"],
        ),
        (json!({ "name": "x", "expires_in_days": 0 }), &["/expires_in_days"]),
        (json!({ "name": "x", "expires_in_days": 3651 }), &["/expires_in_days"]),
        (json!({ "name": "x", "rate_limit": { "requests": 0, "window_secs": 1 } }), &["/rate_limit"]),
        (json!({ "name": "x", "user_id": bob.id }), &["/user_id"]),
    ] {
        assert_eq!(ann.client.post("/api-keys", &body).await.expect(422).wrong_fields(), fields, "{body}");
    }
}

/// Promise: M2
async fn a_rotated_key_lives_on_for_the_overlap_and_no_longer(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let (id, old) =
        make_key(&ann.client, json!({ "name": "CI", "scopes": ["deployments:*"], "expires_in_days": 30 })).await;
    service.advance(Duration::from_secs(10 * 86_400));
    let ann = service.sign_in("ann").await;
    let path = format!("/api-keys/{id}/rotate");
    assert_eq!(ann.post(&path, json!({ "overlap_hours": 169 })).await.expect(422).wrong_fields(), ["/overlap_hours"]);
    let rotated = ann.post(&path, json!({ "overlap_hours": 1 })).await.expect(201);
    let (next_id, new) = (rotated.id(), key_in(&rotated));
    assert!(next_id != id && new != old);
    assert_eq!((&rotated.json()["name"], &rotated.json()["scopes"]), (&json!("CI"), &json!(["deployments:*"])));
    for key in [&old, &new] {
        assert_eq!(who_is(&program(&service, key)).await["may_write"], true);
    }
    assert_eq!(ann.get(&format!("/api-keys/{id}")).await.expect(200).json()["replaced_by_id"], json!(next_id));
    ann.post(&path, json!({})).await.expect_problem(409, "already_rotated");

    service.advance(Duration::from_secs(3599));
    who_is(&program(&service, &old)).await;
    service.advance(Duration::from_secs(1));
    program(&service, &old).get("/who").await.expect_problem(401, "api_key_expired");
    // It has as long a life as the old one was made for.
    service.advance(Duration::from_secs(30 * 86_400 - 3601));
    who_is(&program(&service, &new)).await;
    service.advance(Duration::from_secs(1));
    program(&service, &new).get("/who").await.expect_problem(401, "api_key_expired");
    program(&service, &new).get("/auth/me").await.expect_problem(401, "api_key_expired");

    // Without an overlap the old one is over at once.
    let ann = service.sign_in("ann").await;
    let (id, old) = make_key(&ann, json!({ "name": "leaked" })).await;
    ann.post(&format!("/api-keys/{id}/rotate"), json!({ "overlap_hours": 0 })).await.expect(201);
    program(&service, &old).get("/who").await.expect_problem(401, "api_key_expired");
}

/// Promise: M2
async fn of_many_who_rotate_a_key_at_once_one_gets_the_next(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let (id, _) = make_key(&ann.client, json!({ "name": "CI" })).await;
    let path = format!("/api-keys/{id}/rotate");
    let answers = join_all((0..10).map(|_| ann.client.post(&path, json!({})))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [[201].as_slice(), &[409; 9]].concat());
    assert_eq!(ann.client.get("/api-keys").await.expect(200).json().as_array().map(Vec::len), Some(2));
}

/// Promise: M1, M2
async fn code_makes_keys_as_the_routes_do(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let acme = make_workspace(&ann.client, "Acme").await;
    let db = service.db();
    let made = create_api_key(&db, &ann.id).await.expect("a key");
    assert_eq!((made.name.as_str(), &made.scopes, &made.expires_at), ("API key", &vec![], &None));
    assert!(!format!("{made:?}").contains(&made.key[12..]));
    assert_eq!(who_is(&program(&service, &made.key)).await["may_write"], false, "no scopes are no scope");

    let deploys = create_api_key(&db, &ann.id).name("deploys").scopes(["*"]).workspace(&acme).await.expect("a key");
    assert_eq!(who_is(&program(&service, &deploys.key)).await["workspace_id"], json!(acme));
    let refusal =
        async |key: app_kernel::feature::api_keys::CreateApiKey| key.await.expect_err("refused").http_status();
    assert_eq!(refusal(create_api_key(&db, "nobody")).await, 404);
    assert_eq!(refusal(create_api_key(&db, &bob.id).workspace(&acme)).await, 404);
    assert_eq!(refusal(create_api_key(&db, &ann.id).workspace("nowhere")).await, 404);
    assert_eq!(refusal(create_api_key(&db, &ann.id).scopes(["a b"])).await, 422);
    assert_eq!(refusal(create_api_key(&db, &ann.id).scopes(["b"]).at_most(["a:*"])).await, 422);
    assert_eq!(refusal(create_api_key(&db, &ann.id).rate_limit(0, Duration::from_secs(1))).await, 422);
    crate::workspaces::put(&service, &acme, &bob.id, app_kernel::feature::workspaces::MemberRole::Member).await;
    assert_eq!(refusal(create_api_key(&db, &bob.id).workspace(&acme)).await, 403);

    let (anns, acmes) = (KeyOwner::User(ann.id.clone()), KeyOwner::Workspace(acme.clone()));
    let ids = async |owner: &KeyOwner| -> Vec<String> {
        list_api_keys(&db, owner).await.expect("a list").into_iter().map(|key| key.id).collect()
    };
    assert_eq!((ids(&anns).await, ids(&acmes).await), (vec![made.id.clone()], vec![deploys.id.clone()]));
    assert_eq!(revoke_api_key(&db, &anns, &deploys.id).await.expect_err("not hers alone").kind(), ErrorKind::NotFound);
    let error = rotate_api_key(&db, acmes.clone(), &deploys.id, &bob.id).await.expect_err("no admin");
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let error = rotate_api_key(&db, anns.clone(), &made.id, &bob.id).await.expect_err("not his");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let next = rotate_api_key(&db, acmes.clone(), &deploys.id, &ann.id).overlap(Duration::ZERO).await.expect("a key");
    assert_eq!(who_is(&program(&service, &next.key)).await["workspace_id"], json!(acme));
    revoke_api_key(&db, &acmes, &next.id).await.expect("revoked");
    program(&service, &next.key).get("/who").await.expect_problem(401, "invalid_api_key");

    // A key makes no keys, whatever a service's code says.
    let all = create_api_key(&db, &ann.id).scopes(["*"]).await.expect("a key");
    program(&service, &all.key).post("/breed", json!({})).await.expect_problem(403, "api_key_not_allowed");
    ann.client.post("/breed", json!({})).await.expect(201);
}

/// Promise: M1, R-32
async fn no_key_is_stored_readable_or_kept_in_the_history(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let (id, key) = make_key(&ann.client, json!({ "name": "CI" })).await;
    who_is(&program(&service, &key)).await;
    ann.client.post(&format!("/api-keys/{id}/rotate"), json!({})).await.expect(201);
    let db = service.db();
    let stored = db.get::<ApiKey>(&id).await.expect("a read").expect("a key");
    let hash = stored.key_hash.expose().to_owned();
    assert_eq!((hash.len(), hash.contains(&key[12..])), (64, false));
    let mut text = format!("{stored:?}");
    for table in ["kernel_api_keys_history", "kernel_changes"] {
        for row in db.query(format!("SELECT * FROM [{table}]"), ()).await.expect("rows") {
            text += &row.to_json().to_string();
        }
    }
    assert!(text.contains("[redacted]"), "the history was read: {text}");
    assert!(!text.contains(&hash) && !text.contains(&key[12..]), "{text}");
}

/// Promise: M1
async fn the_last_use_is_kept_once_a_minute_and_never_waited_for(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let (id, key) = make_key(&ann.client, json!({ "name": "CI" })).await;
    let ci = program(&service, &key);
    let last_use = async |other_than: &Value| {
        let path = format!("/api-keys/{id}");
        loop {
            let seen = ann.client.get(&path).await.expect(200).json()["last_used_at"].clone();
            if seen != *other_than {
                return seen;
            }
            tokio::task::yield_now().await;
        }
    };
    let within = |wait| tokio::time::timeout(Duration::from_secs(60), wait);
    let written = |at: Timestamp| json!(app_kernel::base::clock::format_timestamp(at));
    who_is(&ci).await;
    let first = within(last_use(&Value::Null)).await.expect("it is written");
    assert_eq!(first, written(service.now()));
    let first_at = service.now();
    service.advance(Duration::from_secs(59));
    for _ in 0..20 {
        who_is(&ci).await;
    }
    service.advance(Duration::from_secs(1));
    who_is(&ci).await;
    let second = within(last_use(&first)).await.expect("it is written");
    assert_eq!(
        second,
        written(first_at + jiff::SignedDuration::from_secs(60)),
        "what came within the minute is not kept"
    );
    assert_eq!(service.db().history::<ApiKey>(&id).await.expect("versions").len(), 1, "being used is no change");
}

#[tokio::test]
async fn a_service_that_offers_what_is_no_scope_does_not_start() {
    let config = ServiceConfig::default();
    let error = Service::new("odd", config).api_keys(["deployments:write", "every thing"]).start().await.err();
    let told = error.expect("refused").to_string();
    assert!(told.starts_with("`every thing` is no scope of API keys"), "{told}");
}

#[tokio::test]
async fn a_service_that_does_not_ask_for_the_routes_has_none_and_knows_keys_all_the_same() {
    let service = TestService::start(|config| {
        Service::new("plain", config).route("/who", get(async |auth: Auth| auth.kind().as_str()))
    })
    .await;
    let ann = person(&service, "ann").await;
    ann.client.get("/api-keys").await.expect(404);
    let key = create_api_key(&service.db(), &ann.id).await.expect("a key").key;
    assert_eq!(program(&service, &key).get("/who").await.expect(200).text(), "api_key");
    assert_eq!(ann.client.get("/who").await.expect(200).text(), "user");
}
