//! Seals secrets that must be read again, so that the database alone gives nothing away: AES-256-GCM, under a key that comes from `JWT_SECRET`.
//! Each purpose has a key of its own. What is sealed is bound to its owner: moved to somebody else's row, it opens no more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use super::secret::{Secret, fill_random};

/// Seals with the first key; opens with any. Shows nothing of them in `Debug`.
pub(crate) struct Vault {
    keys: Vec<NamedKey>,
}

struct NamedKey {
    /// Tells which secret it comes from, and nothing of it.
    name: String,
    key: LessSafeKey,
}

impl NamedKey {
    fn new(purpose: &str, secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let key = hmac::sign(&root, format!("app_kernel sealing of {purpose}").as_bytes());
        let name = hmac::sign(&root, b"app_kernel name of the sealing key");
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("an HMAC-SHA256 has the length of an AES-256 key");
        NamedKey { name: URL_SAFE_NO_PAD.encode(&name.as_ref()[..6]), key: LessSafeKey::new(key) }
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

impl Vault {
    /// For secrets of this purpose, such as `second factors`. The first of `secrets` is the present one; without any, nothing can be sealed.
    pub(crate) fn new(purpose: &str, secrets: &[&Secret]) -> Self {
        Vault { keys: secrets.iter().map(|secret| NamedKey::new(purpose, secret)).collect() }
    }

    /// Seals a secret of somebody.
    pub(crate) fn seal(&self, owner: &str, secret: &[u8]) -> Secret {
        let NamedKey { name, key } = &self.keys[0];
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce);
        let mut sealed = secret.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner), &mut sealed)
            .expect("a few bytes can be sealed");
        Secret::new(format!("{name}.{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// Opens what was sealed for somebody; nothing where no key fits.
    pub(crate) fn open(&self, owner: &str, sealed: &Secret) -> Option<Vec<u8>> {
        let (name, text) = sealed.expose().split_once('.')?;
        let NamedKey { key, .. } = self.keys.iter().find(|key| key.name == name)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        key.open_in_place(nonce, Aad::from(owner), &mut sealed).ok().map(|secret| secret.to_vec())
    }

    /// Whether it was sealed under the present secret.
    pub(crate) fn is_todays(&self, sealed: &Secret) -> bool {
        sealed.expose().split_once('.').is_some_and(|(name, _)| name == self.keys[0].name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-32
    #[test]
    fn what_is_sealed_opens_for_its_owner_and_under_its_secret() {
        let (old, new) = (Secret::new("the old secret"), Secret::new("the new secret"));
        let before = Vault::new("tests", &[&old]);
        let sealed = before.seal("ann", b"12345678901234567890");
        assert_eq!(Vault::new("others", &[&old]).open("ann", &sealed), None, "for another use");
        assert_eq!(before.open("ann", &sealed).as_deref(), Some(&b"12345678901234567890"[..]));
        assert_eq!(before.open("bob", &sealed), None, "in somebody else's row");
        assert_eq!(Vault::new("tests", &[&new]).open("ann", &sealed), None, "under another secret");
        assert_ne!(before.seal("ann", b"12345678901234567890"), sealed, "no two are alike");

        assert_eq!(Vault::new("other things", &[&old]).open("ann", &sealed), None, "for another purpose");

        let rotated = Vault::new("tests", &[&new, &old]);
        assert!(!rotated.is_todays(&sealed));
        let anew = rotated.seal("ann", &rotated.open("ann", &sealed).expect("a former secret opens it"));
        assert!(rotated.is_todays(&anew));
        assert!(Vault::new("tests", &[&new]).open("ann", &anew).is_some());

        let text = sealed.expose();
        for at in text.find('.').expect("a name") + 1..text.len() {
            let mut changed = text.to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = Secret::new(String::from_utf8(changed).expect("text"));
            assert_eq!(before.open("ann", &changed), None, "changed at {at}");
        }
        for text in ["", ".", "x", "x.y"] {
            assert_eq!(before.open("ann", &Secret::new(text)), None, "{text:?}");
        }
    }
}
