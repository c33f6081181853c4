//! The values that travel between a service and its database, the same for all three.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::ser::{Serialize, Serializer};

use crate::base::clock::format_timestamp;

/// What a column holds. Each has one form in SQLite, PostgreSQL and MySQL, and one in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// Text of any length; compared byte by byte, so case, accents and trailing spaces count.
    Text,
    /// True or false.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A floating-point number of 64 bits; never NaN or infinite.
    Float,
    /// An exact decimal number, kept as text without trailing zeros. Can be equal, but has no order in a query.
    Decimal,
    /// A moment in UTC, to the microsecond.
    Timestamp,
    /// A calendar day.
    Date,
    /// A time of day, to the microsecond.
    Time,
    /// A UUID, kept as text in lower case.
    Uuid,
    /// Bytes; base64 in JSON.
    Bytes,
    /// Any JSON value, kept as it was written.
    Json,
}

impl ColumnType {
    /// All of them.
    pub const ALL: [ColumnType; 11] = [
        ColumnType::Text,
        ColumnType::Bool,
        ColumnType::Int,
        ColumnType::Float,
        ColumnType::Decimal,
        ColumnType::Timestamp,
        ColumnType::Date,
        ColumnType::Time,
        ColumnType::Uuid,
        ColumnType::Bytes,
        ColumnType::Json,
    ];

    /// With its article, for messages: `a whole number`.
    #[must_use]
    pub fn described(self) -> &'static str {
        match self {
            ColumnType::Text => "a text",
            ColumnType::Bool => "true or false",
            ColumnType::Int => "a whole number of 64 bits",
            ColumnType::Float => "a number",
            ColumnType::Decimal => "a decimal number as text",
            ColumnType::Timestamp => "a time such as 2026-01-30T12:00:00Z",
            ColumnType::Date => "a day such as 2026-01-30",
            ColumnType::Time => "a time of day such as 12:30:00",
            ColumnType::Uuid => "a UUID",
            ColumnType::Bytes => "base64 text",
            ColumnType::Json => "a JSON value",
        }
    }
}

/// One value of a row or a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text; also decimals and UUIDs.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A moment.
    Timestamp(Timestamp),
    /// A day.
    Date(Date),
    /// A time of day.
    Time(Time),
    /// A JSON array, object or anything else in a JSON column.
    Json(Box<serde_json::Value>),
}

impl Value {
    /// Whether this is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, where it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The truth value, where it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// With its article, for messages: `a text`.
    #[must_use]
    pub fn described(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "a time",
            Value::Date(_) => "a day",
            Value::Time(_) => "a time of day",
            Value::Json(_) => "a JSON value",
        }
    }
}

/// As JSON: times as RFC 3339 in UTC, bytes as base64, the rest as itself.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Int(n) => serializer.serialize_i64(*n),
            Value::Float(x) => serializer.serialize_f64(*x),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_str(&base64_text(bytes)),
            Value::Timestamp(time) => serializer.serialize_str(&format_timestamp(*time)),
            Value::Date(date) => serializer.collect_str(date),
            Value::Time(time) => serializer.collect_str(time),
            Value::Json(json) => json.serialize(serializer),
        }
    }
}

/// Bytes as they stand in JSON: base64 with padding (RFC 4648, section 4).
pub(crate) fn base64_text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

macro_rules! from {
    ($($from:ty => |$v:ident| $into:expr),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from($v: $from) -> Self {
                $into
            }
        })*
    };
}

from! {
    bool => |v| Value::Bool(v),
    i8 => |v| Value::Int(v.into()),
    i16 => |v| Value::Int(v.into()),
    i32 => |v| Value::Int(v.into()),
    i64 => |v| Value::Int(v),
    u8 => |v| Value::Int(v.into()),
    u16 => |v| Value::Int(v.into()),
    u32 => |v| Value::Int(v.into()),
    f32 => |v| Value::Float(v.into()),
    f64 => |v| Value::Float(v),
    String => |v| Value::Text(v),
    &String => |v| Value::Text(v.clone()),
    &str => |v| Value::Text(v.to_owned()),
    Cow<'_, str> => |v| Value::Text(v.into_owned()),
    Vec<u8> => |v| Value::Bytes(v),
    &[u8] => |v| Value::Bytes(v.to_vec()),
    Timestamp => |v| Value::Timestamp(v),
    Date => |v| Value::Date(v),
    Time => |v| Value::Time(v),
    uuid::Uuid => |v| Value::Text(v.to_string()),
    rust_decimal::Decimal => |v| Value::Text(v.normalize().to_string()),
    serde_json::Value => |v| from_json(v),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A JSON value as the nearest plain value; arrays and objects stay JSON.
pub(crate) fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => Value::Int(n),
            (None, Some(x)) => Value::Float(x),
            (None, None) => Value::Text(n.to_string()),
        },
        serde_json::Value::String(text) => Value::Text(text),
        json => Value::Json(Box::new(json)),
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl PartialEq<i64> for Value {
    fn eq(&self, other: &i64) -> bool {
        self.as_int() == Some(*other)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        self.as_bool() == Some(*other)
    }
}
