//! What auth decides without looking anything up: which addresses there are, and what a refresh token is good for.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::store::db::entity::Entity;

/// What a user may do beyond their own things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema, Entity)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A person among others.
    #[default]
    User,
    /// Runs the service. Made on its terminal, by `user promote EMAIL` or `user create --admin`, and by nothing else.
    Admin,
}

/// The longest e-mail address (RFC 5321, 4.5.3.1.3, without the angle brackets).
const LONGEST_EMAIL: usize = 254;

/// An e-mail address: as it was typed, and in the one form in which addresses are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EmailAddress {
    /// Without the space around it; else as it was typed.
    pub(crate) typed: String,
    /// All in lower case: `Ann@Example.com` and `ann@example.com` are one person.
    pub(crate) key: String,
}

impl EmailAddress {
    /// Reads an address; what is wrong with it is a sentence part. Whether mail arrives there, only mail can tell.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let typed = text.trim();
        let key = typed.to_lowercase();
        if typed.len() > LONGEST_EMAIL || key.len() > LONGEST_EMAIL {
            return Err("must have at most 254 bytes");
        }
        let Some((local, domain)) = typed.split_once('@') else { return Err("must be an e-mail address") };
        let is_whole = !local.is_empty() && domain.split('.').all(|label| !label.is_empty());
        if !is_whole || domain.contains('@') || typed.chars().any(is_out_of_place) {
            return Err("must be an e-mail address");
        }
        Ok(EmailAddress { typed: typed.to_owned(), key })
    }

    /// What stands before the `@`: a name for somebody who gave none.
    pub(crate) fn local_part(&self) -> &str {
        self.typed.split_once('@').map_or("", |(local, _)| local)
    }
}

/// What would let two addresses look alike, or one address be read as several.
fn is_out_of_place(c: char) -> bool {
    let is_invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || c.is_whitespace() || is_invisible || "\"(),:;<>[\\]".contains(c)
}

/// What is known about a refresh token that is not its session's present one, though we made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replay {
    /// When the request that carries it arrived.
    pub(crate) arrived: Instant,
    /// When this process answered the exchange of the token, if it did so lately. May lie ahead.
    pub(crate) answered_here: Option<Instant>,
    /// When any process last exchanged a token of this session.
    pub(crate) rotated_at: Option<Timestamp>,
    /// The time now.
    pub(crate) now: Timestamp,
}

/// How long after an exchange in another process a replay counts as simultaneous. Their clocks, and the time a request may be under
/// way within this process, are inside it.
const SIMULTANEOUS: SignedDuration = SignedDuration::from_secs(2);

/// How long the answer to an exchange waits. Requests that were sent at the same time may take as long to be read as connections take to be
/// accepted, and are not taken for a theft; and nobody who has seen the answer can be earlier.
pub(crate) const ANSWER_WAITS: Duration = Duration::from_millis(100);

impl Replay {
    /// Whether the request was under way already when the exchange was answered: two tabs of one browser. It gets nothing, but the session
    /// lives. Else somebody kept the token and used it twice, and nobody can tell who of the two is the owner.
    pub(crate) fn is_simultaneous(self) -> bool {
        match (self.answered_here, self.rotated_at) {
            (Some(answered), _) => self.arrived <= answered,
            (None, Some(rotated_at)) => self.now.duration_since(rotated_at) < SIMULTANEOUS,
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: F1
    #[test]
    fn an_address_is_kept_as_typed_and_compared_in_lower_case() {
        let address = EmailAddress::parse("  Zoë.Ärger+news@Example.COM\n").expect("an address");
        assert_eq!(address.typed, "Zoë.Ärger+news@Example.COM");
        assert_eq!(address.key, "zoë.ärger+news@example.com");
        assert_eq!(address.local_part(), "Zoë.Ärger+news");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(243));
        let grows = format!("{}@example.com", "İ".repeat(121));
        for (text, problem) in [
            ("", "must be an e-mail address"),
            ("ann", "must be an e-mail address"),
            ("@example.com", "must be an e-mail address"),
            ("ann@", "must be an e-mail address"),
            ("ann@.com", "must be an e-mail address"),
            ("ann@example..com", "must be an e-mail address"),
            ("ann@example.com.", "must be an e-mail address"),
            ("ann@home@example.com", "must be an e-mail address"),
            ("ann smith@example.com", "must be an e-mail address"),
            ("ann@example.com\r\nBcc: bob@example.com", "must be an e-mail address"),
            ("ann\0@example.com", "must be an e-mail address"),
            ("ann\u{200b}@example.com", "must be an e-mail address"),
            ("<ann@example.com>", "must be an e-mail address"),
            ("ann,bob@example.com", "must be an e-mail address"),
            (&long, "must have at most 254 bytes"),
            (&grows, "must have at most 254 bytes"),
        ] {
            assert_eq!(EmailAddress::parse(text), Err(problem), "{text:?}");
        }
        let longest = format!("{}@example.com", "a".repeat(242));
        for text in ["a@b", "o'brien@example.co.uk", "用户@例子.公司", &longest] {
            assert!(EmailAddress::parse(text).is_ok(), "{text}");
        }
    }

    /// Promise: R-23
    #[test]
    fn a_replay_is_forgiven_only_if_it_was_under_way_when_the_exchange_was_answered() {
        let answered = Instant::now() + Duration::from_secs(60);
        let (before, after) = (answered - Duration::from_millis(1), answered + Duration::from_millis(1));
        let now: Timestamp = "2026-01-30T12:00:00Z".parse().expect("a time");
        let secs_ago = |secs| Some(now - SignedDuration::from_secs(secs));
        for (arrived, answered_here, rotated_at, forgiven) in [
            (before, Some(answered), secs_ago(0), true),
            (answered, Some(answered), secs_ago(0), true),
            (after, Some(answered), secs_ago(0), false),
            (before, Some(answered), secs_ago(60), true),
            (after, None, secs_ago(1), true),
            (after, None, secs_ago(2), false),
            (after, None, secs_ago(-1), true),
            (after, None, None, false),
        ] {
            let replay = Replay { arrived, answered_here, rotated_at, now };
            assert_eq!(replay.is_simultaneous(), forgiven, "{replay:?}");
        }
    }
}
