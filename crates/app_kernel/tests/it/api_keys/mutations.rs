//! Keys that are not keys, by the thousand: none is accepted, none is our fault.

use app_kernel::testing::{TestDatabase, on_every_database};
use flate2::Crc;
use futures_util::future::join_all;
use serde_json::json;

use super::{make_key, program, start, who_is};
use crate::support::{Dice, scale, seed};
use crate::workspaces::person;

on_every_database!(none_of_thousands_of_changed_keys_is_accepted);

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// What can stand in a header beside them.
const OTHERS: &[u8] = b"-_.:*+/ %$\"'\\;,\x80\xff";

/// Changes a key in one to three places.
fn changed(key: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = key.as_bytes().to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(bytes.len());
        let letter = if dice.below(4) == 0 { *dice.one_of(OTHERS) } else { *dice.one_of(BASE62) };
        match dice.below(6) {
            0 if bytes.len() > 10 => drop(bytes.remove(at)),
            1 => bytes.insert(at, letter),
            2 => {
                let next = (at + 1) % bytes.len();
                bytes.swap(at, next);
            }
            3 => bytes.truncate(at.max(9)),
            _ => bytes[at] = letter,
        }
    }
    bytes
}

/// Another key of the right form, which only the database can tell from a real one: a few characters changed, and the checksum made anew.
fn forged(key: &str, dice: &mut Dice) -> Vec<u8> {
    let mut random = key.as_bytes()[8..40].to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(random.len());
        random[at] = *dice.one_of(BASE62);
    }
    with_checksum(&random)
}

/// A key of these random characters.
fn with_checksum(random: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(random);
    let mut rest = crc.sum();
    let mut sum = [b'0'; 6];
    for digit in sum.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    [b"sk_live_".as_slice(), random, &sum].concat()
}

/// Promise: M1, R-21, R-29
async fn none_of_thousands_of_changed_keys_is_accepted(database: TestDatabase) {
    let (seed, count) = (seed(), scale(1000));
    let backend = database.backend().as_str();
    let service = start(database).await;
    let ann = person(&service, "ann").await;
    let (_, key) = make_key(&ann.client, json!({ "name": "CI" })).await;
    assert_eq!(with_checksum(&key.as_bytes()[8..40]), key.as_bytes(), "this test makes checksums as the service does");
    let anybody = service.anonymous();
    let mut dice = Dice::new(seed);
    let (mut accepted, mut ours, mut sent) = (0, 0, 0);
    while sent < count {
        let batch: Vec<Vec<u8>> = (0..50)
            .map(|_| if dice.below(2) == 0 { forged(&key, &mut dice) } else { changed(&key, &mut dice) })
            // The space around a key is none of its own.
            .filter(|bytes| bytes.trim_ascii() != key.as_bytes())
            .collect();
        let by_header = dice.below(2) == 0;
        let ask = |bytes: &Vec<u8>| {
            let client = match by_header {
                true => anybody.clone().with_bytes("x-api-key", bytes),
                false => anybody.clone().with_bytes("authorization", &[b"Bearer ", bytes.as_slice()].concat()),
            };
            async move { client.get("/who").await }
        };
        for (bytes, answer) in batch.iter().zip(join_all(batch.iter().map(ask)).await) {
            accepted += usize::from(answer.status < 400);
            ours += usize::from(answer.status >= 500);
            assert_eq!(answer.status, 401, "seed {seed}: {:?}: {}", String::from_utf8_lossy(bytes), answer.text());
        }
        sent += batch.len();
    }
    who_is(&program(&service, &key)).await;
    println!("R-21 held: {sent} changed keys on {backend}, {accepted} accepted, {ours} × 5xx, seed {seed}");
}
