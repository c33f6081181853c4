//! Makes a value exactly what its column holds, or says in a sentence part why it can't be. All three databases see only
//! exact types, so that none of them converts on its own and each in its own way.

use std::borrow::Cow;

use base64::Engine as _;
use jiff::Timestamp;
use jiff::civil::{Date, Time};

use super::value::{ColumnType, Value};
use crate::base::clock::{format_timestamp, parse_timestamp};

/// Why a value does not fit, to stand behind the name of a field: `must be a text`.
pub(crate) type Problem = Cow<'static, str>;

/// How deep arrays and objects may lie in each other.
pub(crate) const DEEPEST_JSON: usize = 100;
/// How many digits a decimal number may have: what every decimal type in use can hold.
const MOST_DECIMAL_DIGITS: usize = 28;
/// Up to here, each whole number is a float of its own.
const EXACT_FLOAT_LIMIT: f64 = 9_007_199_254_740_992.0;
/// The first second of the year 1.
const FIRST_SECOND: i64 = -62_135_596_800;

/// The value as the column holds it. A value of the exact type passes without a copy; null is always null.
pub(crate) fn coerce(value: Value, ty: ColumnType) -> Result<Value, Problem> {
    let fitting = match (ty, value) {
        (_, Value::Null) => return Ok(Value::Null),
        (ColumnType::Text, Value::Text(text)) => return without_nul(text).map(Value::Text),
        (ColumnType::Json, value) => return json(value),
        (ColumnType::Decimal, value) => return decimal(value),
        (ColumnType::Bool, Value::Bool(b)) => Some(Value::Bool(b)),
        (ColumnType::Int, Value::Int(n)) => Some(Value::Int(n)),
        (ColumnType::Int, Value::Float(x)) => whole(x).map(Value::Int),
        (ColumnType::Float, Value::Float(x)) => finite(x).map(Value::Float),
        (ColumnType::Float, Value::Int(n)) => exact_float(n).map(Value::Float),
        (ColumnType::Timestamp, Value::Timestamp(time)) => timestamp(time).map(Value::Timestamp),
        (ColumnType::Timestamp, Value::Text(text)) => read_timestamp(&text).map(Value::Timestamp),
        (ColumnType::Date, Value::Date(date)) => has_our_year(date).then_some(Value::Date(date)),
        (ColumnType::Date, Value::Text(text)) => read_date(&text).map(Value::Date),
        (ColumnType::Time, Value::Time(time)) => microseconds(time).map(Value::Time),
        (ColumnType::Time, Value::Text(text)) => read_time(&text).map(Value::Time),
        (ColumnType::Uuid, Value::Text(text)) => uuid(text).map(Value::Text),
        (ColumnType::Bytes, Value::Bytes(bytes)) => Some(Value::Bytes(bytes)),
        (ColumnType::Bytes, Value::Text(text)) => {
            base64::engine::general_purpose::STANDARD.decode(text).ok().map(Value::Bytes)
        }
        _ => None,
    };
    fitting.ok_or_else(|| format!("must be {}", ty.described()).into())
}

/// PostgreSQL can't hold NUL in a text, and SQLite's functions stop there.
fn without_nul(text: String) -> Result<String, Problem> {
    if text.as_bytes().contains(&0) { Err("must not contain the character NUL".into()) } else { Ok(text) }
}

fn whole(x: f64) -> Option<i64> {
    (x.fract() == 0.0 && x.abs() < EXACT_FLOAT_LIMIT).then_some(x as i64)
}

/// Without the sign of zero, which SQLite does not keep.
fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x + 0.0)
}

fn exact_float(n: i64) -> Option<f64> {
    let x = n as f64;
    (x as i128 == i128::from(n)).then_some(x)
}

/// Cut to microseconds downwards, as the written digits are.
fn timestamp(time: Timestamp) -> Option<Timestamp> {
    if time.as_second() < FIRST_SECOND {
        return None;
    }
    if time.subsec_nanosecond() % 1000 == 0 {
        return Some(time);
    }
    let micros = time.as_nanosecond().div_euclid(1000);
    Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()
}

fn read_timestamp(text: &str) -> Option<Timestamp> {
    let (day, time) = (text.get(..10)?, text.get(11..19)?);
    let has_separator = matches!(text.as_bytes()[10], b'T' | b't' | b' ');
    // The library reads more than RFC 3339: names of zones, and years with a sign.
    if !has_separator || text.contains('[') || !is_shaped(day, "0000-00-00") || !is_shaped(time, "00:00:00") {
        return None;
    }
    timestamp(parse_timestamp(text)?)
}

fn has_our_year(date: Date) -> bool {
    (1..=9999).contains(&date.year())
}

fn read_date(text: &str) -> Option<Date> {
    let date = if is_shaped(text, "0000-00-00") {
        text.parse().ok()?
    } else {
        return None;
    };
    has_our_year(date).then_some(date)
}

fn microseconds(time: Time) -> Option<Time> {
    let nanos = time.subsec_nanosecond();
    if nanos % 1000 == 0 {
        return Some(time);
    }
    Time::new(time.hour(), time.minute(), time.second(), nanos - nanos % 1000).ok()
}

/// `12:30`, as a browser's input sends it, `12:30:00` or with up to nine digits of a second.
fn read_time(text: &str) -> Option<Time> {
    let (clock, digits) = text.split_once('.').unwrap_or((text, "0"));
    let has_digits = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let is_clock = is_shaped(clock, "00:00:00") || (clock == text && is_shaped(clock, "00:00"));
    if !has_digits || !is_clock || clock.ends_with(":60") {
        return None;
    }
    microseconds(text.parse().ok()?)
}

/// Whether the text has digits where `shape` has zeros, and is `shape` elsewhere.
fn is_shaped(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(
            |(byte, wanted)| {
                if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted }
            },
        )
}

fn uuid(text: String) -> Option<String> {
    const SHAPE: &[u8; 36] = b"00000000-0000-0000-0000-000000000000";
    let is_ours = |(byte, wanted): (u8, &u8)| match wanted {
        b'-' => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    if text.len() == SHAPE.len() && text.bytes().zip(SHAPE).all(is_ours) {
        return Some(text);
    }
    uuid::Uuid::try_parse(&text).ok().map(|uuid| uuid.to_string())
}

fn decimal(value: Value) -> Result<Value, Problem> {
    let text = match value {
        Value::Text(text) => text,
        Value::Int(n) => n.to_string(),
        Value::Float(x) if x.is_finite() => x.to_string(),
        _ => return Err(format!("must be {}", ColumnType::Decimal.described()).into()),
    };
    canonical_decimal(text).map(Value::Text)
}

/// The one way to write a decimal number: no plus, no needless zeros, no minus before zero. Equal numbers are equal texts.
fn canonical_decimal(text: String) -> Result<String, Problem> {
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text.as_str()),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(format!("must be {}", ColumnType::Decimal.described()).into());
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    if whole.len() + fraction.len() > MOST_DECIMAL_DIGITS {
        return Err(format!("must have at most {MOST_DECIMAL_DIGITS} digits").into());
    }
    let sign = if negative && !(whole.is_empty() && fraction.is_empty()) { "-" } else { "" };
    let (whole, point) = (if whole.is_empty() { "0" } else { whole }, if fraction.is_empty() { "" } else { "." });
    if sign.len() + whole.len() + point.len() + fraction.len() == text.len() && !text.starts_with('+') {
        return Ok(text);
    }
    Ok([sign, whole, point, fraction].concat())
}

fn json(value: Value) -> Result<Value, Problem> {
    let json = match value {
        Value::Json(json) => json,
        Value::Null => return Ok(Value::Null),
        Value::Bool(b) => Box::new(b.into()),
        Value::Int(n) => Box::new(n.into()),
        Value::Float(x) => Box::new(serde_json::Number::from_f64(x).ok_or("must be a finite number")?.into()),
        Value::Text(text) => Box::new(text.into()),
        Value::Bytes(bytes) => Box::new(super::value::base64_text(&bytes).into()),
        Value::Timestamp(time) => Box::new(format_timestamp(time).into()),
        Value::Date(date) => Box::new(date.to_string().into()),
        Value::Time(time) => Box::new(time.to_string().into()),
    };
    check_json(&json, 0)?;
    Ok(Value::Json(json))
}

fn check_json(json: &serde_json::Value, depth: usize) -> Result<(), Problem> {
    use serde_json::Value as Json;
    let check_text = |text: &str| {
        if text.as_bytes().contains(&0) { Err(Problem::from("must not contain the character NUL")) } else { Ok(()) }
    };
    if depth == DEEPEST_JSON && matches!(json, Json::Array(_) | Json::Object(_)) {
        return Err(format!("must not be deeper than {DEEPEST_JSON} levels").into());
    }
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(()),
        Json::String(text) => check_text(text),
        Json::Array(items) => items.iter().try_for_each(|item| check_json(item, depth + 1)),
        Json::Object(fields) => fields.iter().try_for_each(|(key, value)| {
            check_text(key)?;
            check_json(value, depth + 1)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn time(text: &str) -> Value {
        Value::Timestamp(text.parse().expect("a time"))
    }

    fn nested(depth: usize) -> Value {
        let json = (0..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        Value::Json(Box::new(json))
    }

    #[track_caller]
    fn becomes(given: Value, ty: ColumnType, expected: Value) {
        assert_eq!(coerce(given, ty), Ok(expected), "as {ty:?}");
    }

    #[track_caller]
    fn is_refused(given: Value, ty: ColumnType, problem: &str) {
        assert_eq!(coerce(given.clone(), ty), Err(Problem::from(problem.to_owned())), "{given:?} as {ty:?}");
    }

    #[test]
    fn null_stays_null_in_every_column() {
        for ty in ColumnType::ALL {
            becomes(Value::Null, ty, Value::Null);
        }
    }

    #[test]
    fn every_text_without_nul_passes_unchanged() {
        let long = "x".repeat(1024 * 1024);
        let torture = [
            "",
            " ",
            "a ",
            "A",
            "e\u{301}",
            "é",
            "ß",
            "İı",
            "👩‍👩‍👧‍👦",
            "\u{10FFFF}",
            "\u{FEFF}first",
            "\u{202E}bidi\u{2066}",
            "\r",
            "\n",
            "\r\n\t",
            "'\"`´[](){}<>",
            "\\",
            "\\N",
            "NULL",
            "null",
            "=1+1",
            "-- ;",
            "%_",
            &long[..65535],
            &long[..65536],
            &long[..65537],
            &long,
        ];
        for sample in torture {
            becomes(text(sample), ColumnType::Text, text(sample));
        }
        is_refused(text("a\0b"), ColumnType::Text, "must not contain the character NUL");
        is_refused(Value::Int(1), ColumnType::Text, "must be a text");
        is_refused(nested(1), ColumnType::Text, "must be a text");
    }

    #[test]
    fn only_truth_values_are_true_or_false() {
        becomes(Value::Bool(true), ColumnType::Bool, Value::Bool(true));
        for given in [Value::Int(1), text("true"), Value::Float(1.0), nested(0)] {
            is_refused(given, ColumnType::Bool, "must be true or false");
        }
    }

    #[test]
    fn whole_numbers_keep_each_of_their_64_bits() {
        for n in [0, 1, -1, 1 << 31, -(1 << 31), (1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MIN] {
            becomes(Value::Int(n), ColumnType::Int, Value::Int(n));
        }
        becomes(Value::Float(3.0), ColumnType::Int, Value::Int(3));
        becomes(Value::Float(-9_007_199_254_740_991.0), ColumnType::Int, Value::Int(-9_007_199_254_740_991));
        for given in [
            Value::Float(EXACT_FLOAT_LIMIT),
            Value::Float(0.5),
            Value::Float(f64::NAN),
            Value::Float(f64::INFINITY),
            text("5"),
            Value::Bool(true),
        ] {
            is_refused(given, ColumnType::Int, "must be a whole number of 64 bits");
        }
    }

    #[test]
    fn floats_are_finite_and_take_only_whole_numbers_that_they_hold_exactly() {
        for x in [0.1, 1e308, 5e-324, 1.0 / 3.0, f64::MIN_POSITIVE, f64::MAX] {
            becomes(Value::Float(x), ColumnType::Float, Value::Float(x));
        }
        becomes(Value::Int(1 << 53), ColumnType::Float, Value::Float(EXACT_FLOAT_LIMIT));
        becomes(Value::Int(i64::MIN), ColumnType::Float, Value::Float(-9_223_372_036_854_775_808.0));
        let refused = [
            Value::Float(f64::NAN),
            Value::Float(f64::INFINITY),
            Value::Float(f64::NEG_INFINITY),
            Value::Int((1 << 53) + 1),
            Value::Int(i64::MAX),
            text("0.1"),
        ];
        for given in refused {
            is_refused(given, ColumnType::Float, "must be a number");
        }
    }

    #[test]
    fn a_decimal_is_written_in_one_way_only() {
        let table = [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00", "0"),
            ("+5", "5"),
            ("00012.500", "12.5"),
            ("-7.10", "-7.1"),
            ("12.", ""),
            (".5", ""),
            ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
            ("1234567890123456789012345678", "1234567890123456789012345678"),
            ("1.00000000000000000000000000000000000", "1"),
            ("", ""),
            ("-", ""),
            ("1e5", ""),
            ("1_000", ""),
            ("٣", ""),
            ("1 ", ""),
            ("NaN", ""),
        ];
        for (given, expected) in table {
            match expected {
                "" => is_refused(text(given), ColumnType::Decimal, "must be a decimal number as text"),
                expected => becomes(text(given), ColumnType::Decimal, text(expected)),
            }
        }
        becomes(Value::Int(i64::MIN), ColumnType::Decimal, text("-9223372036854775808"));
        becomes(Value::Float(0.1), ColumnType::Decimal, text("0.1"));
        is_refused(text("12345678901234567890123456789"), ColumnType::Decimal, "must have at most 28 digits");
        is_refused(Value::Float(1e300), ColumnType::Decimal, "must have at most 28 digits");
        is_refused(Value::Float(f64::NAN), ColumnType::Decimal, "must be a decimal number as text");
    }

    #[test]
    fn the_decimal_library_reads_and_writes_the_same_text() {
        for given in [
            "0",
            "-12.5",
            "1234567890123456789012345678",
            "0.0000000000000000000000000001",
            "-99999999999999.99999999999999",
        ] {
            let number: rust_decimal::Decimal = given.parse().expect("a decimal");
            becomes(text(given), ColumnType::Decimal, text(&number.normalize().to_string()));
        }
    }

    #[test]
    fn a_moment_is_cut_to_microseconds_and_lies_in_the_years_1_to_9999() {
        let table = [
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-30T22:00:00.999999Z", "9999-12-30T22:00:00.999999Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2038-01-19T03:14:08Z", "2038-01-19T03:14:08Z"),
            ("2026-01-30T13:00:00.5+01:00", "2026-01-30T12:00:00.5Z"),
            ("2026-01-30 12:00:00z", "2026-01-30T12:00:00Z"),
        ];
        for (given, expected) in table {
            becomes(text(given), ColumnType::Timestamp, time(expected));
        }
        becomes(time("1969-12-31T23:59:59.9999999Z"), ColumnType::Timestamp, time("1969-12-31T23:59:59.999999Z"));
        let refused = [
            "0000-12-31T23:59:59Z",
            "-000001-01-01T00:00:00Z",
            "2026-01-30T12:00:00",
            "2026-01-30",
            "2026-02-30T12:00:00Z",
            "2026-01-30T12:00Z",
            "2026-01-30T13:00:00+01:00[Europe/Berlin]",
            "0001-01-01T00:00:00+01:00",
            "now",
            "",
            "2026-01-30é12:00:00Z",
        ];
        for given in refused {
            is_refused(text(given), ColumnType::Timestamp, "must be a time such as 2026-01-30T12:00:00Z");
        }
        is_refused(
            time("-000001-12-31T00:00:00Z"),
            ColumnType::Timestamp,
            "must be a time such as 2026-01-30T12:00:00Z",
        );
        is_refused(Value::Int(0), ColumnType::Timestamp, "must be a time such as 2026-01-30T12:00:00Z");
    }

    #[test]
    fn days_and_times_of_day_are_read_strictly() {
        for day in ["0001-01-01", "9999-12-31", "2024-02-29"] {
            becomes(text(day), ColumnType::Date, Value::Date(day.parse().expect("a day")));
        }
        for day in ["0000-01-01", "2025-02-29", "2026-1-3", "2026-01-30T00:00:00", "20260130", ""] {
            is_refused(text(day), ColumnType::Date, "must be a day such as 2026-01-30");
        }
        is_refused(Value::Date(jiff::civil::date(0, 1, 1)), ColumnType::Date, "must be a day such as 2026-01-30");
        for (given, nanos) in
            [("12:30", 0), ("12:30:00", 0), ("12:30:00.1234567", 123_456_000), ("12:30:00.000000999", 0)]
        {
            becomes(text(given), ColumnType::Time, Value::Time(jiff::civil::time(12, 30, 0, nanos)));
        }
        becomes(
            Value::Time(jiff::civil::time(23, 59, 59, 999_999_999)),
            ColumnType::Time,
            Value::Time(jiff::civil::time(23, 59, 59, 999_999_000)),
        );
        for given in ["24:00:00", "12:30:60", "12:30.5", "12", "12:30:00Z", "12:30:00.", "12:30:00.1234567890", ""] {
            is_refused(text(given), ColumnType::Time, "must be a time of day such as 12:30:00");
        }
    }

    #[test]
    fn a_uuid_is_lower_case_with_hyphens() {
        let canonical = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        for given in [canonical, "67E55044-10B1-426F-9247-BB680E5FE0C8", "67e5504410b1426f9247bb680e5fe0c8"] {
            becomes(text(given), ColumnType::Uuid, text(canonical));
        }
        for given in [
            "",
            "67e55044-10b1-426f-9247-bb680e5fe0c",
            "67e55044+10b1-426f-9247-bb680e5fe0c8",
            "é7e55044-10b1-426f-9247-bb680e5fe0c",
        ] {
            is_refused(text(given), ColumnType::Uuid, "must be a UUID");
        }
    }

    #[test]
    fn bytes_come_as_they_are_or_as_base64() {
        let all: Vec<u8> = (0..=255).collect();
        becomes(Value::Bytes(all.clone()), ColumnType::Bytes, Value::Bytes(all.clone()));
        becomes(text(&super::super::value::base64_text(&all)), ColumnType::Bytes, Value::Bytes(all));
        is_refused(text("not base64!"), ColumnType::Bytes, "must be base64 text");
    }

    #[test]
    fn json_holds_anything_but_nul_and_the_bottomless() {
        let big = Value::Json(Box::new(serde_json::json!({ "n": 9_007_199_254_740_993_i64 })));
        becomes(big.clone(), ColumnType::Json, big);
        becomes(text("a"), ColumnType::Json, Value::Json(Box::new("a".into())));
        becomes(Value::Int(1), ColumnType::Json, Value::Json(Box::new(1.into())));
        becomes(nested(100), ColumnType::Json, nested(100));
        is_refused(nested(101), ColumnType::Json, "must not be deeper than 100 levels");
        is_refused(Value::Float(f64::NAN), ColumnType::Json, "must be a finite number");
        let hidden = [serde_json::json!({ "a": ["\0"] }), serde_json::json!({ "a": { "k\0": 1 } })];
        for json in hidden {
            is_refused(Value::Json(Box::new(json)), ColumnType::Json, "must not contain the character NUL");
        }
    }
}
