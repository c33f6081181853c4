//! The form that processes share. Beside a value there may be a flight: the mark of who finds it out, which goes away by itself.
//!
//! Whoever sets or deletes a key takes its flight away, so that what was found out before can't land after. While Redis is away, what should
//! have been told it is noted down, and told before anything else when it is back.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use super::Entry;
use crate::base::error::{Error, Result};
use crate::base::id::new_id;
use crate::store::redis::{Redis, Script, command};

/// How long somebody may take to find a value out that is to be kept.
const FLIGHT: Duration = Duration::from_secs(30);
/// More keys than these are not remembered singly.
const MOST_DEBTS: usize = 10_000;
/// How many keys one command takes.
const BATCH: usize = 500;

static SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new("redis.call('DEL', KEYS[2]) redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1")
});
static LOOK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local value = redis.call('GET', KEYS[1])
        if value then
            return {'found', value}
        end
        if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
            return {'ours', ''}
        end
        return {'theirs', ''}
        ",
    )
});
static LAND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        if redis.call('GET', KEYS[2]) == ARGV[1] then
            redis.call('DEL', KEYS[2])
            redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        end
        return 1
        ",
    )
});
static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1")
});

pub(super) struct Shared {
    redis: Redis,
    /// Whether this process has gone on without it.
    was_away: AtomicBool,
    debts: Mutex<Debts>,
    /// Who settles.
    settling: tokio::sync::Mutex<()>,
}

/// What Redis was not told.
#[derive(Default)]
struct Debts {
    keys: HashSet<String>,
    everything: bool,
}

/// What is known of a key.
pub(super) enum Look {
    Found(Entry),
    /// Nothing, and it is on us to find it out.
    Ours(String),
    /// Nothing, and somebody else finds it out.
    Theirs,
}

impl Shared {
    pub(super) fn new(redis: Redis) -> Self {
        let (was_away, debts, settling) = (AtomicBool::new(false), Mutex::default(), tokio::sync::Mutex::default());
        Shared { redis, was_away, debts, settling }
    }

    fn value(&self, key: &str) -> String {
        self.redis.key(&format!("cache:v:{key}"))
    }

    fn flight(&self, key: &str) -> String {
        self.redis.key(&format!("cache:f:{key}"))
    }

    fn both(&self, key: &str) -> [String; 2] {
        [self.value(key), self.flight(key)]
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>> {
        let bytes: Option<Vec<u8>> = self.redis.run(command("GET").arg(self.value(key))).await?;
        Ok(bytes.and_then(|bytes| Entry::from_bytes(&bytes)))
    }

    pub(super) async fn set(&self, key: &str, entry: &Entry, life: Duration) -> Result<()> {
        self.redis.script(&SET, &self.both(key), (entry.to_bytes(), millis(life))).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        self.redis.run(command("DEL").arg(&self.both(key))).await
    }

    pub(super) async fn delete_prefix(&self, prefix: &str) -> Result<()> {
        // Flights first: what lands in between is found among the values.
        for start in [self.flight(prefix), self.value(prefix)] {
            self.delete_all(&start).await?;
        }
        Ok(())
    }

    async fn delete_all(&self, start: &str) -> Result<()> {
        let escaped: String =
            start.chars().flat_map(|c| "\\*?[]".contains(c).then_some('\\').into_iter().chain([c])).collect();
        let mut cursor = 0_u64;
        loop {
            let mut scan = command("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{escaped}*")).arg("COUNT").arg(1000);
            let (next, keys): (u64, Vec<String>) = self.redis.run(&scan).await?;
            if !keys.is_empty() {
                self.redis.run::<()>(command("UNLINK").arg(&keys)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// The value, or who finds it out.
    pub(super) async fn look(&self, key: &str) -> Result<Look> {
        let token = new_id();
        let (what, value): (String, Vec<u8>) =
            self.redis.script(&LOOK, &self.both(key), (&token, millis(FLIGHT))).await?;
        Ok(match (what.as_str(), Entry::from_bytes(&value)) {
            ("found", Some(entry)) => Look::Found(entry),
            ("theirs", _) => Look::Theirs,
            _ => Look::Ours(token),
        })
    }

    /// A mark that we find it out; none where somebody else does.
    pub(super) async fn take_flight(&self, key: &str) -> Result<Option<String>> {
        let token = new_id();
        let mut set = command("SET");
        set.arg(self.flight(key)).arg(&token).arg("NX").arg("PX").arg(millis(FLIGHT));
        let taken: Option<String> = self.redis.run(&set).await?;
        Ok(taken.map(|_| token))
    }

    /// Keeps what we found out, unless the key was set or deleted since.
    pub(super) async fn land(&self, key: &str, token: &str, entry: &Entry, life: Duration) -> Result<()> {
        self.redis.script(&LAND, &self.both(key), (token, entry.to_bytes(), millis(life))).await
    }

    /// However finding out ends, others need not wait for a mark that nobody stands behind.
    pub(super) fn leave_unless_landed(&self, key: &str, token: &str) -> Leave {
        Leave { redis: self.redis.clone(), flight: self.flight(key), token: token.to_owned(), has_landed: false }
    }

    // --- while it is away ------------------------------------------------------------------------------------------------------------

    /// This process goes on by its own memory.
    pub(super) fn use_memory(&self) {
        self.was_away.store(true, Ordering::SeqCst);
    }

    /// A key has changed, and Redis was not told.
    pub(super) fn owe(&self, key: &str) {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        if debts.keys.len() < MOST_DEBTS {
            debts.keys.insert(key.to_owned());
        } else {
            debts.everything = true;
        }
        drop(debts);
        self.use_memory();
    }

    /// So many keys have changed that it forgets all.
    pub(super) fn owe_everything(&self) {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner).everything = true;
        self.use_memory();
    }

    /// Tells Redis what it has not been told. Answers whether this process went on without it until now.
    pub(super) async fn settle(&self) -> Result<bool> {
        if !self.was_away.load(Ordering::SeqCst) {
            return Ok(false);
        }
        // Whoever comes while another settles goes on by memory.
        let Ok(_turn) = self.settling.try_lock() else {
            return Err(Error::unavailable("Redis is told what it missed"));
        };
        self.redis.ping().await?;
        loop {
            let Debts { keys, everything } =
                std::mem::take(&mut *self.debts.lock().unwrap_or_else(PoisonError::into_inner));
            if keys.is_empty() && !everything {
                self.was_away.store(false, Ordering::SeqCst);
                // Whoever owes something from now on says so after us.
                let debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
                if debts.keys.is_empty() && !debts.everything {
                    return Ok(true);
                }
                self.was_away.store(true, Ordering::SeqCst);
                continue;
            }
            if let Err(error) = self.pay(&keys, everything).await {
                let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
                debts.keys.extend(keys);
                debts.everything |= everything;
                return Err(error);
            }
        }
    }

    async fn pay(&self, keys: &HashSet<String>, everything: bool) -> Result<()> {
        if everything {
            return self.delete_prefix("").await;
        }
        let all: Vec<String> = keys.iter().flat_map(|key| self.both(key)).collect();
        for batch in all.chunks(BATCH) {
            self.redis.run::<()>(command("DEL").arg(batch)).await?;
        }
        Ok(())
    }
}

fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Takes a mark away when it is dropped, unless the value has landed, which takes it away too.
pub(super) struct Leave {
    redis: Redis,
    flight: String,
    token: String,
    has_landed: bool,
}

impl Leave {
    pub(super) fn landed(mut self) {
        self.has_landed = true;
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.has_landed {
            return;
        }
        let (redis, flight, token) =
            (self.redis.clone(), std::mem::take(&mut self.flight), std::mem::take(&mut self.token));
        runtime.spawn(async move {
            // Where Redis is away, it goes by itself.
            let _ = redis.script::<()>(&LEAVE, &[flight], token).await;
        });
    }
}
