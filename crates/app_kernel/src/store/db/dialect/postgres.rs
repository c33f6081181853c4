//! The text of PostgreSQL. Text compares byte by byte (`COLLATE "C"`), whatever the database's locale.

use super::{Backend, Dialect};
use crate::store::db::value::ColumnType;

#[derive(Debug)]
pub(crate) struct Postgres;

impl Dialect for Postgres {
    fn backend(&self) -> Backend {
        Backend::Postgres
    }

    fn quote(&self, name: &str, sql: &mut String) {
        sql.extend(["\"", name, "\""]);
    }

    fn placeholder(&self, number: usize, sql: &mut String) {
        sql.extend(["$", &number.to_string()]);
    }

    fn column_type(&self, ty: ColumnType, _indexed: bool) -> String {
        match ty {
            ColumnType::Text | ColumnType::Uuid | ColumnType::Decimal => "TEXT COLLATE \"C\"",
            ColumnType::Bool => "BOOLEAN",
            ColumnType::Int => "BIGINT",
            ColumnType::Float => "DOUBLE PRECISION",
            ColumnType::Timestamp => "TIMESTAMPTZ",
            ColumnType::Date => "DATE",
            ColumnType::Time => "TIME",
            ColumnType::Bytes => "BYTEA",
            // Not JSONB: it would change numbers and the order of keys.
            ColumnType::Json => "JSON",
        }
        .to_owned()
    }

    fn meaning_of(&self, sql_type: &str) -> Option<ColumnType> {
        Some(match sql_type {
            "text" => ColumnType::Text,
            "boolean" => ColumnType::Bool,
            "bigint" => ColumnType::Int,
            "double precision" => ColumnType::Float,
            "timestamp with time zone" => ColumnType::Timestamp,
            "date" => ColumnType::Date,
            "time without time zone" => ColumnType::Time,
            "bytea" => ColumnType::Bytes,
            "json" => ColumnType::Json,
            _ => return None,
        })
    }

    fn text_literal(&self, text: &str, sql: &mut String) {
        // standard_conforming_strings is on in every session of ours.
        sql.extend(["'", &text.replace('\'', "''"), "'"]);
    }

    fn bool_literal(&self, value: bool, sql: &mut String) {
        sql.push_str(if value { "TRUE" } else { "FALSE" });
    }

    fn like_escape(&self) -> &'static str {
        " ESCAPE '\\'"
    }

    fn ascii_case(&self, upper: bool, argument: &str) -> String {
        format!("{}(({argument}) COLLATE \"C\")", if upper { "upper" } else { "lower" })
    }

    fn length(&self, argument: &str) -> String {
        // Its own answer has 32 bits, and would make a parameter beside it have as many.
        format!("CAST(char_length({argument}) AS BIGINT)")
    }

    fn now(&self) -> &'static str {
        "statement_timestamp()"
    }

    fn later(&self) -> &'static str {
        "statement_timestamp() + CAST(? AS BIGINT) * INTERVAL '1 microsecond'"
    }

    fn order_term(&self, column: &str, descending: bool, nulls_first: bool) -> String {
        let direction = if descending { "DESC" } else { "ASC" };
        // PostgreSQL calls null the largest value; the kernel, as the other two databases, the smallest.
        format!("{column} {direction} NULLS {}", if nulls_first { "FIRST" } else { "LAST" })
    }
}
