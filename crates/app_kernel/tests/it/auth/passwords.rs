//! Passwords change, and so do the ways in which they are kept.

use app_kernel::base::secret::Secret;
use app_kernel::feature::auth::Session;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, on_every_database};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use serde_json::json;

use super::{Tokens, log_in, log_in_with, me, new_user, refresh, sign_up, start, user_called, with};

on_every_database!(
    changing_the_password_ends_all_other_sessions,
    a_login_under_way_during_a_password_change_gets_no_session,
    an_old_hash_is_renewed_at_login,
);

/// Promise: F1, R-22
async fn changing_the_password_ends_all_other_sessions(database: TestDatabase) {
    let service = start(database).await;
    let (here, there) = (new_user(&service, "ann").await, log_in(&service, "ann").await);
    me(&service, &there.access).await.expect(200);
    let change = async |client: app_kernel::testing::Client, present: &str, new: &str| {
        let body = json!({ "current_password": present, "new_password": new });
        client.post("/auth/change-password", body).await
    };
    let (ann, new) = (with(&service, &here.access), "a new password");
    change(ann.clone(), "wrong horse", new).await.expect_problem(400, "wrong_password");
    assert_eq!(change(ann.clone(), PASSWORD, "short").await.expect(422).wrong_fields(), ["/new_password"]);
    change(service.anonymous(), PASSWORD, new).await.expect_problem(401, "unauthenticated");
    me(&service, &there.access).await.expect(200);

    change(ann, PASSWORD, new).await.expect(204);
    me(&service, &there.access).await.expect_problem(401, "session_ended");
    refresh(&service, &there.refresh).await.expect(401);
    me(&service, &here.access).await.expect(200);
    let next = Tokens::of(&refresh(&service, &here.refresh).await.expect(200));
    me(&service, &next.access).await.expect(200);
    log_in_with(&service, "ann", PASSWORD).await.expect(401);
    log_in_with(&service, "ann", new).await.expect(200);
}

/// Promise: R-22
async fn a_login_under_way_during_a_password_change_gets_no_session(database: TestDatabase) {
    let service = start(database).await;
    let (here, late) = (new_user(&service, "ann").await, log_in(&service, "ann").await);
    let change = json!({ "current_password": PASSWORD, "new_password": "a new password" });
    with(&service, &here.access).post("/auth/change-password", change).await.expect(204);
    // As if the session, which belongs to the old password, had been written only now.
    let mut session = service.db().get::<Session>(late.session_id()).await.expect("a read").expect("a session");
    session.revoked_at = None;
    service.db().save(session).await.expect("saved");
    me(&service, &late.access).await.expect_problem(401, "session_ended");
    refresh(&service, &late.refresh).await.expect_problem(401, "invalid_refresh_token");
}

async fn an_old_hash_is_renewed_at_login(database: TestDatabase) {
    let service = start(database).await;
    sign_up(&service, "ann").await.expect(201);
    let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).expect("parameters"));
    let weak: PasswordHash = weak.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).expect("a hash");
    let mut user = user_called(&service.db(), "ann").await;
    user.password_hash = Some(Secret::new(weak.to_string()));
    service.db().save(user).await.expect("saved");
    log_in(&service, "ann").await;
    let hash = user_called(&service.db(), "ann").await.entity.password_hash.expect("a hash");
    assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    log_in(&service, "ann").await;
}
