//! How people come into a workspace.

use std::time::Duration;

use app_kernel::feature::auth::User;
use app_kernel::feature::workspaces::{Invite, Member, MemberRole};
use app_kernel::prelude::*;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{Client, TestDatabase, TestService, on_every_database};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{make_workspace, people, person, put, start};

on_every_database!(
    an_invitation_lets_in_whom_it_is_for_once,
    fifty_who_join_at_once_with_one_invitation_make_one_member,
    who_registers_with_an_invitation_is_in,
);

async fn invite(client: &Client, workspace_id: &str, email: &str, role: &str) -> Value {
    let body = json!({ "email": email, "role": role });
    client.post(&format!("/workspaces/{workspace_id}/invite"), body).await.expect(201).json()
}

fn join_path(invite: &Value) -> String {
    format!("/workspaces/join/{}", invite["token"].as_str().expect("a token"))
}

/// Promise: H3
async fn an_invitation_lets_in_whom_it_is_for_once(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob, cy) = (person(&service, "ann").await, person(&service, "bob").await, person(&service, "cy").await);
    let id = make_workspace(&ann.client, "Acme").await;
    let invites = format!("/workspaces/{id}/invites");
    let first = invite(&ann.client, &id, " Bob@Example.COM ", "member").await;
    assert_eq!(
        (&first["email"], &first["role"], &first["invited_by_user_id"]),
        (&json!("Bob@Example.COM"), &json!("member"), &json!(ann.id))
    );
    let listed = ann.client.get(&invites).await.expect(200).json();
    assert_eq!(listed[0]["id"], first["id"]);
    assert!(listed[0].get("token").is_none(), "it is told once: {listed}");
    let stored =
        service.db().get::<Invite>(first["id"].as_str().expect("an id")).await.expect("a read").expect("there");
    assert!(!format!("{:?}", stored.token_hash.expose()).contains(first["token"].as_str().expect("a token")));

    // Somebody else's, a made-up one, and none at all are one answer.
    let foreign = cy.client.post(&join_path(&first), json!({})).await.expect_problem(404, "not_found").json();
    let made_up = cy.client.post("/workspaces/join/made-up", json!({})).await.expect_problem(404, "not_found").json();
    assert_eq!(foreign["detail"], made_up["detail"]);
    service.anonymous().post(&join_path(&first), json!({})).await.expect_problem(401, "unauthenticated");

    // A second one takes the place of the first.
    let second = invite(&ann.client, &id, "bob@example.com", "admin").await;
    assert_eq!(ann.client.get(&invites).await.expect(200).json().as_array().map(Vec::len), Some(1));
    bob.client.post(&join_path(&first), json!({})).await.expect_problem(404, "not_found");
    let joined = bob.client.post(&join_path(&second), json!({})).await.expect(200).json();
    assert_eq!((&joined["id"], &joined["role"], &joined["name"]), (&json!(id), &json!("admin"), &json!("Acme")));
    bob.client.post(&join_path(&second), json!({})).await.expect_problem(404, "not_found");
    assert_eq!(ann.client.get(&invites).await.expect(200).json(), json!([]));
    let again = json!({ "email": "BOB@example.com" });
    ann.client.post(&format!("/workspaces/{id}/invite"), again).await.expect_problem(409, "already_member");

    // Seven days, and not a moment more.
    let late = invite(&bob.client, &id, "cy@example.com", "member").await;
    service.advance(Duration::from_secs(7 * 24 * 3600));
    let cy_now = service.sign_in("cy").await;
    cy_now.post(&join_path(&late), json!({})).await.expect_problem(404, "not_found");
    let ann_now = service.sign_in("ann").await;
    assert_eq!(ann_now.get(&invites).await.expect(200).json(), json!([]));

    // Taken back, it is no good; so is one into a workspace that is gone.
    let taken_back = invite(&ann_now, &id, "cy@example.com", "member").await;
    let path = format!("{invites}/{}", taken_back["id"].as_str().expect("an id"));
    cy_now.delete(&path).await.expect_problem(404, "not_found");
    ann_now.delete(&path).await.expect(204);
    ann_now.delete(&path).await.expect_problem(404, "not_found");
    cy_now.post(&join_path(&taken_back), json!({})).await.expect_problem(404, "not_found");
    let last = invite(&ann_now, &id, "cy@example.com", "member").await;
    ann_now.delete(&format!("/workspaces/{id}")).await.expect(204);
    cy_now.post(&join_path(&last), json!({})).await.expect_problem(404, "not_found");
}

/// Promise: H3, R-27
#[tokio::test]
async fn admins_neither_make_owners_by_invitation_nor_undo_such_invitations() {
    let service = TestService::start(super::app).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let id = make_workspace(&ann.client, "Acme").await;
    put(&service, &id, &bob.id, MemberRole::Admin).await;
    let path = format!("/workspaces/{id}/invite");
    let body = |role: &str| json!({ "email": "cy@example.com", "role": role });
    bob.client.post(&path, body("owner")).await.expect_problem(403, "forbidden");
    let owners = ann.client.post(&path, body("owner")).await.expect(201);
    bob.client.post(&path, body("member")).await.expect_problem(403, "forbidden");
    bob.client.delete(&format!("/workspaces/{id}/invites/{}", owners.id())).await.expect_problem(403, "forbidden");
    // Of another workspace, an invitation is not there.
    let elsewhere = make_workspace(&bob.client, "Elsewhere").await;
    let path_there = format!("/workspaces/{elsewhere}/invites/{}", owners.id());
    bob.client.delete(&path_there).await.expect_problem(404, "not_found");
    for (body, field) in [
        (json!({ "email": "cy" }), "/email"),
        (json!({ "email": "cy@example.com", "role": "king" }), "/role"),
        (json!({}), "/email"),
    ] {
        assert_eq!(ann.client.post(&path, body).await.expect(422).wrong_fields(), [field]);
    }
}

/// Promise: H3, R-27
async fn fifty_who_join_at_once_with_one_invitation_make_one_member(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (person(&service, "ann").await, person(&service, "bob").await);
    let id = make_workspace(&ann.client, "Acme").await;
    let token = invite(&ann.client, &id, "bob@example.com", "member").await;
    let path = join_path(&token);
    let answers = join_all((0..50).map(|_| Box::pin(bob.client.post(&path, json!({}))))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (200, &[404; 49][..]));
    let members = service.db().count::<Member>("[workspace_id] = ? AND [user_id] = ?", [&id, &bob.id]);
    assert_eq!(members.await.expect("a count"), 1);
}

fn closed(config: ServiceConfig) -> Service {
    super::app(ServiceConfig { allow_self_signup: false, ..config })
}

/// Promise: H3, F4
async fn who_registers_with_an_invitation_is_in(database: TestDatabase) {
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let id = make_workspace(&ann.client, "Acme").await;
    let for_bob = invite(&ann.client, &id, "bob@example.com", "admin").await;
    let closed = service.beside(closed).await;
    let register = async |service: &TestService, name: &str, token: &Value| {
        let body = json!({ "email": format!("{name}@example.com"), "password": PASSWORD, "name": name, "invite_token": token });
        service.anonymous().post("/auth/register", body).await
    };
    // Closed, a token that is no good is as none; nor does it tell who is registered.
    for (name, token) in
        [("eve", &for_bob["token"]), ("bob", &json!("made up")), ("ann", &json!("made up")), ("ann", &for_bob["token"])]
    {
        register(&closed, name, token).await.expect_problem(403, "signup_closed");
    }
    // Open, it is a field that is wrong, and nobody is made.
    assert_eq!(register(&service, "eve", &for_bob["token"]).await.expect(422).wrong_fields(), ["/invite_token"]);
    assert_eq!(service.db().count::<User>("", ()).await.expect("a count"), 1);

    let bob = register(&closed, "bob", &for_bob["token"]).await.expect(201).json();
    assert!(
        bob["workspace_id"].is_string() && bob["workspace_id"] != json!(id),
        "the personal one is made as well: {bob}"
    );
    let bob = closed.sign_in("bob").await;
    let mine = bob.get("/workspaces").await.expect(200).json();
    let names: Vec<_> = mine.as_array().expect("a list").iter().map(|w| (&w["name"], &w["role"])).collect();
    assert_eq!(names, [(&json!("bob"), &json!("owner")), (&json!("Acme"), &json!("admin"))]);
    assert_eq!(people(&ann.client, &id).await.len(), 2);
    register(&closed, "bob2", &for_bob["token"]).await.expect_problem(403, "signup_closed");
}

/// Promise: H3
#[tokio::test]
async fn an_invitation_comes_by_mail_and_says_nothing_that_somebody_typed() {
    let service = TestService::start(super::app).await;
    let ann = person(&service, "ann").await;
    let id = make_workspace(&ann.client, "Click on evil.example").await;
    let told = invite(&ann.client, &id, "Bob@example.com", "admin").await;
    assert_eq!(told["is_mailed"], true);
    let mail = service.mail_to("Bob@example.com").await;
    assert_eq!(mail.subject, "An invitation to app.example.com");
    assert!(!mail.text.contains("evil") && !mail.text.contains("ann"), "{}", mail.text);
    let (_, rest) = mail.text.split_once("\nhttps://app.example.com/join?token=").expect("a link");
    let token = rest.lines().next().expect("a token");
    assert_eq!(told["token"], token);
    let body = json!({ "email": "bob@example.com", "password": PASSWORD, "invite_token": token });
    service.anonymous().post("/auth/register", body).await.expect(201);
    assert_eq!(people(&ann.client, &id).await.len(), 2);
}

#[tokio::test]
async fn nobody_is_flooded_with_invitations() {
    let service = TestService::start(super::app).await;
    let (ann, eve) = (person(&service, "ann").await, person(&service, "eve").await);
    let mut workspaces = Vec::new();
    for person in [&ann, &eve] {
        workspaces.push((person, make_workspace(&person.client, "Acme").await));
    }
    let is_mailed = async |n: usize, who: &str| {
        let (person, id) = &workspaces[n % 2];
        invite(&person.client, id, who, "member").await["is_mailed"] == true
    };
    for n in 0..5 {
        assert!(is_mailed(n, "bob@example.com").await);
        service.mail_to("bob@example.com").await;
    }
    assert!(!is_mailed(0, "BOB@example.com").await && !is_mailed(1, "bob@example.com").await, "whoever invites");
    assert!(is_mailed(0, "cy@example.com").await);
    service.advance(Duration::from_secs(12 * 60));
    assert!(is_mailed(0, "bob@example.com").await);
    // Ann has sent six in these minutes, and some have come back: 96 at least are left, and 100 at most.
    let mut sent = 0;
    while is_mailed(0, &format!("p{sent}@example.com")).await {
        sent += 1;
    }
    assert!((90..=100).contains(&sent), "one inviter sent {sent} at once");
    assert!(is_mailed(1, "p@example.com").await, "another one");
}

#[tokio::test]
async fn without_a_way_to_send_mail_an_invitation_is_made_and_says_so() {
    let mailer = app_kernel::engine::mail::Mailer::off();
    let service = TestService::start(|config| super::app(config).mailer(mailer)).await;
    let ann = person(&service, "ann").await;
    let id = make_workspace(&ann.client, "Acme").await;
    let told = invite(&ann.client, &id, "bob@example.com", "member").await;
    assert_eq!(told["is_mailed"], false);
    assert!(told["token"].is_string());
}
