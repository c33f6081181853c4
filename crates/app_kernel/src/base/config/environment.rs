//! Single values from the environment.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::variables::VARIABLES;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// Reads single variables and names them where they don't fit.
pub(super) struct Environment(pub(super) BTreeMap<String, String>);

impl Environment {
    pub(super) fn text_even_if_empty(&self, name: &str) -> Option<String> {
        debug_assert!(VARIABLES.iter().any(|v| v.is_called(name)), "{name} is not in the table");
        self.0.get(name).map(|text| text.trim().to_owned())
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.text_even_if_empty(name).filter(|text| !text.is_empty())
    }

    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    pub(super) fn optional<T: FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Error::invalid(format!("{name} is `{text}`; it must be {wanted}")))
    }

    pub(super) fn parsed<T: FromStr>(&self, name: &str, default: T, wanted: &str) -> Result<T> {
        Ok(self.optional(name, wanted)?.unwrap_or(default))
    }

    pub(super) fn secs(&self, name: &str, default: Duration) -> Result<Duration> {
        let secs = self.optional(name, "a number of seconds from 1 to 86400")?;
        match secs {
            None => Ok(default),
            Some(secs @ 1..=86_400) => Ok(Duration::from_secs(secs)),
            Some(secs) => Err(Error::invalid(format!("{name} is {secs}; it must be from 1 to 86400 seconds"))),
        }
    }

    pub(super) fn one_of<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some((_, value)) = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
            return Ok(Some(*value));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        Err(Error::invalid(format!("{name} is `{text}`; it must be {}", words.join(" or "))))
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.optional_flag(name)?.unwrap_or(default))
    }

    pub(super) fn optional_flag(&self, name: &str) -> Result<Option<bool>> {
        let words = [
            ("true", true),
            ("false", false),
            ("1", true),
            ("0", false),
            ("yes", true),
            ("no", false),
            ("on", true),
            ("off", false),
        ];
        self.one_of(name, &words).map_err(|_| {
            Error::invalid(format!("{name} is `{}`; it must be true or false", self.text(name).unwrap_or_default()))
        })
    }
}
