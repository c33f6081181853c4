//! Providers that are away, change their keys, or say other things than they should.

use std::time::Duration;

use app_kernel::testing::TestService;
use serde_json::json;

use super::{Browser, ROUTES, sign_in, with_providers};
use crate::support::oauth_provider::{Person, Provider};

const CONFIGURATION: &str = "/.well-known/openid-configuration";

async fn start() -> (TestService, Provider) {
    let provider = Provider::start().await;
    let service = TestService::start(with_providers(&provider)).await;
    (service, provider)
}

fn advance(service: &TestService, provider: &Provider, secs: u64) {
    service.advance(Duration::from_secs(secs));
    provider.advance(i64::try_from(secs).expect("not so many"));
}

fn ann() -> Person {
    Person::new("42", "ann@example.com")
}

/// Promise: R-25
#[tokio::test]
async fn a_provider_that_is_away_keeps_nothing_from_starting_and_is_asked_again_later() {
    let provider = Provider::start().await;
    provider.behave(|manners| manners.is_away = true);
    let service = TestService::start(with_providers(&provider)).await;
    assert_eq!(provider.asked(CONFIGURATION), 0, "nobody wants to sign in yet");
    let google = async || service.anonymous().get(&format!("{ROUTES}/google")).await;
    google().await.expect_problem(503, "provider_unavailable");
    google().await.expect_problem(503, "provider_unavailable");
    assert_eq!(provider.asked(CONFIGURATION), 1, "it is left alone for some seconds");
    provider.behave(|manners| manners.is_away = false);
    advance(&service, &provider, 5);
    sign_in(&service, &provider, "google", &ann()).await;
    service.anonymous().get("/readyz").await.expect(200);
}

/// Promise: R-25
#[tokio::test]
async fn what_a_provider_says_of_itself_is_kept_for_an_hour_and_longer_while_it_is_away() {
    let (service, provider) = start().await;
    for _ in 0..3 {
        sign_in(&service, &provider, "google", &ann()).await;
    }
    assert_eq!((provider.asked(CONFIGURATION), provider.asked("/keys")), (1, 1));
    advance(&service, &provider, 3600);
    sign_in(&service, &provider, "google", &ann()).await;
    assert_eq!((provider.asked(CONFIGURATION), provider.asked("/keys")), (2, 2));
    advance(&service, &provider, 3600);
    provider.behave(|manners| manners.is_away = true);
    let mut browser = Browser::new(&service);
    let sent_to = browser.begin("google").await;
    // Its people can't be asked about, though.
    browser.come_back(&provider.agree(&sent_to, &ann())).await.expect_problem(400, "sign_in_failed");
    provider.behave(|manners| manners.is_away = false);
    advance(&service, &provider, 5);
    sign_in(&service, &provider, "google", &ann()).await;
}

/// Promise: R-25
#[tokio::test]
async fn a_new_key_is_looked_up_once_a_minute_at_most() {
    let (service, provider) = start().await;
    sign_in(&service, &provider, "google", &ann()).await;
    assert_eq!(provider.asked("/keys"), 1);
    advance(&service, &provider, 60);
    provider.take_a_new_key();
    sign_in(&service, &provider, "google", &ann()).await;
    assert_eq!(provider.asked("/keys"), 2, "the key is not known, so it is looked up");
    sign_in(&service, &provider, "google", &ann()).await;
    assert_eq!(provider.asked("/keys"), 2);
    // Another one at once: somebody who makes up keys can't make us ask for each.
    provider.take_a_new_key();
    let mut browser = Browser::new(&service);
    let back = provider.agree(&browser.begin("google").await, &ann());
    browser.come_back(&back).await.expect_problem(400, "sign_in_failed");
    assert_eq!(provider.asked("/keys"), 2);
    advance(&service, &provider, 60);
    sign_in(&service, &provider, "google", &ann()).await;
    assert_eq!(provider.asked("/keys"), 3);
}

/// Promise: R-25
#[tokio::test]
async fn a_configuration_of_another_issuer_is_not_believed() {
    let (service, provider) = start().await;
    provider.behave(|manners| manners.issuer = Some("https://accounts.google.com".to_owned()));
    let answer = service.anonymous().get(&format!("{ROUTES}/google")).await;
    answer.expect_problem(503, "provider_unavailable");
}

/// Promise: G1
#[tokio::test]
async fn an_address_that_is_not_in_the_token_is_asked_for() {
    let (service, provider) = start().await;
    provider.behave(|manners| manners.tells_by_userinfo = true);
    let tokens = sign_in(&service, &provider, "google", &ann()).await;
    assert_eq!(crate::auth::me(&service, &tokens.access).await.expect(200).json()["email"], "ann@example.com");
    assert_eq!(provider.asked("/userinfo"), 1);
    let nobody = Person { email: None, ..Person::new("43", "") };
    let answer = Browser::new(&service).sign_in(&provider, "google", &nobody).await;
    answer.expect_problem(403, "email_not_verified");
}

/// Promise: R-25
#[tokio::test]
async fn an_address_that_is_none_makes_no_user() {
    let (service, provider) = start().await;
    for email in ["", "ann", "ann@example.com\r\nBcc: all@example.com", "<ann@example.com>"] {
        let answer = Browser::new(&service).sign_in(&provider, "github", &Person::new("44", email)).await;
        answer.expect_problem(403, "email_not_verified");
    }
}

/// Promise: R-25
#[tokio::test]
async fn a_secret_that_the_provider_does_not_know_is_a_failure_that_tells_nothing() {
    let provider = Provider::start().await;
    let mut oidc = provider.oidc();
    oidc.client_secret = app_kernel::base::secret::Secret::new("hunter2");
    let service = TestService::start(move |config| {
        let oauth_providers = [("google".to_owned(), oidc)].into();
        crate::auth::auth_only(app_kernel::prelude::ServiceConfig { oauth_providers, ..config })
    })
    .await;
    let mut browser = Browser::new(&service);
    let back = provider.agree(&browser.begin("google").await, &ann());
    let answer = browser.come_back(&back).await.expect_problem(400, "sign_in_failed");
    assert_eq!(answer.json()["detail"], json!("`google` did not confirm who you are; begin again"));
}
