//! The form within this process: for each key, the moments of what was admitted lately. Memory is bounded by what is admitted in a window, and
//! by a number of keys: beyond it, those that had least are forgotten first, so that a flood of new keys can't wash out the ones that matter.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

use super::{Standing, Window};
use crate::base::clock::Clock;

/// Most keys that are remembered.
const MOST_KEYS: usize = 65_536;
/// Into how many maps they are divided, so that threads don't wait for each other.
const SHARDS: usize = 16;

#[derive(Debug)]
pub(super) struct Moments {
    clock: Clock,
    hasher: RandomState,
    most_keys_each: usize,
    shards: [Mutex<HashMap<u64, Log>>; SHARDS],
}

/// What one key had.
#[derive(Debug, Default)]
struct Log {
    /// In microseconds, the oldest first.
    moments: VecDeque<i64>,
    window: i64,
}

impl Log {
    fn forget_until(&mut self, end: i64) {
        while self.moments.front().is_some_and(|moment| *moment <= end) {
            self.moments.pop_front();
        }
    }

    fn is_over(&self, now: i64) -> bool {
        self.moments.back().is_none_or(|last| last.saturating_add(self.window) <= now)
    }

    /// Where a key stands that may have no more; none where it may.
    fn refusal(&self, window: Window, now: i64) -> Option<Standing> {
        let most = window.most as usize;
        let count = self.moments.len();
        // Where the limit has become smaller since, more than one must go before the next may come.
        (count >= most).then(|| window.standing(false, count, self.moments[count - most], now))
    }
}

impl Moments {
    pub(super) fn new(clock: Clock) -> Self {
        Moments {
            clock,
            hasher: RandomState::new(),
            most_keys_each: MOST_KEYS / SHARDS,
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Takes one, where there is one.
    pub(super) fn take(&self, key: &impl Hash, window: Window) -> Standing {
        self.visit(key, window, |log, now| {
            log.refusal(window, now).unwrap_or_else(|| {
                log.moments.push_back(now);
                window.standing(true, log.moments.len(), log.moments[0], now)
            })
        })
    }

    /// Where a key stands that may have no more; none where it may. Takes nothing.
    pub(super) fn refusal(&self, key: &impl Hash, window: Window) -> Option<Standing> {
        let now = self.clock.now().as_microsecond();
        let key = self.hasher.hash_one(key);
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let log = shard.get_mut(&key)?;
        log.forget_until(now - window.micros());
        log.refusal(window, now)
    }

    /// Remembers what was admitted elsewhere.
    pub(super) fn note(&self, key: &impl Hash, window: Window) {
        self.visit(key, window, |log, now| log.moments.push_back(now));
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, Log>> {
        // The map uses the lower bits.
        &self.shards[(key >> 60) as usize % SHARDS]
    }

    fn visit<R>(&self, key: &impl Hash, window: Window, change: impl FnOnce(&mut Log, i64) -> R) -> R {
        let now = self.clock.now().as_microsecond();
        let key = self.hasher.hash_one(key);
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= self.most_keys_each && !shard.contains_key(&key) {
            make_room(&mut shard, now);
        }
        let log = shard.entry(key).or_default();
        log.window = window.micros();
        log.forget_until(now - log.window);
        change(log, now)
    }
}

/// Forgets the keys whose time is over; where that is not a quarter of all, also those that had least.
fn make_room(logs: &mut HashMap<u64, Log>, now: i64) {
    let before = logs.len();
    logs.retain(|_, log| !log.is_over(now));
    let enough = before - before / 4;
    if logs.len() > enough {
        let mut had: Vec<usize> = logs.values().map(|log| log.moments.len()).collect();
        let mut surplus = logs.len() - enough;
        let (_, &mut limit, _) = had.select_nth_unstable(surplus - 1);
        logs.retain(|_, log| {
            let goes = surplus > 0 && log.moments.len() <= limit;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use std::time::Duration;

    #[test]
    fn a_flood_of_keys_is_bounded_and_does_not_wash_out_who_had_most() {
        let mut moments = Moments::new(Clock::manual(Timestamp::UNIX_EPOCH));
        moments.most_keys_each = 100;
        let window = Window { most: 3, length: Duration::from_secs(60) };
        for _ in 0..3 {
            assert!(moments.take(&"attacker", window).admitted);
        }
        for key in 0..100_000 {
            assert!(moments.take(&key, window).admitted);
        }
        let keys: usize = moments.shards.iter().map(|shard| shard.lock().expect("not poisoned").len()).sum();
        assert!(keys <= 100 * SHARDS, "{keys}");
        assert!(!moments.take(&"attacker", window).admitted);
    }

    #[test]
    fn keys_whose_time_is_over_go_first() {
        let window = Window { most: 3, length: Duration::from_secs(60) };
        let mut logs = HashMap::new();
        for key in 0..8 {
            logs.insert(key, Log { moments: [key as i64].into(), window: window.micros() });
        }
        make_room(&mut logs, window.micros() + 3);
        assert_eq!(logs.len(), 4, "half of them were over, so none had to go before its time");
    }
}
