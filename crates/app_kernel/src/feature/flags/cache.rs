//! All flags as this process last read them: evaluating one asks no database.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::store::{self, Flag};
use crate::base::error::Result;
use crate::engine::calls::Calls;
use crate::store::db::Db;
use crate::store::redis::Redis;

/// How long what was read is believed: a change in another process holds here after this long, also where nobody called.
pub const BELIEVED: Duration = Duration::from_secs(2);

/// Unknown names that are remembered, so that each is told once.
const MOST_UNKNOWN: usize = 1000;

/// All flags, by name.
pub(super) type Snapshot = HashMap<String, Flag>;

/// What the conversation of our processes is called.
const CHANNEL: &str = "app_kernel_flags";

/// What this process remembers of flags.
pub(crate) struct FlagCache {
    remembered: Mutex<Option<Remembered>>,
    /// Whoever has it reads for all.
    reading: tokio::sync::Mutex<()>,
    /// One more with each change that this process makes or hears of.
    changes: AtomicU64,
    unknown: Mutex<HashSet<String>>,
    calls: Calls,
}

impl Default for FlagCache {
    fn default() -> Self {
        FlagCache {
            remembered: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            changes: AtomicU64::default(),
            unknown: Mutex::default(),
            calls: Calls::new(CHANNEL),
        }
    }
}

struct Remembered {
    flags: Arc<Snapshot>,
    /// None once something was changed.
    read_at: Option<Instant>,
}

impl FlagCache {
    /// The flags; read anew where they are too old.
    pub(super) async fn flags(&self, db: &Db) -> Result<Arc<Snapshot>> {
        if let Some(flags) = self.fresh() {
            return Ok(flags);
        }
        let _reading = self.reading.lock().await;
        if let Some(flags) = self.fresh() {
            return Ok(flags);
        }
        let (changes, now) = (self.changes.load(Ordering::Acquire), Instant::now());
        match store::all(db).await {
            Ok(flags) => {
                let flags = flags.into_iter().map(|flag| (flag.entity.name.clone(), flag.entity)).collect();
                Ok(self.remember(Arc::new(flags), changes, now))
            }
            Err(error) => match lock(&self.remembered).as_mut() {
                Some(remembered) => {
                    tracing::warn!(error = ?error, "feature flags can't be read; they stay as they were");
                    remembered.read_at = Some(Instant::now());
                    Ok(Arc::clone(&remembered.flags))
                }
                None => Err(error),
            },
        }
    }

    /// Something was changed here: whoever asks from now on sees it, and soon in other processes too.
    pub(super) fn changed(&self) {
        self.forget();
        self.calls.call();
    }

    /// Calls other processes when something was changed here, and forgets what it read when they call. Goes on until it is told to stop.
    pub(crate) async fn keep_in_touch(self: Arc<Self>, db: Db, redis: Option<Redis>, mut stop: watch::Receiver<bool>) {
        let cache = Arc::clone(&self);
        let heard: Arc<dyn Fn() + Send + Sync> = Arc::new(move || cache.forget());
        tokio::select! {
            // A sender that is gone has stopped too.
            _told = stop.wait_for(|stopped| *stopped) => {}
            () = self.calls.listen(&db, redis.as_ref(), heard) => {}
            () = self.calls.tell(&db, redis.as_ref()) => {}
        }
    }

    /// Something was changed: what was read before is not believed any more.
    fn forget(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        if let Some(remembered) = lock(&self.remembered).as_mut() {
            remembered.read_at = None;
        }
    }

    /// A flag that nobody has set was asked for. Told once: it may be a typing mistake, or not yet set.
    pub(super) fn is_unknown(&self, name: &str) {
        let mut unknown = lock(&self.unknown);
        if unknown.len() < MOST_UNKNOWN && unknown.insert(name.to_owned()) {
            tracing::info!(flag = name, "feature flag `{name}` was never set, so it is off");
        }
    }

    fn fresh(&self) -> Option<Arc<Snapshot>> {
        let remembered = lock(&self.remembered);
        let remembered = remembered.as_ref()?;
        (remembered.read_at?.elapsed() < BELIEVED).then(|| Arc::clone(&remembered.flags))
    }

    /// What was read while something was changed is good for whoever asked before, and no longer.
    fn remember(&self, flags: Arc<Snapshot>, changes: u64, read_at: Instant) -> Arc<Snapshot> {
        let mut remembered = lock(&self.remembered);
        let read_at = (self.changes.load(Ordering::Acquire) == changes).then_some(read_at);
        *remembered = Some(Remembered { flags: Arc::clone(&flags), read_at });
        flags
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: N3
    #[test]
    fn what_was_read_is_believed_for_its_time_unless_something_changes() {
        let cache = FlagCache::default();
        let put = |age| cache.remember(Arc::default(), cache.changes.load(Ordering::Acquire), Instant::now() - age);
        put(Duration::ZERO);
        assert!(cache.fresh().is_some());
        put(BELIEVED);
        assert!(cache.fresh().is_none());
        put(Duration::ZERO);
        cache.forget();
        assert!(cache.fresh().is_none());

        let before = cache.changes.load(Ordering::Acquire);
        cache.forget();
        cache.remember(Arc::default(), before, Instant::now());
        assert!(cache.fresh().is_none(), "it was read before the change");
    }

    #[test]
    fn names_that_nobody_set_are_remembered_up_to_a_bound() {
        let cache = FlagCache::default();
        for n in 0..2 * MOST_UNKNOWN {
            cache.is_unknown(&n.to_string());
        }
        assert_eq!(lock(&cache.unknown).len(), MOST_UNKNOWN);
    }
}
