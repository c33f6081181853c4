//! Seals answers: AES-256-GCM, under a key that comes from the client's own key and from `JWT_SECRET`. Neither lies in the database.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;

use super::{Answer, Write};
use crate::base::secret::{Secret, fill_random};

/// Seals under the first root; opens under any.
pub(super) struct Seal {
    roots: Vec<hmac::Key>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

impl Seal {
    /// Without a secret, the client's own key is all that seals.
    pub(super) fn new(secrets: &[&Secret]) -> Self {
        let root = |secret: &str| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"app_kernel sealing of answers").as_ref())
        };
        let mut roots: Vec<hmac::Key> = secrets.iter().map(|secret| root(secret.expose())).collect();
        if roots.is_empty() {
            roots.push(root(""));
        }
        Seal { roots }
    }

    pub(super) fn seal(&self, write: &Write, answer: &Answer) -> Vec<u8> {
        let head = serde_json::to_vec(&(answer.status, &answer.headers)).expect("a number and texts can be written");
        let length = u32::try_from(head.len()).expect("headers are bounded").to_le_bytes();
        let mut sealed = [&length[..], &head, &answer.body].concat();
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce);
        key_of(&self.roots[0], write)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&write.id), &mut sealed)
            .expect("an answer is shorter than 64 GiB");
        [&nonce[..], &sealed].concat()
    }

    /// Nothing where it was sealed under another secret, or changed.
    pub(super) fn open(&self, write: &Write, sealed: &[u8]) -> Option<Answer> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        self.roots.iter().find_map(|root| {
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let mut sealed = sealed.to_vec();
            let opened = key_of(root, write).open_in_place(nonce, Aad::from(&write.id), &mut sealed).ok()?;
            let (length, rest) = opened.split_first_chunk()?;
            let (head, body) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            let (status, headers) = serde_json::from_slice(head).ok()?;
            Some(Answer { status, headers, body: body.to_vec() })
        })
    }
}

fn key_of(root: &hmac::Key, write: &Write) -> LessSafeKey {
    let key = hmac::sign(root, format!("{}\n{}", write.id, write.key.expose()).as_bytes());
    let key = UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("an HMAC-SHA256 has the length of an AES-256 key");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-32
    #[test]
    fn an_answer_opens_for_its_write_and_under_its_secret() {
        let (old, new) = (Secret::new("the old secret"), Secret::new("the new secret"));
        let answer = Answer {
            status: 201,
            headers: vec![("location".to_owned(), "/widgets/7".to_owned())],
            body: b"{\"token\":\"hunter2\"}".to_vec(),
        };
        let write = Write::new("user ann POST /widgets", "key-1", &[b"{}"]);
        let sealed = Seal::new(&[&old]).seal(&write, &answer);
        assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
        assert_eq!(Seal::new(&[&new, &old]).open(&write, &sealed), Some(answer), "after a rotation");
        assert_eq!(Seal::new(&[&new]).open(&write, &sealed), None, "under another secret");
        assert_eq!(Seal::new(&[]).open(&write, &sealed), None, "under none");
        let others = Write::new("user bob POST /widgets", "key-1", &[b"{}"]);
        assert_eq!(Seal::new(&[&old]).open(&others, &sealed), None, "for somebody else");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(Seal::new(&[&old]).open(&write, &changed), None, "changed at {at}");
        }
        assert_eq!(Seal::new(&[&old]).open(&write, &sealed[..5]), None);
    }

    #[test]
    fn what_differs_has_another_fingerprint() {
        let fingerprint = |content: &[&[u8]]| Write::new("scope", "key", content).fingerprint;
        assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
        assert_eq!(fingerprint(&[b"ab"]).len(), 64);
    }
}
