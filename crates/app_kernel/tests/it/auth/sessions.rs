//! When a session is over, so are its tokens.

use std::time::Duration;

use app_kernel::testing::{TestDatabase, on_every_database};
use axum::http::Method;
use serde_json::json;

use super::{auth_only, log_in, me, new_user, refresh, start, user_called, with};

on_every_database!(
    logging_out_ends_the_session_at_once,
    a_deactivated_user_is_out_at_once_in_another_process,
    sessions_are_listed_and_ended_one_by_one_or_all,
);

/// Promise: F1, R-22
async fn logging_out_ends_the_session_at_once(database: TestDatabase) {
    let service = start(database).await;
    let anonymous = service.anonymous();
    let (here, there) = (new_user(&service, "ann").await, log_in(&service, "ann").await);
    me(&service, &here.access).await.expect(200);
    let ann = with(&service, &here.access);
    ann.send(Method::POST, "/auth/logout", None, Vec::new()).await.expect(204);
    me(&service, &here.access).await.expect_problem(401, "session_ended");
    refresh(&service, &here.refresh).await.expect(401);
    ann.post("/auth/logout", json!({})).await.expect(401);
    me(&service, &there.access).await.expect(200);

    let by_refresh_token = json!({ "refresh_token": there.refresh });
    anonymous.post("/auth/logout", &by_refresh_token).await.expect(204);
    me(&service, &there.access).await.expect_problem(401, "session_ended");
    anonymous.post("/auth/logout", &by_refresh_token).await.expect(401);
    anonymous.post("/auth/logout", json!({})).await.expect(401);

    let late = log_in(&service, "ann").await;
    service.advance(Duration::from_secs(24 * 3600));
    let ann = with(&service, &late.access);
    ann.post("/auth/logout", json!({})).await.expect_problem(401, "token_expired");
    ann.post("/auth/logout", json!({ "refresh_token": late.refresh })).await.expect(204);
    refresh(&service, &late.refresh).await.expect(401);
}

/// Promise: R-22
async fn a_deactivated_user_is_out_at_once_in_another_process(database: TestDatabase) {
    let service = start(database).await;
    let tokens = new_user(&service, "ann").await;
    let other = service.beside(auth_only).await;
    let mut ann = user_called(&service.db(), "ann").await;
    ann.is_active = false;
    service.db().save(ann).await.expect("saved");
    me(&other, &tokens.access).await.expect_problem(401, "session_ended");
    refresh(&other, &tokens.refresh).await.expect(401);
}

/// Promise: R-22
async fn sessions_are_listed_and_ended_one_by_one_or_all(database: TestDatabase) {
    let service = start(database).await;
    let (first, second) = (new_user(&service, "ann").await, log_in(&service, "ann").await);
    let stranger = new_user(&service, "bob").await;
    let ann = with(&service, &first.access).with_header("user-agent", "a telephone");

    let listed = ann.get("/auth/sessions").await.expect(200).json();
    let sessions = listed.as_array().expect("a list");
    assert_eq!(sessions.len(), 2);
    let current: Vec<bool> = sessions.iter().map(|session| session["is_current"] == true).collect();
    assert_eq!(current.iter().filter(|is_current| **is_current).count(), 1);
    assert_eq!(sessions[0]["address"], "127.0.0.1");
    assert!(!listed.to_string().contains("hash"), "{listed}");

    let other = sessions.iter().find(|session| session["is_current"] == false).expect("the second");
    let path = format!("/auth/sessions/{}", other["id"].as_str().expect("an id"));
    with(&service, &stranger.access).delete(&path).await.expect_problem(404, "not_found");
    me(&service, &second.access).await.expect(200);
    ann.delete(&path).await.expect(204);
    ann.delete(&path).await.expect_problem(404, "not_found");
    me(&service, &second.access).await.expect_problem(401, "session_ended");
    refresh(&service, &second.refresh).await.expect(401);
    assert_eq!(ann.get("/auth/sessions").await.expect(200).json().as_array().expect("a list").len(), 1);

    let third = log_in(&service, "ann").await;
    ann.delete("/auth/sessions").await.expect(204);
    for tokens in [&first, &third] {
        me(&service, &tokens.access).await.expect_problem(401, "session_ended");
        refresh(&service, &tokens.refresh).await.expect(401);
    }
    me(&service, &stranger.access).await.expect(200);
    log_in(&service, "ann").await;
    service.anonymous().get("/auth/sessions").await.expect_problem(401, "unauthenticated");
}
