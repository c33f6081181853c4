//! The one way in which a backup writes each value: the same data is the same bytes, whichever database it comes from.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::base::clock::{format_timestamp, parse_timestamp};
use crate::store::db::driver::RowRef;
use crate::store::db::row::DecodeError;
use crate::store::db::value::{ColumnType, Value, base64_text};

/// The column of a row as text; `None` is nothing.
pub(super) fn of_column<'a>(
    row: &'a RowRef<'_>,
    index: usize,
    ty: ColumnType,
) -> Result<Option<Cow<'a, str>>, DecodeError> {
    if row.is_null(index)? {
        return Ok(None);
    }
    Ok(Some(match ty {
        // JSON as it was written: reading and printing it could change a number.
        ColumnType::Text | ColumnType::Decimal | ColumnType::Uuid | ColumnType::Json => row.text(index)?.into(),
        ColumnType::Bool => if row.bool(index)? { "true" } else { "false" }.into(),
        ColumnType::Int => row.int(index)?.to_string().into(),
        ColumnType::Float => of_float(row.float(index)?).into(),
        ColumnType::Timestamp => format_timestamp(row.timestamp(index)?).into(),
        ColumnType::Date => row.date(index)?.to_string().into(),
        ColumnType::Time => format!("{:.6}", row.time(index)?).into(),
        ColumnType::Bytes => base64_text(row.bytes(index)?).into(),
    }))
}

/// The shortest digits that are read as the same number; zero has no sign.
pub(super) fn of_float(x: f64) -> String {
    format!("{:?}", x + 0.0)
}

/// The value that a text stands for, ready to be bound. `None` where it stands for none of this type.
pub(super) fn read(text: String, ty: ColumnType) -> Option<Value> {
    Some(match ty {
        ColumnType::Text | ColumnType::Decimal | ColumnType::Uuid => Value::Text(text),
        // Only looked at, so that it is stored as it was written.
        ColumnType::Json => {
            serde_json::from_str::<&serde_json::value::RawValue>(&text).ok()?;
            Value::Text(text)
        }
        ColumnType::Bool => Value::Bool(text.parse().ok()?),
        ColumnType::Int => Value::Int(text.parse().ok()?),
        ColumnType::Float => Value::Float(text.parse().ok()?),
        ColumnType::Timestamp => Value::Timestamp(parse_timestamp(&text)?),
        ColumnType::Date => Value::Date(text.parse().ok()?),
        ColumnType::Time => Value::Time(text.parse().ok()?),
        ColumnType::Bytes => Value::Bytes(bytes(&text)?),
    })
}

/// The bytes that a text stands for.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-14
    #[test]
    fn a_float_has_one_text_and_keeps_its_last_bit() {
        for (x, text) in
            [(0.1, "0.1"), (1e308, "1e308"), (5e-324, "5e-324"), (-0.0, "0.0"), (3.0, "3.0"), (-1.5e-7, "-1.5e-7")]
        {
            assert_eq!(of_float(x), text);
            assert_eq!(read(text.to_owned(), ColumnType::Float), Some(Value::Float(x + 0.0)));
        }
        let third = 1.0 / 3.0;
        assert_eq!(read(of_float(third), ColumnType::Float), Some(Value::Float(third)));
    }

    #[test]
    fn a_text_that_is_none_of_its_type_is_refused() {
        let wrong = [
            (ColumnType::Bool, "1"),
            (ColumnType::Int, "9223372036854775808"),
            (ColumnType::Timestamp, "yesterday"),
            (ColumnType::Bytes, "%"),
            (ColumnType::Json, "{"),
        ];
        for (ty, text) in wrong {
            assert_eq!(read(text.to_owned(), ty), None, "{text}");
        }
        let written = "{ \"b\": 1.0, \"a\": 12345678901234567890.10 }";
        assert_eq!(read(written.to_owned(), ColumnType::Json), Some(Value::from(written)));
    }
}
