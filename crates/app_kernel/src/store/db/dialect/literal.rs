//! Values inside a statement: for checks, defaults and the literals of where clauses. Parameters are better wherever there can be any.

use super::{Backend, Dialect};
use crate::base::clock::format_timestamp;
use crate::store::db::value::Value;

/// Writes a value that [`coerce`](crate::store::db::coerce::coerce) let pass, so that all three databases read the same one.
pub(crate) fn push_literal(value: &Value, dialect: &dyn Dialect, sql: &mut String) {
    match value {
        Value::Null => sql.push_str("NULL"),
        Value::Bool(b) => dialect.bool_literal(*b, sql),
        // Two of the three take the digits alone for a number that needs more than 64 bits, and the minus for an operator.
        Value::Int(i64::MIN) => sql.push_str("(-9223372036854775807 - 1)"),
        Value::Int(n) => sql.push_str(&n.to_string()),
        Value::Float(x) => push_float(*x, dialect, sql),
        Value::Text(text) => dialect.text_literal(text, sql),
        Value::Json(json) => dialect.text_literal(&json.to_string(), sql),
        Value::Bytes(bytes) => push_bytes(bytes, dialect, sql),
        Value::Timestamp(time) => push_typed("TIMESTAMPTZ", "TIMESTAMP", &format_timestamp(*time), dialect, sql),
        Value::Date(date) => push_typed("DATE", "DATE", &date.to_string(), dialect, sql),
        Value::Time(time) => push_typed("TIME", "TIME", &format!("{time:.6}"), dialect, sql),
    }
}

/// With an exponent, so that none reads it as a decimal number; in full precision.
fn push_float(x: f64, dialect: &dyn Dialect, sql: &mut String) {
    match dialect.backend() {
        Backend::Postgres => sql.extend(["DOUBLE PRECISION '", &format!("{x:e}"), "'"]),
        Backend::Sqlite | Backend::MySql => sql.push_str(&format!("{x:e}")),
    }
}

fn push_bytes(bytes: &[u8], dialect: &dyn Dialect, sql: &mut String) {
    sql.push_str(if dialect.backend() == Backend::Postgres { "BYTEA '\\x" } else { "X'" });
    for byte in bytes {
        sql.push_str(&format!("{byte:02x}"));
    }
    sql.push('\'');
}

/// A time with the name of its type before it; SQLite has it as plain text. `text` has no quotes inside.
fn push_typed(postgres: &str, mysql: &str, text: &str, dialect: &dyn Dialect, sql: &mut String) {
    match dialect.backend() {
        Backend::Sqlite => sql.extend(["'", text, "'"]),
        Backend::Postgres => sql.extend([postgres, " '", text, "'"]),
        Backend::MySql => {
            let text = text.replace('T', " ").replace('Z', "");
            sql.extend([mysql, "'", &text, "'"]);
        }
    }
}
