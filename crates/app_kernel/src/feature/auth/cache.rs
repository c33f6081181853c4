//! What this process remembers for a moment: who the signed-in are, and which refresh tokens it exchanged.
//!
//! An identity is believed for one second, so what another process ended is over within a second; what this process ended is forgotten at
//! once, also by requests that were reading it just then. Both memories are bounded.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::extract::UserIdentity;

/// How long an identity is believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// Threads that ask about different sessions seldom meet at one lock.
const SHARDS: usize = 16;
/// Sessions that one shard remembers: some 300 bytes each, so 16 MiB in the worst second.
const MOST_IN_SHARD: usize = 4096;
/// How long an exchange is remembered: longer than any request is under way.
const EXCHANGE_REMEMBERED: Duration = Duration::from_secs(120);
/// Most exchanges that are remembered.
const MOST_EXCHANGES: usize = 65_536;

/// Who the signed-in are, by session.
pub(crate) struct Identities {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    /// One more with each thing forgotten.
    changes: AtomicU64,
}

/// Sessions have ids that we made, so a quick hash does.
type Shard = HashMap<String, Remembered, RandomState>;

struct Remembered {
    identity: Arc<UserIdentity>,
    read_at: Instant,
}

/// Taken before the database is read: what was read is only kept if nothing was forgotten since.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    changes: u64,
    read_at: Instant,
}

impl Identities {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Identities { hasher: RandomState::default(), shards, changes: AtomicU64::new(0) }
    }

    pub(crate) fn get(&self, session_id: &str) -> Option<Arc<UserIdentity>> {
        let shard = self.shard(session_id);
        let remembered = shard.get(session_id)?;
        (remembered.read_at.elapsed() < BELIEVED).then(|| Arc::clone(&remembered.identity))
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { changes: self.changes.load(Ordering::Acquire), read_at: Instant::now() }
    }

    pub(crate) fn put(&self, ticket: Ticket, session_id: &str, identity: Arc<UserIdentity>) {
        let mut shard = self.shard(session_id);
        if self.changes.load(Ordering::Acquire) != ticket.changes {
            return;
        }
        if shard.len() >= MOST_IN_SHARD && !shard.contains_key(session_id) {
            shard.retain(|_, remembered| remembered.read_at.elapsed() < BELIEVED);
            if shard.len() >= MOST_IN_SHARD {
                shard.clear();
            }
        }
        shard.insert(session_id.to_owned(), Remembered { identity, read_at: ticket.read_at });
    }

    pub(crate) fn forget_session(&self, session_id: &str) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.shard(session_id).remove(session_id);
    }

    pub(crate) fn forget_user(&self, user_id: &str) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            lock(shard).retain(|_, remembered| remembered.identity.id != user_id);
        }
    }

    fn shard(&self, session_id: &str) -> MutexGuard<'_, Shard> {
        let hash = self.hasher.hash_one(session_id);
        lock(&self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)])
    }
}

/// When this process answered which exchanges of refresh tokens, by the token's hash.
#[derive(Default)]
pub(crate) struct Exchanges(Mutex<HashMap<String, Instant>>);

impl Exchanges {
    /// `answered` may lie ahead: the answer does not leave before it.
    pub(crate) fn remember(&self, token_hash: String, answered: Instant) {
        let mut exchanges = lock(&self.0);
        if exchanges.len() >= MOST_EXCHANGES {
            exchanges.retain(|_, earlier| answered.saturating_duration_since(*earlier) < EXCHANGE_REMEMBERED);
            if exchanges.len() >= MOST_EXCHANGES {
                // What is forgotten is judged by the time in the database instead.
                exchanges.clear();
            }
        }
        exchanges.insert(token_hash, answered);
    }

    pub(crate) fn when(&self, token_hash: &str) -> Option<Instant> {
        lock(&self.0).get(token_hash).copied()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::caller::Caller;
    use crate::feature::auth::model::Role;

    fn ann() -> Arc<UserIdentity> {
        Arc::new(UserIdentity {
            id: "ann".into(),
            email: "ann@example.com".into(),
            name: None,
            role: Role::User,
            is_active: true,
            workspace_id: None,
            has_second_factor: false,
            caller: Caller::user("ann").in_session("s1"),
        })
    }

    /// Promise: R-22
    #[test]
    fn what_was_forgotten_is_gone_and_a_read_under_way_does_not_bring_it_back() {
        let identities = Identities::new();
        identities.put(identities.ticket(), "s1", ann());
        identities.put(identities.ticket(), "s2", ann());
        assert!(identities.get("s1").is_some() && identities.get("s2").is_some());

        let under_way = identities.ticket();
        identities.forget_session("s1");
        assert!(identities.get("s1").is_none() && identities.get("s2").is_some());
        identities.put(under_way, "s1", ann());
        assert!(identities.get("s1").is_none());

        identities.forget_user("bob");
        assert!(identities.get("s2").is_some());
        identities.forget_user("ann");
        assert!(identities.get("s2").is_none());
    }

    /// Promise: R-22
    #[test]
    fn an_identity_is_believed_for_a_second_from_when_it_was_read() {
        let identities = Identities::new();
        let ticket = Ticket { read_at: Instant::now() - BELIEVED, ..identities.ticket() };
        identities.put(ticket, "s1", ann());
        assert!(identities.get("s1").is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let (identities, exchanges) = (Identities::new(), Exchanges::default());
        for n in 0..SHARDS * MOST_IN_SHARD * 2 {
            identities.put(identities.ticket(), &n.to_string(), ann());
            exchanges.remember(n.to_string(), Instant::now());
        }
        assert!(identities.shards.iter().all(|shard| lock(shard).len() <= MOST_IN_SHARD));
        assert!(lock(&exchanges.0).len() <= MOST_EXCHANGES);
        assert!(exchanges.when(&(SHARDS * MOST_IN_SHARD * 2 - 1).to_string()).is_some());
    }
}
