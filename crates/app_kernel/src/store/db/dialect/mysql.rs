//! The text of MySQL 8 and MariaDB, in what both understand. Tables are made with a binary collation that does not pad.

use super::{Backend, Dialect};
use crate::store::db::entity::LONGEST_INDEXED_TEXT;
use crate::store::db::value::ColumnType;

#[derive(Debug)]
pub(crate) struct MySql;

impl Dialect for MySql {
    fn backend(&self) -> Backend {
        Backend::MySql
    }

    fn quote(&self, name: &str, sql: &mut String) {
        sql.extend(["`", name, "`"]);
    }

    fn placeholder(&self, _number: usize, sql: &mut String) {
        sql.push('?');
    }

    fn column_type(&self, ty: ColumnType, indexed: bool) -> String {
        match ty {
            ColumnType::Text if indexed => return format!("VARCHAR({LONGEST_INDEXED_TEXT})"),
            ColumnType::Uuid | ColumnType::Decimal => return format!("VARCHAR({LONGEST_INDEXED_TEXT})"),
            ColumnType::Text => "LONGTEXT",
            ColumnType::Bool => "BOOLEAN",
            ColumnType::Int => "BIGINT",
            ColumnType::Float => "DOUBLE",
            ColumnType::Timestamp => "DATETIME(6)",
            ColumnType::Date => "DATE",
            ColumnType::Time => "TIME(6)",
            ColumnType::Bytes => "LONGBLOB",
            // Not JSON: MySQL would change numbers and the order of keys. The comment tells what it is.
            ColumnType::Json => "LONGTEXT COMMENT 'json'",
        }
        .to_owned()
    }

    fn meaning_of(&self, sql_type: &str) -> Option<ColumnType> {
        let (name, _width) = sql_type.split_once('(').unwrap_or((sql_type, ""));
        Some(match name {
            "longtext" | "varchar" => ColumnType::Text,
            // BOOLEAN is another word for it.
            "tinyint" => ColumnType::Bool,
            "bigint" => ColumnType::Int,
            "double" => ColumnType::Float,
            "datetime" => ColumnType::Timestamp,
            "date" => ColumnType::Date,
            "time" => ColumnType::Time,
            "longblob" => ColumnType::Bytes,
            "longtext comment json" => ColumnType::Json,
            _ => return None,
        })
    }

    fn text_literal(&self, text: &str, sql: &mut String) {
        // NO_BACKSLASH_ESCAPES is off in every session of ours.
        sql.push('\'');
        let mut rest = text;
        while let Some(at) = rest.find(['\\', '\'']) {
            let (plain, special) = rest.split_at(at);
            rest = &special[1..];
            sql.extend([plain, &special[..1], &special[..1]]);
        }
        sql.extend([rest, "'"]);
    }

    fn bool_literal(&self, value: bool, sql: &mut String) {
        sql.push_str(if value { "TRUE" } else { "FALSE" });
    }

    fn like_escape(&self) -> &'static str {
        " ESCAPE '\\\\'"
    }

    fn ascii_case(&self, upper: bool, argument: &str) -> String {
        // The functions of MySQL know all of Unicode. REPLACE compares bytes and keeps the collation of the column.
        (b'A'..=b'Z').fold(argument.to_owned(), |text, letter| {
            let (capital, small) = (char::from(letter), char::from(letter.to_ascii_lowercase()));
            let (from, to) = if upper { (small, capital) } else { (capital, small) };
            format!("REPLACE({text},'{from}','{to}')")
        })
    }

    fn length(&self, argument: &str) -> String {
        format!("CHAR_LENGTH({argument})")
    }

    fn now(&self) -> &'static str {
        // The time zone is UTC in every session of ours.
        "NOW(6)"
    }

    fn later(&self) -> &'static str {
        "NOW(6) + INTERVAL ? MICROSECOND"
    }

    fn order_term(&self, column: &str, descending: bool, nulls_first: bool) -> String {
        let direction = if descending { "DESC" } else { "ASC" };
        if nulls_first == descending {
            format!("{column} IS NULL {}, {column} {direction}", if nulls_first { "DESC" } else { "ASC" })
        } else {
            format!("{column} {direction}")
        }
    }
}
