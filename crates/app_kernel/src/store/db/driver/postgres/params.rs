//! Values as parameters, by the type that the statement wants: in the binary form where the types meet, else as text,
//! which the server reads as it would a literal. So a text can be a `numeric`, a `uuid` or a `timestamptz`.

use std::borrow::Cow;
use std::error::Error;

use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::Value;
use crate::base::clock::format_timestamp;

/// One parameter.
#[derive(Debug)]
pub(super) struct Param<'a>(pub(super) &'a Value);

/// A value that the parameter's type can't take.
#[derive(Debug, thiserror::Error)]
#[error("{value} does not fit the PostgreSQL type {ty}")]
pub(super) struct Misfit {
    value: &'static str,
    ty: String,
}

/// PostgreSQL's day 0 and microsecond 0.
pub(super) const EPOCH: Date = jiff::civil::date(2000, 1, 1);
/// The same in microseconds since 1970.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            value if is_binary(value, ty) => binary(value, out),
            value => match text(value) {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => {
                    return Err(Box::new(Misfit { value: value.described(), ty: ty.name().to_owned() }));
                }
            },
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if is_binary(self.0, ty) { Format::Binary } else { Format::Text }
    }

    to_sql_checked!();
}

/// What the server is told where it was not asked first: nothing, so that it finds the type as for a prepared statement.
/// Bytes have no text.
pub(super) fn guessed(value: &Value) -> Type {
    if matches!(value, Value::Bytes(_)) { Type::BYTEA } else { Type::UNKNOWN }
}

/// Whether the value is sent in the type's binary form, which then is a mere copy.
fn is_binary(value: &Value, ty: &Type) -> bool {
    match value {
        Value::Bool(_) => *ty == Type::BOOL,
        Value::Int(_) => *ty == Type::INT8,
        Value::Float(x) => *ty == Type::FLOAT8 && x.is_finite(),
        Value::Bytes(_) => *ty == Type::BYTEA,
        Value::Timestamp(_) => matches!(*ty, Type::TIMESTAMPTZ | Type::TIMESTAMP),
        Value::Date(_) => *ty == Type::DATE,
        Value::Time(_) => *ty == Type::TIME,
        Value::Null | Value::Text(_) | Value::Json(_) => false, // text is text in both forms
    }
}

fn binary(value: &Value, out: &mut BytesMut) {
    match value {
        Value::Bool(b) => out.put_u8(u8::from(*b)),
        Value::Int(n) => out.put_i64(*n),
        Value::Float(x) => out.put_f64(*x),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::Timestamp(at) => out.put_i64(micros(*at) - EPOCH_MICROS),
        Value::Date(date) => out.put_i32(days(*date)),
        Value::Time(time) => out.put_i64(time_micros(*time)),
        Value::Null | Value::Text(_) | Value::Json(_) => {}
    }
}

/// The value as the server reads it from text. None for what has no honest text.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Bool(b) => Cow::Borrowed(if *b { "true" } else { "false" }),
        Value::Int(n) => Cow::Owned(n.to_string()),
        Value::Float(x) if x.is_finite() => Cow::Owned(x.to_string()),
        Value::Timestamp(at) => Cow::Owned(format_timestamp(*at)),
        Value::Date(date) => Cow::Owned(date.to_string()),
        Value::Time(time) => Cow::Owned(time.to_string()),
        Value::Json(json) => Cow::Owned(json.to_string()),
        Value::Null | Value::Float(_) | Value::Bytes(_) => return None,
    })
}

/// Rounded down, before 1970 too.
fn micros(at: Timestamp) -> i64 {
    let cut = i64::from(at.subsec_nanosecond() % 1000 < 0);
    at.as_microsecond() - cut
}

fn days(date: Date) -> i32 {
    date.duration_since(EPOCH).as_hours().div_euclid(24) as i32
}

fn time_micros(time: Time) -> i64 {
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    seconds * 1_000_000 + i64::from(time.subsec_nanosecond()) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: Value, ty: &Type) -> Result<(bool, Vec<u8>), String> {
        let mut out = BytesMut::new();
        let param = Param(&value);
        let is_text = matches!(param.encode_format(ty), Format::Text);
        param.to_sql_checked(ty, &mut out).map_err(|error| error.to_string())?;
        Ok((is_text, out.to_vec()))
    }

    #[test]
    fn values_go_in_binary_where_the_types_meet_and_as_text_elsewhere() {
        assert_eq!(sent(Value::Int(-1), &Type::INT8), Ok((false, vec![255; 8])));
        assert_eq!(sent(Value::Int(-1), &Type::NUMERIC), Ok((true, b"-1".to_vec())));
        assert_eq!(sent(Value::Bool(true), &Type::BOOL), Ok((false, vec![1])));
        assert_eq!(sent(Value::from("1.50"), &Type::NUMERIC), Ok((true, b"1.50".to_vec())));
        assert_eq!(sent(Value::Float(1.5), &Type::FLOAT4), Ok((true, b"1.5".to_vec())));
    }

    #[test]
    fn what_no_column_can_hold_is_refused_before_it_is_sent() {
        assert_eq!(
            sent(Value::Float(f64::NAN), &Type::FLOAT8),
            Err("a number does not fit the PostgreSQL type float8".to_owned())
        );
        assert_eq!(
            sent(Value::Bytes(vec![1]), &Type::TEXT),
            Err("bytes does not fit the PostgreSQL type text".to_owned())
        );
    }

    #[test]
    fn times_are_counted_from_the_year_2000_and_rounded_down() {
        let before: Timestamp = "1969-12-31T23:59:59.9999995Z".parse().expect("a time");
        assert_eq!(micros(before), -1);
        assert_eq!(days(jiff::civil::date(1999, 12, 31)), -1);
        assert_eq!(days(jiff::civil::date(2000, 1, 2)), 1);
        assert_eq!(time_micros(jiff::civil::time(0, 0, 1, 2_000)), 1_000_002);
    }
}
