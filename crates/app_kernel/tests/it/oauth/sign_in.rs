//! What goes well.

use std::time::Duration;

use app_kernel::base::secret::random_token;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{Browser, ROUTES, code_in, count, sign_in, start, with_providers};
use crate::auth::{Tokens, me, with};
use crate::support::oauth_provider::Person;

on_every_database!(
    somebody_new_signs_in_with_each_provider_and_is_the_same_person_next_time,
    a_sign_in_goes_on_in_another_process_and_after_a_restart,
    people_return_to_where_they_began,
    a_page_of_another_site_shows_that_it_began_by_a_verifier,
    two_tabs_and_two_browsers_do_not_disturb_each_other,
    what_is_over_is_swept_out,
);

/// Promise: G1, G2, G4, B10, H1
async fn somebody_new_signs_in_with_each_provider_and_is_the_same_person_next_time(database: TestDatabase) {
    let (service, provider) = start(database).await;
    for (name, subject) in [("google", "g-42"), ("corp", "c-42"), ("github", "42")] {
        let person = Person::new(subject, &format!("Ann.{name}@Example.com"));
        let mut browser = Browser::new(&service);
        let first = Tokens::of(&browser.sign_in(&provider, name, &person).await.expect(200));
        assert!(browser.cookies.is_empty(), "the cookie goes when it is of no more use");
        let who = me(&service, &first.access).await.expect(200).json();
        assert_eq!(who["email"], format!("Ann.{name}@Example.com"));
        assert_eq!(
            (&who["email_verified"], &who["role"], &who["is_active"]),
            (&json!(true), &json!("user"), &json!(true))
        );
        assert_eq!(
            with(&service, &first.access).get("/workspaces").await.expect(200).json().as_array().map(Vec::len),
            Some(1)
        );
        // Another address now, and not confirmed: it is the subject that counts.
        let moved = Person::new(subject, "elsewhere@example.com").unverified();
        let second = sign_in(&service, &provider, name, &moved).await;
        assert_eq!(me(&service, &second.access).await.expect(200).json()["id"], who["id"]);
        let accounts = with(&service, &second.access).get(&format!("{ROUTES}/accounts")).await.expect(200).json();
        assert_eq!(
            (&accounts[0]["provider"], &accounts[0]["email"]),
            (&json!(name), &json!(format!("Ann.{name}@Example.com")))
        );
        assert_eq!(accounts.as_array().map(Vec::len), Some(1));
        // The session is one like any other.
        let refreshed = service.anonymous().post("/auth/refresh", json!({ "refresh_token": first.refresh })).await;
        me(&service, &Tokens::of(&refreshed.expect(200)).access).await.expect(200);
    }
    assert_eq!(count(&service.db(), "kernel_users").await, 3);
}

/// Promise: G2, R-25
async fn a_sign_in_goes_on_in_another_process_and_after_a_restart(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let ann = Person::new("42", "ann@example.com");
    let mut browser = Browser::new(&service);
    let sent_to = browser.begin("google?redirect_uri=/dashboard").await;
    let beside = service.beside(with_providers(&provider)).await;
    let mut browser = browser.at(&beside);
    let code = code_in(&browser.come_back(&provider.agree(&sent_to, &ann)).await.expect(302));
    let cookies = browser.cookies.clone();
    beside.stop().await;
    let database = service.stop().await;
    let service = TestService::start_on(database, with_providers(&provider)).await;
    let mut browser = Browser { service: &service, cookies };
    let tokens = Tokens::of(&browser.exchange(&code).await.expect(200));
    assert_eq!(me(&service, &tokens.access).await.expect(200).json()["email"], "ann@example.com");
}

/// Promise: G4
async fn people_return_to_where_they_began(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let ann = Person::new("42", "ann@example.com");
    for (query, start) in [
        ("google", "/?code=oc_"),
        ("google?redirect_uri=/dashboard", "/dashboard?code=oc_"),
        ("github?redirect_uri=/a%3Fb%3Dc%23d", "/a?b=c&code=oc_"),
        ("google?redirect_uri=https://spa.example.org/in", "https://spa.example.org/in?code=oc_"),
    ] {
        let mut browser = Browser::new(&service);
        let sent_to = browser.begin(query).await;
        let answer = browser.come_back(&provider.agree(&sent_to, &ann)).await.expect(302);
        let location = answer.header("location").expect("somewhere to go").to_owned();
        assert!(location.starts_with(start), "{query}: {location}");
        assert_eq!(
            (answer.header("cache-control"), answer.header("referrer-policy")),
            (Some("no-store"), Some("no-referrer"))
        );
        let code = code_in(&answer);
        let tokens = Tokens::of(&browser.exchange(&code).await.expect(200));
        assert!(!location.contains(&tokens.access) && !location.contains(&tokens.refresh));
    }
    // The same routes answer without the prefix; the provider sends people back to the one address that it knows.
    let mut browser = Browser::new(&service);
    let answer = browser.get("/auth/oauth/google").await.expect(302);
    let sent_to = answer.header("location").expect("somewhere to go").to_owned();
    assert!(
        sent_to.contains("redirect_uri=https%3A%2F%2Fapp.example.com%2Fapi%2Fv1%2Fauth%2Foauth%2Fgoogle%2Fcallback"),
        "{sent_to}"
    );
    let code = code_in(&browser.come_back(&provider.agree(&sent_to, &ann)).await.expect(302));
    browser.exchange(&code).await.expect(200);
}

/// Promise: R-25
async fn a_page_of_another_site_shows_that_it_began_by_a_verifier(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let ann = Person::new("42", "ann@example.com");
    let verifier = random_token();
    let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let mut browser = Browser::new(&service);
    let query = format!("google?redirect_uri=https://spa.example.org/&code_challenge={challenge}");
    let code = browser.code_of(&provider, &query, &ann).await;
    // The cookie is no proof for an app that has another.
    browser.exchange(&code).await.expect_problem(400, "invalid_code");
    let spa = service.anonymous();
    let exchange = async |verifier: &str| {
        spa.post(&format!("{ROUTES}/exchange"), json!({ "code": code, "code_verifier": verifier })).await
    };
    exchange(&random_token()).await.expect_problem(400, "invalid_code");
    exchange("").await.expect_problem(400, "invalid_code");
    exchange(&challenge).await.expect_problem(400, "invalid_code");
    let tokens = Tokens::of(&exchange(&verifier).await.expect(200));
    me(&service, &tokens.access).await.expect(200);
    exchange(&verifier).await.expect_problem(400, "invalid_code");
    let bad = service.anonymous().get(&format!("{ROUTES}/google?code_challenge=plain")).await;
    assert_eq!(bad.expect_problem(422, "unprocessable").wrong_fields(), ["/code_challenge"]);
}

/// Promise: R-25
async fn two_tabs_and_two_browsers_do_not_disturb_each_other(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let (ann, bob) = (Person::new("42", "ann@example.com"), Person::new("43", "bob@example.com"));
    let (mut one, mut other) = (Browser::new(&service), Browser::new(&service));
    let first_tab = one.begin("google").await;
    let second_tab = one.begin("github").await;
    let others = other.begin("google").await;
    assert_eq!(one.cookies.len(), 2);
    let second = code_in(&one.come_back(&provider.agree(&second_tab, &ann)).await.expect(302));
    let bobs = code_in(&other.come_back(&provider.agree(&others, &bob)).await.expect(302));
    let first =
        code_in(&one.come_back(&provider.agree(&first_tab, &Person::new("g", "ann@example.com"))).await.expect(302));
    let email = async |tokens: Tokens| me(&service, &tokens.access).await.expect(200).json()["email"].clone();
    assert_eq!(email(Tokens::of(&one.exchange(&first).await.expect(200))).await, "ann@example.com");
    assert_eq!(email(Tokens::of(&one.exchange(&second).await.expect(200))).await, "ann@example.com");
    assert_eq!(email(Tokens::of(&other.exchange(&bobs).await.expect(200))).await, "bob@example.com");
    assert_eq!(count(&service.db(), "kernel_users").await, 2);
    assert_eq!(count(&service.db(), "kernel_oauth_accounts").await, 3);
}

/// Promise: R-34
async fn what_is_over_is_swept_out(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let ann = Person::new("42", "ann@example.com");
    for _ in 0..3 {
        Browser::new(&service).begin("google").await;
        Browser::new(&service).code_of(&provider, "google", &ann).await;
    }
    let left = async |service: &TestService| {
        (count(&service.db(), "kernel_oauth_attempts").await, count(&service.db(), "kernel_oauth_codes").await)
    };
    assert_eq!(left(&service).await, (3, 3));
    service.advance(Duration::from_secs(5 * 60));
    // A start sweeps, beside the requests; the clock is the same.
    let beside = service.beside(with_providers(&provider)).await;
    until(async || left(&beside).await == (3, 0)).await;
    service.advance(Duration::from_secs(10 * 60));
    let third = service.beside(with_providers(&provider)).await;
    until(async || left(&third).await == (0, 0)).await;
}

/// Waits until something holds.
async fn until(holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it comes to hold");
}
