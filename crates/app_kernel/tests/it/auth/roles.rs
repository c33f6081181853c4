//! Users and admins.

use app_kernel::feature::auth::Role;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{auth_only, me, new_user, start, user_called, with};

on_every_database!(an_admin_is_let_in_and_a_user_is_not);

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
