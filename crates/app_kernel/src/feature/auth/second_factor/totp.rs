//! Time-based one-time passwords (RFC 6238) as all authenticator apps make them: SHA-1, six digits, half a minute. SHA-1 is sound within HMAC.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;

use crate::base::clock::Timestamp;
use crate::base::secret::constant_time_eq;

/// How long a code lasts, in seconds.
const STEP_SECS: i64 = 30;
/// How many steps a telephone's clock may be wrong (RFC 6238, 5.2).
const DRIFT: i64 = 1;

/// The HMAC-based one-time password of a counter (RFC 4226, 5.3).
fn hotp(secret: &[u8], counter: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &counter.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[tag.len() - 1] & 0xf);
    let number = tag[offset..offset + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
}

/// The step of a code that is good now; none where it is not.
pub(super) fn matching_step(secret: &[u8], code: &str, now: Timestamp) -> Option<i64> {
    let present = now.as_second().div_euclid(STEP_SECS);
    let code: String = code.chars().filter(|c| !c.is_whitespace()).take(7).collect();
    // All are compared, so that the time tells nothing.
    (present - DRIFT..=present + DRIFT)
        .fold(None, |found, step| if constant_time_eq(&hotp(secret, step), &code) { Some(step) } else { found })
}

/// Base32 (RFC 4648) without padding.
pub(super) fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let digit = |chunk: &[u8], at: usize| {
        let bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        char::from(ALPHABET[(bits >> (35 - 5 * at) & 31) as usize])
    };
    bytes.chunks(5).flat_map(|chunk| (0..(chunk.len() * 8).div_ceil(5)).map(move |at| digit(chunk, at))).collect()
}

/// What a QR code tells an authenticator app.
pub(super) fn uri(issuer: &str, account: &str, secret: &str) -> String {
    let issuer = utf8_percent_encode(issuer, NON_ALPHANUMERIC);
    let account = utf8_percent_encode(account, NON_ALPHANUMERIC);
    format!("otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    #[test]
    fn the_vectors_of_rfc_4226_hold() {
        let codes =
            ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"];
        for (counter, code) in codes.iter().enumerate() {
            assert_eq!(hotp(SECRET, counter as i64), *code, "RFC 4226, appendix D, {counter}");
        }
    }

    #[test]
    fn the_vectors_of_rfc_6238_hold() {
        // Its eight digits without the first two.
        for (second, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let now = Timestamp::from_second(second).expect("a time");
            assert_eq!(matching_step(SECRET, code, now), Some(second / 30), "RFC 6238, appendix B, {second}");
        }
    }

    #[test]
    fn a_code_is_good_one_step_before_and_after_and_no_longer() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        for (second, is_good) in [(0, true), (29, true), (30, true), (59, true), (60, true), (89, true), (90, false)] {
            // The code of the step that begins at second 30.
            assert_eq!(matching_step(SECRET, "287082", at(second)).is_some(), is_good, "{second}");
        }
        for code in ["", "28708", "2870821", "287083", "²87082", "abcdef", "287082287082"] {
            assert_eq!(matching_step(SECRET, code, at(59)), None, "{code}");
        }
        assert_eq!(matching_step(SECRET, "287 082", at(59)), Some(1), "as apps show it");
    }

    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        for (text, wanted) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(text.as_bytes()), wanted);
        }
    }

    #[test]
    fn the_uri_is_what_apps_read() {
        assert_eq!(
            uri("app.example.com", "ann+x@example.com", "MZXW6"),
            "otpauth://totp/app%2Eexample%2Ecom:ann%2Bx%40example%2Ecom?secret=MZXW6&issuer=app%2Eexample%2Ecom\
             &algorithm=SHA1&digits=6&period=30"
        );
    }
}
