//! Users and admins.

use app_kernel::feature::auth::Role;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{auth_only, log_in, me, new_user, start, user_called, with};

on_every_database!(an_admin_is_let_in_and_a_user_is_not, a_handler_is_told_who_the_user_is);

/// Promise: F2, F5
async fn an_admin_is_let_in_and_a_user_is_not(database: TestDatabase) {
    let service = start(database).await;
    let token = new_user(&service, "ann").await.access;
    service.anonymous().get("/admin").await.expect_problem(401, "unauthenticated");
    with(&service, &token).get("/admin").await.expect_problem(403, "forbidden");
    for (role, status, word) in [(Role::Admin, 200, "admin"), (Role::User, 403, "user")] {
        let mut ann = user_called(&service.db(), "ann").await;
        ann.role = role;
        service.db().save(ann).await.expect("saved");
        // The role is read anew at once by a process that does not remember her.
        let other = service.beside(auth_only).await;
        with(&other, &token).get("/admin").await.expect(status);
        assert_eq!(me(&other, &token).await.expect(200).json()["role"], word);
    }
}

/// Promise: F3
async fn a_handler_is_told_who_the_user_is(database: TestDatabase) {
    let service = start(database).await;
    let body = json!({ "email": "Ann@example.com", "password": PASSWORD, "name": "Ann" });
    let ann = service.anonymous().post("/auth/register", body).await.expect(201).json();
    let token = log_in(&service, "Ann").await.access;
    let told = |role: &str| {
        json!({
            "id": ann["id"],
            "email": "Ann@example.com",
            "name": "Ann",
            "role": role,
            "is_active": true,
            "workspace_id": ann["workspace_id"],
            "has_second_factor": false,
        })
    };
    assert!(ann["workspace_id"].is_string(), "{ann}");
    assert_eq!(with(&service, &token).get("/identity").await.expect(200).json(), told("user"));
    let mut user = user_called(&service.db(), "Ann").await;
    user.role = Role::Admin;
    service.db().save(user).await.expect("saved");
    let other = service.beside(auth_only).await;
    assert_eq!(with(&other, &token).get("/identity").await.expect(200).json(), told("admin"));
}
