//! Seals secrets that must be read again, so that the database alone gives nothing away: AES-256-GCM, under a key that comes from `JWT_SECRET`.
//! What is sealed is bound to its owner: moved to somebody else's row, it opens no more.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use crate::base::secret::{Secret, fill_random};

/// Seals with the first key; opens with any.
pub(super) struct Vault {
    keys: Vec<NamedKey>,
}

struct NamedKey {
    /// Tells which secret it comes from, and nothing of it.
    name: String,
    key: LessSafeKey,
}

impl NamedKey {
    fn new(secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let key = hmac::sign(&root, b"app_kernel sealing of second factors");
        let name = hmac::sign(&root, b"app_kernel name of the sealing key");
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("an HMAC-SHA256 has the length of an AES-256 key");
        NamedKey { name: URL_SAFE_NO_PAD.encode(&name.as_ref()[..6]), key: LessSafeKey::new(key) }
    }
}

impl Vault {
    /// The first secret is the present one.
    pub(super) fn new(secrets: &[&Secret]) -> Self {
        Vault { keys: secrets.iter().map(|secret| NamedKey::new(secret)).collect() }
    }

    /// Seals a secret of somebody.
    pub(super) fn seal(&self, owner: &str, secret: &[u8]) -> Secret {
        let NamedKey { name, key } = &self.keys[0];
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce);
        let mut sealed = secret.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner), &mut sealed)
            .expect("a few bytes can be sealed");
        Secret::new(format!("{name}.{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// Opens what was sealed for somebody; nothing where no key fits.
    pub(super) fn open(&self, owner: &str, sealed: &Secret) -> Option<Vec<u8>> {
        let (name, text) = sealed.expose().split_once('.')?;
        let NamedKey { key, .. } = self.keys.iter().find(|key| key.name == name)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        key.open_in_place(nonce, Aad::from(owner), &mut sealed).ok().map(|secret| secret.to_vec())
    }

    /// Whether it was sealed under the present secret.
    pub(super) fn is_todays(&self, sealed: &Secret) -> bool {
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
        let before = Vault::new(&[&old]);
        let sealed = before.seal("ann", b"12345678901234567890");
        assert_eq!(before.open("ann", &sealed).as_deref(), Some(&b"12345678901234567890"[..]));
        assert_eq!(before.open("bob", &sealed), None, "in somebody else's row");
        assert_eq!(Vault::new(&[&new]).open("ann", &sealed), None, "under another secret");
        assert_ne!(before.seal("ann", b"12345678901234567890"), sealed, "no two are alike");

        let rotated = Vault::new(&[&new, &old]);
        assert!(!rotated.is_todays(&sealed));
        let anew = rotated.seal("ann", &rotated.open("ann", &sealed).expect("a former secret opens it"));
        assert!(rotated.is_todays(&anew));
        assert!(Vault::new(&[&new]).open("ann", &anew).is_some());

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
