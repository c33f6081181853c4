//! A second factor: who has one signs in by password and code, and by nothing less.

use std::time::Duration;

use app_kernel::base::secret::Secret;
use app_kernel::feature::auth::CurrentUser;
use app_kernel::prelude::*;
use app_kernel::testing::service::{JWT_SECRET, PASSWORD};
use app_kernel::testing::{Answer, Client, TestDatabase, TestService, on_every_database};
use ring::hmac;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Tokens, address, auth_only, log_in_with, me, new_user, refresh, with};

on_every_database!(
    a_login_asks_for_a_code_and_each_code_is_good_once,
    a_recovery_code_is_good_once_and_the_second_factor_can_be_removed,
    of_many_who_send_a_code_at_once_one_gets_in,
    a_second_factor_outlives_the_secret_that_sealed_it,
);

/// As an authenticator app has it.
#[derive(Clone)]
pub(crate) struct App(Vec<u8>);

impl App {
    pub(crate) fn new(base32: &str) -> Self {
        let digit = |c: char| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).expect("base32") as u64;
        let chunk = |text: &str| text.chars().fold(0, |bits, c| bits << 5 | digit(c)).to_be_bytes()[3..].to_vec();
        App((0..base32.len()).step_by(8).flat_map(|at| chunk(&base32[at..at + 8])).collect())
    }

    fn code(&self, service: &TestService) -> String {
        self.code_at(service.now())
    }

    /// The code that it shows at this time (RFC 6238).
    pub(crate) fn code_at(&self, now: Timestamp) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.0);
        let tag = hmac::sign(&key, &(now.as_second() / 30).to_be_bytes());
        let offset = usize::from(tag.as_ref()[19] & 15);
        let number = u32::from_be_bytes(tag.as_ref()[offset..offset + 4].try_into().expect("four bytes"));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}

fn with_a_route(config: ServiceConfig) -> Service {
    auth_only(config).route("/strong", get(async |user: CurrentUser| user.has_second_factor.to_string()))
}

/// Ann with a second factor: her first session, her app and her recovery codes. Half a minute has passed since.
async fn ann_with_a_factor(service: &TestService) -> (Tokens, App, Vec<String>) {
    let tokens = new_user(service, "ann").await;
    let ann = with(service, &tokens.access);
    let added = ann.post("/auth/second-factor", json!({ "password": PASSWORD })).await.expect(201).json();
    let app = App::new(added["secret"].as_str().expect("a secret"));
    let answer = ann.post("/auth/second-factor/confirm", json!({ "code": app.code(service) })).await.expect(200).json();
    let codes = answer["recovery_codes"].as_array().expect("codes").iter();
    let codes = codes.map(|code| code.as_str().expect("a code").to_owned()).collect();
    service.advance(Duration::from_secs(30));
    (tokens, app, codes)
}

/// The first half of a login.
async fn challenge(service: &TestService, password: &str) -> String {
    let answer = log_in_with(service, "ann", password).await.expect_problem(401, "second_factor_required").json();
    assert!(answer.get("access_token").is_none(), "{answer}");
    answer["challenge"].as_str().expect("a challenge").to_owned()
}

async fn second_half(client: &Client, challenge: &str, code: &str) -> Answer {
    client.post("/auth/login/second-factor", json!({ "challenge": challenge, "code": code })).await
}

async fn status(client: &Client) -> (bool, u64) {
    let status = client.get("/auth/second-factor").await.expect(200).json();
    (status["is_on"].as_bool().expect("a truth"), status["recovery_codes_left"].as_u64().expect("a number"))
}

/// Promise: R-21
async fn a_login_asks_for_a_code_and_each_code_is_good_once(database: TestDatabase) {
    let service = TestService::start_on(database, with_a_route).await;
    let first = new_user(&service, "ann").await;
    let (ann, anonymous) = (with(&service, &first.access), service.anonymous());
    ann.post("/auth/second-factor", json!({ "password": "wrong" })).await.expect_problem(400, "wrong_password");
    ann.post("/auth/second-factor/confirm", json!({ "code": "000000" })).await.expect_problem(409, "not_begun");
    let added = ann.post("/auth/second-factor", json!({ "password": PASSWORD })).await.expect(201).json();
    let app = App::new(added["secret"].as_str().expect("a secret"));
    let uri = added["otpauth_uri"].as_str().expect("an address");
    assert!(uri.starts_with("otpauth://totp/app%2Eexample%2Ecom:ann%40example%2Ecom?secret="), "{uri}");
    assert_eq!(status(&ann).await, (false, 0));
    log_in_with(&service, "ann", PASSWORD).await.expect(200); // it does not count yet
    ann.post("/auth/second-factor/confirm", json!({ "code": "abcdef" })).await.expect_problem(400, "invalid_code");
    assert_eq!(ann.get("/strong").await.expect(200).text(), "false");
    let used = app.code(&service);
    ann.post("/auth/second-factor/confirm", json!({ "code": used })).await.expect(200);
    assert_eq!(status(&ann).await, (true, 10));
    assert_eq!(ann.get("/strong").await.expect(200).text(), "true");
    ann.post("/auth/second-factor", json!({ "password": PASSWORD })).await.expect_problem(409, "already_there");

    let begun = challenge(&service, PASSWORD).await;
    second_half(&anonymous, &begun, &used).await.expect_problem(401, "invalid_code");
    service.advance(Duration::from_secs(30));
    let code = app.code(&service);
    second_half(&anonymous, &format!("{begun}x"), &code).await.expect_problem(401, "invalid_challenge");
    second_half(&anonymous, &first.access, &code).await.expect_problem(401, "invalid_challenge");
    me(&service, &begun).await.expect(401);
    let tokens = Tokens::of(&second_half(&anonymous, &begun, &code).await.expect(200));
    assert_eq!(with(&service, &tokens.access).get("/strong").await.expect(200).text(), "true");
    let next = Tokens::of(&refresh(&service, &tokens.refresh).await.expect(200));
    assert_eq!(with(&service, &next.access).get("/strong").await.expect(200).text(), "true");
    // The code is spent in every process, within its half minute.
    let other = service.beside(with_a_route).await;
    for process in [&service, &other] {
        let begun = challenge(process, PASSWORD).await;
        second_half(&process.anonymous(), &begun, &code).await.expect_problem(401, "invalid_code");
    }

    // A challenge is over after five minutes, and when the sessions are ended.
    let late = challenge(&service, PASSWORD).await;
    service.advance(Duration::from_secs(300));
    second_half(&anonymous, &late, &app.code(&service)).await.expect_problem(401, "invalid_challenge");
    let ended = challenge(&service, PASSWORD).await;
    ann.delete("/auth/sessions").await.expect(204);
    second_half(&anonymous, &ended, &app.code(&service)).await.expect_problem(401, "invalid_challenge");

    // Guesses are limited for the account, from wherever they come, and whether they are at once or not.
    let begun = challenge(&service, PASSWORD).await;
    let mut guesses = JoinSet::new();
    for n in 0..30 {
        let (client, begun) = (service.anonymous(), begun.clone());
        guesses.spawn(async move { second_half(&client, &begun, &format!("{n:07}")).await.status });
    }
    let answers = guesses.join_all().await;
    assert!(answers.iter().filter(|status| **status == 401).count() <= 10, "{answers:?}");
    assert!(answers.iter().all(|status| [401, 429].contains(status)), "{answers:?}");
}

async fn a_recovery_code_is_good_once_and_the_second_factor_can_be_removed(database: TestDatabase) {
    let service = TestService::start_on(database, with_a_route).await;
    let (first, app, codes) = ann_with_a_factor(&service).await;
    let anonymous = service.anonymous();
    assert_eq!(codes.len(), 10);
    let begun = challenge(&service, PASSWORD).await;
    let typed = codes[0].to_uppercase().replace('-', " ");
    second_half(&anonymous, &begun, &typed).await.expect(200);
    second_half(&anonymous, &begun, &codes[0]).await.expect_problem(401, "invalid_code");
    let ann = with(&service, &first.access);
    assert_eq!(status(&ann).await, (true, 9));

    // A new password from a mail leaves the second factor as it is.
    service.outbox().take("ann@example.com").await;
    assert!(service.mail_to("ann@example.com").await.subject.starts_with("A second factor was added"));
    anonymous.post("/auth/password-reset/request", json!({ "email": address("ann") })).await.expect(202);
    let token = super::mailed::token_in(&service.mail_to("ann@example.com").await);
    let body = json!({ "token": token, "new_password": "a new password" });
    anonymous.post("/auth/password-reset", body).await.expect(204);
    let begun = challenge(&service, "a new password").await;
    let tokens = Tokens::of(&second_half(&anonymous, &begun, &app.code(&service)).await.expect(200));

    let ann = with(&service, &tokens.access);
    let remove = async |password: &str, code: &str| {
        let body = serde_json::to_vec(&json!({ "password": password, "code": code })).expect("JSON");
        ann.send(axum::http::Method::DELETE, "/auth/second-factor", Some("application/json"), body).await
    };
    remove(PASSWORD, &codes[1]).await.expect_problem(400, "wrong_password");
    remove("a new password", "000000").await.expect_problem(400, "invalid_code");
    remove("a new password", &codes[1]).await.expect(204);
    assert_eq!(status(&ann).await, (false, 0));
    log_in_with(&service, "ann", "a new password").await.expect(200);
}

async fn of_many_who_send_a_code_at_once_one_gets_in(database: TestDatabase) {
    let service = TestService::start_on(database, with_a_route).await;
    let (_, app, codes) = ann_with_a_factor(&service).await;
    let other = service.beside(with_a_route).await;
    for code in [app.code(&service), codes[3].clone()] {
        let mut tries = JoinSet::new();
        for process in [&service, &other] {
            let begun = challenge(process, PASSWORD).await;
            for _ in 0..4 {
                let (client, begun, code) = (process.anonymous(), begun.clone(), code.clone());
                tries.spawn(async move { second_half(&client, &begun, &code).await.status });
            }
        }
        let mut answers = tries.join_all().await;
        answers.sort_unstable();
        assert_eq!(answers, [200, 401, 401, 401, 401, 401, 401, 401]);
    }
}

async fn a_second_factor_outlives_the_secret_that_sealed_it(database: TestDatabase) {
    const NEXT: &str = "the next secret of the tests, long enough for all";
    let service = TestService::start_on(database, with_a_route).await;
    let (first, app, _) = ann_with_a_factor(&service).await;
    let secrets = |present: &str, former: &[&str]| {
        let (present, former) = (Secret::new(present), former.iter().map(|secret| Secret::new(*secret)).collect());
        |config| with_a_route(ServiceConfig { jwt_secret: Some(present), jwt_secret_previous: former, ..config })
    };
    // A start with both secrets: old tokens are good, and what is sealed is sealed anew.
    let both = service.beside(secrets(NEXT, &[JWT_SECRET])).await;
    me(&both, &first.access).await.expect(200);
    refresh(&both, &first.refresh).await.expect(200);
    both.stop().await;

    let next = service.beside(secrets(NEXT, &[])).await;
    me(&next, &first.access).await.expect_problem(401, "unauthenticated");
    let begun = challenge(&next, PASSWORD).await;
    second_half(&next.anonymous(), &begun, &app.code(&next)).await.expect(200);
}
