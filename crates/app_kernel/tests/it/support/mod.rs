//! What several test files need.

pub(crate) mod browser;
#[cfg(target_os = "linux")]
pub(crate) mod disk;
pub(crate) mod oauth_provider;
pub(crate) mod open_transactions;
pub(crate) mod people;
pub(crate) mod program;
pub(crate) mod receiver;
#[cfg(target_os = "linux")]
pub(crate) mod redis_server;
pub(crate) mod repository;
pub(crate) mod rust_source;
pub(crate) mod s3_server;
#[cfg(target_os = "linux")]
pub(crate) mod servers;
pub(crate) mod smtp;
pub(crate) mod tls_server;

/// How many times something happens in a test of faults: `CHAOS_SCALE=20` makes it twenty times as many.
pub(crate) fn scale(times: usize) -> usize {
    let factor = std::env::var("CHAOS_SCALE").ok().map(|text| text.parse::<f64>().expect("CHAOS_SCALE is a number"));
    ((times as f64 * factor.unwrap_or(1.0)) as usize).max(1)
}

/// How many times something happens whose small form is less than a twenty-fifth: so many in an ordinary run, the whole figure at `CHAOS_SCALE=25`.
pub(crate) fn figure(small: usize, full: usize) -> usize {
    if is_full() { scale(full) / 25 } else { small }
}

/// Whether the run is a long one, in which figures are the full ones.
pub(crate) fn is_full() -> bool {
    std::env::var_os("CHAOS_SCALE").is_some()
}

/// The seed of a test with chance in it: `CHAOS_SEED`; else the same in each small run, and a new one in each that `CHAOS_SCALE` makes long.
pub(crate) fn seed() -> u64 {
    match (std::env::var("CHAOS_SEED"), std::env::var("CHAOS_SCALE")) {
        (Ok(text), _) => text.parse().expect("CHAOS_SEED is a whole number"),
        (Err(_), Ok(_)) => std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_millis() as u64),
        (Err(_), Err(_)) => 1,
    }
}

/// Chance that a seed repeats (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to but without `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
