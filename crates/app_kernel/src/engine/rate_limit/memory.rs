//! A limiter within this process: the generic cell rate algorithm (GCRA), one number for each key.
//!
//! A key that was never seen, or has been quiet long enough, has its whole burst. What is refused takes nothing, so knocking on a
//! closed door does not keep it closed. Memory is bounded: when the map is full, the keys that spent least are forgotten first, so
//! that a flood of new keys can't wash out the ones that matter.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Clock;

/// Most keys that one limiter remembers: 16 bytes each, so about 2 MiB when a flood fills it.
const MOST_KEYS: usize = 65_536;

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
    fn interval_micros(self) -> i64 {
        micros(self.period) / i64::from(self.burst.max(1))
    }

    /// How far ahead of now a key's number may run.
    fn tolerance_micros(self) -> i64 {
        self.interval_micros() * (i64::from(self.burst) - 1)
    }
}

/// Counts by key, in this process.
#[derive(Debug)]
pub(crate) struct Limiter {
    quota: Quota,
    clock: Clock,
    hasher: RandomState,
    most_keys: usize,
    /// For each key's hash, when it will be as good as new (the "theoretical arrival time"), in microseconds.
    arrivals: Mutex<HashMap<u64, i64>>,
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

impl Limiter {
    pub(crate) fn new(quota: Quota, clock: Clock) -> Self {
        Limiter { quota, clock, hasher: RandomState::new(), most_keys: MOST_KEYS, arrivals: Mutex::default() }
    }

    /// Takes one, or says how long to wait.
    pub(crate) fn take(&self, key: &impl Hash) -> Result<(), Wait> {
        self.take_of(key, self.quota)
    }

    /// The same for a key that has a quota of its own.
    pub(crate) fn take_of(&self, key: &impl Hash, quota: Quota) -> Result<(), Wait> {
        self.visit(key, |arrival, now, _| {
            allowed(arrival, now, quota)?;
            Ok(Some(arrival + quota.interval_micros()))
        })
    }

    /// Whether one could be taken now. Takes nothing.
    pub(crate) fn check(&self, key: &impl Hash) -> Result<(), Wait> {
        self.visit(key, |arrival, now, quota| allowed(arrival, now, quota).map(|()| None))
    }

    /// Counts what has happened already, allowed or not; never beyond what an empty budget owes.
    pub(crate) fn count(&self, key: &impl Hash) {
        let counted = self.visit(key, |arrival, now, quota| {
            let most = now + quota.interval_micros() + quota.tolerance_micros();
            Ok(Some((arrival + quota.interval_micros()).min(most)))
        });
        debug_assert_eq!(counted, Ok(()));
    }

    /// Whether the key has its whole budget: nothing happened lately.
    pub(crate) fn is_fresh(&self, key: &impl Hash) -> bool {
        let is_fresh =
            self.visit(key, |arrival, now, _| if arrival > now { Err(Wait(Duration::ZERO)) } else { Ok(None) });
        is_fresh.is_ok()
    }

    /// Shows `decide` a key's arrival time, never before now, and the time; keeps the new arrival time that it answers.
    fn visit(
        &self,
        key: &impl Hash,
        decide: impl FnOnce(i64, i64, Quota) -> Result<Option<i64>, Wait>,
    ) -> Result<(), Wait> {
        let key = self.hasher.hash_one(key);
        let now = self.clock.now().as_microsecond();
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = arrivals.get(&key).copied().unwrap_or(now).max(now);
        if let Some(arrival) = decide(arrival, now, self.quota)? {
            if arrivals.len() >= self.most_keys && !arrivals.contains_key(&key) {
                make_room(&mut arrivals, now);
            }
            arrivals.insert(key, arrival);
        }
        Ok(())
    }
}

fn allowed(arrival: i64, now: i64, quota: Quota) -> Result<(), Wait> {
    match arrival - quota.tolerance_micros() - now {
        ..=0 => Ok(()),
        early => Err(Wait(Duration::from_micros(early.unsigned_abs()))),
    }
}

/// Forgets the keys that are as good as new; where that is not a quarter of all, also those that spent least.
fn make_room(arrivals: &mut HashMap<u64, i64>, now: i64) {
    let before = arrivals.len();
    arrivals.retain(|_, arrival| *arrival > now);
    let enough = before - before / 4;
    if arrivals.len() > enough {
        let mut spent: Vec<i64> = arrivals.values().copied().collect();
        let (_, &mut limit, _) = spent.select_nth_unstable(before / 4);
        let mut surplus = arrivals.len() - enough;
        arrivals.retain(|_, arrival| {
            let goes = surplus > 0 && *arrival <= limit;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    const THREE_A_MINUTE: Quota = Quota { burst: 3, period: Duration::from_secs(60) };

    fn limiter(quota: Quota) -> (Limiter, Clock) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        (Limiter::new(quota, clock.clone()), clock)
    }

    #[test]
    fn a_burst_passes_and_then_one_for_each_interval() {
        let (limiter, clock) = limiter(THREE_A_MINUTE);
        for _ in 0..3 {
            assert_eq!(limiter.take(&"ann"), Ok(()));
        }
        assert_eq!(limiter.take(&"ann"), Err(Wait(Duration::from_secs(20))));
        assert_eq!(limiter.take(&"bob"), Ok(()), "keys are apart");
        clock.advance(Duration::from_secs(20));
        assert_eq!(limiter.take(&"ann"), Ok(()));
        assert!(limiter.take(&"ann").is_err());
        clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(limiter.take(&"ann"), Ok(()));
        }
        assert!(limiter.take(&"ann").is_err(), "quiet time is not saved up beyond the burst");
    }

    #[test]
    fn a_key_may_have_a_quota_of_its_own() {
        let (limiter, clock) = limiter(THREE_A_MINUTE);
        let one_an_hour = Quota { burst: 1, period: Duration::from_secs(3600) };
        assert_eq!(limiter.take_of(&"ann", one_an_hour), Ok(()));
        clock.advance(Duration::from_secs(600));
        assert_eq!(limiter.take_of(&"ann", one_an_hour), Err(Wait(Duration::from_secs(3000))));
        assert_eq!(limiter.take(&"bob"), Ok(()));
    }

    #[test]
    fn what_is_refused_does_not_prolong_the_wait() {
        let (limiter, clock) = limiter(THREE_A_MINUTE);
        for _ in 0..1000 {
            let _refused_or_not = limiter.take(&"ann");
        }
        assert_eq!(limiter.check(&"ann"), Err(Wait(Duration::from_secs(20))));
        for _ in 0..1000 {
            limiter.count(&"bob");
        }
        assert_eq!(limiter.check(&"bob"), Err(Wait(Duration::from_secs(20))), "counting stops at an empty budget");
        clock.advance(Duration::from_secs(20));
        assert_eq!((limiter.check(&"ann"), limiter.check(&"bob")), (Ok(()), Ok(())));
    }

    #[test]
    fn a_key_is_fresh_until_something_counts_and_again_when_it_came_back() {
        let (limiter, clock) = limiter(THREE_A_MINUTE);
        assert!(limiter.is_fresh(&"ann"));
        assert_eq!(limiter.check(&"ann"), Ok(()));
        assert!(limiter.is_fresh(&"ann"), "looking is free");
        limiter.count(&"ann");
        assert!(!limiter.is_fresh(&"ann"));
        clock.advance(Duration::from_secs(20));
        assert!(limiter.is_fresh(&"ann"));
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_does_not_wash_out_who_spent_most() {
        let (mut limiter, _clock) = limiter(THREE_A_MINUTE);
        limiter.most_keys = 1000;
        for _ in 0..3 {
            limiter.count(&"attacker");
        }
        for key in 0..100_000 {
            limiter.count(&key);
        }
        assert!(limiter.arrivals.lock().expect("not poisoned").len() <= 1000);
        assert!(limiter.check(&"attacker").is_err());
    }

    #[test]
    fn retry_after_is_whole_seconds_and_never_too_early() {
        assert_eq!(Wait(Duration::from_millis(1)).as_secs(), 1);
        assert_eq!(Wait(Duration::from_millis(1000)).as_secs(), 1);
        assert_eq!(Wait(Duration::from_millis(1001)).as_secs(), 2);
    }
}
