//! The arithmetic of limits: the generic cell rate algorithm (GCRA), one number for each key.
//!
//! The number is the time at which the key will be as good as new, its "theoretical arrival time", in microseconds. What comes moves it on by
//! an interval; what would move it further ahead of now than the burst allows is refused, and moves nothing.

use std::time::Duration;

/// So many in such a time; all of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    /// How many.
    pub(crate) burst: u32,
    /// In what time as many come back.
    pub(crate) period: Duration,
}

impl Quota {
    /// How long it takes until one more comes back.
    pub(super) fn interval_micros(self) -> i64 {
        micros(self.period) / i64::from(self.burst.max(1))
    }

    /// How far ahead of now a key's number may run.
    pub(super) fn tolerance_micros(self) -> i64 {
        self.interval_micros() * (i64::from(self.burst) - 1)
    }

    /// The furthest that a key's number may lie ahead: an empty budget.
    pub(super) fn most(self, now: i64) -> i64 {
        now + self.interval_micros() + self.tolerance_micros()
    }

    /// Whether a key with this number may have one more.
    pub(super) fn allows(self, arrival: i64, now: i64) -> Result<(), Wait> {
        match arrival - self.tolerance_micros() - now {
            ..=0 => Ok(()),
            early => Err(Wait(Duration::from_micros(early.unsigned_abs()))),
        }
    }
}

/// Refused; after this time one more is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

impl Wait {
    /// For `Retry-After`: whole seconds, at least one, never too early.
    pub(crate) fn as_secs(self) -> u32 {
        u32::try_from(self.0.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_and_never_too_early() {
        assert_eq!(Wait(Duration::from_millis(1)).as_secs(), 1);
        assert_eq!(Wait(Duration::from_millis(1000)).as_secs(), 1);
        assert_eq!(Wait(Duration::from_millis(1001)).as_secs(), 2);
    }
}
