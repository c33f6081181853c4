//! The text of SQLite. Declared types are names that carry the meaning and keep the right affinity.

use super::{Backend, Dialect};
use crate::store::db::value::ColumnType;

#[derive(Debug)]
pub(crate) struct Sqlite;

impl Dialect for Sqlite {
    fn backend(&self) -> Backend {
        Backend::Sqlite
    }

    fn quote(&self, name: &str, sql: &mut String) {
        sql.extend(["\"", name, "\""]);
    }

    fn placeholder(&self, number: usize, sql: &mut String) {
        sql.extend(["?", &number.to_string()]);
    }

    fn column_type(&self, ty: ColumnType, _indexed: bool) -> String {
        match ty {
            ColumnType::Text | ColumnType::Uuid | ColumnType::Decimal => "TEXT",
            ColumnType::Bool => "BOOLEAN",
            ColumnType::Int => "INTEGER",
            ColumnType::Float => "REAL",
            ColumnType::Timestamp => "TIMESTAMP",
            ColumnType::Date => "DATE",
            ColumnType::Time => "TIME",
            ColumnType::Bytes => "BLOB",
            // A name with TEXT in it, or SQLite would turn the JSON text `1` into a number.
            ColumnType::Json => "JSON_TEXT",
        }
        .to_owned()
    }

    fn meaning_of(&self, sql_type: &str) -> Option<ColumnType> {
        Some(match sql_type {
            "text" => ColumnType::Text,
            "boolean" => ColumnType::Bool,
            "integer" => ColumnType::Int,
            "real" => ColumnType::Float,
            "timestamp" => ColumnType::Timestamp,
            "date" => ColumnType::Date,
            "time" => ColumnType::Time,
            "blob" => ColumnType::Bytes,
            "json_text" => ColumnType::Json,
            _ => return None,
        })
    }

    fn text_literal(&self, text: &str, sql: &mut String) {
        sql.extend(["'", &text.replace('\'', "''"), "'"]);
    }

    fn bool_literal(&self, value: bool, sql: &mut String) {
        sql.push(if value { '1' } else { '0' });
    }

    fn like_escape(&self) -> &'static str {
        " ESCAPE '\\'"
    }

    fn ascii_case(&self, upper: bool, argument: &str) -> String {
        format!("{}({argument})", if upper { "upper" } else { "lower" })
    }

    fn length(&self, argument: &str) -> String {
        format!("length({argument})")
    }

    fn now(&self) -> &'static str {
        // To the millisecond; written as every other time is, so that text sorts as time does.
        "strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'"
    }

    fn later(&self) -> &'static str {
        "strftime('%Y-%m-%dT%H:%M:%f', 'now', (? / 1000000.0) || ' seconds') || '000Z'"
    }

    fn order_term(&self, column: &str, descending: bool, nulls_first: bool) -> String {
        let direction = if descending { "DESC" } else { "ASC" };
        if nulls_first == descending {
            format!("{column} {direction} NULLS {}", if nulls_first { "FIRST" } else { "LAST" })
        } else {
            format!("{column} {direction}")
        }
    }
}
