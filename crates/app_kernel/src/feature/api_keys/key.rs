//! What an API key looks like: `sk_live_`, 32 random characters of base62 (190 bits), and 6 of checksum.
//!
//! The checksum is that of GitHub's tokens: the CRC-32 of the random part, in base62 with leading zeros ("Behind GitHub's new
//! authentication token formats", github.blog, April 2021). A mistyped key is told by it without a query, and programs that look for lost
//! secrets know a real one. It protects from nothing else: anybody can compute it.
//!
//! A key is found by its SHA-256 in a unique index. That takes no comparison in constant time: how long the index takes may tell how a hash
//! begins, but nobody can make a key for the beginning of a hash that they want.

use flate2::Crc;

use crate::base::secret::{BASE62, random_base62};

/// What every key starts with.
const PREFIX: &str = "sk_live_";
/// What every proof starts with that can only be meant as a key. No token does.
const KIND: &str = "sk_";
/// Random characters.
const RANDOM: usize = 32;
/// Characters of checksum: 62^6 is more than 2^32.
const CHECKSUM: usize = 6;
/// Random characters that lists show, so that people tell their keys apart: 166 bits stay unknown.
const SHOWN: usize = 4;

/// A new key.
pub(super) fn generate() -> String {
    let random = random_base62(RANDOM);
    let checksum = checksum(&random);
    format!("{PREFIX}{random}{checksum}")
}

/// Whether it is meant as a key, well formed or not.
pub(super) fn is_meant(proof: &str) -> bool {
    proof.starts_with(KIND)
}

/// Whether it has the form of a key, with the checksum.
pub(super) fn is_well_formed(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(PREFIX).filter(|rest| rest.len() == RANDOM + CHECKSUM) else { return false };
    let Some((random, sum)) = rest.split_at_checked(RANDOM) else { return false };
    random.bytes().all(|byte| byte.is_ascii_alphanumeric()) && sum == checksum(random)
}

/// How lists show a key: `sk_live_Ab3d…`.
pub(super) fn hint(key: &str) -> String {
    let shown: String = key.chars().take(PREFIX.len() + SHOWN).collect();
    format!("{shown}…")
}

fn checksum(random: &str) -> String {
    let mut crc = Crc::new();
    crc.update(random.as_bytes());
    let mut rest = crc.sum();
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_github_s() {
        // 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, a token that GitHub's users verify their programs with.
        assert_eq!(checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), "0mLq17");
        // The check value of CRC-32/ISO-HDLC is 0xCBF43926 for these nine digits.
        let by_hand = (0..6).rev().map(|n| char::from(BASE62[(0xCBF4_3926_u64 / 62_u64.pow(n) % 62) as usize]));
        assert_eq!(checksum("123456789"), by_hand.collect::<String>());
        assert_eq!(checksum(""), "000000");
    }

    /// Promise: M1
    #[test]
    fn a_new_key_has_the_form_and_is_another_each_time() {
        let (one, other) = (generate(), generate());
        assert!(one != other && is_well_formed(&one) && is_well_formed(&other));
        assert_eq!((one.len(), &one[..8]), (46, "sk_live_"));
        assert_eq!(hint("sk_live_Ab3dEfGhIj"), "sk_live_Ab3d…");
        assert!(
            is_meant(&one) && is_meant("sk_test_x") && !is_meant("eyJhbGciOiJIUzI1NiJ9.e30.x") && !is_meant("rt_x")
        );
    }

    #[test]
    fn what_has_not_the_form_is_refused() {
        let key = generate();
        for odd in [
            "",
            "sk_live_",
            &key[1..],
            &key[..45],
            &key[8..],
            &format!("{key}0"),
            &format!("{key}\n"),
            &format!(" {key}"),
            &key.replacen("live", "test", 1),
            &key.replacen("sk", "SK", 1),
            &format!("sk_live_{}{}", "é".repeat(16), &key[40..]),
            &format!("sk_live_{}", "é".repeat(19)),
            &format!("sk_live_{}{}", "-".repeat(32), checksum(&"-".repeat(32))),
            &"sk_live_".repeat(1000),
        ] {
            assert!(!is_well_formed(odd), "{odd:?}");
        }
    }

    #[test]
    fn every_single_mistyped_character_and_every_swap_of_neighbours_is_told_by_the_checksum() {
        let key = generate();
        for at in PREFIX.len()..key.len() {
            for digit in BASE62.iter().map(|digit| char::from(*digit)) {
                let mistyped = format!("{}{digit}{}", &key[..at], &key[at + 1..]);
                assert_eq!(is_well_formed(&mistyped), mistyped == key, "{mistyped}");
            }
            if let Some(next) = key.get(at + 1..at + 2) {
                let swapped = format!("{}{next}{}{}", &key[..at], &key[at..=at], &key[at + 2..]);
                assert_eq!(is_well_formed(&swapped), swapped == key, "{swapped}");
            }
        }
    }
}
