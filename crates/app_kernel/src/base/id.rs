//! Identifiers. UUIDv7 (RFC 9562): unique without asking anybody, and rows made later sort later.

/// A new UUIDv7 as text, such as `019b6c3e-5f3a-7cc2-9d1e-2f6a4b8c0d1e`.
#[must_use]
pub fn new_id() -> String {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::new_id;

    #[test]
    fn later_ids_sort_later() {
        let ids: Vec<String> = (0..1000).map(|_| new_id()).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'7'));
    }
}
