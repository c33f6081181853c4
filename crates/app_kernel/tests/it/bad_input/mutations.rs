//! Thousands of honest requests, each spoilt a little. A seed makes the same ones again: `CHAOS_SEED=7`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use app_kernel::testing::{TestDatabase, on_every_database};
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::json;

use super::{Stage, census, check_answer, item};
use crate::support::{Dice, scale, seed};

on_every_database!(requests_that_are_spoilt_a_little_are_never_our_fault);

/// An honest request.
#[derive(Clone)]
struct Honest {
    method: Method,
    path: String,
    body: Vec<u8>,
}

/// What is put in the place of something honest.
const NASTY: [&str; 40] = [
    "",
    " ",
    "null",
    "true",
    "0",
    "-1",
    "-0.0",
    "1e999",
    "1e308",
    "5e-324",
    "NaN",
    "Infinity",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1",
    "[]",
    "{}",
    "[[[[]]]]",
    "\"\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{10ffff}\"",
    "\"\u{202e}\u{200b}\u{feff}\"",
    "\"'; DROP TABLE items; --\"",
    "\"a\\\\\\\"b\"",
    "\"0000-00-00\"",
    "\"9999-12-31T23:59:60Z\"",
    "\"infinity\"",
    "\u{0}",
    "%00",
    "%ff",
    "%",
    "\\",
    "[",
    "?",
    "'",
    ";",
    "--",
];

/// Where clauses to begin with.
const CLAUSES: [(&str, &str); 8] = [
    ("[size] > ? AND [owner] = 'ann'", "[3]"),
    ("[name] LIKE 'earl%' OR [note] IS NULL", "[]"),
    ("[size] BETWEEN ? AND ?", "[1, 5]"),
    ("NOT ([is_on] = TRUE) AND [weight] >= 0.5", "[]"),
    ("[status] IN ('active', ?)", "[\"archived\"]"),
    ("[due] < ? AND [day] = ?", "[\"2026-01-30T12:00:00Z\", \"2024-02-29\"]"),
    ("[price] >= 19.99 AND [code] IS NOT NULL", "[]"),
    ("LOWER([name]) = ? OR COALESCE([size], 0) = 3", "[\"x\"]"),
];

const ORDERS: [&str; 4] = ["[size] DESC, [name]", "[due] ASC NULLS LAST", "[created_at] DESC", "[weight]"];

impl Honest {
    fn random(dice: &mut Dice, n: usize) -> Self {
        let (method, path, body) = match dice.below(10) {
            0 | 1 => (Method::POST, "/items".to_owned(), item(&format!("spoilt {n}"))),
            2 | 3 => (Method::POST, "/rows/items".to_owned(), item(&format!("spoilt row {n}"))),
            4 => {
                let many = json!([item(&format!("many {n}")), item(&format!("many {n}, too"))]);
                (Method::POST, "/items/many".to_owned(), many)
            }
            5 => {
                (Method::POST, "/rows/notes".to_owned(), json!({ "text": "a note", "count": n, "meta": { "a": [1] } }))
            }
            6 | 7 => {
                let (clause, params) = dice.one_of(&CLAUSES);
                let query = [("where", *clause), ("params", *params), ("order", *dice.one_of(&ORDERS)), ("limit", "7")];
                let query: Vec<String> =
                    query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
                let count = if dice.below(4) == 0 { "/count" } else { "" };
                return Honest {
                    method: Method::GET,
                    path: format!("/rows/items{count}?{}", query.join("&")),
                    body: vec![],
                };
            }
            8 => return Honest { method: Method::GET, path: format!("/rows/items/by-id/spoilt-{n}"), body: vec![] },
            _ => return Honest { method: Method::DELETE, path: format!("/rows/notes/by-id/spoilt-{n}"), body: vec![] },
        };
        Honest { method, path, body: body.to_string().into_bytes() }
    }

    /// Spoils one to three places, most often in the body where there is one.
    fn spoil(&mut self, dice: &mut Dice) {
        for _ in 0..=dice.below(3) {
            if self.body.is_empty() || dice.below(8) == 0 {
                let mut path = self.path.clone().into_bytes();
                spoil_bytes(&mut path, dice);
                // The first byte is a slash in every request that reaches a router at all.
                self.path = format!("/{}", escaped_bytes(path.strip_prefix(b"/").unwrap_or(&path)));
            } else if dice.below(3) == 0 {
                spoil_value(&mut self.body, dice);
            } else {
                spoil_bytes(&mut self.body, dice);
            }
        }
    }
}

/// Puts something nasty in the place of one value of a JSON text, so that it most often stays JSON.
fn spoil_value(body: &mut Vec<u8>, dice: &mut Dice) {
    let colons: Vec<usize> = (0..body.len()).filter(|i| body[*i] == b':').collect();
    let Some(&start) = colons.get(dice.below(colons.len().max(1))) else { return };
    let end = (start + 1..body.len()).find(|i| matches!(body[*i], b',' | b'}' | b']')).unwrap_or(body.len());
    body.splice(start + 1..end, dice.one_of(&NASTY).bytes());
}

fn spoil_bytes(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    let (from, length) = (dice.below(bytes.len()), dice.below(12) + 1);
    let to = (from + length).min(bytes.len());
    match dice.below(6) {
        0 => bytes[from] = dice.byte(),
        1 => drop(bytes.drain(from..to)),
        2 => {
            let again = bytes[from..to].to_vec();
            bytes.splice(from..from, again);
        }
        3 => drop(bytes.splice(from..to, dice.one_of(&NASTY).bytes())),
        4 => bytes.truncate(from),
        _ => {
            let other = dice.below(bytes.len());
            bytes.swap(from, other);
        }
    }
}

/// What can't stand in a request's target goes in percent signs, as every client does it; percent signs stay.
fn escaped_bytes(bytes: &[u8]) -> String {
    const KEPT: percent_encoding::AsciiSet = percent_encoding::CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'#')
        .add(b'`')
        .add(b'{')
        .add(b'}')
        .add(b'|')
        .add(b'\\')
        .add(b'^');
    percent_encoding::percent_encode(bytes, &KEPT).to_string()
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Promise: R-29
async fn requests_that_are_spoilt_a_little_are_never_our_fault(database: TestDatabase) {
    const CLIENTS: usize = 16;
    let (wanted, seed) = (scale(10_000), seed());
    println!("seed {seed}");
    let stage = Arc::new(Stage::set(database).await);
    stage.service.db().save_entity("notes", json!({ "text": "a note", "count": 0 })).await.expect("a save");
    let (sent, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients = (0..CLIENTS).map(|client| {
        let (stage, sent, refused) = (Arc::clone(&stage), Arc::clone(&sent), Arc::clone(&refused));
        tokio::spawn(async move {
            let mut dice = Dice::new(seed + client as u64);
            let http = stage.service.anonymous();
            loop {
                let n = sent.fetch_add(1, Ordering::Relaxed);
                if n >= wanted {
                    return;
                }
                let mut request = Honest::random(&mut dice, n);
                request.spoil(&mut dice);
                let media = (!request.body.is_empty()).then_some("application/json");
                let answer = http.send(request.method.clone(), &request.path, media, request.body.clone()).await;
                let body = String::from_utf8_lossy(&request.body).into_owned();
                assert!(answer.status < 500, "seed {seed}: {} {} {body:?}: {answer:?}", request.method, request.path);
                check_answer(&answer);
                refused.fetch_add(usize::from(answer.status >= 400), Ordering::Relaxed);
            }
        })
    });
    for client in join_all(clients).await {
        client.expect("no client found anything");
    }
    let (rows, notes) = (stage.check().await, census(&stage.service.db(), "notes").await);
    let refused = refused.load(Ordering::Relaxed);
    assert!(
        refused > wanted / 4 && refused < wanted,
        "{refused} of {wanted} were refused: the spoiling does not spoil"
    );
    println!(
        "R-29 held: {wanted} spoilt requests, {refused} refused, 0 × 5xx, {} rows and {} notes with all their versions, seed {seed}",
        rows.rows, notes.rows
    );
}
