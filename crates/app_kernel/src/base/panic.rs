//! Panics that were caught.

use std::any::Any;

/// What a panic said; none where it left no text.
pub(crate) fn text_of(panic: &(dyn Any + Send)) -> Option<&str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn said(panic: fn()) -> Option<String> {
        text_of(&*catch_unwind(panic).expect_err("a panic")).map(str::to_owned)
    }

    #[test]
    fn a_panic_says_its_text_however_it_was_made() {
        assert_eq!(said(|| panic!("a constant")), Some("a constant".to_owned()));
        assert_eq!(said(|| panic!("{} of {}", 1, 2)), Some("1 of 2".to_owned()));
        assert_eq!(said(|| std::panic::panic_any(7)), None);
    }
}
