//! Tokens that were changed: none is good, and none does harm to the one it was made from.

use std::sync::atomic::{AtomicU32, Ordering};

use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestDatabase, TestService, on_every_database};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};

use super::mailed::token_in;
use super::{Tokens, address, auth_only, me, new_user, refresh};
use crate::support::{Dice, figure, seed};

on_every_database!(no_changed_token_is_accepted);

/// Requests that are under way at once.
const AT_ONCE: usize = 16;
const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ ~";

/// Promise: R-21
async fn no_changed_token_is_accepted(database: TestDatabase) {
    let (of_access, of_others, seed) = (figure(1_500, 1_000_000), figure(100, 20_000), seed());
    // Behind a proxy, so that each guess comes from somewhere else and is looked at, not turned away by a limit.
    let proxied = |config| auth_only(ServiceConfig { trusted_proxies: vec!["127.0.0.1".to_owned()], ..config });
    let service = TestService::start_on(database, proxied).await;
    let ann = new_user(&service, "ann").await;
    let to_verify = token_in(&service.mail_to(&address("ann")).await);
    service.anonymous().post("/auth/password-reset/request", json!({ "email": address("ann") })).await.expect(202);
    let to_reset = token_in(&service.mail_to(&address("ann")).await);
    let mut dice = Dice::new(seed);
    let client = service.anonymous();

    let count = try_all(changed(&mut dice, &ann.access, of_access), async |token| {
        (client.clone().with_token(&token).get("/auth/me").await.status, token)
    });
    let mut tried = count.await;
    tried += try_all(changed(&mut dice, &ann.refresh, of_others), async |token| {
        let body = json!({ "refresh_token": token });
        (elsewhere(&client).post("/auth/refresh", body).await.status, token)
    })
    .await;
    tried += try_all(changed(&mut dice, &to_verify, of_others), async |token| {
        (elsewhere(&client).post("/auth/verify-email", json!({ "token": token })).await.status, token)
    })
    .await;
    tried += try_all(changed(&mut dice, &to_reset, of_others), async |token| {
        let body = json!({ "token": token, "new_password": "a stolen account" });
        (elsewhere(&client).post("/auth/password-reset", body).await.status, token)
    })
    .await;

    // Those that they were made from are as good as before.
    me(&service, &ann.access).await.expect(200);
    client.post("/auth/verify-email", json!({ "token": to_verify })).await.expect(204);
    let next = Tokens::of(&refresh(&service, &ann.refresh).await.expect(200));
    me(&service, &next.access).await.expect(200);
    let reset = json!({ "token": to_reset, "new_password": "a new password" });
    client.post("/auth/password-reset", reset).await.expect(204);
    println!("R-21 held: {tried} changed tokens of four kinds, 0 accepted, 0 × 5xx, seed {seed}");
}

/// Somebody at another address each time.
fn elsewhere(client: &Client) -> Client {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let [_, a, b, c] = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    client.clone().with_header("x-forwarded-for", &format!("10.{a}.{b}.{c}"))
}

/// Asks with each of them; answers how many there were. All are refused, as what the client did wrong.
async fn try_all(tokens: impl Iterator<Item = String>, ask: impl AsyncFn(String) -> (u16, String)) -> usize {
    let refused = stream::iter(tokens).map(|token| Box::pin(ask(token))).buffer_unordered(AT_ONCE);
    refused
        .fold(0, async |count, (status, token)| {
            assert!(matches!(status, 400 | 401 | 422), "{status}: {token:?}");
            count + 1
        })
        .await
}

/// So many texts that are like this token, and not this token.
fn changed<'a>(dice: &'a mut Dice, token: &'a str, count: usize) -> impl Iterator<Item = String> + use<'a> {
    let changes = std::iter::repeat_with(move || {
        if token.contains('.') && dice.below(4) == 0 { said_otherwise(dice, token) } else { spoiled(dice, token) }
    });
    // Spaces at the ends are none of a header's value.
    changes.filter(move |changed| changed.trim() != token).take(count)
}

/// Changes the letters of a token: one to three times, anywhere.
fn spoiled(dice: &mut Dice, token: &str) -> String {
    let mut bytes = token.as_bytes().to_vec();
    for _ in 0..=dice.below(3) {
        if bytes.is_empty() {
            bytes.push(*dice.one_of(ALPHABET));
        }
        let at = dice.below(bytes.len());
        match dice.below(8) {
            // Most: another letter, where one bit decides.
            0 | 1 => bytes[at] = *dice.one_of(ALPHABET),
            2 => bytes[at] = (bytes[at] ^ (1 << dice.below(7))).clamp(b' ', b'~'),
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, *dice.one_of(ALPHABET)),
            5 => bytes.truncate(at),
            6 if bytes[at].is_ascii_lowercase() => bytes[at].make_ascii_uppercase(),
            6 => bytes[at].make_ascii_lowercase(),
            _ => {
                let other = dice.below(token.len());
                bytes[at] = token.as_bytes()[other];
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Another header or other claims, well written, under the old signature, another one or none.
fn said_otherwise(dice: &mut Dice, token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let (mut header, mut claims) = (read(parts[0]), read(parts[1]));
    match dice.below(7) {
        0 => header["alg"] = json!(dice.one_of(&["none", "None", "HS384", "HS512", "RS256", "ES256", ""])),
        1 => header["typ"] = json!(dice.one_of(&["JWT", "rt+jwt", "AT+JWT", ""])),
        2 => header["kid"] = json!("../../dev/null"),
        3 => claims["exp"] = json!(i64::MAX - dice.below(1000) as i64),
        4 => claims["sub"] = json!(format!("{:032x}", dice.below(usize::MAX))),
        5 => claims["type"] = json!(dice.one_of(&["refresh", "admin", "Access"])),
        _ => claims["role"] = json!("admin"),
    }
    let signature = match dice.below(3) {
        0 => String::new(),
        1 => URL_SAFE_NO_PAD.encode([0; 32].map(|_: u8| dice.byte())),
        _ => parts[2].to_owned(),
    };
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.{signature}")
}
