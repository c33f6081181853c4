//! Numbers as text, digit by digit: what is written with each request goes without `core::fmt`, which costs some hundred instructions a number.

/// Adds a number in decimal digits.
pub(crate) fn push_whole(text: &mut String, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Fills a place with the last hexadecimal digits of a number.
pub(crate) fn write_hex(place: &mut [u8], number: u64) {
    for (i, slot) in place.iter_mut().rev().enumerate() {
        *slot = b"0123456789abcdef"[(number >> (4 * i)) as usize % 16];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 7, 10, 99, 100, 4_096, u64::from(u32::MAX), u64::MAX] {
            let (mut whole, mut hex) = (String::new(), [0; 16]);
            push_whole(&mut whole, number);
            write_hex(&mut hex, number);
            assert_eq!(whole, number.to_string());
            assert_eq!(std::str::from_utf8(&hex).expect("digits"), format!("{number:016x}"));
        }
    }
}
