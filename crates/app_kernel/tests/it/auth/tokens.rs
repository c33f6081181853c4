//! What stands in for a token, and what does not.

use std::time::Duration;

use app_kernel::prelude::*;
use app_kernel::testing::service::{JWT_SECRET, PASSWORD};
use app_kernel::testing::{TestDatabase, TestService, Wire, on_every_database};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use super::{Tokens, auth_only, log_in_with, me, new_user, refresh, sign_up, start, with};

on_every_database!(tokens_never_stand_in_for_each_other, an_access_token_expires, odd_proofs_are_401_and_never_5xx);

/// A token as the service signs them.
pub(crate) fn signed(header: &Value, claims: &Value) -> String {
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = hmac::Key::new(hmac::HMAC_SHA256, JWT_SECRET.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes()));
    format!("{text}.{signature}")
}

/// The claims of a token.
fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}

pub(crate) fn our_header() -> Value {
    json!({ "alg": "HS256", "typ": "at+jwt" })
}

/// Promise: R-21
async fn tokens_never_stand_in_for_each_other(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (new_user(&service, "ann").await, new_user(&service, "bob").await);
    me(&service, &ann.refresh).await.expect_problem(401, "unauthenticated");
    refresh(&service, &ann.access).await.expect_problem(401, "invalid_refresh_token");

    let again = signed(&our_header(), &claims_of(&ann.access));
    assert_eq!(again, ann.access, "these tests sign as the service does");
    let with_claim = |name: &str, value: Value| {
        let mut claims = claims_of(&ann.access);
        claims[name] = value;
        signed(&our_header(), &claims)
    };
    for other in [
        with_claim("type", json!("refresh")),
        signed(&json!({ "alg": "HS256", "typ": "JWT" }), &claims_of(&ann.access)),
        signed(&json!({ "alg": "none", "typ": "at+jwt" }), &claims_of(&ann.access)),
    ] {
        me(&service, &other).await.expect_problem(401, "unauthenticated");
    }

    // Bob's name on Ann's session: also where the session is remembered.
    let mixed = with_claim("sub", claims_of(&bob.access)["sub"].clone());
    me(&service, &mixed).await.expect_problem(401, "session_ended");
    me(&service, &ann.access).await.expect(200);
    me(&service, &mixed).await.expect_problem(401, "session_ended");
}

/// Promise: F4
async fn an_access_token_expires(database: TestDatabase) {
    let service = start(database).await;
    let tokens = new_user(&service, "ann").await;
    service.advance(Duration::from_secs(24 * 3600 - 1));
    me(&service, &tokens.access).await.expect(200);
    service.advance(Duration::from_secs(1));
    me(&service, &tokens.access).await.expect_problem(401, "token_expired");
    with(&service, &tokens.access).get("/maybe").await.expect_problem(401, "token_expired");
    refresh(&service, &tokens.refresh).await.expect(200);
}

/// Promise: F4
#[tokio::test]
async fn an_access_token_lives_as_long_as_is_configured() {
    let service = TestService::start(|config| auth_only(ServiceConfig { jwt_expiry_hours: 2, ..config })).await;
    sign_up(&service, "ann").await.expect(201);
    let login = log_in_with(&service, "ann", PASSWORD).await.expect(200);
    assert_eq!(login.json()["expires_in"], 2 * 3600);
    let token = Tokens::of(&login).access;
    service.advance(Duration::from_secs(2 * 3600 - 1));
    me(&service, &token).await.expect(200);
    service.advance(Duration::from_secs(1));
    me(&service, &token).await.expect_problem(401, "token_expired");
}

/// Promise
async fn odd_proofs_are_401_and_never_5xx(database: TestDatabase) {
    let service = start(database).await;
    for proof in [
        &b"Bearer"[..],
        b"Bearer ",
        b"bearer x",
        b"Bearer \xff\xfe",
        b"Bearer a.b.c",
        b"Bearer eyJhbGciOiJub25lIn0.e30.",
        b"Basic YW5uOnB3",
        b"",
    ] {
        let answer =
            Wire::ask(&service.url(), &[b"GET /auth/me HTTP/1.1\r\nauthorization: ", proof].concat(), b"").await;
        let answer = answer.expect_problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    for token in ["", "rt_\u{0}_é", &"x".repeat(100_000)] {
        refresh(&service, token).await.expect_problem(401, "invalid_refresh_token");
    }
}
