//! Access tokens against their standards and against a hundred thousand changes; refresh tokens against guesses.

use std::time::Duration;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// RFC 7515, A.1.1: the key, and the payload's JSON as it stands there.
const RFC_KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const RFC_PAYLOAD: &str = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";

fn clock() -> Clock {
    Clock::manual("2026-01-30T12:00:00Z".parse().expect("a time"))
}

fn keys_of(current: &str, previous: &[&str], clock: &Clock) -> Keys {
    let config = ServiceConfig {
        jwt_secret: Some(Secret::new(current)),
        jwt_secret_previous: previous.iter().map(|secret| Secret::new(*secret)).collect(),
        ..ServiceConfig::default()
    };
    Keys::new(&config, clock.clone()).expect("keys")
}

fn keys() -> Keys {
    keys_of(SECRET, &[], &clock())
}

/// A token of our own key with any header and claims.
fn forged(header: &str, claims: &serde_json::Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    sign_compact(&key, header.as_bytes(), claims.to_string().as_bytes())
}

fn claims() -> serde_json::Value {
    serde_json::json!({ "sub": "u", "sid": "s", "jti": "j", "iat": 1_769_774_400, "exp": 1_869_774_400, "type": "access" })
}

/// Pseudo-random numbers that are the same in each run.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    }
}

#[test]
fn the_signature_is_that_of_rfc_7515_a_1() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &URL_SAFE_NO_PAD.decode(RFC_KEY).expect("base64url"));
    let header = "{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}";
    let expected = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9\
        .eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ\
        .dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(sign_compact(&key, header.as_bytes(), RFC_PAYLOAD.as_bytes()), expected);
}

/// Promise: R-21
#[test]
fn the_unsecured_token_of_rfc_7519_6_1_is_refused() {
    let unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    assert_eq!(keys().verify_access(unsecured), Err(TokenError::Invalid));
}

/// Promise: F1
#[test]
fn a_token_says_whom_it_was_made_for() {
    let keys = keys();
    let token = keys.sign_access("ann", "session-1");
    let expected = AccessToken { user_id: "ann".into(), session_id: "session-1".into() };
    assert_eq!(keys.verify_access(&token), Ok(expected));
    assert_ne!(token, keys.sign_access("ann", "session-1"), "each has its own jti");

    let parts: Vec<&str> = token.split('.').collect();
    let decode = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    assert_eq!(decode(parts[0]), serde_json::json!({ "alg": "HS256", "typ": "at+jwt" }));
    let claims = decode(parts[1]);
    assert_eq!(claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat"), 24 * 3600);
    assert_eq!(claims["type"], "access");
}

/// Promise: F4
#[test]
fn a_token_ends_at_its_second() {
    let clock = clock();
    let keys = keys_of(SECRET, &[], &clock);
    let token = keys.sign_access("ann", "s");
    clock.advance(Duration::from_secs(24 * 3600 - 1));
    assert!(keys.verify_access(&token).is_ok());
    clock.advance(Duration::from_secs(1));
    assert_eq!(keys.verify_access(&token), Err(TokenError::Expired));
}

#[test]
fn a_previous_secret_checks_but_never_signs() {
    let clock = clock();
    let (old, new) = (keys_of("the old secret", &[], &clock), keys_of("the new secret", &["the old secret"], &clock));
    assert!(new.verify_access(&old.sign_access("ann", "s")).is_ok());
    assert_eq!(old.verify_access(&new.sign_access("ann", "s")), Err(TokenError::Invalid));
    assert_eq!(keys_of("another", &[], &clock).verify_access(&new.sign_access("ann", "s")), Err(TokenError::Invalid));
}

/// Promise: R-21
#[test]
fn only_our_header_and_an_access_token_are_accepted() {
    let keys = keys();
    assert!(keys.verify_access(&forged(HEADER, &claims())).is_ok(), "the forgery itself works");
    for header in [
        r#"{"alg":"none","typ":"at+jwt"}"#,
        r#"{"alg":"HS512","typ":"at+jwt"}"#,
        r#"{"alg":"hs256","typ":"at+jwt"}"#,
        r#"{"alg":"RS256","typ":"at+jwt"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"typ":"at+jwt","alg":"HS256"}"#,
        r#"{"alg":"HS256","typ":"at+jwt","kid":"../../dev/null"}"#,
        "{}",
        "",
    ] {
        assert_eq!(keys.verify_access(&forged(header, &claims())), Err(TokenError::Invalid), "{header}");
    }
    let changes: [(&str, serde_json::Value); 8] = [
        ("type", "refresh".into()),
        ("type", serde_json::Value::Null),
        ("sub", 1.into()),
        ("sid", serde_json::Value::Null),
        ("sub", "u".repeat(LONGEST_TOKEN).into()),
        ("exp", "9999999999".into()),
        ("exp", i64::MAX.into()),
        ("exp", 1e300.into()),
    ];
    for (name, value) in changes {
        let mut claims = claims();
        claims[name] = value;
        assert_eq!(keys.verify_access(&forged(HEADER, &claims)), Err(TokenError::Invalid), "{claims}");
    }
}

/// Promise: R-21
#[test]
fn odd_shapes_are_refused() {
    let keys = keys();
    let token = keys.sign_access("ann", "s");
    let parts: Vec<&str> = token.split('.').collect();
    let with = |header: &str, claims: &str, signature: &str| format!("{header}.{claims}.{signature}");
    for odd in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{}.{}", parts[0], parts[1]),
        with(parts[0], parts[1], ""),
        with(parts[0], "", parts[2]),
        with("", parts[1], parts[2]),
        with(parts[0], &format!("{}.{}", parts[1], parts[1]), parts[2]),
        with(parts[0], parts[1], &parts[2][..42]),
        "é".repeat(43),
        "a".repeat(5000),
        format!("{token}{}", "A".repeat(4096)),
    ] {
        assert_eq!(keys.verify_access(&odd), Err(TokenError::Invalid), "{odd:?}");
    }
}

/// Promise: R-21
#[test]
fn none_of_a_hundred_thousand_changed_tokens_is_accepted() {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ %\0";
    let keys = keys();
    let token = keys.sign_access("0190a1b2-0000-7000-8000-000000000001", "0190a1b2-0000-7000-8000-000000000002");
    let mut number = numbers(41);
    for round in 0..100_000 {
        let mut changed = token.clone().into_bytes();
        for _ in 0..=number(3) {
            let (at, letter) = (number(changed.len()), LETTERS[number(LETTERS.len())]);
            match number(5) {
                0 => drop(changed.remove(at)),
                1 => changed.insert(at, letter),
                2 => {
                    let next = (at + 1) % changed.len();
                    changed.swap(at, next);
                }
                3 => changed.truncate(at.max(10)),
                _ => changed[at] = letter,
            }
        }
        let changed = String::from_utf8(changed).expect("ASCII");
        if changed != token {
            assert_eq!(keys.verify_access(&changed), Err(TokenError::Invalid), "round {round}, seed 41: {changed}");
        }
    }
}

/// Promise: R-21
#[test]
fn a_refresh_token_is_no_access_token_and_the_other_way_round() {
    let keys = keys();
    let session_id = new_id();
    assert_eq!(keys.verify_access(&keys.new_refresh(&session_id)), Err(TokenError::Invalid));
    assert_eq!(RefreshToken::parse(&keys.sign_access("ann", &session_id)), None);
}

#[test]
fn a_refresh_token_names_its_session_and_can_not_be_guessed() {
    let clock = clock();
    let keys = keys_of(SECRET, &[], &clock);
    let session_id = new_id();
    let token = keys.new_refresh(&session_id);
    assert_eq!(token.len(), 3 + 36 + 1 + 43);
    let parsed = RefreshToken::parse(&token).expect("the shape");
    assert_eq!(parsed.session_id, session_id);
    assert!(keys.made_refresh(&parsed));
    assert!(keys_of("new", &[SECRET], &clock).made_refresh(&parsed), "also after the secret was changed");

    let guess = format!("rt_{session_id}_{}", crate::base::secret::random_token());
    assert!(!keys.made_refresh(&RefreshToken::parse(&guess).expect("the shape")));
    let other_session = token.replace(&session_id, &new_id());
    assert!(!keys.made_refresh(&RefreshToken::parse(&other_session).expect("the shape")));
}

#[test]
fn what_has_not_the_shape_of_a_refresh_token_is_refused() {
    let token = keys().new_refresh(&new_id());
    for odd in [
        "",
        "rt_",
        "rt__",
        &token[1..],
        &token[..token.len() - 1],
        &format!("{token}A"),
        &token.to_uppercase(),
        &token.replacen('-', "é", 1),
    ] {
        assert_eq!(RefreshToken::parse(odd), None, "{odd:?}");
    }
}

/// Promise: R-22
#[test]
fn a_token_that_was_checked_before_still_ends_and_lends_its_signature_to_no_other() {
    let clock = clock();
    let keys = keys_of(SECRET, &[], &clock);
    let token = keys.sign_access("ann", "s");
    let first = keys.verify_access(&token);
    assert!(first.is_ok() && keys.verify_access(&token) == first);

    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let other = keys.sign_access("bob", "s");
    let (other_signed, _) = other.rsplit_once('.').expect("a signature");
    assert_eq!(keys.verify_access(&format!("{other_signed}.{signature}")), Err(TokenError::Invalid));
    assert_eq!(keys.verify_access(&format!("{signed}x.{signature}")), Err(TokenError::Invalid));

    clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(keys.verify_access(&token), Err(TokenError::Expired));
}

#[test]
fn the_memory_of_checked_tokens_is_bounded() {
    let keys = keys();
    for n in 0..SHARDS * MOST_IN_SHARD + 5000 {
        keys.verify_access(&keys.sign_access("ann", &n.to_string())).expect("a token of ours");
    }
    let most = keys.verified.shards.iter().map(|shard| shard.lock().expect("a lock").len()).max();
    assert!(most <= Some(MOST_IN_SHARD));
}
