//! The only source of the time. Tests hold a clock that they move themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub use jiff::Timestamp;

const SECS_PER_DAY: i64 = 86_400;
/// Days from 0000-03-01, where the eras of 400 years begin, to 1970-01-01.
const DAYS_BEFORE_EPOCH: i64 = 719_468;
const DAYS_PER_ERA: u32 = 146_097;

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

    /// Whether it is the machine's clock.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.is_none()
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

    /// What a manual clock shows; none for the machine's own.
    #[must_use]
    pub(crate) fn set_by_hand(&self) -> Option<Timestamp> {
        self.0.is_some().then(|| self.now())
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
    Written::new(time).as_str().to_owned()
}

/// As [`format_timestamp`], onto the end of `text`.
pub fn push_timestamp(text: &mut String, time: Timestamp) {
    text.push_str(Written::new(time).as_str());
}

/// A time as [`format_timestamp`] writes it, without an allocation.
struct Written([u8; 27]);

impl Written {
    fn new(time: Timestamp) -> Self {
        // Both are negative before 1970.
        let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
        let (seconds, nanos) = if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) };
        let (year, month, day) = date_of(seconds.div_euclid(SECS_PER_DAY));
        let (second, micro) = (seconds.rem_euclid(SECS_PER_DAY) as u32, nanos as u32 / 1000);
        let mut digits = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: usize, two: u32| {
            digits[at] = b'0' + (two / 10) as u8;
            digits[at + 1] = b'0' + (two % 10) as u8;
        };
        put(0, year / 100 % 100);
        put(2, year % 100);
        put(5, month);
        put(8, day);
        put(11, second / 3600);
        put(14, second / 60 % 60);
        put(17, second % 60);
        put(20, micro / 10_000);
        put(22, micro / 100 % 100);
        put(24, micro % 100);
        Written(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }
}

/// The day in the Gregorian calendar, so many days after 1970-01-01: H. Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>), from the year 1 on.
fn date_of(days: i64) -> (u32, u32, u32) {
    let days = u32::try_from(days + DAYS_BEFORE_EPOCH).unwrap_or(0);
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Counted from March, so that the leap day is the last of the year.
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

/// The inverse of [`date_of`].
fn days_until(year: u32, month: u32, day: u32) -> i64 {
    let year = year - u32::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i64::from(era * DAYS_PER_ERA + day_of_era) - DAYS_BEFORE_EPOCH
}

/// Reads what [`format_timestamp`] wrote, quickly; or any other RFC 3339 time.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    parse_our_own(text.as_bytes()).or_else(|| text.parse().ok())
}

/// Reads a day, which stands for its beginning in UTC, or a time as [`parse_timestamp`] does.
#[must_use]
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    parse_timestamp(text).or_else(|| (text.len() == 10).then(day)?.map(|day| day.timestamp()))
}

fn parse_our_own(text: &[u8]) -> Option<Timestamp> {
    let &[.., b'Z'] = text else { return None };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')];
    if text.len() != 27 || separators.iter().any(|(at, byte)| text[*at] != *byte) {
        return None;
    }
    let mut are_digits = true;
    let mut two = |at: usize| {
        let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
        are_digits &= (tens <= 9) & (ones <= 9);
        u32::from(tens) * 10 + u32::from(ones)
    };
    let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
    let (hour, minute, second) = (two(11), two(14), two(17));
    let micro = two(20) * 10_000 + two(22) * 100 + two(24);
    if are_digits { timestamp_of([year, month, day], [hour, minute, second], micro) } else { None }
}

/// The moment of a day from the year 1 on, a time of day and microseconds, in UTC; none where there is no such day or time.
#[must_use]
pub fn timestamp_of([year, month, day]: [u32; 3], [hour, minute, second]: [u32; 3], micro: u32) -> Option<Timestamp> {
    let is_time = hour < 24 && minute < 60 && second < 60 && micro < 1_000_000;
    if !is_time || year == 0 || !matches!(month, 1..=12) || day == 0 || day > days_in(year, month) {
        return None;
    }
    let seconds = days_until(year, month, day) * SECS_PER_DAY + i64::from(hour * 3600 + minute * 60 + second);
    Timestamp::from_microsecond(seconds * 1_000_000 + i64::from(micro)).ok()
}

fn days_in(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
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
        serializer.serialize_str(super::Written::new(*time).as_str())
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
    fn every_day_is_written_and_read_as_jiff_does() {
        // Two whole eras of 400 years, around the epoch.
        let first: Timestamp = "1600-01-01T00:00:00Z".parse().expect("a time");
        for days in 0..2 * i64::from(DAYS_PER_ERA) {
            let second = first.as_second() + days * SECS_PER_DAY;
            // Some other time of each day.
            let second = second + days * 7919 % SECS_PER_DAY;
            let time = Timestamp::new(second, (days * 1_234_567 % 1_000_000 * 1000) as i32).expect("a time of ours");
            let written = format!("{time:.6}");
            assert_eq!(format_timestamp(time), written);
            assert_eq!(parse_our_own(written.as_bytes()), Some(time), "{written}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_read_as_one() {
        let odd = [
            "2025-02-29",
            "2100-02-29",
            "2026-04-31",
            "2026-00-10",
            "2026-01-00",
            "2026-1a-01",
            "20/6-01-01",
            "0000-01-01",
        ];
        for day in odd {
            assert_eq!(parse_our_own(format!("{day}T12:00:00.000000Z").as_bytes()), None, "{day}");
        }
        for time in ["24:00:00.000000", "12:60:00.000000", "12:00:60.000000", "12:00:00.00000x", "-1:00:00.000000"] {
            assert_eq!(parse_our_own(format!("2026-01-30T{time}Z").as_bytes()), None, "{time}");
        }
        assert!(parse_our_own(b"2024-02-29T23:59:59.999999Z").is_some());
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
