//! The form within this process. Memory is bounded: when the map is full, the keys that spent least are forgotten first, so
//! that a flood of new keys can't wash out the ones that matter.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(crate) use super::quota::{Quota, Wait};
use crate::base::clock::Clock;

/// Most keys that one limiter remembers: 16 bytes each, so about 2 MiB when a flood fills it.
const MOST_KEYS: usize = 65_536;

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

impl Limiter {
    pub(crate) fn new(quota: Quota, clock: Clock) -> Self {
        Limiter { quota, clock, hasher: RandomState::new(), most_keys: MOST_KEYS, arrivals: Mutex::default() }
    }

    /// Takes one, or says how long to wait.
    pub(crate) fn take(&self, key: &impl Hash) -> Result<(), Wait> {
        self.visit(key, |arrival, now, quota| {
            quota.allows(arrival, now)?;
            Ok(Some(arrival + quota.interval_micros()))
        })
    }

    /// Whether one could be taken now. Takes nothing.
    pub(crate) fn check(&self, key: &impl Hash) -> Result<(), Wait> {
        self.visit(key, |arrival, now, quota| quota.allows(arrival, now).map(|()| None))
    }

    /// Counts what has happened already, allowed or not; never beyond what an empty budget owes.
    pub(crate) fn count(&self, key: &impl Hash) {
        let counted =
            self.visit(key, |arrival, now, quota| Ok(Some((arrival + quota.interval_micros()).min(quota.most(now)))));
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
}
