//! Values that are dear to find out and may be a little old, by key: in Redis, where all processes share them, else in this process, in bounded
//! memory.
//!
//! - Nothing depends on it. While Redis is away this process goes on in its own memory; what it changed meanwhile it takes out of Redis before it
//!   reads there again, so a value that was deleted does not come back.
//! - [`Cache::get_or_set`] has a value found out once for all who ask at the same time: in this process, and over processes where they share Redis.
//! - A value that was found out before its key was deleted, and arrives after, is not kept.
//! - Who may see a value is the caller's business: **put the workspace, or the user, into the key** of what is theirs, or one reads what another
//!   may see. `#[cached]` refuses arguments that are not in the key.

mod flights;
mod key;
mod memory;
mod redis;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use self::flights::Flights;
use self::memory::Memory;
use self::redis::{Look, Shared};
use crate::base::clock::Clock;
use crate::base::error::{Error, Result};
use crate::base::metrics::Samples;
use crate::store::redis::Redis;

pub use self::key::{HasCache, key_part};

/// How often somebody looks whether another process has found a value out, and how long.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const PATIENCE: Duration = Duration::from_secs(5);

/// The cache of a service. Cheap to clone.
///
/// ```no_run
/// # use std::time::Duration;
/// # use app_kernel::prelude::*;
/// # async fn find_out() -> Result<Vec<String>> { Ok(Vec::new()) }
/// # async fn example(kernel: &Kernel) -> Result<()> {
/// let cache = kernel.cache();
/// cache.set("greeting", &"hello", Duration::from_secs(300)).await?;
/// let greeting: Option<String> = cache.get("greeting").await?;
/// let names = cache.get_or_set("names", Duration::from_secs(60), find_out()).await?;
/// cache.delete("names").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    clock: Clock,
    memory: Memory,
    shared: Option<Shared>,
    flights: Flights,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

/// How often a cache was of use since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Values that were there.
    pub hits: u64,
    /// Values that were not.
    pub misses: u64,
    /// Questions that Redis did not answer, and values that were there and could not be read. Each is a miss besides, where something was asked for.
    pub errors: u64,
}

/// A value as it lies in the cache: JSON, and until when it is good. Times are microseconds by the clocks of the processes; where these differ,
/// values live so much longer or shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    fresh_until: i64,
    dead_at: i64,
    json: Vec<u8>,
}

impl Entry {
    fn to_bytes(&self) -> Vec<u8> {
        [&self.fresh_until.to_le_bytes()[..], &self.dead_at.to_le_bytes(), &self.json].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (fresh_until, rest) = bytes.split_first_chunk()?;
        let (dead_at, json) = rest.split_first_chunk()?;
        let (fresh_until, dead_at) = (i64::from_le_bytes(*fresh_until), i64::from_le_bytes(*dead_at));
        Some(Entry { fresh_until, dead_at, json: json.to_vec() })
    }
}

/// How long a value is good.
#[derive(Debug, Clone, Copy)]
struct Life {
    fresh: Duration,
    stale: Duration,
}

impl Life {
    fn checked(fresh: Duration, stale: Duration) -> Result<Self> {
        let whole = fresh.saturating_add(stale);
        if fresh < Duration::from_millis(1) || whole > Duration::from_secs(366 * 86_400) {
            let message = format!(
                "a cached value can't live for {fresh:?}; give a time from a millisecond to a year, such as Duration::from_secs(300)"
            );
            return Err(Error::invalid(message));
        }
        Ok(Life { fresh, stale })
    }
}

impl Cache {
    pub(crate) fn new(clock: Clock, redis: Option<Redis>, most_bytes: u64) -> Self {
        let (memory, flights) = (Memory::new(most_bytes), Flights::default());
        Cache(Arc::new(Inner { clock, memory, shared: redis.map(Shared::new), flights, counts: Counts::default() }))
    }

    /// The value of a key; none where there is none, or none of this type.
    ///
    /// # Errors
    /// Where the key is none: it has 1 to 512 bytes without spaces and control characters.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        key::check(key)?;
        let entry = self.read(key).await;
        Ok(self.counted(entry.and_then(|entry| self.decode(key, &entry))))
    }

    /// Keeps a value for so long. Where Redis is away it is kept in this process.
    ///
    /// # Errors
    /// Where the key is none, see [`Cache::get`], the time is nothing or more than a year, or the value is no JSON.
    pub async fn set<T: Serialize + ?Sized>(&self, key: &str, value: &T, ttl: Duration) -> Result<()> {
        key::check(key)?;
        let entry = self.encode(key, value, Life::checked(ttl, Duration::ZERO)?)?;
        self.0.flights.void(|flying| flying == key);
        if let Some(shared) = self.shared_now().await {
            match shared.set(key, &entry, ttl).await {
                Ok(()) => return Ok(()),
                Err(_away) => self.missed(|| shared.owe(key)),
            }
        } else if let Some(shared) = &self.0.shared {
            shared.owe(key);
        }
        self.0.memory.set(key, entry, self.now());
        Ok(())
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// Where the key is none, see [`Cache::get`].
    pub async fn delete(&self, key: &str) -> Result<()> {
        key::check(key)?;
        self.0.flights.void(|flying| flying == key);
        self.0.memory.delete(key);
        if let Some(shared) = self.shared_now().await {
            if shared.delete(key).await.is_err() {
                self.missed(|| shared.owe(key));
            }
        } else if let Some(shared) = &self.0.shared {
            shared.owe(key);
        }
        Ok(())
    }

    /// Forgets all keys that begin so. In Redis that looks through all keys of the server: for rare occasions.
    ///
    /// # Errors
    /// Where the beginning is no part of a key, or is empty.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        key::check(prefix)?;
        self.0.flights.void(|flying| flying.starts_with(prefix));
        self.0.memory.delete_prefix(prefix);
        if let Some(shared) = self.shared_now().await {
            if shared.delete_prefix(prefix).await.is_err() {
                self.missed(|| shared.owe_everything());
            }
        } else if let Some(shared) = &self.0.shared {
            shared.owe_everything();
        }
        Ok(())
    }

    /// The value of a key, found out by `load` and kept for so long where there is none. Of all who ask at once, one finds it out. What it fails
    /// with is not kept; the next one tries.
    ///
    /// # Errors
    /// What `load` fails with, and as [`Cache::set`].
    pub async fn get_or_set<T, E>(
        &self,
        key: &str,
        ttl: Duration,
        load: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        key::check(key)?;
        let life = Life::checked(ttl, Duration::ZERO)?;
        if let Some(value) = self.counted(self.read(key).await.and_then(|entry| self.decode(key, &entry))) {
            return Ok(value);
        }
        self.find_out(key, life, load).await
    }

    /// The same, but that a value which is older than `ttl`, and not older than `stale` besides, is answered at once, while it is found out anew beside.
    ///
    /// # Errors
    /// As [`Cache::get_or_set`]. What a load beside fails with goes to the log.
    pub async fn get_or_refresh<T, E>(
        &self,
        key: &str,
        ttl: Duration,
        stale: Duration,
        load: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: From<Error> + fmt::Display + Send + 'static,
    {
        key::check(key)?;
        let life = Life::checked(ttl, stale)?;
        let found = self.read(key).await;
        let fresh_until = found.as_ref().map_or(i64::MIN, |entry| entry.fresh_until);
        let Some(value) = self.counted(found.and_then(|entry| self.decode(key, &entry))) else {
            return self.find_out(key, life, load).await;
        };
        if fresh_until <= self.now() && self.0.flights.is_idle(key) {
            let (cache, key) = (self.clone(), key.to_owned());
            tokio::spawn(async move {
                if let Err(error) = cache.renew(&key, life, load).await {
                    tracing::warn!(%error, "a cached value could not be found out anew; the old one is answered until it is too old");
                }
            });
        }
        Ok(value)
    }

    /// How often it was of use since the start.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        let Counts { hits, misses, errors } = &self.0.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CacheCounts { hits: read(hits), misses: read(misses), errors: read(errors) }
    }

    pub(crate) fn tell(&self, samples: &mut Samples) {
        let CacheCounts { hits, misses, errors } = self.counts();
        for (outcome, count) in [("hit", hits), ("miss", misses)] {
            let about = "Values that were asked of the cache, by whether they were there.";
            samples.counter("app_kernel_cache_reads_total", about, &[("outcome", outcome)], count);
        }
        let about = "Questions that Redis did not answer, and cached values that could not be read.";
        samples.counter("app_kernel_cache_errors_total", about, &[], errors);
    }

    // --- how -------------------------------------------------------------------------------------------------------------------------

    fn now(&self) -> i64 {
        self.0.clock.now().as_microsecond()
    }

    /// Redis, where there is one, and nothing is owed to it.
    async fn shared_now(&self) -> Option<&Shared> {
        let shared = self.0.shared.as_ref()?;
        match shared.settle().await {
            Ok(has_settled) => {
                if has_settled {
                    // It was used in Redis' place, and knows nothing of what others did meanwhile.
                    self.0.memory.clear();
                }
                Some(shared)
            }
            Err(_away) => None,
        }
    }

    /// Redis did not answer: goes on here.
    fn missed(&self, owe: impl FnOnce()) {
        self.0.counts.errors.fetch_add(1, Ordering::Relaxed);
        owe();
    }

    fn counted<T>(&self, value: Option<T>) -> Option<T> {
        let count = if value.is_some() { &self.0.counts.hits } else { &self.0.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
        value
    }

    fn encode<T: Serialize + ?Sized>(&self, key: &str, value: &T, life: Life) -> Result<Entry> {
        let json = serde_json::to_vec(value)
            .map_err(|cause| Error::internal(format!("the value of the cache key `{key}` is no JSON")).cause(cause))?;
        let micros = |life: Duration| i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
        let fresh_until = self.now().saturating_add(micros(life.fresh));
        Ok(Entry { fresh_until, dead_at: fresh_until.saturating_add(micros(life.stale)), json })
    }

    /// None where it is of another type: a release ago it may have been another one.
    fn decode<T: DeserializeOwned>(&self, key: &str, entry: &Entry) -> Option<T> {
        let decoded = serde_json::from_slice(&entry.json);
        if decoded.is_err() {
            self.0.counts.errors.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(key, "a cached value is not of the type that is asked for, and counts as missing");
        }
        decoded.ok()
    }

    /// A living entry.
    async fn read(&self, key: &str) -> Option<Entry> {
        let entry = match self.shared_now().await {
            Some(shared) => match shared.get(key).await {
                Ok(entry) => entry,
                Err(_away) => {
                    self.missed(|| shared.use_memory());
                    self.0.memory.get(key)
                }
            },
            None => self.0.memory.get(key),
        };
        entry.filter(|entry| entry.dead_at > self.now())
    }

    /// Has a value found out by one of those who ask at once.
    async fn find_out<T, E>(&self, key: &str, life: Life, load: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        let flight = self.0.flights.join(key);
        let waited = flight.turn.try_lock();
        let _turn = match waited {
            Ok(turn) => turn,
            Err(_) => {
                let turn = flight.turn.lock().await;
                // Who was before us has most likely found it out.
                if let Some(value) = self.read(key).await.and_then(|entry| self.decode(key, &entry)) {
                    return Ok(value);
                }
                turn
            }
        };
        flight.begin();
        let began = tokio::time::Instant::now();
        while let Some(shared) = self.shared_now().await {
            match shared.look(key).await {
                Ok(Look::Found(entry)) => match self.decode(key, &entry).filter(|_| entry.dead_at > self.now()) {
                    Some(value) => return Ok(value),
                    // Not of our type, or dead by our clock: out of the way with it.
                    None if began.elapsed() < PATIENCE && shared.delete(key).await.is_ok() => {}
                    None => return load.await,
                },
                Ok(Look::Ours(token)) => {
                    let leave = shared.leave_unless_landed(key, &token);
                    let value = load.await?;
                    let entry = self.encode(key, &value, life)?;
                    match shared.land(key, &token, &entry, life.fresh.saturating_add(life.stale)).await {
                        Ok(()) => leave.landed(),
                        Err(_away) => self.missed(|| shared.use_memory()),
                    }
                    return Ok(value);
                }
                Ok(Look::Theirs) if began.elapsed() < PATIENCE => tokio::time::sleep(LOOK_EVERY).await,
                // They take long. Found out besides, and left to them to keep.
                Ok(Look::Theirs) => return load.await,
                Err(_away) => {
                    self.missed(|| shared.use_memory());
                    break;
                }
            }
        }
        let value = load.await?;
        let entry = self.encode(key, &value, life)?;
        if flight.may_land() {
            self.0.memory.set(key, entry, self.now());
        }
        Ok(value)
    }

    /// Finds a value out anew, unless somebody else does, or just has.
    async fn renew<T, E>(&self, key: &str, life: Life, load: impl Future<Output = Result<T, E>>) -> Result<(), E>
    where
        T: Serialize,
        E: From<Error>,
    {
        let flight = self.0.flights.join(key);
        let Ok(_turn) = flight.turn.try_lock() else { return Ok(()) };
        flight.begin();
        let whole = life.fresh.saturating_add(life.stale);
        if let Some(shared) = self.shared_now().await {
            let Ok(Some(token)) = shared.take_flight(key).await else { return Ok(()) };
            let leave = shared.leave_unless_landed(key, &token);
            if self.is_fresh(key).await {
                return Ok(());
            }
            let entry = self.encode(key, &load.await?, life)?;
            if shared.land(key, &token, &entry, whole).await.is_ok() {
                leave.landed();
            }
            return Ok(());
        }
        if self.is_fresh(key).await {
            return Ok(());
        }
        let entry = self.encode(key, &load.await?, life)?;
        if flight.may_land() {
            self.0.memory.set(key, entry, self.now());
        }
        Ok(())
    }

    async fn is_fresh(&self, key: &str) -> bool {
        self.read(key).await.is_some_and(|entry| entry.fresh_until > self.now())
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("is_shared", &self.0.shared.is_some()).field("counts", &self.counts()).finish()
    }
}
