//! What signing in elsewhere decides without looking anything up: where people may return to, and what belongs to one browser.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use ring::digest;

use crate::base::secret::{constant_time_eq, token_hash};

/// How long somebody may take to sign in elsewhere.
pub(super) const ATTEMPT_LIFE: SignedDuration = SignedDuration::from_secs(10 * 60);
/// How long a page may take to exchange its code.
pub(super) const CODE_LIFE: SignedDuration = SignedDuration::from_secs(2 * 60);
/// The longest address to return to, in bytes.
pub(super) const LONGEST_TARGET: usize = 2000;
/// The longest subject (OpenID Connect Core 1.0, 2).
const LONGEST_SUBJECT: usize = 255;

/// Somebody, as a provider knows them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Who says so.
    pub(super) issuer: String,
    /// Who they are there, for good. An address is not: it may be somebody else's tomorrow.
    pub(super) subject: String,
    pub(super) email: Option<String>,
    /// Whether the provider says that the address is theirs.
    pub(super) is_email_verified: bool,
    pub(super) name: Option<String>,
}

impl Identity {
    /// Whether the subject can be one.
    pub(super) fn is_whole(&self) -> bool {
        !self.subject.is_empty() && self.subject.len() <= LONGEST_SUBJECT && !self.subject.chars().any(char::is_control)
    }
}

/// The one key of an identity. With the issuer, so that a provider that is configured anew elsewhere knows none of the former people.
pub(super) fn identity_key(provider: &str, issuer: &str, subject: &str) -> String {
    token_hash(&format!("{provider}\n{issuer}\n{subject}"))
}

/// What one browser keeps of an attempt, in a cookie. What must not be guessed at the provider comes from it, so nothing of it is stored.
pub(super) struct BrowserSecret(String);

impl BrowserSecret {
    pub(super) fn new(text: impl Into<String>) -> Self {
        BrowserSecret(text.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored.
    pub(super) fn hash(&self) -> String {
        token_hash(&self.0)
    }

    /// Shows the provider that who began is who ends (RFC 7636).
    pub(super) fn verifier(&self) -> String {
        token_hash(&format!("pkce {}", self.0))
    }

    /// Ties the provider's word to this attempt (OpenID Connect Core 1.0, 3.1.2.1).
    pub(super) fn nonce(&self) -> String {
        token_hash(&format!("nonce {}", self.0))
    }
}

/// Whether a verifier is the one of a challenge, by S256 (RFC 7636, 4.6).
pub(super) fn fits_challenge(verifier: &str, challenge: &str) -> bool {
    let digest = digest::digest(&digest::SHA256, verifier.as_bytes());
    constant_time_eq(&URL_SAFE_NO_PAD.encode(digest), challenge)
}

/// Whether it can be a challenge: a SHA-256 in base64 for addresses.
pub(super) fn is_challenge(text: &str) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == digest::SHA256_OUTPUT_LEN)
}

/// Where somebody may return to: a path of our own, or below one of these origins, written so plainly that nobody reads it in another way. What is
/// wrong with it is a sentence part.
pub(super) fn check_target(text: &str, origins: &[String]) -> Result<(), &'static str> {
    const NO_PLACE: &str = "must be a path such as /dashboard, or below an origin in OAUTH_REDIRECT_ORIGINS";
    if text.len() > LONGEST_TARGET {
        return Err("must have at most 2000 bytes");
    }
    let path = if text.starts_with('/') {
        text
    } else {
        let below = |origin: &String| text.strip_prefix(origin.as_str());
        // `https://a.com.evil.com` starts with `https://a.com`, too.
        let rests = || origins.iter().filter_map(below);
        rests().find(|rest| rest.is_empty() || rest.starts_with('/')).ok_or(NO_PLACE)?
    };
    check_path(path)
}

fn check_path(text: &str) -> Result<(), &'static str> {
    const UNCLEAR: &str = "must be written plainly: no `//`, `\\`, dots as a segment, spaces, or encoded characters that mean something in a path";
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err(UNCLEAR);
    }
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (path, rest) = text.split_at(end);
    let path = decoded(path).ok_or(UNCLEAR)?;
    let means_something = |c: char| c.is_control() || "/\\%?#".contains(c);
    if path.iter().any(|&(c, was_encoded)| c.is_control() || was_encoded && means_something(c)) {
        return Err(UNCLEAR);
    }
    let path: String = path.into_iter().map(|(c, _)| c).collect();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if matches!(segment, "." | "..") || segment.is_empty() && !is_last {
            return Err(UNCLEAR);
        }
    }
    if decoded(rest).is_none_or(|rest| rest.iter().any(|(c, _)| c.is_control())) {
        return Err(UNCLEAR);
    }
    let query = rest.split('#').next().unwrap_or_default().trim_start_matches('?');
    if query.split('&').any(|pair| matches!(pair.split('=').next(), Some("code"))) {
        return Err("must not have a `code` of its own");
    }
    Ok(())
}

/// The characters, and whether each was encoded; nothing where an encoding is no UTF-8 or broken off.
fn decoded(text: &str) -> Option<Vec<(char, bool)>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        found.extend(rest[..at].chars().map(|c| (c, false)));
        // All that is encoded in a row is one text.
        let mut bytes = Vec::new();
        rest = &rest[at..];
        while let Some(encoded) = rest.strip_prefix('%') {
            let digits = encoded.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &encoded[2..];
        }
        found.extend(String::from_utf8(bytes).ok()?.chars().map(|c| (c, true)));
    }
    found.extend(rest.chars().map(|c| (c, false)));
    Some(found)
}

/// The target with the code in its query.
pub(super) fn with_code(target: &str, code: &str) -> String {
    let (place, fragment) = target.find('#').map_or((target, ""), |at| target.split_at(at));
    let join = match place.find('?') {
        None => "?",
        Some(at) if at + 1 == place.len() || place.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{place}{join}code={code}{fragment}")
}

/// What refuses to unlink the last way in.
pub(super) fn check_a_way_in_stays(has_password: bool, others: usize) -> crate::base::error::Result<()> {
    if has_password || others > 0 {
        return Ok(());
    }
    Err(crate::base::error::Error::conflict(
        "this is the only way to sign in to this account; set a password first, by /auth/password-reset/request",
    )
    .code("last_way_in"))
}

#[cfg(test)]
mod tests;
