//! When a session is over, so are its tokens.

use std::time::{Duration, Instant};

use app_kernel::feature::workspaces::{Member, MemberRole};
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::json;

use super::{Tokens, auth_only, log_in, me, new_user, refresh, start, user_called, with};
use crate::support::figure;

on_every_database!(
    logging_out_ends_the_session_at_once,
    a_deactivated_user_is_out_at_once_in_another_process,
    sessions_are_listed_and_ended_one_by_one_or_all,
    whatever_ends_sessions_ends_them_in_all_processes,
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

/// Promise: F1, R-22
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

/// How long after its end a session may be believed in another process.
const BELIEVED: Duration = Duration::from_secs(2);

/// Promise: R-22, H4
async fn whatever_ends_sessions_ends_them_in_all_processes(database: TestDatabase) {
    let times = figure(5, 100);
    let first = start(database).await;
    let processes = [first.beside(auth_only).await, first.beside(auth_only).await, first];
    let service = &processes[2];
    let owner = new_user(service, "owner").await;
    let mut asked = 0;
    for event in ["logout", "password", "deactivation", "deletion", "reset"] {
        let (old, here) = (new_user(service, event).await, log_in(service, event).await);
        // Each process has seen both, and remembers them.
        for (process, tokens) in processes.iter().flat_map(|process| [(process, &old), (process, &here)]) {
            me(process, &tokens.access).await.expect(200);
        }
        let mut ended = vec![old.clone()];
        let ann = with(service, &here.access);
        match event {
            "logout" => {
                let old = with(service, &old.access);
                old.send(Method::POST, "/auth/logout", None, Vec::new()).await.expect(204);
            }
            "password" => {
                let change = json!({ "current_password": PASSWORD, "new_password": "another password" });
                ann.post("/auth/change-password", change).await.expect(204);
            }
            "deactivation" => {
                let mut user = user_called(&service.db(), event).await;
                user.is_active = false;
                service.db().save(user).await.expect("saved");
                ended.push(here);
            }
            "deletion" => {
                let body = json!({ "password": PASSWORD }).to_string().into_bytes();
                ann.send(Method::DELETE, "/auth/me", Some("application/json"), body).await.expect(204);
                ended.push(here);
            }
            _ => {
                ann.delete("/auth/sessions").await.expect(204);
                ended.push(here);
            }
        }
        asked += nobody_gets_in(&processes, &ended, times).await;
    }
    asked += a_removed_member_is_out(&processes, &owner, times).await;
    println!("R-22 held: 6 ways to end a right, {asked} requests with what was good before, 0 accepted");
}

/// Waits until each process knows; what was asked so long after the end that it must know is refused all along. Then asks many times.
async fn nobody_gets_in(processes: &[TestService; 3], ended: &[Tokens], times: usize) -> usize {
    let over = Instant::now();
    for (process, tokens) in processes.iter().flat_map(|process| ended.iter().map(move |tokens| (process, tokens))) {
        loop {
            let since = over.elapsed();
            let answer = me(process, &tokens.access).await;
            if answer.status == 401 {
                break;
            }
            assert!(since < BELIEVED, "accepted {since:?} after the end: {answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for _ in 0..times {
        // So that no limit on refreshing refuses before the session is looked at.
        processes[0].advance(Duration::from_secs(30)); // they share a clock
        let asked = processes.iter().flat_map(|process| {
            ended.iter().map(move |tokens| async move {
                (me(process, &tokens.access).await.status, refresh(process, &tokens.refresh).await.status)
            })
        });
        let answers = join_all(asked.map(Box::pin)).await;
        assert!(answers.iter().all(|statuses| *statuses == (401, 401)), "{answers:?}");
    }
    times * processes.len() * ended.len() * 2
}

/// Who belongs to a workspace is asked with each request, so there is nothing to wait for.
async fn a_removed_member_is_out(processes: &[TestService; 3], owner: &Tokens, times: usize) -> usize {
    let service = &processes[0];
    let owner = with(service, &owner.access);
    let id = owner.post("/workspaces", json!({ "name": "Acme" })).await.expect(201).id();
    let removed = new_user(service, "removed").await;
    let user_id = user_called(&service.db(), "removed").await.id.clone();
    let member = Member { workspace_id: id.clone(), user_id: user_id.clone(), role: MemberRole::Admin };
    service.db().save(member).await.expect("saved");
    let paths = [format!("/workspaces/{id}"), format!("/workspaces/{id}/members")];
    for process in processes {
        with(process, &removed.access).get(&paths[0]).await.expect(200);
    }
    owner.delete(&format!("{}/{user_id}", paths[1])).await.expect(204);
    for _ in 0..times {
        for (process, path) in processes.iter().flat_map(|process| paths.iter().map(move |path| (process, path))) {
            with(process, &removed.access).get(path).await.expect_problem(404, "not_found");
        }
    }
    times * processes.len() * paths.len()
}
