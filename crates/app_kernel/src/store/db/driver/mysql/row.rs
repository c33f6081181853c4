//! Rows as mysql_async gives them, read column by column.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use mysql_async::Value as Sql;
use mysql_async::consts::ColumnType as Kind;

use super::super::DecodeError;
use super::Value;
use crate::base::clock::timestamp_of;

/// The character set whose texts are bytes.
const BINARY: u16 = 63;

/// A row, borrowed.
pub struct RowRef<'a>(pub(super) &'a mysql_async::Row);

impl RowRef<'_> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        let column = self.0.columns_ref().get(index);
        column.and_then(|column| std::str::from_utf8(column.name_ref()).ok()).unwrap_or_default()
    }

    pub(crate) fn is_null(&self, index: usize) -> Result<bool, DecodeError> {
        Ok(matches!(self.raw(index)?, Sql::NULL))
    }

    pub(crate) fn text(&self, index: usize) -> Result<&str, DecodeError> {
        match self.raw(index)? {
            Sql::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| self.unfit(index, "is not UTF-8 text")),
            _ => Err(self.wrong(index, "a text")),
        }
    }

    pub(crate) fn bool(&self, index: usize) -> Result<bool, DecodeError> {
        match self.int(index) {
            Ok(0) => Ok(false),
            Ok(1) => Ok(true),
            _ => Err(self.wrong(index, "true or false")),
        }
    }

    pub(crate) fn int(&self, index: usize) -> Result<i64, DecodeError> {
        let number = match self.raw(index)? {
            Sql::Int(n) => Some(*n),
            Sql::UInt(n) => i64::try_from(*n).ok(),
            Sql::Bytes(bytes) if self.kind(index) == Kind::MYSQL_TYPE_BIT => bits(bytes),
            // Decimals come as text; SUM of whole numbers is one.
            Sql::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(whole),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(index, "a whole number of 64 bits"))
    }

    pub(crate) fn float(&self, index: usize) -> Result<f64, DecodeError> {
        let number = match self.raw(index)? {
            Sql::Double(x) => Some(*x),
            Sql::Float(x) => Some(f64::from(*x)),
            Sql::Int(n) => Some(*n as f64),
            Sql::UInt(n) => Some(*n as f64),
            Sql::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        number.ok_or_else(|| self.wrong(index, "a number"))
    }

    pub(crate) fn timestamp(&self, index: usize) -> Result<Timestamp, DecodeError> {
        let at = match self.raw(index)? {
            Sql::Date(year, month, day, hour, minute, second, micros) => {
                let [year, month, day] = [u32::from(*year), u32::from(*month), u32::from(*day)];
                timestamp_of([year, month, day], [hour, minute, second].map(|part| u32::from(*part)), *micros)
            }
            _ => None,
        };
        // What is not in the binary form, or no such day, the slow way tells apart.
        let at = match at {
            Some(at) => Some(at),
            None => self.date_time(index)?.and_then(|at| Offset::UTC.to_timestamp(at).ok()),
        };
        at.ok_or_else(|| self.wrong(index, "a time"))
    }

    pub(crate) fn date(&self, index: usize) -> Result<Date, DecodeError> {
        let at = self.date_time(index)?.filter(|at| at.time() == Time::midnight());
        at.map(DateTime::date).ok_or_else(|| self.wrong(index, "a day"))
    }

    pub(crate) fn time(&self, index: usize) -> Result<Time, DecodeError> {
        let time = match self.raw(index)? {
            // TIME is a length of time in MySQL: it may be negative, or longer than a day.
            Sql::Time(false, 0, hour, minute, second, micros) => clock(*hour, *minute, *second, *micros),
            Sql::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        time.ok_or_else(|| self.wrong(index, "a time of day"))
    }

    pub(crate) fn bytes(&self, index: usize) -> Result<&[u8], DecodeError> {
        match self.raw(index)? {
            Sql::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong(index, "bytes")),
        }
    }

    pub(crate) fn any(&self, index: usize) -> Result<Value, DecodeError> {
        let kind = self.kind(index);
        Ok(match self.raw(index)? {
            Sql::NULL => Value::Null,
            Sql::Int(n @ (0 | 1)) if self.is_boolean(index) => Value::Bool(*n == 1),
            Sql::Int(n) => Value::Int(*n),
            Sql::UInt(n) => i64::try_from(*n).map_or_else(|_| Value::Text(n.to_string()), Value::Int),
            Sql::Float(x) => Value::Float(f64::from(*x)),
            Sql::Double(x) => Value::Float(*x),
            Sql::Date(..) if kind == Kind::MYSQL_TYPE_DATE => Value::Date(self.date(index)?),
            Sql::Date(..) => Value::Timestamp(self.timestamp(index)?),
            Sql::Time(..) => Value::Time(self.time(index)?),
            Sql::Bytes(bytes) => match kind {
                Kind::MYSQL_TYPE_BIT => Value::Int(self.int(index)?),
                Kind::MYSQL_TYPE_JSON => {
                    let json = serde_json::from_slice(bytes).map_err(|_| self.unfit(index, "is not JSON"))?;
                    Value::Json(Box::new(json))
                }
                Kind::MYSQL_TYPE_DECIMAL | Kind::MYSQL_TYPE_NEWDECIMAL => Value::Text(self.text(index)?.to_owned()),
                _ if self.0.columns_ref()[index].character_set() == BINARY => Value::Bytes(bytes.clone()),
                _ => Value::Text(self.text(index)?.to_owned()),
            },
        })
    }

    fn date_time(&self, index: usize) -> Result<Option<DateTime>, DecodeError> {
        Ok(match self.raw(index)? {
            Sql::Date(0, ..) => return Err(self.unfit(index, "holds a day in the year 0")),
            Sql::Date(year, month, day, hour, minute, second, micros) => (|| {
                let date = Date::new(i16::try_from(*year).ok()?, *month as i8, *day as i8).ok()?;
                Some(date.to_datetime(clock(*hour, *minute, *second, *micros)?))
            })(),
            Sql::Bytes(bytes) => std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()),
            _ => None,
        })
    }

    /// BOOLEAN is written so.
    fn is_boolean(&self, index: usize) -> bool {
        self.kind(index) == Kind::MYSQL_TYPE_TINY && self.0.columns_ref()[index].column_length() == 1
    }

    fn kind(&self, index: usize) -> Kind {
        self.0.columns_ref().get(index).map_or(Kind::MYSQL_TYPE_NULL, |column| column.column_type())
    }

    fn raw(&self, index: usize) -> Result<&Sql, DecodeError> {
        self.0.as_ref(index).ok_or_else(|| self.unfit(index, format!("is missing: the row has {} columns", self.len())))
    }

    fn wrong(&self, index: usize, wanted: &str) -> DecodeError {
        if matches!(self.0.as_ref(index), Some(Sql::NULL)) {
            return self.unfit(index, "is null");
        }
        let kind = format!("{:?}", self.kind(index));
        let kind = kind.trim_start_matches("MYSQL_TYPE_");
        self.unfit(index, format!("is of the MySQL type {kind} and can't be read as {wanted}"))
    }

    fn unfit(&self, index: usize, problem: impl Into<std::borrow::Cow<'static, str>>) -> DecodeError {
        DecodeError { column: self.name(index).to_owned(), problem: problem.into() }
    }
}

fn clock(hour: u8, minute: u8, second: u8, micros: u32) -> Option<Time> {
    let nanos = i32::try_from(micros).ok()?.checked_mul(1000)?;
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, i8::try_from(second).ok()?, nanos).ok()
}

fn bits(bytes: &[u8]) -> Option<i64> {
    let number = bytes.iter().try_fold(0_u64, |n, byte| Some(n.checked_mul(256)? + u64::from(*byte)))?;
    i64::try_from(number).ok()
}

/// The whole number that a decimal is, where it is one.
fn whole(text: &str) -> Option<i64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.bytes().all(|b| b == b'0') { whole.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_bits_are_whole_numbers() {
        assert_eq!(whole("15"), Some(15));
        assert_eq!(whole("-15.00"), Some(-15));
        assert_eq!(whole("15.5"), None);
        assert_eq!(bits(&[1, 0]), Some(256));
        assert_eq!(bits(&[255; 8]), None);
    }

    #[test]
    fn a_length_of_time_beyond_a_day_is_no_time_of_day() {
        assert_eq!(clock(23, 59, 59, 999_999), Some(jiff::civil::time(23, 59, 59, 999_999_000)));
        assert_eq!(clock(24, 0, 0, 0), None);
    }
}
