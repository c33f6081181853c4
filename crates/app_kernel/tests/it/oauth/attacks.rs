//! What somebody tries who wants in as somebody else, or wants somebody else in as themselves. None of it ends in a session.

use std::time::Duration;

use app_kernel::testing::{Answer, TestDatabase, TestService, on_every_database};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Browser, ROUTES, code_in, count, rows, start};
use crate::auth::{Tokens, new_user, with};
use crate::support::oauth_provider::Person;

on_every_database!(
    a_state_is_good_once_in_its_browser_for_its_provider_and_ten_minutes,
    a_code_is_good_once_in_its_browser_and_two_minutes,
    of_many_who_come_back_or_exchange_at_once_one_gets_in,
    a_code_of_the_provider_can_not_be_put_into_another_attempt,
    a_provider_can_not_answer_in_the_place_of_another,
    a_token_that_is_not_for_this_attempt_is_refused,
    an_error_of_the_provider_ends_on_a_page,
    nobody_is_sent_to_a_place_that_is_not_on_the_list,
    nobody_links_for_somebody_else,
    the_tables_hold_nothing_that_lets_anybody_in,
);

/// Fails if anybody got in.
async fn nobody_is_in(service: &TestService) {
    for table in ["kernel_sessions", "kernel_users", "kernel_oauth_accounts"] {
        assert_eq!(count(&service.db(), table).await, 0, "{table}");
    }
}

fn ann() -> Person {
    Person::new("42", "ann@example.com")
}

/// Promise: G2, R-25
async fn a_state_is_good_once_in_its_browser_for_its_provider_and_ten_minutes(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut browser = Browser::new(&service);
    let sent_to = browser.begin("google").await;
    let back = provider.agree(&sent_to, &ann());
    // Made up, cut, or none at all.
    for state in ["", "&state=", "&state=os_x", "&state=os_00000000-0000-0000-0000-000000000000_AAAA", "&state=%00"] {
        let answer = browser.get(&format!("{ROUTES}/google/callback?code=c{state}")).await;
        answer.expect_problem(400, "invalid_state");
    }
    let state = back.split("state=").nth(1).expect("a state");
    let cut = &back[..back.len() - 1];
    browser.come_back(cut).await.expect_problem(400, "invalid_state");
    browser.get(&format!("{ROUTES}/google/callback?code=c&state={state}&state={state}")).await.expect(422);
    // Another browser, with cookies of its own or none, and with the right one under a wrong name.
    let mut stranger = Browser::new(&service);
    stranger.come_back(&back).await.expect_problem(400, "invalid_state");
    stranger.begin("google").await;
    stranger.come_back(&back).await.expect_problem(400, "invalid_state");
    let value = browser.cookies.values().next().expect("a cookie").clone();
    for name in stranger.cookies.clone().into_keys() {
        stranger.cookies.insert(name, value.clone());
    }
    stranger.come_back(&back).await.expect_problem(400, "invalid_state");
    // With a value of its own under the right name.
    for name in browser.cookies.keys() {
        stranger.cookies.insert(name.clone(), "made-up".to_owned());
    }
    stranger.come_back(&back).await.expect_problem(400, "invalid_state");
    // For another provider, or one that there is not.
    browser.come_back(&back.replace("/google/", "/github/")).await.expect_problem(400, "invalid_state");
    browser.come_back(&back.replace("/google/", "/nobody/")).await.expect_problem(404, "not_found");
    nobody_is_in(&service).await;
    // Its own browser still gets through; once.
    browser.come_back(&back).await.expect(302);
    browser.come_back(&back).await.expect_problem(400, "invalid_state");
    // Over.
    let late = provider.agree(&browser.begin("google").await, &ann());
    service.advance(Duration::from_secs(600));
    browser.come_back(&late).await.expect_problem(400, "invalid_state");
    nobody_is_in(&service).await;
}

/// Promise: R-25
async fn a_code_is_good_once_in_its_browser_and_two_minutes(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut browser = Browser::new(&service);
    let code = browser.code_of(&provider, "google", &ann()).await;
    for bad in [
        "",
        "oc_",
        "oc_00000000-0000-0000-0000-000000000000_AAAA",
        &code[..code.len() - 1],
        &code.replace("oc_", "os_"),
    ] {
        browser.exchange(bad).await.expect_problem(400, "invalid_code");
    }
    // Whoever sees the address, or makes somebody follow it, has another browser.
    let mut stranger = Browser::new(&service);
    stranger.exchange(&code).await.expect_problem(400, "invalid_code");
    stranger.begin("google").await;
    stranger.exchange(&code).await.expect_problem(400, "invalid_code");
    // A verifier does not stand in for the cookie.
    let by_verifier = json!({ "code": code, "code_verifier": "x" });
    service.anonymous().post(&format!("{ROUTES}/exchange"), by_verifier).await.expect_problem(400, "invalid_code");
    nobody_is_in(&service).await;
    browser.exchange(&code).await.expect(200);
    browser.exchange(&code).await.expect_problem(400, "invalid_code");
    let late = browser.code_of(&provider, "google", &ann()).await;
    service.advance(Duration::from_secs(120));
    browser.exchange(&late).await.expect_problem(400, "invalid_code");
    assert_eq!(count(&service.db(), "kernel_sessions").await, 1);
}

/// Promise: R-25
async fn of_many_who_come_back_or_exchange_at_once_one_gets_in(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut browser = Browser::new(&service);
    let back = provider.agree(&browser.begin("google").await, &ann());
    let path = back.strip_prefix("https://app.example.com").expect("ours").to_owned();
    let client = browser.client();
    let answers = all_at_once(12, || {
        let (client, path) = (client.clone(), path.clone());
        async move { client.get(&path).await }
    })
    .await;
    let (through, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 302);
    assert_eq!(through.len(), 1, "{others:?}");
    others.into_iter().for_each(|answer| drop(answer.expect_problem(400, "invalid_state")));
    let code = code_in(&through[0]);
    let answers = all_at_once(12, || {
        let (client, body) = (client.clone(), json!({ "code": code }));
        async move { client.post(&format!("{ROUTES}/exchange"), body).await }
    })
    .await;
    let (through, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(through.len(), 1, "{others:?}");
    others.into_iter().for_each(|answer| drop(answer.expect_problem(400, "invalid_code")));
    assert_eq!(count(&service.db(), "kernel_sessions").await, 1);
    assert_eq!(count(&service.db(), "kernel_users").await, 1);
}

async fn all_at_once<F: Future<Output = Answer> + Send + 'static>(times: usize, ask: impl Fn() -> F) -> Vec<Answer> {
    let mut set = JoinSet::new();
    for _ in 0..times {
        set.spawn(ask());
    }
    set.join_all().await
}

/// Promise: R-25
async fn a_code_of_the_provider_can_not_be_put_into_another_attempt(database: TestDatabase) {
    let (service, provider) = start(database).await;
    for name in ["google", "github"] {
        let (mut victim, mut thief) = (Browser::new(&service), Browser::new(&service));
        let stolen = provider.agree(&victim.begin(name).await, &ann());
        let own = provider.agree(&thief.begin(name).await, &Person::new("666", "eve@example.com"));
        let part = |url: &str, name: &str| {
            let start = format!("{name}=");
            url.split(['?', '&']).find_map(|pair| pair.strip_prefix(&start).map(str::to_owned)).expect("a parameter")
        };
        let mixed = own.replace(&part(&own, "code"), &part(&stolen, "code"));
        // PKCE: the provider was told another challenge by whom it gave the code to.
        thief.come_back(&mixed).await.expect_problem(400, "sign_in_failed");
    }
    // A provider that forgets PKCE: the nonce says the same.
    provider.behave(|manners| manners.forgets_pkce = true);
    let (mut victim, mut thief) = (Browser::new(&service), Browser::new(&service));
    let stolen = provider.agree(&victim.begin("google").await, &ann());
    let own = provider.agree(&thief.begin("google").await, &Person::new("666", "eve@example.com"));
    let code =
        |url: &str| url.split("code=").nth(1).and_then(|rest| rest.split('&').next()).expect("a code").to_owned();
    thief.come_back(&own.replace(&code(&own), &code(&stolen))).await.expect_problem(400, "sign_in_failed");
    nobody_is_in(&service).await;
}

/// Promise: R-25
async fn a_provider_can_not_answer_in_the_place_of_another(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut browser = Browser::new(&service);
    // One that does not say that it names itself, but does, must name itself rightly.
    let back = provider.agree(&browser.begin("google").await, &ann());
    browser.come_back(&format!("{back}&iss=https://evil.example")).await.expect_problem(400, "sign_in_failed");
    // One that says so must.
    service.advance(Duration::from_secs(3600));
    provider.advance(3600);
    provider.behave(|manners| manners.says_who_it_is = true);
    let back = provider.agree(&browser.begin("google").await, &ann());
    let silent = back.split("&iss=").next().expect("a start").to_owned();
    browser.come_back(&silent).await.expect_problem(400, "sign_in_failed");
    let back = provider.agree(&browser.begin("google").await, &ann());
    let other = format!("{}&iss=https%3A%2F%2Fevil.example", back.split("&iss=").next().expect("a start"));
    browser.come_back(&other).await.expect_problem(400, "sign_in_failed");
    let refused = provider.refuse(&browser.begin("google").await, "access_denied");
    let other = format!("{}&iss=https%3A%2F%2Fevil.example", refused.split("&iss=").next().expect("a start"));
    browser.come_back(&other).await.expect_problem(400, "sign_in_failed");
    nobody_is_in(&service).await;
    let tokens = browser.sign_in(&provider, "google", &ann()).await.expect(200);
    Tokens::of(&tokens);
}

/// Promise: R-25
async fn a_token_that_is_not_for_this_attempt_is_refused(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut browser = Browser::new(&service);
    let lies: [fn(&mut serde_json::Value); 8] = [
        |claims| claims["iss"] = json!("https://evil.example"),
        |claims| claims["aud"] = json!("somebody else"),
        |claims| claims["aud"] = json!(["our id: at 100%", "somebody else"]),
        |claims| claims["nonce"] = json!("another"),
        |claims| drop(claims.as_object_mut().expect("an object").remove("nonce")),
        |claims| claims["exp"] = json!(1_000_000_000),
        |claims| claims["sub"] = json!(""),
        |claims| claims["sub"] = json!("4".repeat(256)),
    ];
    for lie in lies {
        provider.behave(|manners| manners.lie = lie);
        let back = provider.agree(&browser.begin("google").await, &ann());
        browser.come_back(&back).await.expect_problem(400, "sign_in_failed");
    }
    // The page about people must speak of the same one.
    provider.behave(|manners| {
        manners.tells_by_userinfo = true;
        manners.lie = |claims| {
            if claims.get("nonce").is_none() {
                claims["sub"] = json!("another");
            }
        };
    });
    let back = provider.agree(&browser.begin("google").await, &ann());
    browser.come_back(&back).await.expect_problem(400, "sign_in_failed");
    nobody_is_in(&service).await;
}

/// Promise: R-25, A4
async fn an_error_of_the_provider_ends_on_a_page(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut browser = Browser::new(&service);
    let back = provider.refuse(&browser.begin("google").await, "access_denied");
    browser.come_back(&back).await.expect_problem(403, "access_denied");
    let back = provider.refuse(&browser.begin("google").await, "<script>alert(1)</script>");
    let answer = browser.come_back(&back).await.expect_problem(400, "sign_in_failed");
    assert!(!answer.text().contains("script"), "{}", answer.text());
    let no_code = provider.refuse(&browser.begin("google").await, "x").replace("error=x&", "");
    browser.come_back(&no_code).await.expect_problem(400, "sign_in_failed");
    // For people, a page with a way back.
    let back = provider.refuse(&browser.begin("github?redirect_uri=/settings?a=b%26c=d").await, "access_denied");
    let path = back.strip_prefix("https://app.example.com").expect("ours");
    let page = browser.client().with_header("accept", "text/html,*/*;q=0.8").get(path).await.expect(403);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    assert!(page.text().contains("<a href=\"/settings?a=b&amp;c=d\">Go back</a>"), "{}", page.text());
    assert!(page.text().contains(page.header("x-request-id").expect("an id")), "{}", page.text());
    nobody_is_in(&service).await;
}

/// Promise: G4, R-25
async fn nobody_is_sent_to_a_place_that_is_not_on_the_list(database: TestDatabase) {
    let (service, _provider) = start(database).await;
    for target in [
        "https://evil.example",
        "//evil.example",
        "/%2F/evil.example",
        "/%5Cevil.example",
        "https://spa.example.org.evil.example/",
        "https://spa.example.org@evil.example/",
        "http://spa.example.org/",
        "javascript:alert(1)",
        "/%0d%0aset-cookie:%20a=b",
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let answer = service.anonymous().get(&format!("{ROUTES}/google?redirect_uri={encoded}")).await;
        assert_eq!(answer.header("set-cookie"), None);
        let fields = answer.expect_problem(422, "unprocessable").wrong_fields();
        assert_eq!(fields, ["/redirect_uri"], "{target}");
    }
    assert_eq!(count(&service.db(), "kernel_oauth_attempts").await, 0);
    service.anonymous().get(&format!("{ROUTES}/nobody")).await.expect_problem(404, "not_found");
}

/// Promise: R-25, G3
async fn nobody_links_for_somebody_else(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let (ann, eve) = (new_user(&service, "ann").await, new_user(&service, "eve").await);
    let link = async |who: &Tokens| {
        let body = json!({ "password": app_kernel::testing::service::PASSWORD });
        let answer = with(&service, &who.access).post(&format!("{ROUTES}/link"), body).await.expect(201);
        answer.json()["link"].as_str().expect("a link").to_owned()
    };
    let (anns, eves) = (Person::new("42", "ann@example.com"), Person::new("666", "eve@example.com"));
    // Eve has Ann's browser go through Eve's link: Ann's account elsewhere would let Ann into Eve's account.
    let mut anns_browser = Browser::new(&service);
    let code = anns_browser.code_of(&provider, &format!("google?link={}", link(&eve).await), &anns).await;
    anns_browser.exchange_as(Some(&ann.access), &code).await.expect_problem(403, "wrong_user");
    anns_browser.exchange(&code).await.expect_problem(401, "unauthenticated");
    // Eve has Ann's page exchange a code of Eve's: Eve's account elsewhere would let Eve into Ann's account.
    let mut eves_browser = Browser::new(&service);
    let code = eves_browser.code_of(&provider, &format!("google?link={}", link(&eve).await), &eves).await;
    anns_browser.exchange_as(Some(&ann.access), &code).await.expect_problem(400, "invalid_code");
    eves_browser.exchange_as(Some(&ann.access), &code).await.expect_problem(403, "wrong_user");
    // Made up, for something else, over.
    for bad in ["", "x", "ol_AAAA.AAAA", &ann.access] {
        service.anonymous().get(&format!("{ROUTES}/google?link={bad}")).await.expect_problem(400, "invalid_link");
    }
    let late = link(&ann).await;
    service.advance(Duration::from_secs(300));
    service.anonymous().get(&format!("{ROUTES}/google?link={late}")).await.expect_problem(400, "invalid_link");
    service.anonymous().post(&format!("{ROUTES}/link"), json!({})).await.expect_problem(401, "unauthenticated");
    let without = with(&service, &ann.access).post(&format!("{ROUTES}/link"), json!({})).await;
    assert_eq!(without.expect_problem(422, "unprocessable").wrong_fields(), ["/password"]);
    let wrong =
        with(&service, &ann.access).post(&format!("{ROUTES}/link"), json!({ "password": "wrong password" })).await;
    wrong.expect_problem(400, "wrong_password");
    assert_eq!(count(&service.db(), "kernel_oauth_accounts").await, 0);
}

/// Promise
async fn the_tables_hold_nothing_that_lets_anybody_in(database: TestDatabase) {
    let (service, provider) = start(database).await;
    let mut browser = Browser::new(&service);
    let sent_to = browser.begin("google").await;
    let parameter = |name: &str| {
        let url = url::Url::parse(&sent_to).expect("an address");
        url.query_pairs().find(|(found, _)| found == name).expect("a parameter").1.into_owned()
    };
    let mut canaries = vec![parameter("state"), parameter("nonce"), parameter("code_challenge")];
    canaries.extend(browser.cookies.values().cloned());
    let attempts = rows(&service.db(), "kernel_oauth_attempts").await;
    let back = provider.agree(&sent_to, &ann());
    canaries.push(code_in(&browser.come_back(&back).await.expect(302)));
    let codes = rows(&service.db(), "kernel_oauth_codes").await;
    assert_eq!((attempts.len(), codes.len()), (1, 1));
    let rows = format!("{attempts:?} {codes:?}");
    assert!(rows.contains("ann@example.com"), "the rows are readable: {rows}");
    for canary in canaries {
        assert!(!rows.contains(&canary), "{canary} is in {rows}");
    }
}
