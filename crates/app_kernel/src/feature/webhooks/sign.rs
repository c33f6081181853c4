//! Secrets and signatures, by the [specification of Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::base::clock::Timestamp;
use crate::base::secret::fill_random;

/// Bytes of a secret: as long as the hash. The specification asks for 24 to 64.
const SECRET_LEN: usize = 32;

/// A new secret.
pub(super) fn generate() -> [u8; SECRET_LEN] {
    let mut secret = [0; SECRET_LEN];
    fill_random(&mut secret);
    secret
}

/// A secret as people copy it. Standard base64: the official libraries read no other.
pub(super) fn told(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// The header `webhook-signature`: a signature by each secret, the present one first.
pub(super) fn signatures(secrets: &[Vec<u8>], id: &str, at: Timestamp, body: &str) -> String {
    let signed = format!("{id}.{}.{body}", at.as_second());
    let sign = |secret: &Vec<u8>| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example that the official libraries test themselves with.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let at = Timestamp::from_second(1_614_265_330).expect("a time");
        let header =
            signatures(std::slice::from_ref(&secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", at, r#"{"test": 2432232314}"#);
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both =
            signatures(&[generate().to_vec(), secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, r#"{"test": 2432232314}"#);
        assert!(both.ends_with(&format!(" {header}")) && both.matches("v1,").count() == 2, "{both}");
    }

    #[test]
    fn a_secret_is_told_in_standard_base64() {
        assert_eq!(told(&[0xfb, 0xff, 0xfe]), "whsec_+//+");
        let (a, b) = (generate(), generate());
        assert_ne!(a, b);
        assert_eq!(told(&a).len(), "whsec_".len() + 44);
    }
}
