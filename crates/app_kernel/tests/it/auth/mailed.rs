//! What people do with links from mails: show that an address is theirs, and set a new password.

use std::time::Duration;

use app_kernel::base::secret::Secret;
use app_kernel::engine::mail::{Mail, Mailer};
use app_kernel::prelude::*;
use app_kernel::testing::service::{PASSWORD, PUBLIC_URL};
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use axum::http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::{address, auth_only, log_in, log_in_with, me, new_user, refresh, sign_up, start, user_called, with};
use crate::jobs::until;

on_every_database!(
    an_address_is_confirmed_by_the_link_from_the_mail,
    a_reset_sets_the_password_and_ends_all_sessions,
    of_many_who_use_a_link_at_once_one_wins,
    a_link_is_good_for_an_hour_for_one_purpose_and_one_address,
    a_request_tells_nobody_who_exists,
    mail_that_was_asked_for_outlives_the_process_and_tells_nothing_to_who_reads_the_database,
);

/// Promise
async fn mail_that_was_asked_for_outlives_the_process_and_tells_nothing_to_who_reads_the_database(
    database: TestDatabase,
) {
    // A mail server that is away: what is asked for waits.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let config = ServiceConfig {
        smtp_url: Some(Secret::new(format!("smtp://{}", nobody.local_addr().expect("it has one")))),
        mail_from: Some("no-reply@example.com".to_owned()),
        ..ServiceConfig::default()
    };
    drop(nobody);
    let away = Mailer::from_config(&config).expect("a mailer");
    let service = TestService::start_on(database, |config| auth_only(config).mailer(away)).await;
    sign_up(&service, "ann").await.expect(201);
    request_reset(&service, "ann").await;
    let tries = "SELECT [id] FROM [kernel_jobs] WHERE [task] = 'kernel.mail' AND [last_error] IS NOT NULL";
    let db = service.db();
    until("both were tried", async || db.query(tries, ()).await.expect("a query").len() == 2).await;
    let rows = db.query("SELECT * FROM [kernel_jobs]", ()).await.expect("a query");
    let text = format!("{rows:?}");
    assert!(!text.contains("ann@example.com") && !text.contains("mt_") && !text.contains("verify"), "{text}");

    // Another process, later, whose mail server is there.
    let database = service.stop().await;
    let service = TestService::start_on(database, auth_only).await;
    service.advance(Duration::from_secs(3600));
    let subjects = [service.mail_to("ann@example.com").await.subject, service.mail_to("ann@example.com").await.subject];
    assert!(subjects.iter().any(|subject| subject.starts_with("Confirm your address")), "{subjects:?}");
    assert!(subjects.iter().any(|subject| subject.starts_with("A new password")), "{subjects:?}");
}

/// The token of the link in a mail.
pub(super) fn token_in(mail: &Mail) -> String {
    let start = format!("{PUBLIC_URL}/");
    let link =
        mail.text.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no link: {}", mail.text));
    link.split_once("?token=").expect("a link has a token").1.to_owned()
}

async fn request_reset(service: &TestService, name: &str) {
    let body = json!({ "email": address(name) });
    service.anonymous().post("/auth/password-reset/request", body).await.expect(202);
}

/// Somebody new, who is signed in and has read the mail of welcome.
async fn settled(service: &TestService, name: &str) -> super::Tokens {
    let tokens = new_user(service, name).await;
    service.mail_to(&address(name)).await;
    tokens
}

/// Waits until nothing that was asked for is on its way any more.
async fn all_is_sent(service: &TestService) {
    let waiting = "SELECT [id] FROM [kernel_jobs] WHERE [task] = 'kernel.mail' AND [state] <> 'succeeded'";
    let db = service.db();
    until("all mail is sent", async || db.query(waiting, ()).await.expect("a query").is_empty()).await;
}

async fn reset_token(service: &TestService, name: &str) -> String {
    request_reset(service, name).await;
    token_in(&service.mail_to(&address(name)).await)
}

async fn reset(service: &TestService, token: &str, password: &str) -> app_kernel::testing::Answer {
    let body = json!({ "token": token, "new_password": password });
    service.anonymous().post("/auth/password-reset", body).await
}

async fn verify(service: &TestService, token: &str) -> app_kernel::testing::Answer {
    service.anonymous().post("/auth/verify-email", json!({ "token": token })).await
}

async fn an_address_is_confirmed_by_the_link_from_the_mail(database: TestDatabase) {
    let service = start(database).await;
    let ann = new_user(&service, "ann").await;
    let mail = service.mail_to("ann@example.com").await;
    assert_eq!(mail.subject, "Confirm your address for app.example.com");
    let is_verified = async || me(&service, &ann.access).await.expect(200).json()["email_verified"].clone();
    assert_eq!(is_verified().await, false);

    // She asks once more; both links are good until one is used, and then the other says nothing new.
    let client = with(&service, &ann.access);
    client.send(Method::POST, "/auth/verify-email/request", None, Vec::new()).await.expect(202);
    let (first, second) = (token_in(&mail), token_in(&service.mail_to("ann@example.com").await));
    verify(&service, &first).await.expect(204);
    assert_eq!(is_verified().await, true);
    verify(&service, &first).await.expect_problem(400, "invalid_token");
    verify(&service, &second).await.expect(204);

    client.send(Method::POST, "/auth/verify-email/request", None, Vec::new()).await.expect(202);
    service.anonymous().send(Method::POST, "/auth/verify-email/request", None, Vec::new()).await.expect(401);
    all_is_sent(&service).await;
    assert_eq!(service.outbox().mails().len(), 0, "who is known needs no more mail");
}

/// Promise: R-22
async fn a_reset_sets_the_password_and_ends_all_sessions(database: TestDatabase) {
    let service = start(database).await;
    let (here, there) = (settled(&service, "ann").await, log_in(&service, "ann").await);
    let bob = settled(&service, "bob").await;
    let other = service.beside(auth_only).await;
    let (unused, token) = (reset_token(&service, "ann").await, reset_token(&service, "ann").await);
    assert_eq!(reset(&service, &token, "short").await.expect(422).wrong_fields(), ["/new_password"]);
    me(&service, &here.access).await.expect(200);

    reset(&service, &token, "a new password").await.expect(204);
    for tokens in [&here, &there] {
        for process in [&service, &other] {
            me(process, &tokens.access).await.expect_problem(401, "session_ended");
            refresh(process, &tokens.refresh).await.expect_problem(401, "invalid_refresh_token");
        }
    }
    log_in_with(&service, "ann", PASSWORD).await.expect(401);
    log_in_with(&service, "ann", "a new password").await.expect(200);
    for used in [&token, &unused] {
        reset(&service, used, "yet another password").await.expect_problem(400, "invalid_token");
    }
    assert_eq!(
        service.mail_to("ann@example.com").await.subject,
        "The password of your account was changed at app.example.com"
    );
    assert!(user_called(&service.db(), "ann").await.email_verified_at.is_some(), "she reads her mail");
    me(&service, &bob.access).await.expect(200);
}

async fn of_many_who_use_a_link_at_once_one_wins(database: TestDatabase) {
    let service = start(database).await;
    settled(&service, "ann").await;
    let token = reset_token(&service, "ann").await;
    let mut tries = JoinSet::new();
    for n in 0..8 {
        let (client, token) = (service.anonymous(), token.clone());
        let body = json!({ "token": token, "new_password": format!("new password {n}") });
        tries.spawn(async move { (n, client.post("/auth/password-reset", body).await.status) });
    }
    let answers = tries.join_all().await;
    let winners: Vec<i32> = answers.iter().filter(|(_, status)| *status == 204).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, status)| [204, 400].contains(status)), "{answers:?}");
    log_in_with(&service, "ann", &format!("new password {}", winners[0])).await.expect(200);
}

async fn a_link_is_good_for_an_hour_for_one_purpose_and_one_address(database: TestDatabase) {
    let service = start(database).await;
    new_user(&service, "ann").await;
    let to_verify = token_in(&service.mail_to("ann@example.com").await);
    let to_reset = reset_token(&service, "ann").await;
    reset(&service, &to_verify, "a new password").await.expect_problem(400, "invalid_token");
    verify(&service, &to_reset).await.expect_problem(400, "invalid_token");

    let made_up = format!("{}x", &to_reset[..to_reset.len() - 1]);
    for token in ["", "mt_", "mt_x_y", &made_up, &to_reset.to_uppercase(), &to_reset[..39]] {
        reset(&service, token, "a new password").await.expect_problem(400, "invalid_token");
    }

    let mut ann = user_called(&service.db(), "ann").await;
    ann.email_key = "else@example.com".to_owned();
    let ann = service.db().save(ann).await.expect("saved");
    verify(&service, &to_verify).await.expect_problem(400, "invalid_token");
    let mut back = ann;
    back.email_key = "ann@example.com".to_owned();
    service.db().save(back).await.expect("saved");

    service.advance(Duration::from_secs(3600));
    reset(&service, &to_reset, "a new password").await.expect_problem(400, "invalid_token");
    log_in(&service, "ann").await;

    // Who may not sign in gets no link; nor does a link help that was sent before.
    let late = reset_token(&service, "ann").await;
    let mut ann = user_called(&service.db(), "ann").await;
    ann.is_active = false;
    service.db().save(ann).await.expect("saved");
    reset(&service, &late, "a new password").await.expect_problem(400, "invalid_token");
    request_reset(&service, "ann").await;
    all_is_sent(&service).await;
    assert_eq!(service.outbox().mails(), []);
}

/// Promise: R-24
async fn a_request_tells_nobody_who_exists(database: TestDatabase) {
    let service = start(database).await;
    settled(&service, "ann").await;
    let ask = async |name: &str| {
        let body = json!({ "email": address(name) });
        let answer = service.anonymous().post("/auth/password-reset/request", body).await;
        let mut headers: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        (answer.status, answer.body.clone(), headers)
    };
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let (known, unknown) = (ask("ann").await, ask("nobody").await);
        if known.0 == 202 {
            assert_eq!(known, unknown);
        }
        statuses.push((known.0, unknown.0));
    }
    // The mail of welcome was the first of Ann's five.
    assert_eq!(statuses, [(202, 202), (202, 202), (202, 202), (202, 202), (429, 202), (429, 429)]);
    let (anonymous, two_lines) = (service.anonymous(), json!({ "email": "ann@example.com\r\nBcc: b@c.d" }));
    let bad = anonymous.post("/auth/password-reset/request", two_lines);
    assert_eq!(bad.await.expect(422).wrong_fields(), ["/email"]);
    all_is_sent(&service).await;
    let mails = service.outbox().mails();
    assert_eq!(mails.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(), ["ann@example.com"; 4]);
}

#[tokio::test]
async fn without_a_way_to_send_mail_the_answer_says_so_and_sign_up_goes_on() {
    let service = TestService::start(|config| auth_only(config).mailer(Mailer::off())).await;
    sign_up(&service, "ann").await.expect(201);
    for name in ["ann", "nobody"] {
        let body = json!({ "email": address(name) });
        service.anonymous().post("/auth/password-reset/request", body).await.expect_problem(503, "mail_off");
    }
}

#[tokio::test]
async fn a_public_url_is_where_links_begin_whatever_the_client_says() {
    let service = TestService::start(|config| {
        let public_url = Some("https://app.example.com/people/".to_owned());
        auth_only(ServiceConfig { public_url, ..config })
    })
    .await;
    let body = json!({ "email": "ann@example.com", "password": PASSWORD });
    let client =
        service.anonymous().with_header("x-forwarded-host", "evil.example").with_header("host", "evil.example");
    client.post("/auth/register", body).await.expect(201);
    let mail = service.mail_to("ann@example.com").await;
    assert!(mail.text.contains("\nhttps://app.example.com/people/verify-email?token=mt_"), "{}", mail.text);
    assert!(!mail.text.contains("evil"), "{}", mail.text);
}
