//! Values that must not be seen, and the only source of randomness that nobody may guess.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};

/// A text that never shows in `Debug`, logs or error messages. Reading it takes the word [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, Default, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a text out of sight.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself. Every use of this is a place to look at twice.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

/// 32 random bytes as 43 characters of URL-safe base64: a token that can't be guessed.
///
/// # Panics
/// Where the operating system has no randomness to give; going on would be worse.
#[must_use]
pub fn random_token() -> String {
    let mut bytes = [0; 32];
    fill_random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The digits of base62, by their value.
pub(crate) const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// So many random letters and digits, each of them worth 5.95 bits.
///
/// # Panics
/// Where the operating system has no randomness to give; going on would be worse.
#[must_use]
pub fn random_base62(length: usize) -> String {
    let (mut text, mut bytes) = (String::with_capacity(length), [0; 64]);
    while text.len() < length {
        fill_random(&mut bytes);
        // 248 is four times 62; the bytes above it would favour the first digits.
        let fair = bytes.iter().filter(|byte| **byte < 248).take(length - text.len());
        text.extend(fair.map(|byte| char::from(BASE62[usize::from(byte % 62)])));
    }
    text
}

/// Fills `bytes` from the operating system's source of randomness.
///
/// # Panics
/// Where there is none; going on would be worse.
pub fn fill_random(bytes: &mut [u8]) {
    ring::rand::SystemRandom::new().fill(bytes).expect("the operating system gives randomness");
}

/// The SHA-256 of a token, in hex: what is stored in its place. Enough for random tokens; passwords need Argon2.
#[must_use]
pub fn token_hash(token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        hex
    })
}

/// Whether two texts are the same, in a time that tells nothing of where they differ.
#[must_use]
pub fn constant_time_eq(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |seen, (x, y)| seen | (x ^ y));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-32
    #[test]
    fn a_secret_shows_nowhere() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(serde_json::to_string(&secret).expect("a string"), "\"[secret]\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_token_hash_is_sha_256_in_hex() {
        // FIPS 180-2, appendix B.1
        assert_eq!(token_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn base62_is_as_long_as_asked_and_favours_no_digit() {
        let text = random_base62(62_000);
        assert_eq!(text.len(), 62_000);
        for digit in BASE62 {
            let count = text.bytes().filter(|byte| byte == digit).count();
            // 1,000 are expected; ten standard deviations are 314.
            assert!((686..=1314).contains(&count), "{} came {count} times", char::from(*digit));
        }
    }

    #[test]
    fn tokens_differ_and_compare() {
        let (a, b) = (random_token(), random_token());
        assert_eq!(a.len(), 43);
        assert!(constant_time_eq(&a, &a.clone()));
        assert!(!constant_time_eq(&a, &b));
        assert!(!constant_time_eq(&a, &a[..42]));
    }
}
