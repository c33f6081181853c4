//! What several test files need.

pub(crate) mod program;
pub(crate) mod repository;
pub(crate) mod rust_source;

/// How many times something happens in a test of faults: `CHAOS_SCALE=20` makes it twenty times as many.
pub(crate) fn scale(times: usize) -> usize {
    let factor = std::env::var("CHAOS_SCALE").ok().map(|text| text.parse::<f64>().expect("CHAOS_SCALE is a number"));
    ((times as f64 * factor.unwrap_or(1.0)) as usize).max(1)
}
