//! Who finds out what, in this process: of all who want one key, one at a time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Flights under way, by key. One that nobody holds any more is gone.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<String, Weak<Flight>>>);

/// One key that is being found out.
#[derive(Default)]
pub(super) struct Flight {
    /// Whose turn it is. Who goes away in the middle, leaves it to the next.
    pub(super) turn: tokio::sync::Mutex<()>,
    is_void: AtomicBool,
}

impl Flight {
    /// A turn begins.
    pub(super) fn begin(&self) {
        self.is_void.store(false, Ordering::SeqCst);
    }

    /// Whether nothing has changed since then.
    pub(super) fn may_land(&self) -> bool {
        !self.is_void.load(Ordering::SeqCst)
    }
}

impl Flights {
    pub(super) fn join(&self, key: &str) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        if flights.len() == flights.capacity() {
            flights.retain(|_, flight| flight.strong_count() > 0);
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }

    /// Whether nobody finds out this key.
    pub(super) fn is_idle(&self, key: &str) -> bool {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.get(key).is_none_or(|flight| flight.strong_count() == 0)
    }

    /// What is being found out about these keys is too old already.
    pub(super) fn void(&self, is_it: impl Fn(&str) -> bool) {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, flight) in flights.iter().filter(|(key, _)| is_it(key)) {
            if let Some(flight) = flight.upgrade() {
                flight.is_void.store(true, Ordering::SeqCst);
            }
        }
    }
}
