//! What a number is kept in: atomics, so that counting takes no lock and no memory, on any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Bounds for durations of requests and jobs, in seconds; those of OpenTelemetry's `http.server.request.duration`, and two beyond.
pub const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 120.0];
/// Bounds for what is usually over soon, such as a statement, in seconds.
pub const SHORT_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// A number that only grows, from when the process began. Cheap to clone; clones are the same number.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Cheap to clone; clones are the same number.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// It is this now.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds this, which may be negative.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, until the answer is dropped.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.add(1);
        Held(self.clone())
    }
}

/// One more in a [`Gauge`], as long as this lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// How often values were seen between given bounds, and their sum. Cheap to clone; clones are the same numbers.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: Box<[f64]>,
    /// One more than there are bounds: what is above the last.
    counts: Box<[AtomicU64]>,
    /// The bits of a floating-point number.
    sum: AtomicU64,
}

impl Histogram {
    /// With these upper bounds, which are put in order; infinity is always there.
    #[must_use]
    pub fn new(bounds: &[f64]) -> Self {
        let mut bounds: Vec<f64> = bounds.iter().copied().filter(|bound| bound.is_finite()).collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Buckets { bounds: bounds.into(), counts, sum: AtomicU64::new(0.0_f64.to_bits()) }))
    }

    /// A value was seen. One that is no number is not.
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let Buckets { bounds, counts, sum } = &*self.0;
        let place = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        counts[place].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        let _always = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Something took so long.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many values were seen.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Ordering::Relaxed))
    }

    /// For each bound, and infinity, how many values were not above it.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.counts.iter().scan(0, |sum, count| {
            *sum += count.load(Ordering::Relaxed);
            Some(*sum)
        });
        bounds.zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_at_most_its_bounds() {
        let histogram = Histogram::new(&[1.0, 0.5, f64::INFINITY, 0.5]);
        for value in [0.5, 0.6, 1.0, 7.0, f64::NAN] {
            histogram.observe(value);
        }
        let found: Vec<(f64, u64)> = histogram.cumulative().collect();
        assert_eq!(found, [(0.5, 1), (1.0, 3), (f64::INFINITY, 4)]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 9.1));
    }

    #[test]
    fn what_is_held_is_given_back_and_clones_are_one_number() {
        let (gauge, counter) = (Gauge::default(), Counter::default());
        let held = (gauge.hold(), gauge.clone().hold());
        counter.clone().add(2);
        counter.inc();
        assert_eq!((gauge.get(), counter.get()), (2, 3));
        drop(held);
        assert_eq!(gauge.get(), 0);
    }
}
