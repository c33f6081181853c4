//! The form within this process: how many each holder has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many leases each holder has. Those who have none are not in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders(Arc<Mutex<HashMap<String, u32>>>);

/// One of a holder's.
#[derive(Debug)]
pub(super) struct Held {
    holders: Holders,
    who: String,
}

impl Holders {
    /// One more; none where there are so many.
    pub(super) fn take(&self, who: &str, most: u32) -> Option<Held> {
        let mut counts = self.counts();
        let count = counts.get(who).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        counts.insert(who.to_owned(), count + 1);
        Some(Held { holders: self.clone(), who: who.to_owned() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.holders.counts();
        match counts.get_mut(&self.who) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.who)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_nothing_is_forgotten() {
        let holders = Holders::default();
        let (first, second) = (holders.take("ann", 2), holders.take("ann", 2));
        assert!(first.is_some() && second.is_some() && holders.take("ann", 2).is_none());
        drop(first);
        assert_eq!(holders.counts().get("ann"), Some(&1));
        drop(second);
        assert!(holders.counts().is_empty());
    }
}
