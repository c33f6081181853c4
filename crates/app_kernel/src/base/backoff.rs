//! How long to wait before the next try: exponential with full jitter, so that those who failed together do not come back together.

use std::time::Duration;

/// A rule for waiting between tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the second try.
    pub first: Duration,
    /// The longest wait before any try.
    pub most: Duration,
}

impl Backoff {
    /// The wait after `failures` failed tries (1 is the first), between zero and the bound for that try.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        let mut bytes = [0; 4];
        super::secret::fill_random(&mut bytes);
        self.bound(failures).mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }

    fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_most() {
        let backoff = Backoff { first: Duration::from_millis(10), most: Duration::from_millis(100) };
        let bounds: Vec<u128> = (1..=6).map(|n| backoff.bound(n).as_millis()).collect();
        assert_eq!(bounds, [10, 20, 40, 80, 100, 100]);
        assert!(backoff.wait(3) <= Duration::from_millis(40));
    }
}
