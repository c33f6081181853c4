//! Lengths of time as they stand in attributes.

use proc_macro2::Span;
use syn::{Error, LitStr, Result};

/// `"30s"` in milliseconds.
pub(crate) fn read_duration(text: &LitStr) -> Result<u64> {
    let value = text.value();
    let split = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(split);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor)).filter(|millis| *millis > 0);
    millis.ok_or_else(|| bad_duration(text.span()))
}

fn bad_duration(at: Span) -> Error {
    Error::new(at, "a length of time is a whole number with its unit: \"500ms\", \"30s\", \"5m\" or \"2h\"")
}
