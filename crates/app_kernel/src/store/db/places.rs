//! Lists of places for parameters, as for IN. They come in few lengths, so that few statements are prepared: what is asked for beyond the
//! last one is the last one again.

/// The same place so many times: `?, ?, ?`
pub(crate) fn list_of(place: &str, count: usize) -> String {
    vec![place; count].join(", ")
}

/// Up to the next power of two with the last one again; nothing of nothing.
pub(crate) fn padded<T>(chunk: &[T]) -> impl Iterator<Item = &T> {
    chunk.iter().chain(std::iter::repeat(chunk.last()).flatten()).take(padded_length(chunk))
}

/// How many these are then.
pub(crate) fn padded_length<T>(chunk: &[T]) -> usize {
    if chunk.is_empty() { 0 } else { chunk.len().next_power_of_two() }
}
