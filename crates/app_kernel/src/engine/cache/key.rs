//! What a key is, and how texts of anybody become a part of one.

use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Cache;
use crate::base::error::{Error, Result};
use crate::base::secret::token_hash;

/// The longest key, in bytes.
const LONGEST: usize = 512;
/// The longest part that is written out.
const LONGEST_PART: usize = 100;
/// What stands in a part as it is. A colon does not: it divides parts.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

pub(super) fn check(key: &str) -> Result<()> {
    let problem = if key.is_empty() {
        "is empty"
    } else if key.len() > LONGEST {
        "is too long"
    } else if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "has a space or a control character"
    } else {
        return Ok(());
    };
    let shown: String = key.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect();
    Err(Error::invalid(format!(
        "the cache key `{shown}` {problem}; a key has 1 to {LONGEST} bytes without spaces and control characters, such as projects:42"
    )))
}

/// Any text as a part of a key: two that differ make parts that differ, and none reaches into the next. Long ones become their hash.
#[must_use]
pub fn key_part(text: impl Display) -> String {
    let text = text.to_string();
    let part = utf8_percent_encode(&text, PLAIN).to_string();
    if part.len() <= LONGEST_PART { part } else { format!("~{}", token_hash(&text)) }
}

/// What a `#[cached]` function reaches its cache by: its first argument.
#[diagnostic::on_unimplemented(
    message = "a #[cached] function reaches its cache by its first argument, and `{Self}` has none",
    label = "has no cache",
    note = "take the kernel first: `async fn get_projects(kernel: &Kernel, workspace_id: &str) -> Result<..>`; a `&Cache` and a `&JobContext` do too"
)]
pub trait HasCache {
    /// The cache.
    fn cache(&self) -> &Cache;
}

impl HasCache for Cache {
    fn cache(&self) -> &Cache {
        self
    }
}

impl<T: HasCache + ?Sized> HasCache for &T {
    fn cache(&self) -> &Cache {
        (**self).cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_refused_with_the_cure() {
        for (key, problem) in [
            ("", "is empty"),
            ("a b", "has a space"),
            ("a\nb", "has a space"),
            ("a\u{1b}b", "control"),
            ("a\u{a0}b", "has a space"),
            (&"x".repeat(513), "too long"),
        ] {
            let error = check(key).expect_err("no key");
            assert_eq!(error.http_status(), 400);
            assert!(error.message().contains(problem) && !error.message().contains('\n'), "{error}");
        }
        for key in ["a", "projects:42", "größe:*?[x]", &"x".repeat(512)] {
            check(key).expect("a key");
        }
    }

    /// Promise: K2
    #[test]
    fn no_part_reaches_into_the_next() {
        assert_eq!(key_part(42), "42");
        assert_eq!(key_part("a:b c%~*"), "a%3Ab%20c%25%7E%2A");
        let long = key_part("x".repeat(5000));
        assert_eq!((long.len(), &long[..1]), (65, "~"));
        assert_ne!(long, key_part("x".repeat(5001)));
        assert_ne!(long, key_part(&long));
        check(&format!("a:{}", key_part("\u{0} \u{10ffff}".repeat(3000)))).expect("a key");
    }
}
