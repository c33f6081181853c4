//! Accounts come to an end: their owner leaves, and what is over is swept out.

use std::time::Duration;

use app_kernel::feature::auth::{Session, User};
use app_kernel::feature::workspaces::{Member, MemberRole, Workspace};
use app_kernel::prelude::*;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{Answer, TestDatabase, TestService, on_every_database};
use axum::http::Method;
use serde_json::json;

use super::{auth_only, log_in, log_in_with, me, new_user, refresh, sign_up, start, user_called, with};

on_every_database!(
    who_leaves_is_out_at_once_and_may_come_back_as_somebody_new,
    the_only_owner_of_a_shared_workspace_hands_it_on_first,
    sessions_that_are_over_are_swept_out_and_others_stay,
);

async fn leave(service: &TestService, token: &str, password: &str) -> Answer {
    let body = serde_json::to_vec(&json!({ "password": password })).expect("JSON");
    with(service, token).send(Method::DELETE, "/auth/me", Some("application/json"), body).await
}

/// Promise: R-22
async fn who_leaves_is_out_at_once_and_may_come_back_as_somebody_new(database: TestDatabase) {
    let service = start(database).await;
    let (here, there) = (new_user(&service, "ann").await, log_in(&service, "ann").await);
    let bob = new_user(&service, "bob").await;
    let other = service.beside(auth_only).await;
    let before = user_called(&service.db(), "ann").await;
    leave(&service, &here.access, "wrong").await.expect_problem(400, "wrong_password");
    me(&service, &here.access).await.expect(200);
    leave(&service, &here.access, PASSWORD).await.expect(204);
    for process in [&service, &other] {
        for tokens in [&here, &there] {
            me(process, &tokens.access).await.expect_problem(401, "session_ended");
            refresh(process, &tokens.refresh).await.expect(401);
        }
    }
    log_in_with(&service, "ann", PASSWORD).await.expect_problem(401, "invalid_credentials");
    let db = service.db();
    let gone = db.get::<User>(&before.id).include_deleted().await.expect("a read").expect("she is deleted softly");
    assert!(gone.deleted_at.is_some() && gone.password_hash.is_none());
    let home = before.personal_workspace_id.clone().expect("a workspace");
    assert!(db.get::<Workspace>(&home).await.expect("a read").is_none());
    assert_eq!(db.count::<Member>("[user_id] = ?", [&before.id]).await.expect("a count"), 0);

    sign_up(&service, "ann").await.expect(201);
    assert_ne!(user_called(&db, "ann").await.id, before.id);
    log_in(&service, "ann").await;
    me(&service, &bob.access).await.expect(200);
}

async fn the_only_owner_of_a_shared_workspace_hands_it_on_first(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (new_user(&service, "ann").await, new_user(&service, "bob").await);
    let db = service.db();
    let (ann_id, bob_id) = (user_called(&db, "ann").await.id, user_called(&db, "bob").await.id);
    let workspace = |name: &str| Workspace {
        name: name.to_owned(),
        is_personal: false,
        created_by_user_id: ann_id.clone(),
        requires_second_factor: false,
    };
    let shared = db.save(workspace("gears")).await.expect("saved").id;
    let alone = db.save(workspace("alone")).await.expect("saved").id;
    let member = |workspace_id: &str, user_id: &str, role| Member {
        workspace_id: workspace_id.to_owned(),
        user_id: user_id.to_owned(),
        role,
    };
    db.save(member(&shared, &ann_id, MemberRole::Owner)).await.expect("saved");
    db.save(member(&alone, &ann_id, MemberRole::Owner)).await.expect("saved");
    let bobs = db.save(member(&shared, &bob_id, MemberRole::Admin)).await.expect("saved");

    let refused = leave(&service, &ann.access, PASSWORD).await.expect_problem(409, "last_owner");
    assert!(refused.text().contains("`gears`"), "{}", refused.text());
    me(&service, &ann.access).await.expect(200);
    assert!(db.get::<Workspace>(&alone).await.expect("a read").is_some(), "all or nothing");

    let mut owner: Saved<Member> = bobs;
    owner.role = MemberRole::Owner;
    db.save(owner).await.expect("saved");
    // Both want to leave at once: one of them stays, because somebody else would have no owner then, or nobody else is left.
    db.save(member(&shared, &user_called(&db, "bob").await.id, MemberRole::Owner))
        .match_by(["workspace_id", "user_id"])
        .await
        .expect("saved");
    let carol = new_user(&service, "carol").await;
    db.save(member(&shared, &user_called(&db, "carol").await.id, MemberRole::Member)).await.expect("saved");
    let (first, second) = tokio::join!(leave(&service, &ann.access, PASSWORD), leave(&service, &bob.access, PASSWORD));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{} {}", first.text(), second.text());
    let owners = db.count::<Member>("[workspace_id] = ? AND [role] = 'owner'", [&shared]).await.expect("a count");
    assert_eq!(owners, 1);
    me(&service, &carol.access).await.expect(200);
}

async fn sessions_that_are_over_are_swept_out_and_others_stay(database: TestDatabase) {
    let service = start(database).await;
    let old = new_user(&service, "ann").await;
    log_in(&service, "ann").await;
    let db = service.db();
    let links = async || {
        let rows = db.query("SELECT [id] FROM [kernel_mail_tokens]", ()).await.expect("rows");
        rows.len()
    };
    service.mail_to("ann@example.com").await;
    assert_eq!(links().await, 1);
    let sessions = async || db.count::<Session>("", ()).include_deleted().await.expect("a count");
    assert_eq!(sessions().await, 2);
    // The last access token of a session may live as long as this after it can't be refreshed any more.
    service.advance(Duration::from_secs(30 * 24 * 3600 + 23 * 3600));
    let fresh = log_in(&service, "ann").await;
    service.beside(auth_only).await.stop().await;
    assert_eq!((sessions().await, links().await), (3, 0));

    service.advance(Duration::from_secs(3600));
    let (one, two) = (service.beside(auth_only).await, service.beside(auth_only).await);
    tokio::join!(one.stop(), two.stop());
    assert_eq!(sessions().await, 1);
    me(&service, &fresh.access).await.expect(200);
    refresh(&service, &old.refresh).await.expect_problem(401, "invalid_refresh_token");
}
