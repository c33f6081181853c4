//! The places that a worker runs jobs in: those that all queues share, and those of queues that have their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{join_all, select_all};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place that is taken, until it is dropped.
pub(super) type Slot = OwnedSemaphorePermit;

/// So many places that are taken and given back.
#[derive(Debug)]
struct Lane {
    slots: Arc<Semaphore>,
    size: usize,
}

impl Lane {
    fn new(size: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Lane { slots: Arc::new(Semaphore::new(size)), size }
    }

    /// Until all places are free.
    async fn empty(&self) {
        let all = u32::try_from(self.size).expect("it was clamped");
        drop(self.slots.acquire_many(all).await);
    }
}

/// All places of a worker.
#[derive(Debug)]
pub(super) struct Slots {
    shared: Lane,
    own: BTreeMap<String, Lane>,
}

impl Slots {
    pub(super) fn new<'a>(shared: usize, own: impl Iterator<Item = (&'a str, usize)>) -> Self {
        let own = own.map(|(queue, size)| (queue.to_owned(), Lane::new(size))).collect();
        Slots { shared: Lane::new(shared), own }
    }

    fn lane(&self, queue: &str) -> &Lane {
        self.own.get(queue).unwrap_or(&self.shared)
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.shared).chain(self.own.values())
    }

    /// How many places there are for jobs of a queue.
    pub(super) fn free(&self, queue: &str) -> usize {
        self.lane(queue).slots.available_permits()
    }

    /// Takes a place for a job of a queue, where one is free.
    pub(super) fn take(&self, queue: &str) -> Option<Slot> {
        Arc::clone(&self.lane(queue).slots).try_acquire_owned().ok()
    }

    /// Until a place is free, whosever it is.
    pub(super) async fn any_free(&self) {
        let waits = self.lanes().map(|lane| Box::pin(async { drop(lane.slots.acquire().await) }));
        select_all(waits).await;
    }

    /// Until all places are free.
    pub(super) async fn empty(&self) {
        join_all(self.lanes().map(Lane::empty)).await;
    }

    /// Whether all places are free.
    #[cfg(feature = "testing")]
    pub(super) fn are_empty(&self) -> bool {
        self.lanes().all(|lane| lane.slots.available_permits() == lane.size)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_queue_with_places_of_its_own_takes_none_of_the_others() {
        let slots = Slots::new(1, [("own", 2)].into_iter());
        let taken: Vec<Slot> = (0..2).map(|_| slots.take("own").expect("it is free")).collect();
        assert_eq!((slots.free("own"), slots.take("own").is_none()), (0, true));
        let shared = slots.take("any").expect("it is free");
        assert_eq!((slots.free("any"), slots.free("other")), (0, 0));
        assert!(slots.any_free().now_or_never().is_none() && slots.empty().now_or_never().is_none());
        drop(shared);
        assert!(slots.any_free().now_or_never().is_some() && slots.empty().now_or_never().is_none());
        drop(taken);
        slots.empty().await;
    }
}
