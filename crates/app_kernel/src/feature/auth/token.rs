//! The two kinds of token, which never stand in for each other.
//!
//! An **access token** is a compact JWT (RFC 7519, RFC 7515), signed by HMAC-SHA256 and by nothing else. Its first part must be, byte
//! for byte, the header that this module writes, so there is no algorithm to choose and none to confuse; `typ` is RFC 9068's. It names
//! the user and the session; whether that session still lives is asked elsewhere. It ends at its second: clocks get no leeway, since
//! who signs and who checks are the same service.
//!
//! A **refresh token** is `rt_<session>_<43 characters>`: sixteen random bytes and the first sixteen of their HMAC, in base64. Only
//! its SHA-256 is stored. The HMAC proves that a token which is not the present one was a former one, of any age, and not a guess.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::base::clock::{Clock, Timestamp};
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::id::new_id;
use crate::base::secret::{Secret, fill_random};

/// The only header there is.
const HEADER: &str = r#"{"alg":"HS256","typ":"at+jwt"}"#;
/// The same in base64url: what each access token starts with.
const ENCODED_HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6ImF0K2p3dCJ9";
/// No honest token is longer; what is longer is not even decoded.
const LONGEST_TOKEN: usize = 4096;
/// `type` in the claims of an access token.
const ACCESS: &str = "access";
/// What refresh tokens start with.
const REFRESH_PREFIX: &str = "rt_";
/// Half of a refresh token's secret is random, half is the proof that we made it.
const REFRESH_HALF: usize = 16;
/// The signature of an access token in base64url.
const SIGNATURE_LENGTH: usize = 43;
/// Threads that ask about different tokens seldom meet at one lock.
const SHARDS: usize = 16;
/// Tokens that one shard remembers: some 500 bytes each, so 8 MiB at most.
const MOST_IN_SHARD: usize = 1024;

/// Why an access token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Not ours, or changed since.
    Invalid,
    /// Ours, but over.
    Expired,
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccessToken {
    pub(crate) user_id: String,
    pub(crate) session_id: String,
}

/// The claims as they stand in the token.
#[derive(Serialize, Deserialize)]
struct Claims<'a> {
    sub: &'a str,
    sid: &'a str,
    jti: &'a str,
    iat: i64,
    exp: i64,
    r#type: &'a str,
}

/// Signs and checks tokens. The first key signs; the others, from `JWT_SECRET_PREVIOUS`, are only good for checking.
pub(crate) struct Keys {
    keys: Vec<KeyPair>,
    access_secs: i64,
    clock: Clock,
    verified: Verified,
}

/// One secret's keys: one for each kind of token, so that a signature of one kind is never good for the other.
struct KeyPair {
    access: hmac::Key,
    refresh: hmac::Key,
}

impl KeyPair {
    fn new(secret: &Secret) -> Self {
        let access = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let derived = hmac::sign(&access, b"app_kernel refresh tokens");
        KeyPair { access, refresh: hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()) }
    }
}

impl Keys {
    /// The keys of a configuration.
    ///
    /// # Errors
    /// Where `JWT_SECRET` is not set.
    pub(crate) fn new(config: &ServiceConfig, clock: Clock) -> Result<Self> {
        let current = config.jwt_secret.as_ref().filter(|secret| !secret.expose().is_empty()).ok_or_else(|| {
            Error::invalid("JWT_SECRET is not set; auth needs it. Make one with `openssl rand -base64 48`")
        })?;
        let keys = std::iter::once(current).chain(&config.jwt_secret_previous).map(KeyPair::new).collect();
        let access_secs = i64::from(config.jwt_expiry_hours) * 3600;
        Ok(Keys { keys, access_secs, clock, verified: Verified::default() })
    }

    /// How long an access token lives, in seconds.
    pub(crate) fn access_secs(&self) -> i64 {
        self.access_secs
    }

    fn signing(&self) -> &KeyPair {
        &self.keys[0]
    }

    /// A new access token for a session.
    pub(crate) fn sign_access(&self, user_id: &str, session_id: &str) -> String {
        let issued_at = self.clock.now().as_second();
        let jti = new_id();
        let expires_at = issued_at + self.access_secs;
        let claims =
            Claims { sub: user_id, sid: session_id, jti: &jti, iat: issued_at, exp: expires_at, r#type: ACCESS };
        let claims = serde_json::to_vec(&claims).expect("texts and numbers are always JSON");
        sign_compact(&self.signing().access, HEADER.as_bytes(), &claims)
    }

    /// What an access token says, if it is ours and not over.
    pub(crate) fn verify_access(&self, token: &str) -> Result<AccessToken, TokenError> {
        let (claims, expires_at) = match self.verified.get(token) {
            Some(known) => known,
            None => {
                let verified = self.verified_claims(token).ok_or(TokenError::Invalid)?;
                self.verified.put(token, verified.clone());
                verified
            }
        };
        if self.clock.now() >= expires_at { Err(TokenError::Expired) } else { Ok(claims) }
    }

    fn verified_claims(&self, token: &str) -> Option<(AccessToken, Timestamp)> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let encoded_claims = signed.strip_prefix(ENCODED_HEADER)?.strip_prefix('.')?;
        let signature = decoded::<32>(signature)?;
        let is_ours = |pair: &KeyPair| hmac::verify(&pair.access, signed.as_bytes(), &signature).is_ok();
        if !self.keys.iter().any(is_ours) {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(encoded_claims).ok()?;
        let claims: Claims<'_> = serde_json::from_slice(&claims).ok()?;
        if claims.r#type != ACCESS {
            return None;
        }
        let expires_at = Timestamp::from_second(claims.exp).ok()?;
        Some((AccessToken { user_id: claims.sub.to_owned(), session_id: claims.sid.to_owned() }, expires_at))
    }

    /// A new refresh token for a session.
    pub(crate) fn new_refresh(&self, session_id: &str) -> String {
        let mut secret = [0; 2 * REFRESH_HALF];
        let (random, proof) = secret.split_at_mut(REFRESH_HALF);
        fill_random(random);
        proof.copy_from_slice(&refresh_tag(&self.signing().refresh, session_id, random).as_ref()[..REFRESH_HALF]);
        let mut token = String::with_capacity(REFRESH_PREFIX.len() + session_id.len() + 1 + 43);
        token.push_str(REFRESH_PREFIX);
        token.push_str(session_id);
        token.push('_');
        URL_SAFE_NO_PAD.encode_string(secret, &mut token);
        token
    }

    /// Whether we made this refresh token, now or formerly.
    pub(crate) fn made_refresh(&self, token: &RefreshToken<'_>) -> bool {
        let (random, proof) = token.secret.split_at(REFRESH_HALF);
        self.keys.iter().any(|pair| {
            let tag = refresh_tag(&pair.refresh, token.session_id, random);
            are_equal(&tag.as_ref()[..REFRESH_HALF], proof)
        })
    }
}

/// Compares in a time that tells nothing of where two texts differ.
fn are_equal(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

/// Tokens whose signature was right: it is so for ever, since keys only change with the process. Whether a token is over, and whether its
/// session still lives, is asked each time. Bounded, and only tokens of our own get in.
#[derive(Default)]
struct Verified {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, Known>>; SHARDS],
}

struct Known {
    token: Box<str>,
    claims: (AccessToken, Timestamp),
}

impl Verified {
    fn get(&self, token: &str) -> Option<(AccessToken, Timestamp)> {
        let (hash, shard) = self.shard(token);
        let known = shard.get(&hash)?;
        are_equal(known.token.as_bytes(), token.as_bytes()).then(|| known.claims.clone())
    }

    fn put(&self, token: &str, claims: (AccessToken, Timestamp)) {
        let (hash, mut shard) = self.shard(token);
        if shard.len() >= MOST_IN_SHARD {
            // Each costs one more check; to find out which are still in use would cost all of them something.
            shard.clear();
        }
        shard.insert(hash, Known { token: token.into(), claims });
    }

    /// By the signature, which is as good as random and the same length for every token.
    fn shard(&self, token: &str) -> (u64, MutexGuard<'_, HashMap<u64, Known>>) {
        let bytes = token.as_bytes();
        let hash = self.hasher.hash_one(&bytes[bytes.len().saturating_sub(SIGNATURE_LENGTH)..]);
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)];
        (hash, shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refresh_tag(key: &hmac::Key, session_id: &str, random: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(session_id.as_bytes());
    context.update(b"_");
    context.update(random);
    context.sign()
}

/// A refresh token that has the right shape. Whether it is the present one, only the stored hash knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RefreshToken<'a> {
    pub(crate) session_id: &'a str,
    secret: [u8; 2 * REFRESH_HALF],
}

impl<'a> RefreshToken<'a> {
    /// Takes the token apart, if it has the right shape.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        let (session_id, secret) = token.strip_prefix(REFRESH_PREFIX)?.split_once('_')?;
        let is_id = session_id.len() == 36 && session_id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        Some(RefreshToken { session_id, secret: decoded(secret).filter(|_| is_id)? })
    }
}

/// Strict base64url without padding of exactly `N` bytes: one text for each value.
fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    let mut bytes = [0; N];
    let written = URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut bytes).ok()?;
    (written == N).then_some(bytes)
}

/// JWS compact serialization (RFC 7515, 3.1) with HMAC-SHA256.
fn sign_compact(key: &hmac::Key, header: &[u8], payload: &[u8]) -> String {
    let mut token = String::with_capacity((header.len() + payload.len() + 32) * 4 / 3 + 8);
    URL_SAFE_NO_PAD.encode_string(header, &mut token);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = hmac::sign(key, token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

#[cfg(test)]
mod tests;
