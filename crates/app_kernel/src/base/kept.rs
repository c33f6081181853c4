//! Things of which there is one of each type, made when somebody first asks.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps them.
#[derive(Default)]
pub struct Kept(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Kept {
    /// The one of this type.
    ///
    /// # Panics
    /// Never: what lies under a type's id is of that type.
    pub fn get<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = kept.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::downcast(Arc::clone(one)).expect("what lies under a type's id is of that type")
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn there_is_one_of_each_type() {
        let kept = Kept::default();
        kept.get::<AtomicU64>().store(7, Ordering::Relaxed);
        assert_eq!(kept.get::<AtomicU64>().load(Ordering::Relaxed), 7);
        assert_eq!(*kept.get::<String>(), "");
        assert_eq!(Kept::default().get::<AtomicU64>().load(Ordering::Relaxed), 0);
    }
}
