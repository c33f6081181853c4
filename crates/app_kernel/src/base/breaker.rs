//! A circuit breaker: after some failures in a row, nobody asks a server that is away, until a probe finds it back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// How many failures in a row open it.
    pub failures: u32,
    /// How long nobody asks; then one probe does.
    pub pause: Duration,
}

/// Counts what becomes of calls. It knows no server: who calls asks [`Breaker::admit`] before, and says what became of it.
#[derive(Debug)]
pub struct Breaker {
    rule: BreakerRule,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Ask.
    Ask,
    /// Probe: nobody else asks until it is known what became of it.
    Probe,
    /// Don't ask.
    Refused,
}

impl Breaker {
    /// A closed one: everybody asks.
    #[must_use]
    pub fn new(rule: BreakerRule) -> Self {
        Breaker { rule, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Whether to ask now.
    #[must_use]
    pub fn admit(&self, now: Instant) -> Admission {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => Admission::Ask,
            State::Open { until } if now >= until => {
                *state = State::Probing;
                Admission::Probe
            }
            State::Open { .. } | State::Probing => Admission::Refused,
        }
    }

    /// It answered. Whether that closed the breaker.
    pub fn succeeded(&self) -> bool {
        let mut state = self.state();
        let was_open = !matches!(*state, State::Closed { .. });
        *state = State::Closed { failures: 0 };
        was_open
    }

    /// It did not answer. Whether that opened the breaker.
    pub fn failed(&self, now: Instant) -> bool {
        let mut state = self.state();
        match *state {
            State::Closed { failures } if failures + 1 < self.rule.failures => {
                *state = State::Closed { failures: failures + 1 };
                false
            }
            State::Closed { .. } => {
                *state = State::Open { until: now + self.rule.pause };
                true
            }
            State::Probing => {
                *state = State::Open { until: now + self.rule.pause };
                false
            }
            // One that was under way when it opened.
            State::Open { .. } => false,
        }
    }

    /// A probe came to nothing, neither good nor bad: whoever comes next may probe.
    pub fn abandoned(&self, now: Instant) {
        let mut state = self.state();
        if let State::Probing = *state {
            *state = State::Open { until: now };
        }
    }

    /// How long nobody asks. While a probe is under way, as long as a pause: that is what follows if it fails.
    #[must_use]
    pub fn pause_left(&self, now: Instant) -> Duration {
        match *self.state() {
            State::Closed { .. } => Duration::ZERO,
            State::Open { until } => until.saturating_duration_since(now),
            State::Probing => self.rule.pause,
        }
    }

    /// When it opens, and for how long.
    #[must_use]
    pub fn rule(&self) -> BreakerRule {
        self.rule
    }

    /// Whether nobody asks, but for a probe.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(*self.state(), State::Closed { .. })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BreakerRule = BreakerRule { failures: 3, pause: Duration::from_secs(2) };

    /// Promise: R-08
    #[test]
    fn it_opens_after_failures_in_a_row_and_a_probe_closes_it() {
        let (breaker, now) = (Breaker::new(RULE), Instant::now());
        assert!(!breaker.failed(now) && !breaker.failed(now));
        assert!(!breaker.succeeded(), "it was not open");
        assert!(!breaker.failed(now) && !breaker.failed(now), "a success in between starts the count anew");
        assert_eq!(breaker.admit(now), Admission::Ask);
        assert!(breaker.failed(now));
        assert!(breaker.is_open() && !breaker.failed(now), "it opens once");

        let later = now + RULE.pause;
        assert_eq!(breaker.admit(later - Duration::from_millis(1)), Admission::Refused);
        assert_eq!([breaker.admit(later), breaker.admit(later)], [Admission::Probe, Admission::Refused]);
        assert!(!breaker.failed(later), "it was open already");
        assert_eq!(breaker.admit(later), Admission::Refused, "and pauses again");

        let last = later + RULE.pause;
        assert_eq!(breaker.admit(last), Admission::Probe);
        assert!(breaker.succeeded());
        assert_eq!((breaker.admit(last), breaker.is_open()), (Admission::Ask, false));
        assert!(!breaker.failed(last), "the count starts anew");
    }

    /// Promise: R-31
    #[test]
    fn a_probe_that_nobody_waited_for_makes_room_for_another() {
        let (breaker, now) = (Breaker::new(BreakerRule { failures: 1, ..RULE }), Instant::now());
        assert!(breaker.failed(now));
        assert_eq!(breaker.pause_left(now), RULE.pause);
        let later = now + RULE.pause;
        assert_eq!((breaker.admit(later), breaker.pause_left(later)), (Admission::Probe, RULE.pause));
        breaker.abandoned(later);
        assert_eq!([breaker.admit(later), breaker.admit(later)], [Admission::Probe, Admission::Refused]);
        assert!(breaker.succeeded());
        breaker.abandoned(later);
        assert_eq!((breaker.admit(later), breaker.pause_left(later)), (Admission::Ask, Duration::ZERO));
    }
}
