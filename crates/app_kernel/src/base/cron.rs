//! Cron expressions: when something comes round again.

use std::sync::Arc;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};

use super::clock::Timestamp;
use super::error::{Error, Result};

/// A rule of five fields: minute, hour, day of the month, month, day of the week, such as `30 3 * * MON-FRI`. In UTC.
#[derive(Debug, Clone)]
pub struct Cron {
    text: Arc<str>,
    crontab: Arc<Crontab>,
}

impl Cron {
    /// Reads an expression. One that never comes round is none.
    ///
    /// # Errors
    /// Where it is none; says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.split_ascii_whitespace().count() != 5 {
            return Err(Error::invalid(
                "it has not five fields: minute, hour, day of the month, month, day of the week",
            ));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let crontab = cronexpr::parse_crontab_with(text, options)
            .map_err(|problem| Error::invalid(one_line(&problem.to_string())))?;
        let cron = Cron { text: text.into(), crontab: Arc::new(crontab) };
        match cron.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(cron),
            None => Err(Error::invalid("it never comes round")),
        }
    }

    /// The next time it comes round after a moment. None at the end of time.
    #[must_use]
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.crontab.find_next(MakeTimestamp(moment)).ok().map(|next| next.timestamp())
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The parser draws an arrow below the place; a line of a start has room for the last line, which says what is wrong.
fn one_line(text: &str) -> String {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it can't be read");
    last.trim_start_matches(|c: char| c.is_whitespace() || c == '^').trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, after: &str) -> String {
        let cron = Cron::parse(expression).expect("an expression");
        let next = cron.next_after(after.parse().expect("a time")).expect("a next time");
        crate::base::clock::format_timestamp(next)
    }

    #[test]
    fn the_next_time_is_after_the_moment_and_in_utc() {
        assert_eq!(next("0 3 * * *", "2026-01-30T02:59:59Z"), "2026-01-30T03:00:00.000000Z");
        assert_eq!(next("0 3 * * *", "2026-01-30T03:00:00Z"), "2026-01-31T03:00:00.000000Z");
        assert_eq!(next(" */15 * * * * ", "2026-01-30T12:07:30.5Z"), "2026-01-30T12:15:00.000000Z");
        assert_eq!(next("30 3 * * MON-FRI", "2026-01-30T12:00:00Z"), "2026-02-02T03:30:00.000000Z");
        assert_eq!(next("0 0 29 2 *", "2026-01-30T12:00:00Z"), "2028-02-29T00:00:00.000000Z");
    }

    #[test]
    fn what_is_no_rule_is_refused_in_one_line() {
        for wrong in ["", "daily", "* * * *", "61 * * * *", "* * * * * *", "0 0 31 2 *", "0 3 * * * Europe/Berlin"] {
            let message = Cron::parse(wrong).expect_err("no expression").to_string();
            assert!(!message.contains('\n') && message.len() > 10, "{wrong}: {message}");
        }
    }
}
