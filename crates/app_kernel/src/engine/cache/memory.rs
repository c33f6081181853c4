//! The form within this process: bounded by bytes. What is used least goes first.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use super::Entry;

/// What an entry costs beside its key and value, about.
const OVERHEAD_BYTES: usize = 128;

pub(super) struct Memory(Cache<String, Arc<Held>>);

struct Held {
    entry: Entry,
    life: Duration,
}

struct ByLife;

impl Expiry<String, Arc<Held>> for ByLife {
    fn expire_after_create(&self, _: &String, held: &Arc<Held>, _: Instant) -> Option<Duration> {
        Some(held.life)
    }

    fn expire_after_update(&self, _: &String, held: &Arc<Held>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(held.life)
    }
}

impl Memory {
    pub(super) fn new(most_bytes: u64) -> Self {
        let weight = |key: &String, held: &Arc<Held>| {
            u32::try_from(key.len() + held.entry.json.len() + OVERHEAD_BYTES).unwrap_or(u32::MAX)
        };
        Memory(Cache::builder().max_capacity(most_bytes).weigher(weight).expire_after(ByLife).build())
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.0.get(key).map(|held| held.entry.clone())
    }

    pub(super) fn set(&self, key: &str, entry: Entry, now: i64) {
        let life = Duration::from_micros(entry.dead_at.saturating_sub(now).max(0).unsigned_abs());
        self.0.insert(key.to_owned(), Arc::new(Held { entry, life }));
    }

    pub(super) fn delete(&self, key: &str) {
        self.0.invalidate(key);
    }

    pub(super) fn delete_prefix(&self, prefix: &str) {
        for (key, _) in self.0.iter().filter(|(key, _)| key.starts_with(prefix)) {
            self.0.invalidate(key.as_str());
        }
    }

    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: K3
    #[test]
    fn memory_is_bounded_by_bytes() {
        let memory = Memory::new(1 << 20);
        let entry = |bytes| Entry { fresh_until: 1 << 40, dead_at: 1 << 40, json: vec![b'x'; bytes] };
        for n in 0..1000 {
            memory.set(&n.to_string(), entry(10_000), 0);
        }
        memory.0.run_pending_tasks();
        assert!(memory.0.weighted_size() <= 1 << 20, "{}", memory.0.weighted_size());
        assert!(memory.0.entry_count() > 50, "{}", memory.0.entry_count());
        memory.set("vast", entry(2 << 20), 0);
        memory.0.run_pending_tasks();
        assert!(memory.get("vast").is_none(), "what is larger than all of it is not kept");
    }
}
