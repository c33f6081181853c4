//! What somebody has begun and not ended: a login whose password was right and whose code is awaited, or a link to an account elsewhere. A
//! challenge is signed under a key of its own for each purpose, so no other token stands in for it, and it for none. It is over after five
//! minutes, or when the user's sessions are ended.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::base::clock::Clock;
use crate::base::secret::Secret;

/// What is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// A login of somebody with a second factor.
    Login,
    /// A link to an account elsewhere.
    Link,
}

impl Begun {
    /// What a challenge starts with.
    fn prefix(self) -> &'static str {
        match self {
            Begun::Login => "lc_",
            Begun::Link => "ol_",
        }
    }

    fn key(self) -> &'static [u8] {
        match self {
            Begun::Login => b"app_kernel login challenges",
            Begun::Link => b"app_kernel links to accounts elsewhere",
        }
    }
}

/// How long somebody may look for their telephone, in seconds.
const LIFE_SECS: i64 = 5 * 60;
/// No honest challenge is longer.
const LONGEST: usize = 512;

pub(super) struct Challenges {
    begun: Begun,
    keys: Vec<hmac::Key>,
    clock: Clock,
}

impl Challenges {
    /// The first secret signs; all of them verify.
    pub(super) fn new(begun: Begun, secrets: &[&Secret], clock: Clock) -> Self {
        let derived = |secret: &&Secret| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, begun.key()).as_ref())
        };
        Challenges { begun, keys: secrets.iter().map(derived).collect(), clock }
    }

    /// A challenge for somebody, as long as they stand at this number of [`super::User::session_epoch`].
    pub(super) fn issue(&self, user_id: &str, epoch: i64) -> String {
        let expires_at = self.clock.now().as_second() + LIFE_SECS;
        let claims = format!("{user_id} {epoch} {expires_at}");
        let tag = hmac::sign(&self.keys[0], claims.as_bytes());
        format!("{}{}.{}", self.begun.prefix(), URL_SAFE_NO_PAD.encode(claims), URL_SAFE_NO_PAD.encode(tag))
    }

    /// Whose challenge it is and at which number, if it is ours and not over.
    pub(super) fn read(&self, challenge: &str) -> Option<(String, i64)> {
        let signed = challenge.strip_prefix(self.begun.prefix()).filter(|_| challenge.len() <= LONGEST)?;
        let (claims, tag) = signed.split_once('.')?;
        let (claims, tag) = (URL_SAFE_NO_PAD.decode(claims).ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
        self.keys.iter().find(|key| hmac::verify(key, &claims, &tag).is_ok())?;
        let claims = String::from_utf8(claims).ok()?;
        let mut parts = claims.split(' ');
        let (user_id, epoch, expires_at) = (parts.next()?, parts.next()?, parts.next()?);
        let is_over = self.clock.now().as_second() >= expires_at.parse::<i64>().ok()?;
        Some((user_id.to_owned(), epoch.parse().ok()?)).filter(|_| !is_over)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::Timestamp;

    /// Promise: R-21
    #[test]
    fn a_challenge_is_good_for_five_minutes_and_can_not_be_made_up() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let (old, new) = (Secret::new("the old secret"), Secret::new("the new secret"));
        let challenges = Challenges::new(Begun::Login, &[&old], clock.clone());
        let challenge = challenges.issue("ann", 3);
        assert_eq!(challenges.read(&challenge), Some(("ann".to_owned(), 3)));
        assert_eq!(
            Challenges::new(Begun::Login, &[&new, &old], clock.clone()).read(&challenge),
            Some(("ann".to_owned(), 3))
        );
        assert_eq!(Challenges::new(Begun::Login, &[&new], clock.clone()).read(&challenge), None);
        let links = Challenges::new(Begun::Link, &[&old], clock.clone());
        assert_eq!(links.read(&challenge.replace("lc_", "ol_")), None, "the key is another");
        assert_eq!(challenges.read(&links.issue("ann", 3).replace("ol_", "lc_")), None);
        for at in 0..challenge.len() {
            let mut changed = challenge.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            // The last character of a base64 group has bits that say nothing; ours refuses those too.
            assert_eq!(challenges.read(&changed), None, "changed at {at}");
        }
        assert_eq!(challenges.read(""), None);
        clock.advance(Duration::from_secs(299));
        assert!(challenges.read(&challenge).is_some());
        clock.advance(Duration::from_secs(1));
        assert_eq!(challenges.read(&challenge), None);
    }
}
