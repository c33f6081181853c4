//! What API keys decide without looking anything up: which scopes there are and what they cover, and what a key can be made as.

use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};

/// The longest scope, in bytes.
const LONGEST_SCOPE: usize = 64;
/// The most scopes of one key.
const MOST_SCOPES: usize = 50;
/// The longest name of a key, in characters.
const LONGEST_NAME: usize = 200;
/// The longest life that can be asked for, in days: ten years.
const LONGEST_LIFE: u32 = 3650;
/// The most requests that a limit can allow.
const MOST_REQUESTS: u32 = 1_000_000;
/// The longest time that a limit can count over, in seconds: a day.
const LONGEST_WINDOW: u64 = 86_400;
/// The longest time that a rotated key lives on.
pub(super) const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * 86_400);

/// Whether this is a scope: words of letters, digits, `_`, `-` and `.` with colons between them, as in `deployments:write`; the last
/// word may be `*` for all that begins so. At most 64 bytes. Usable in constants.
#[must_use]
pub const fn is_scope(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut in_word) = (0, 0);
    while at < bytes.len() {
        in_word = match bytes[at] {
            b':' if in_word > 0 => 0,
            b'*' if in_word == 0 && at + 1 == bytes.len() => 1,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => in_word + 1,
            _ => return false,
        };
        at += 1;
    }
    in_word > 0 && bytes.len() <= LONGEST_SCOPE
}

/// Whether somebody who has one scope has the other, too.
fn covers(granted: &str, wanted: &str) -> bool {
    match granted.strip_suffix('*') {
        // What is left ends with a colon, or is nothing.
        Some(start) => wanted.starts_with(start) && is_scope(wanted),
        None => granted == wanted,
    }
}

/// Whether one of these scopes is the wanted one or covers it.
pub(super) fn any_covers(granted: &[String], wanted: &str) -> bool {
    granted.iter().any(|granted| covers(granted, wanted))
}

/// The scopes that a service lets people give to their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered(Vec<String>);

impl Offered {
    /// What the service's code says.
    ///
    /// # Errors
    /// `Invalid` where one of them is no scope; names it.
    pub(crate) fn new(scopes: Vec<String>) -> Result<Self> {
        match scopes.iter().find(|scope| !is_scope(scope)) {
            None => Ok(Offered(scopes)),
            Some(odd) => Err(Error::invalid(format!(
                "`{odd}` is no scope of API keys; write words with colons between them, as in `deployments:write` or `deployments:*`"
            ))),
        }
    }

    pub(super) fn scopes(&self) -> &[String] {
        &self.0
    }
}

/// So many requests in such a time; all of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many requests, from 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// In how many seconds, from 1 to 86,400.
    #[schemars(range(min = 1, max = 86_400))]
    pub window_secs: u32,
}

/// What a key is to be, as somebody asks for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) name: Option<String>,
    pub(super) scopes: Vec<String>,
    /// Where said, no scope beyond these.
    pub(super) at_most: Option<Vec<String>>,
    pub(super) expires_in_days: Option<u32>,
    pub(super) rate_limit: Option<(u32, Duration)>,
}

/// The same, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) name: String,
    /// Sorted, each once.
    pub(super) scopes: Vec<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) rate_limit: Option<RateLimit>,
}

impl Wanted {
    /// What the key will be; else everything that is wrong with it.
    pub(super) fn check(self, now: Timestamp) -> Result<Checked> {
        let mut error = Error::invalid("this can't be an API key").code("unprocessable");
        let name = self.name.unwrap_or_else(|| "API key".to_owned()).trim().to_owned();
        if let Some(problem) = problem_with_name(&name) {
            error = error.field("/name", problem);
        }
        if self.scopes.len() > MOST_SCOPES {
            error = error.field("/scopes", format!("must have at most {MOST_SCOPES} items"));
        }
        for (i, scope) in self.scopes.iter().enumerate().take(MOST_SCOPES) {
            if let Some(problem) = problem_with_scope(scope, self.at_most.as_deref()) {
                error = error.field(format!("/scopes/{i}"), problem);
            }
        }
        let days = self.expires_in_days;
        if days.is_some_and(|days| !(1..=LONGEST_LIFE).contains(&days)) {
            error = error.field("/expires_in_days", format!("must be from 1 to {LONGEST_LIFE}"));
        }
        let rate_limit = self.rate_limit.map(|(requests, window)| {
            let is_countable = (1..=LONGEST_WINDOW).contains(&window.as_secs()) && window.subsec_nanos() == 0;
            let window_secs = u32::try_from(window.as_secs()).ok().filter(|_| is_countable);
            let requests = Some(requests).filter(|requests| (1..=MOST_REQUESTS).contains(requests));
            requests.zip(window_secs).map(|(requests, window_secs)| RateLimit { requests, window_secs })
        });
        if rate_limit == Some(None) {
            let problem = format!("must be 1 to {MOST_REQUESTS} requests in 1 to {LONGEST_WINDOW} whole seconds");
            error = error.field("/rate_limit", problem);
        }
        if !error.field_errors().is_empty() {
            return Err(error);
        }
        let mut scopes = self.scopes;
        scopes.sort_unstable();
        scopes.dedup();
        let expires_at = days.map(|days| now + SignedDuration::from_hours(i64::from(days) * 24));
        Ok(Checked { name, scopes, expires_at, rate_limit: rate_limit.flatten() })
    }
}

fn problem_with_name(name: &str) -> Option<&'static str> {
    match name.chars().count() {
        0 => Some("must not be empty"),
        1..=LONGEST_NAME if name.chars().any(char::is_control) => Some("must not contain control characters"),
        1..=LONGEST_NAME => None,
        _ => Some("must have at most 200 characters"),
    }
}

fn problem_with_scope(scope: &str, at_most: Option<&[String]>) -> Option<&'static str> {
    if !is_scope(scope) {
        return Some("must be a scope, such as `deployments:write`, `deployments:*` or `*`");
    }
    at_most.is_some_and(|offered| !any_covers(offered, scope)).then_some("is no scope that can be given here")
}

/// Until when a key lives that is rotated now: the overlap, but never longer than it would have.
pub(super) fn end_of_overlap(now: Timestamp, overlap: Duration, present_end: Option<Timestamp>) -> Result<Timestamp> {
    if overlap > LONGEST_OVERLAP {
        let problem = "must be at most 168 hours";
        return Err(Error::invalid("the overlap is too long").code("unprocessable").field("/overlap_hours", problem));
    }
    let end = now + SignedDuration::try_from(overlap).expect("a week fits");
    Ok(present_end.map_or(end, |present| present.min(end)))
}

/// The end of the key that takes a rotated one's place: it gets as long a life.
pub(super) fn next_end(now: Timestamp, made_at: Timestamp, present_end: Option<Timestamp>) -> Option<Timestamp> {
    present_end.map(|end| now + end.duration_since(made_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    /// Promise: M2
    #[test]
    fn scopes_are_words_with_colons_between_them_and_a_star_at_most_at_the_end() {
        let longest = "a".repeat(64);
        for scope in ["*", "read", "deployments:write", "deployments:*", "a:b:c", "A_b-c.9:*", &longest] {
            assert!(is_scope(scope), "{scope}");
        }
        let too_long = "a".repeat(65);
        for odd in [
            "", ":", "a:", ":a", "a::b", "**", "a*", "*a", "*:a", "a:*:b", "a:b*", "a b", "a,b", "ä", "a\n", "a:*x",
            &too_long,
        ] {
            assert!(!is_scope(odd), "{odd:?}");
        }
    }

    /// Promise: M4
    #[test]
    fn a_scope_covers_itself_and_a_star_what_lies_below() {
        for (granted, wanted, is_covered) in [
            ("deployments:write", "deployments:write", true),
            ("deployments:write", "deployments:read", false),
            ("deployments:write", "deployments:write:all", false),
            ("deployments:write", "deployments:writ", false),
            ("deployments:write", "Deployments:write", false),
            ("deployments:*", "deployments:write", true),
            ("deployments:*", "deployments:a:b", true),
            ("deployments:*", "deployments:*", true),
            ("deployments:*", "deployments", false),
            ("deployments:*", "deployments:", false),
            ("deployments:*", "deploymentsx:write", false),
            ("deployments:*", "*", false),
            ("a:b:*", "a:*", false),
            ("a:*", "a:b:*", true),
            ("*", "deployments:write", true),
            ("*", "*", true),
            ("*", "", false),
            ("*", "not a scope", false),
        ] {
            assert_eq!(any_covers(&owned(&["other:scope", granted]), wanted), is_covered, "{granted} for {wanted}");
        }
        assert!(!any_covers(&[], "read"), "no scopes are no scope");
    }

    #[test]
    fn a_service_can_offer_only_scopes() {
        assert_eq!(Offered::new(owned(&["a:*", "b"])).expect("scopes").scopes(), ["a:*", "b"]);
        let error = Offered::new(owned(&["a:*", "a b"])).expect_err("no scope");
        assert!(error.message().starts_with("`a b` is no scope"), "{error}");
    }

    #[test]
    fn a_key_is_checked_as_a_whole() {
        let now: Timestamp = "2026-01-30T12:00:00Z".parse().expect("a time");
        let wanted = Wanted {
            name: Some(" CI \n".to_owned()),
            scopes: owned(&["b:write", "a:*", "b:write"]),
            at_most: Some(owned(&["a:*", "b:*"])),
            expires_in_days: Some(90),
            rate_limit: Some((100, Duration::from_secs(60))),
        };
        let checked = Checked {
            name: "CI".to_owned(),
            scopes: owned(&["a:*", "b:write"]),
            expires_at: Some("2026-04-30T12:00:00Z".parse().expect("a time")),
            rate_limit: Some(RateLimit { requests: 100, window_secs: 60 }),
        };
        assert_eq!(wanted.check(now).expect("in order"), checked);
        assert_eq!(Wanted::default().check(now).expect("in order").name, "API key");

        let wanted = Wanted {
            name: Some("a\u{7}".to_owned()),
            scopes: owned(&["*", "a:b", "x y"]),
            at_most: Some(owned(&["a:*"])),
            expires_in_days: Some(0),
            rate_limit: Some((0, Duration::from_secs(60))),
        };
        let error = wanted.check(now).expect_err("not in order");
        let fields: Vec<_> = error.field_errors().iter().map(|field| field.pointer.as_str()).collect();
        assert_eq!(fields, ["/name", "/scopes/0", "/scopes/2", "/expires_in_days", "/rate_limit"]);
        for (requests, window) in
            [(1, Duration::ZERO), (1, Duration::from_millis(1500)), (1, Duration::from_secs(86_401))]
        {
            let wanted = Wanted { rate_limit: Some((requests, window)), ..Wanted::default() };
            assert_eq!(wanted.check(now).expect_err("not in order").field_errors()[0].pointer, "/rate_limit");
        }
    }

    #[test]
    fn an_overlap_is_bounded_and_prolongs_no_life() {
        let now: Timestamp = "2026-01-30T12:00:00Z".parse().expect("a time");
        let hours = |n| SignedDuration::from_hours(n);
        let hour = Duration::from_secs(3600);
        assert_eq!(end_of_overlap(now, hour, None).expect("an end"), now + hours(1));
        assert_eq!(end_of_overlap(now, hour, Some(now + hours(2))).expect("an end"), now + hours(1));
        assert_eq!(end_of_overlap(now, hour, Some(now - hours(2))).expect("an end"), now - hours(2));
        assert_eq!(end_of_overlap(now, Duration::ZERO, None).expect("an end"), now);
        assert_eq!(end_of_overlap(now, LONGEST_OVERLAP, None).expect("an end"), now + hours(168));
        assert_eq!(
            end_of_overlap(now, hour * 169, None).expect_err("too long").field_errors()[0].pointer,
            "/overlap_hours"
        );
        assert_eq!(next_end(now, now - hours(24), Some(now + hours(24))), Some(now + hours(48)));
        assert_eq!(next_end(now, now - hours(24), None), None);
    }
}
