//! When a key is over: with its time, its maker, or too many requests at once.

use std::time::Duration;

use app_kernel::feature::auth::User;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{app, make_key, make_key_of, program, start, who_is};
use crate::workspaces::{make_workspace, person};

on_every_database!(a_key_is_over_with_its_time, a_key_is_over_with_its_maker, a_key_that_is_used_too_often_waits,);

/// Promise: M2
async fn a_key_is_over_with_its_time(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let (_, key) = make_key(&ann.client, json!({ "name": "CI", "expires_in_days": 1 })).await;
    let ci = program(&service, &key);
    service.advance(Duration::from_secs(86_399));
    who_is(&ci).await;
    service.advance(Duration::from_secs(1));
    ci.get("/who").await.expect_problem(401, "api_key_expired");
    ci.get("/projects").await.expect_problem(401, "api_key_expired");
    ci.get("/healthz").await.expect(200);
}

/// Promise: M2, R-22
async fn a_key_is_over_with_its_maker(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let acme = make_workspace(&ann.client, "Acme").await;
    let (_, anns) = make_key(&ann.client, json!({ "name": "mine" })).await;
    let (_, acmes) = make_key_of(&ann.client, &acme, json!({ "name": "ours" })).await;
    let (_, bobs) = make_key(&bob.client, json!({ "name": "his" })).await;

    // Deactivated: at once in a process that has not just seen them, and again good when they are let in again.
    let set_active = async |is_active: bool| {
        let mut user = service.db().get::<User>(&ann.id).await.expect("a read").expect("ann");
        user.is_active = is_active;
        service.db().save(user).await.expect("saved");
        service.beside(app).await
    };
    let beside = set_active(false).await;
    for key in [&anns, &acmes] {
        program(&beside, key).get("/who").await.expect_problem(401, "invalid_api_key");
        program(&beside, key).get("/projects").await.expect_problem(401, "invalid_api_key");
    }
    who_is(&program(&beside, &bobs)).await;
    let beside = set_active(true).await;
    who_is(&program(&beside, &anns)).await;

    // Who deletes their account leaves no key behind, also in the process that has just seen it.
    who_is(&program(&service, &bobs)).await;
    let bob_again = service.sign_in("bob").await;
    let leave = bob_again.send(
        axum::http::Method::DELETE,
        "/auth/me",
        Some("application/json"),
        json!({ "password": PASSWORD }).to_string().into_bytes(),
    );
    leave.await.expect(204);
    program(&service, &bobs).get("/who").await.expect_problem(401, "invalid_api_key");
    let left = service
        .db()
        .query("SELECT [id] FROM [kernel_api_keys] WHERE [user_id] = ? AND [deleted_at] IS NULL", [&bob.id]);
    assert!(left.await.expect("rows").is_empty());
}

/// Promise: M2
async fn a_key_that_is_used_too_often_waits(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let limit = json!({ "requests": 3, "window_secs": 60 });
    let (_, key) = make_key(&ann.client, json!({ "name": "CI", "rate_limit": limit })).await;
    let (_, other) = make_key(&ann.client, json!({ "name": "other" })).await;
    let ci = program(&service, &key);
    for _ in 0..3 {
        who_is(&ci).await;
    }
    let refused = ci.get("/who").await.expect_problem(429, "too_many_requests");
    assert_eq!(refused.header("retry-after"), Some("20"));
    ci.get("/projects").await.expect_problem(429, "too_many_requests");
    who_is(&program(&service, &other)).await;
    ann.client.get("/who").await.expect(200);
    service.advance(Duration::from_secs(20));
    who_is(&ci).await;
    ci.get("/who").await.expect_problem(429, "too_many_requests");
}
