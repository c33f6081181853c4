//! What the keys of a service start with.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything that could end the name, or that Redis reads as something: `:`, `{`, `*`.
const OUT_OF_PLACE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The name and a colon. No service's prefix starts with that of another.
pub(super) fn prefix(service: &str) -> String {
    format!("{}:", utf8_percent_encode(service, OUT_OF_PLACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_reaches_into_the_keys_of_another() {
        assert_eq!(prefix("widget_service"), "widget_service:");
        assert_eq!(prefix("a:b"), "a%3Ab:");
        assert_eq!(prefix("Größe {1}*"), "Gr%C3%B6%C3%9Fe%20%7B1%7D%2A:");
    }
}
