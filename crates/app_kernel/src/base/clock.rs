//! The only source of the time. Tests hold a clock that they move themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub use jiff::Timestamp;

/// Tells the time. Cheap to clone; all clones of a manual clock move together.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Clock(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Clock(Some(Arc::new(AtomicI64::new(start.as_microsecond()))))
    }

    /// The time now, in whole microseconds: what all three databases can hold.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let micros = match &self.0 {
            None => Timestamp::now().as_microsecond(),
            Some(time) => time.load(Ordering::Relaxed),
        };
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Moves a manual clock forward.
    ///
    /// # Panics
    /// On the machine's clock: only a test may move time.
    pub fn advance(&self, by: Duration) {
        let time = self.0.as_ref().expect("only a manual clock can be moved");
        time.fetch_add(i64::try_from(by.as_micros()).expect("a shorter time"), Ordering::Relaxed);
    }
}

/// Writes a time as the API, SQLite and the history do: RFC 3339 in UTC, always six digits of a second, so that text sorts as time does.
#[must_use]
pub fn format_timestamp(time: Timestamp) -> String {
    let mut text = String::with_capacity(27);
    push_timestamp(&mut text, time);
    text
}

/// As [`format_timestamp`], onto the end of `text`.
pub fn push_timestamp(text: &mut String, time: Timestamp) {
    let at = jiff::tz::Offset::UTC.to_datetime(time);
    let mut digits = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, width: usize, mut n: u32| {
        for slot in digits[at..at + width].iter_mut().rev() {
            *slot = b'0' + (n % 10) as u8;
            n /= 10;
        }
    };
    put(0, 4, u32::try_from(at.year()).unwrap_or(0));
    put(5, 2, at.month() as u32);
    put(8, 2, at.day() as u32);
    put(11, 2, at.hour() as u32);
    put(14, 2, at.minute() as u32);
    put(17, 2, at.second() as u32);
    put(20, 6, (at.subsec_nanosecond() / 1000) as u32);
    text.push_str(std::str::from_utf8(&digits).expect("digits are ASCII"));
}

/// Reads what [`format_timestamp`] wrote, quickly; or any other RFC 3339 time.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    parse_our_own(text.as_bytes()).or_else(|| text.parse().ok())
}

fn parse_our_own(text: &[u8]) -> Option<Timestamp> {
    let &[.., b'Z'] = text else { return None };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')];
    if text.len() != 27 || separators.iter().any(|(at, byte)| text[*at] != *byte) {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to]
            .iter()
            .try_fold(0_i32, |n, digit| digit.is_ascii_digit().then(|| n * 10 + i32::from(digit - b'0')))
    };
    let (year, month, day) = (number(0, 4)? as i16, number(5, 7)? as i8, number(8, 10)? as i8);
    let (hour, minute, second) = (number(11, 13)? as i8, number(14, 16)? as i8, number(17, 19)? as i8);
    let time = jiff::civil::DateTime::new(year, month, day, hour, minute, second, number(20, 26)? * 1000).ok()?;
    jiff::tz::Offset::UTC.to_timestamp(time).ok()
}

/// Serialises a [`Timestamp`] as [`format_timestamp`] writes it: `#[serde(with = "..")]` for fields that are read beside ours.
pub mod iso {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Timestamp;

    /// Writes the time with six digits of a second.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_timestamp(*time))
    }

    /// Reads any RFC 3339 time.
    ///
    /// # Errors
    /// Where the text is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Timestamp::deserialize(deserializer)
    }

    /// The same for a time that may be absent.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::Timestamp;

        /// Writes the time, or null.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads any RFC 3339 time, or null.
        ///
        /// # Errors
        /// Where the text is no time.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            Option::<Timestamp>::deserialize(deserializer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_with_six_digits_and_a_z() {
        let time: Timestamp = "2026-01-30T12:00:00.5Z".parse().expect("a time");
        assert_eq!(format_timestamp(time), "2026-01-30T12:00:00.500000Z");
        let before_the_epoch: Timestamp = "1969-12-31T23:59:59.999999Z".parse().expect("a time");
        assert_eq!(format_timestamp(before_the_epoch), "1969-12-31T23:59:59.999999Z");
        let early: Timestamp = "0001-01-01T00:00:00Z".parse().expect("a time");
        assert_eq!(format_timestamp(early), "0001-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_written_time_is_read_back() {
        for text in [
            "2026-01-30T12:00:00.500000Z",
            "0001-01-01T00:00:00.000000Z",
            "9999-12-30T22:00:00.999999Z",
            "1969-12-31T23:59:59.999999Z",
        ] {
            assert_eq!(format_timestamp(parse_timestamp(text).expect("a time")), text);
        }
        assert_eq!(parse_timestamp("2026-01-30T13:00:00+01:00"), parse_timestamp("2026-01-30T12:00:00.000000Z"));
        assert_eq!(parse_timestamp("2026-13-30T12:00:00.000000Z"), None);
        assert_eq!(parse_timestamp("2026-01-30T12:00:0x.000000Z"), None);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
        let twin = clock.clone();
        assert_eq!(clock.now(), twin.now());
        clock.advance(Duration::from_secs(90));
        assert_eq!(format_timestamp(twin.now()), "2026-01-01T00:01:30.000000Z");
    }
}
