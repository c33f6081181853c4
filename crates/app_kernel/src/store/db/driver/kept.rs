//! A row whose values are at hand, read column by column as one of a driver's is.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use super::{DecodeError, Value};

/// A row, borrowed. JSON lies in it as text, as in the databases.
pub struct RowRef<'a> {
    pub(crate) columns: &'a [Cow<'static, str>],
    pub(crate) values: &'a [Value],
}

macro_rules! reads {
    ($($name:ident -> $ty:ty, $wanted:literal, $pattern:pat => $value:expr;)*) => {$(
        pub(crate) fn $name(&self, index: usize) -> Result<$ty, DecodeError> {
            match self.get(index)? {
                $pattern => Ok($value),
                other => Err(self.holds(index, other, $wanted)),
            }
        }
    )*};
}

impl RowRef<'_> {
    reads! {
        text -> &str, "a text", Value::Text(text) => text;
        bool -> bool, "true or false", Value::Bool(b) => *b;
        int -> i64, "a whole number", Value::Int(n) => *n;
        timestamp -> Timestamp, "a time", Value::Timestamp(time) => *time;
        date -> Date, "a day", Value::Date(date) => *date;
        time -> Time, "a time of day", Value::Time(time) => *time;
        bytes -> &[u8], "bytes", Value::Bytes(bytes) => bytes;
    }

    pub(crate) fn float(&self, index: usize) -> Result<f64, DecodeError> {
        match self.get(index)? {
            Value::Float(x) => Ok(*x),
            Value::Int(n) => Ok(*n as f64),
            other => Err(self.holds(index, other, "a number")),
        }
    }

    pub(crate) fn any(&self, index: usize) -> Result<Value, DecodeError> {
        self.get(index).cloned()
    }

    pub(crate) fn is_null(&self, index: usize) -> Result<bool, DecodeError> {
        Ok(self.get(index)?.is_null())
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.columns.get(index).map_or("", AsRef::as_ref)
    }

    fn get(&self, index: usize) -> Result<&Value, DecodeError> {
        self.values.get(index).ok_or_else(|| self.unfit(index, "is not there"))
    }

    fn holds(&self, index: usize, found: &Value, wanted: &str) -> DecodeError {
        self.unfit(index, format!("holds {}, not {wanted}", found.described()))
    }

    fn unfit(&self, index: usize, problem: impl Into<Cow<'static, str>>) -> DecodeError {
        DecodeError { column: self.name(index).to_owned(), problem: problem.into() }
    }
}
