//! Whose account it is, and what is linked to it.

use std::time::Duration;

use app_kernel::feature::api_keys::{ApiKey, create_api_key};
use app_kernel::feature::auth::User;
use app_kernel::prelude::*;
use app_kernel::testing::service::PASSWORD;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::json;

use super::{Browser, ROUTES, count, sign_in, start, with_providers};
use crate::auth::{Tokens, log_in, log_in_with, me, new_user, refresh, user_called, with};
use crate::support::oauth_provider::{Person, Provider};

on_every_database!(
    the_eight_cases_of_an_address_that_is_known_or_not_and_verified_or_not,
    an_account_that_was_laid_as_a_trap_is_cleared_first,
    whoever_is_not_active_stays_out,
    a_second_factor_is_asked_for_as_after_a_password,
    sign_up_is_closed_here_too_but_for_the_invited,
    an_account_is_linked_listed_and_unlinked_but_for_the_last_way_in,
    an_identity_lets_into_one_account_and_goes_with_it,
    many_first_sign_ins_at_once_make_one_user,
);

fn ann_elsewhere() -> Person {
    Person::new("42", "Ann@Example.com")
}

/// Has a user show that their address is theirs.
async fn verify(service: &TestService, name: &str) {
    let token = mailed_token(service, &format!("{name}@example.com")).await;
    service.anonymous().post("/auth/verify-email", json!({ "token": token })).await.expect(204);
}

/// The token in the next mail to an address that has one.
async fn mailed_token(service: &TestService, address: &str) -> String {
    loop {
        let text = service.mail_to(address).await.text;
        if let Some(token) = text.split("token=").nth(1).and_then(|rest| rest.split_whitespace().next()) {
            return token.to_owned();
        }
    }
}

/// Provider verified × local exists × local verified.
///
/// Promise: R-25
async fn the_eight_cases_of_an_address_that_is_known_or_not_and_verified_or_not(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut case = 0;
    for there_verified in [true, false] {
        for (exists, here_verified) in [(true, true), (true, false), (false, true), (false, false)] {
            case += 1;
            let name = format!("case{case}");
            if !exists && here_verified {
                // Nobody can have verified what is not there; with a user who left, it was so once.
                let gone = new_user(&service, &name).await;
                verify(&service, &name).await;
                let body = serde_json::to_vec(&json!({ "password": PASSWORD })).expect("JSON");
                let client = with(&service, &gone.access);
                client.send(axum::http::Method::DELETE, "/auth/me", Some("application/json"), body).await.expect(204);
            }
            let local = if exists { Some(new_user(&service, &name).await) } else { None };
            if exists && here_verified {
                verify(&service, &name).await;
            }
            let person = Person::new(&format!("{case}"), &format!("{name}@EXAMPLE.com"));
            let person = if there_verified { person } else { person.unverified() };
            let mut browser = Browser::new(&service);
            let answer = browser.sign_in(&provider, "google", &person).await;
            if !there_verified {
                answer.expect_problem(403, "email_not_verified");
                if let Some(local) = &local {
                    me(&service, &local.access).await.expect(200);
                    log_in(&service, &name).await;
                }
                continue;
            }
            let who = me(&service, &Tokens::of(&answer.expect(200)).access).await.expect(200).json();
            assert_eq!(who["email_verified"], true, "{name}");
            let Some(local) = local else {
                assert_eq!(who["email"], format!("{name}@EXAMPLE.com"));
                continue;
            };
            assert_eq!(who["id"], user_called(&service.db(), &name).await.id, "{name}");
            if here_verified {
                me(&service, &local.access).await.expect(200);
                log_in(&service, &name).await;
            } else {
                me(&service, &local.access).await.expect_problem(401, "session_ended");
                log_in_with(&service, &name, PASSWORD).await.expect_problem(401, "invalid_credentials");
            }
        }
    }
    assert_eq!(case, 8);
    assert_eq!(count(&service.db(), "kernel_oauth_accounts").await, 4);
}

/// Promise: R-25
async fn an_account_that_was_laid_as_a_trap_is_cleared_first(database: TestDatabase) {
    let (service, provider) = start(database).await;
    // Somebody registers Ann's address, and keeps as many ways in as there are.
    let trap = new_user(&service, "ann").await;
    let trapper = with(&service, &trap.access);
    let to_verify = mailed_token(&service, "ann@example.com").await;
    service.anonymous().post("/auth/password-reset/request", json!({ "email": "ann@example.com" })).await.expect(202);
    let reset = mailed_token(&service, "ann@example.com").await;
    let link = trapper.post(&format!("{ROUTES}/link"), json!({ "password": PASSWORD })).await.expect(201).json();
    let link = link["link"].as_str().expect("a link").to_owned();
    let mut browser = Browser::new(&service);
    let eve = Person::new("666", "eve@example.com");
    let code = browser.code_of(&provider, &format!("corp?link={link}"), &eve).await;
    browser.exchange_as(Some(&trap.access), &code).await.expect(204);
    let pending = browser.code_of(&provider, &format!("github?link={link}"), &eve).await;
    trapper.post("/auth/second-factor", json!({ "password": PASSWORD })).await.expect(201);
    let (db, trap_id) = (service.db(), user_called(&service.db(), "ann").await.id.clone());
    let shared = trapper.post("/workspaces", json!({ "name": "Trap" })).await.expect(201).id();
    create_api_key(&db, &trap_id).await.expect("a key of their own");
    create_api_key(&db, &trap_id).workspace(&shared).await.expect("a key of a workspace");
    let keys = async || db.count::<ApiKey>("[user_id] = ?", [&trap_id]).await.expect("a count");
    assert_eq!(keys().await, 2);

    let ann = sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    let id = me(&service, &ann.access).await.expect(200).json()["id"].clone();
    assert_eq!(id, user_called(&service.db(), "ann").await.id);

    // The API keys, the session, its refresh token, the password, the mails, the account elsewhere, what was under way, the second factor.
    assert_eq!(keys().await, 0);
    me(&service, &trap.access).await.expect_problem(401, "session_ended");
    refresh(&service, &trap.refresh).await.expect_problem(401, "invalid_refresh_token");
    log_in_with(&service, "ann", PASSWORD).await.expect_problem(401, "invalid_credentials");
    let new = json!({ "token": reset, "new_password": "another password" });
    service.anonymous().post("/auth/password-reset", new).await.expect_problem(400, "invalid_token");
    service
        .anonymous()
        .post("/auth/verify-email", json!({ "token": to_verify }))
        .await
        .expect_problem(400, "invalid_token");
    let eves = sign_in(&service, &provider, "corp", &eve).await;
    assert_ne!(me(&service, &eves.access).await.expect(200).json()["id"], id);
    browser.exchange_as(Some(&ann.access), &pending).await.expect_problem(400, "invalid_code");
    service.anonymous().get(&format!("{ROUTES}/google?link={link}")).await.expect_problem(400, "invalid_link");
    assert_eq!(count(&service.db(), "kernel_second_factors").await, 0);
    let accounts = with(&service, &ann.access).get(&format!("{ROUTES}/accounts")).await.expect(200).json();
    assert_eq!(accounts.as_array().map(Vec::len), Some(1), "{accounts}");
    // Ann signs in again as ever, and may set a password of her own.
    service.anonymous().post("/auth/password-reset/request", json!({ "email": "ann@example.com" })).await.expect(202);
    let reset = mailed_token(&service, "ann@example.com").await;
    let new = json!({ "token": reset, "new_password": "a password of her own" });
    service.anonymous().post("/auth/password-reset", new).await.expect(204);
    log_in_with(&service, "ann", "a password of her own").await.expect(200);
}

async fn set_active(service: &TestService, name: &str, is_active: bool) {
    let mut user: Saved<User> = user_called(&service.db(), name).await;
    user.is_active = is_active;
    service.db().save(user).await.expect("saved");
}

/// Promise
async fn whoever_is_not_active_stays_out(database: TestDatabase) {
    let (service, provider) = start(database).await;
    sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    new_user(&service, "bob").await;
    let mut browser = Browser::new(&service);
    let under_way = browser.code_of(&provider, "google", &ann_elsewhere()).await;
    let mut ann =
        service.db().find::<User>("[email_key] = ?", ["ann@example.com"]).first().await.expect("a read").expect("Ann");
    ann.is_active = false;
    service.db().save(ann).await.expect("saved");
    set_active(&service, "bob", false).await;
    browser.exchange(&under_way).await.expect_problem(403, "account_inactive");
    let again = Browser::new(&service).sign_in(&provider, "google", &ann_elsewhere()).await;
    again.expect_problem(403, "account_inactive");
    // Nor by the address alone, and nothing of the account changes.
    let bob = Browser::new(&service).sign_in(&provider, "google", &Person::new("43", "bob@example.com")).await;
    bob.expect_problem(403, "account_inactive");
    set_active(&service, "bob", true).await;
    log_in(&service, "bob").await;
    assert_eq!(count(&service.db(), "kernel_oauth_accounts").await, 1);
}

/// Promise: R-25
async fn a_second_factor_is_asked_for_as_after_a_password(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let ann = new_user(&service, "ann").await;
    verify(&service, "ann").await;
    let client = with(&service, &ann.access);
    let added = client.post("/auth/second-factor", json!({ "password": PASSWORD })).await.expect(201).json();
    let app = crate::auth::second_factor::App::new(added["secret"].as_str().expect("a secret"));
    client.post("/auth/second-factor/confirm", json!({ "code": app.code_at(service.now()) })).await.expect(200);
    service.advance(Duration::from_secs(30));
    provider.advance(30);
    let sessions = count(&service.db(), "kernel_sessions").await;
    let answer = Browser::new(&service).sign_in(&provider, "google", &ann_elsewhere()).await;
    let answer = answer.expect_problem(401, "second_factor_required").json();
    assert!(answer.get("access_token").is_none(), "{answer}");
    assert_eq!(count(&service.db(), "kernel_sessions").await, sessions);
    let second_half = async |code: &str| {
        let body = json!({ "challenge": answer["challenge"], "code": code });
        service.anonymous().post("/auth/login/second-factor", body).await
    };
    second_half("000000").await.expect_problem(401, "invalid_code");
    let tokens = Tokens::of(&second_half(&app.code_at(service.now())).await.expect(200));
    assert_eq!(me(&service, &tokens.access).await.expect(200).json()["email"], "ann@example.com");
}

/// Promise: R-25, H3
async fn sign_up_is_closed_here_too_but_for_the_invited(database: TestDatabase) {
    let provider = Provider::start().await;
    let build = |provider: &Provider, is_open: bool| {
        let build = with_providers(provider);
        move |config| build(ServiceConfig { allow_self_signup: is_open, ..config })
    };
    let service = TestService::start_on(database, build(&provider, true)).await;
    let owner = new_user(&service, "owner").await;
    sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    let owner = with(&service, &owner.access);
    let workspace = owner.post("/workspaces", json!({ "name": "Us" })).await.expect(201).id();
    let invite = json!({ "email": "bob@example.com", "role": "member" });
    owner.post(&format!("/workspaces/{workspace}/invite"), invite).await.expect(201);
    let database = service.stop().await;
    let service = TestService::start_on(database, build(&provider, false)).await;

    let carol = Person::new("44", "carol@example.com");
    Browser::new(&service).sign_in(&provider, "google", &carol).await.expect_problem(403, "signup_closed");
    // Whoever is here comes in, and so does somebody who is awaited; unless the invitation is over.
    sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    let bob = Person::new("43", "Bob@example.com");
    let unsure = Person::new("45", "bob@example.com").unverified();
    Browser::new(&service).sign_in(&provider, "google", &unsure).await.expect_problem(403, "email_not_verified");
    service.advance(Duration::from_secs(7 * 24 * 3600));
    provider.advance(7 * 24 * 3600);
    Browser::new(&service).sign_in(&provider, "google", &bob).await.expect_problem(403, "signup_closed");
    let owner = service.sign_in("owner").await;
    let invite = json!({ "email": "bob@example.com", "role": "member" });
    let token = owner.post(&format!("/workspaces/{workspace}/invite"), invite).await.expect(201).json();
    let bobs = sign_in(&service, &provider, "google", &bob).await;
    let join = format!("/workspaces/join/{}", token["token"].as_str().expect("a token"));
    with(&service, &bobs.access).post(&join, json!({})).await.expect(200);
}

/// Promise: G3, R-25
async fn an_account_is_linked_listed_and_unlinked_but_for_the_last_way_in(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let tokens = sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    let ann = with(&service, &tokens.access);
    let providers = async || {
        let accounts = ann.get(&format!("{ROUTES}/accounts")).await.expect(200).json();
        let names = accounts
            .as_array()
            .expect("a list")
            .iter()
            .map(|account| account["provider"].as_str().unwrap_or("?").to_owned());
        names.collect::<Vec<_>>()
    };
    ann.delete(&format!("{ROUTES}/google")).await.expect_problem(409, "last_way_in");
    ann.delete(&format!("{ROUTES}/github")).await.expect_problem(404, "not_found");
    // Whoever has no password needs none to link. The address there is of no matter.
    let link = async || {
        let answer = ann.post(&format!("{ROUTES}/link"), json!({})).await.expect(201).json();
        answer["link"].as_str().expect("a link").to_owned()
    };
    let work = Person::new("7", "ann@work.example").unverified();
    let mut browser = Browser::new(&service);
    let code = browser.code_of(&provider, &format!("github?link={}&redirect_uri=/settings", link().await), &work).await;
    browser.exchange_as(Some(&tokens.access), &code).await.expect(204);
    assert_eq!(providers().await, ["google", "github"]);
    assert_eq!(
        service.mail_to("Ann@Example.com").await.subject,
        "A way to sign in was added to your account at app.example.com"
    );
    let by_github = sign_in(&service, &provider, "github", &work).await;
    let id = me(&service, &tokens.access).await.expect(200).json()["id"].clone();
    assert_eq!(me(&service, &by_github.access).await.expect(200).json()["id"], id);
    // Once more, another one of the same provider, or one that is somebody else's: refused.
    for person in [work.clone(), Person::new("8", "x@example.com")] {
        let code = browser.code_of(&provider, &format!("github?link={}", link().await), &person).await;
        browser.exchange_as(Some(&tokens.access), &code).await.expect_problem(409, "already_linked");
    }
    let bob = Person::new("43", "bob@example.com");
    sign_in(&service, &provider, "corp", &bob).await;
    let code = browser.code_of(&provider, &format!("corp?link={}", link().await), &bob).await;
    browser.exchange_as(Some(&tokens.access), &code).await.expect_problem(409, "already_linked");

    // Of two that are unlinked at once, one stays.
    let (one, other) = (format!("{ROUTES}/google"), format!("{ROUTES}/github"));
    let (one, other) = tokio::join!(ann.delete(&one), ann.delete(&other));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{} {}", one.text(), other.text());
    assert_eq!(providers().await.len(), 1);
    assert_eq!(
        service.mail_to("Ann@Example.com").await.subject,
        "A way to sign in was removed from your account at app.example.com"
    );
    // With a password, the last account elsewhere may go; and what is unlinked can be linked again.
    service.anonymous().post("/auth/password-reset/request", json!({ "email": "ann@example.com" })).await.expect(202);
    let token = mailed_token(&service, "Ann@Example.com").await;
    let reset = json!({ "token": token, "new_password": "a password of her own" });
    service.anonymous().post("/auth/password-reset", reset).await.expect(204);
    let tokens = Tokens::of(&log_in_with(&service, "ann", "a password of her own").await.expect(200));
    let ann = with(&service, &tokens.access);
    let left = ann.get(&format!("{ROUTES}/accounts")).await.expect(200).json()[0]["provider"]
        .as_str()
        .expect("one")
        .to_owned();
    ann.delete(&format!("{ROUTES}/{left}")).await.expect(204);
    ann.delete(&format!("{ROUTES}/{left}")).await.expect_problem(404, "not_found");
    sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    assert_eq!(count(&service.db(), "kernel_users").await, 2);
}

/// Promise: R-25
async fn an_identity_lets_into_one_account_and_goes_with_it(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let ann = new_user(&service, "ann").await;
    verify(&service, "ann").await;
    sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    // A second account at the same provider with the same address is somebody else until it is linked by hand.
    let again = Person::new("4242", "ann@example.com");
    Browser::new(&service).sign_in(&provider, "google", &again).await.expect_problem(409, "already_linked");
    let body = serde_json::to_vec(&json!({ "password": PASSWORD })).expect("JSON");
    let client = with(&service, &ann.access);
    client.send(axum::http::Method::DELETE, "/auth/me", Some("application/json"), body).await.expect(204);
    assert_eq!(count(&service.db(), "kernel_oauth_accounts").await, 0);
    let new = sign_in(&service, &provider, "google", &ann_elsewhere()).await;
    let who = me(&service, &new.access).await.expect(200).json();
    assert_eq!(who["email"], "Ann@Example.com");
    assert_eq!(count(&service.db(), "kernel_users").await, 1);
}

/// Promise: R-25
async fn many_first_sign_ins_at_once_make_one_user(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut under_way = Vec::new();
    for _ in 0..8 {
        let mut browser = Browser::new(&service);
        let code = browser.code_of(&provider, "google", &ann_elsewhere()).await;
        under_way.push((browser, code));
    }
    let exchanges = under_way.iter_mut().map(|(browser, code)| browser.exchange(code));
    for answer in futures_util::future::join_all(exchanges).await {
        Tokens::of(&answer.expect(200));
    }
    for table in ["kernel_users", "kernel_oauth_accounts"] {
        assert_eq!(count(&service.db(), table).await, 1, "{table}");
    }
}
