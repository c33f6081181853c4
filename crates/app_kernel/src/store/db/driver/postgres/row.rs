//! Rows in PostgreSQL's binary form, read column by column.

use std::error::Error;

use jiff::civil::{Date, Time};
use jiff::{Span, Timestamp};
use tokio_postgres::types::{FromSql, Kind, Type};

use super::super::DecodeError;
use super::Value;
use super::params::{EPOCH, EPOCH_MICROS};

/// A row, borrowed.
pub struct RowRef<'a>(pub(super) &'a tokio_postgres::Row);

/// The bytes of a column of any type.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl RowRef<'_> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.0.columns().get(index).map_or("", |column| column.name())
    }

    pub(crate) fn is_null(&self, index: usize) -> Result<bool, DecodeError> {
        Ok(self.raw(index)?.is_none())
    }

    pub(crate) fn text(&self, index: usize) -> Result<&str, DecodeError> {
        let (bytes, ty) = self.some(index)?;
        let bytes = match *ty {
            Type::JSONB => bytes.get(1..).unwrap_or_default(), // after the version
            _ if is_text(ty) => bytes,
            _ => return Err(self.wrong(index, "a text; cast it to text")),
        };
        std::str::from_utf8(bytes).map_err(|_| self.unfit(index, "is not UTF-8 text".to_owned()))
    }

    pub(crate) fn bool(&self, index: usize) -> Result<bool, DecodeError> {
        match self.some(index)? {
            ([byte], &Type::BOOL) => Ok(*byte != 0),
            _ => Err(self.wrong(index, "true or false")),
        }
    }

    pub(crate) fn int(&self, index: usize) -> Result<i64, DecodeError> {
        let (bytes, ty) = self.some(index)?;
        let number = match *ty {
            Type::INT8 => bytes.try_into().ok().map(i64::from_be_bytes),
            Type::INT4 => bytes.try_into().ok().map(|bytes| i64::from(i32::from_be_bytes(bytes))),
            Type::INT2 => bytes.try_into().ok().map(|bytes| i64::from(i16::from_be_bytes(bytes))),
            Type::OID => bytes.try_into().ok().map(|bytes| i64::from(u32::from_be_bytes(bytes))),
            // What SUM of whole numbers answers.
            Type::NUMERIC => numeric(bytes).and_then(|text| whole(&text)),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(index, "a whole number of 64 bits"))
    }

    pub(crate) fn float(&self, index: usize) -> Result<f64, DecodeError> {
        let (bytes, ty) = self.some(index)?;
        let number = match *ty {
            Type::FLOAT8 => bytes.try_into().ok().map(f64::from_be_bytes),
            Type::FLOAT4 => bytes.try_into().ok().map(|bytes| f64::from(f32::from_be_bytes(bytes))),
            Type::NUMERIC => numeric(bytes).and_then(|text| text.parse().ok()),
            _ => {
                return self.int(index).map(|n| n as f64).map_err(|_| self.wrong(index, "a number"));
            }
        };
        number.ok_or_else(|| self.wrong(index, "a number"))
    }

    pub(crate) fn timestamp(&self, index: usize) -> Result<Timestamp, DecodeError> {
        let (bytes, ty) = self.some(index)?;
        if !matches!(*ty, Type::TIMESTAMPTZ | Type::TIMESTAMP) {
            return Err(self.wrong(index, "a time"));
        }
        let micros = bytes.try_into().ok().map(i64::from_be_bytes);
        // The two ends of the range mean infinity.
        let micros = micros.filter(|micros| !matches!(*micros, i64::MIN | i64::MAX));
        let micros = micros.and_then(|micros| micros.checked_add(EPOCH_MICROS));
        let at = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        at.ok_or_else(|| self.unfit(index, "holds a time outside of the years -9999 to 9999".to_owned()))
    }

    pub(crate) fn date(&self, index: usize) -> Result<Date, DecodeError> {
        let (bytes, ty) = self.some(index)?;
        if *ty != Type::DATE {
            return Err(self.wrong(index, "a day"));
        }
        let days = bytes.try_into().ok().map(i32::from_be_bytes);
        let span = days.and_then(|days| Span::new().try_days(days).ok());
        let date = span.and_then(|span| EPOCH.checked_add(span).ok());
        date.ok_or_else(|| self.unfit(index, "holds a day outside of the years -9999 to 9999".to_owned()))
    }

    pub(crate) fn time(&self, index: usize) -> Result<Time, DecodeError> {
        let (bytes, ty) = self.some(index)?;
        if *ty != Type::TIME {
            return Err(self.wrong(index, "a time of day"));
        }
        let micros = bytes.try_into().ok().map(i64::from_be_bytes);
        let time = micros.and_then(|micros| {
            let seconds = micros / 1_000_000;
            let part = |n: i64| i8::try_from(n).ok();
            let nanos = i32::try_from(micros % 1_000_000 * 1000).ok()?;
            Time::new(part(seconds / 3600)?, part(seconds / 60 % 60)?, part(seconds % 60)?, nanos).ok()
        });
        time.ok_or_else(|| self.unfit(index, "holds 24:00, which is not a time of day".to_owned()))
    }

    pub(crate) fn bytes(&self, index: usize) -> Result<&[u8], DecodeError> {
        match self.some(index)? {
            (bytes, &Type::BYTEA) => Ok(bytes),
            _ => Err(self.wrong(index, "bytes")),
        }
    }

    pub(crate) fn any(&self, index: usize) -> Result<Value, DecodeError> {
        let Some(bytes) = self.raw(index)? else {
            return Ok(Value::Null);
        };
        let ty = self.0.columns()[index].type_();
        Ok(match *ty {
            Type::BOOL => Value::Bool(self.bool(index)?),
            Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => Value::Int(self.int(index)?),
            Type::FLOAT4 | Type::FLOAT8 => Value::Float(self.float(index)?),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => Value::Timestamp(self.timestamp(index)?),
            Type::DATE => Value::Date(self.date(index)?),
            Type::TIME => Value::Time(self.time(index)?),
            Type::BYTEA => Value::Bytes(bytes.to_vec()),
            Type::VOID => Value::Null,
            Type::JSON | Type::JSONB => {
                let json = serde_json::from_str(self.text(index)?);
                Value::Json(Box::new(json.map_err(|_| self.unfit(index, "is not JSON".to_owned()))?))
            }
            Type::UUID => {
                let uuid = uuid::Uuid::from_slice(bytes).map_err(|_| self.wrong(index, "a UUID"))?;
                Value::Text(uuid.to_string())
            }
            Type::NUMERIC => Value::Text(numeric(bytes).ok_or_else(|| self.wrong(index, "a decimal number"))?),
            _ => Value::Text(self.text(index)?.to_owned()),
        })
    }

    fn raw(&self, index: usize) -> Result<Option<&[u8]>, DecodeError> {
        match self.0.try_get::<_, Option<Raw<'_>>>(index) {
            Ok(raw) => Ok(raw.map(|Raw(bytes)| bytes)),
            Err(_) => Err(self.unfit(index, format!("is missing: the row has {} columns", self.len()))),
        }
    }

    fn some(&self, index: usize) -> Result<(&[u8], &Type), DecodeError> {
        let bytes = self.raw(index)?.ok_or_else(|| self.unfit(index, "is null".to_owned()))?;
        Ok((bytes, self.0.columns()[index].type_()))
    }

    fn wrong(&self, index: usize, wanted: &str) -> DecodeError {
        let ty = self.0.columns().get(index).map_or("?", |column| column.type_().name());
        self.unfit(index, format!("is of the PostgreSQL type `{ty}` and can't be read as {wanted}"))
    }

    fn unfit(&self, index: usize, problem: String) -> DecodeError {
        DecodeError { column: self.name(index).to_owned(), problem: problem.into() }
    }
}

/// Whether the binary form is the text itself.
fn is_text(ty: &Type) -> bool {
    match *ty {
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::XML | Type::UNKNOWN => true,
        _ => matches!(ty.kind(), Kind::Enum(_)) || ty.name() == "citext",
    }
}

/// A `numeric`: groups of four decimal digits, the first of which stands for `weight`, then as many decimals as are shown.
fn numeric(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks_exact(2).map(|pair| i16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()? as u16, words.next()?);
    let groups: Vec<i16> = words.collect();
    if groups.len() != usize::try_from(count).ok()? || !(0..=16_383).contains(&scale) {
        return None;
    }
    match sign {
        0x0000 | 0x4000 => {}
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let group = |position: i32| {
        let index = usize::try_from(i32::from(weight) - position).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::from(if sign == 0x4000 { "-" } else { "" });
    let whole: String = (0..=i32::from(weight)).rev().map(|position| format!("{:04}", group(position))).collect();
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        let scale = usize::try_from(scale).ok()?;
        let groups = i32::try_from(scale.div_ceil(4)).ok()?;
        let decimals: String = (1..=groups).map(|position| format!("{:04}", group(-position))).collect();
        text.push('.');
        text.push_str(&decimals[..scale]);
    }
    Some(text)
}

/// The whole number that a decimal is, where it is one.
fn whole(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.bytes().all(|b| b == b'0') { whole.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(weight: i16, sign: u16, scale: i16, groups: &[i16]) -> Vec<u8> {
        let head = [groups.len() as i16, weight, sign as i16, scale];
        head.iter().chain(groups).flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn decimals_are_read_exactly() {
        for (text, bytes) in [
            ("0", encoded(0, 0, 0, &[])),
            ("0.00", encoded(0, 0, 2, &[])),
            ("12345678.90", encoded(1, 0, 2, &[1234, 5678, 9000])),
            ("-0.0001", encoded(-1, 0x4000, 4, &[1])),
            ("0.00000012", encoded(-2, 0, 8, &[12])),
            ("100000000", encoded(2, 0, 0, &[1])),
            ("NaN", encoded(0, 0xC000, 0, &[])),
            ("9223372036854775807", encoded(4, 0, 0, &[922, 3372, 368, 5477, 5807])),
        ] {
            assert_eq!(numeric(&bytes).as_deref(), Some(text));
        }
        assert_eq!(numeric(&[0, 1]), None);
        assert_eq!(whole("15.000"), Some(15));
        assert_eq!(whole("15.5"), None);
        assert_eq!(whole("9223372036854775808"), None);
    }
}
