//! The found schema: what the database's own catalogue says is there. A constant number of queries, however many tables there are.

use std::collections::{BTreeMap, BTreeSet};

use super::DbResult;
use super::dialect::Backend;
use super::driver::{RowRef, Session};
use super::row::DecodeError;
use super::value::Value;

/// Tables by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) tables: BTreeMap<String, FoundTable>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FoundTable {
    /// In their order.
    pub(crate) columns: Vec<FoundColumn>,
    /// Names of indexes, unique ones too.
    pub(crate) indexes: BTreeSet<String>,
    /// Names of foreign keys. Empty for SQLite, which does not name them.
    pub(crate) foreign_keys: BTreeSet<String>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundColumn {
    pub(crate) name: String,
    /// In the database's own words, in lower case; on MySQL with its comment.
    pub(crate) sql_type: String,
    pub(crate) nullable: bool,
    pub(crate) has_default: bool,
}

/// Reads the catalogue: of one table, or of all.
pub(crate) async fn inspect(session: &mut Session<'_>, only: Option<&str>) -> DbResult<Found> {
    let (columns, indexes, foreign_keys) = catalogue(session.dialect().backend());
    let only = only.map_or(Value::Text(String::new()), Value::from);
    let only = match session.dialect().backend() {
        Backend::Sqlite | Backend::Postgres => vec![only],
        // Its places have no numbers, so the name is told twice.
        Backend::MySql => vec![only.clone(), only],
    };
    let mut found = Found::default();
    let text = |row: &RowRef<'_>, index| row.text(index).map(str::to_owned);
    let read_column = |row: &RowRef<'_>| -> Result<(String, FoundColumn), DecodeError> {
        let column = FoundColumn {
            name: text(row, 1)?,
            sql_type: text(row, 2)?.to_lowercase(),
            nullable: row.int(3)? != 0,
            has_default: row.int(4)? != 0,
        };
        Ok((text(row, 0)?, column))
    };
    for (table, column) in session.query(columns, &only, read_column).await? {
        found.tables.entry(table).or_default().columns.push(column);
    }
    for (table, index) in session.query(indexes, &only, |row| Ok((text(row, 0)?, text(row, 1)?))).await? {
        // A table that came to be between two questions is not there yet.
        if let Some(there) = found.tables.get_mut(&table) {
            there.indexes.insert(index);
        }
    }
    if let Some(foreign_keys) = foreign_keys {
        for (table, key) in session.query(foreign_keys, &only, |row| Ok((text(row, 0)?, text(row, 1)?))).await? {
            if let Some(there) = found.tables.get_mut(&table) {
                there.foreign_keys.insert(key);
            }
        }
    }
    Ok(found)
}

/// The queries for columns, indexes and foreign keys. The parameter is a table's name, or "" for all.
fn catalogue(backend: Backend) -> (&'static str, &'static str, Option<&'static str>) {
    match backend {
        Backend::Sqlite => (
            "SELECT m.name, c.name, c.type, c.\"notnull\" = 0, c.dflt_value IS NOT NULL \
             FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c \
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND (?1 = '' OR m.name = ?1) ORDER BY m.name, c.cid",
            "SELECT tbl_name, name FROM sqlite_schema WHERE type = 'index' AND (?1 = '' OR tbl_name = ?1)",
            None,
        ),
        Backend::Postgres => (
            "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), \
                    CASE WHEN a.attnotnull THEN 0 ELSE 1 END, CASE WHEN a.atthasdef THEN 1 ELSE 0 END \
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
               AND ($1::text = '' OR c.relname = $1::text) ORDER BY c.relname, a.attnum",
            "SELECT t.relname::text, i.relname::text FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
             WHERE t.relnamespace = current_schema()::regnamespace AND x.indisvalid AND ($1::text = '' OR t.relname = $1::text)",
            Some(
                "SELECT t.relname::text, k.conname::text FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid \
                 WHERE k.contype = 'f' AND t.relnamespace = current_schema()::regnamespace AND ($1::text = '' OR t.relname = $1::text)",
            ),
        ),
        Backend::MySql => (
            "SELECT table_name, column_name, CAST(CONCAT(column_type, IF(column_comment = '', '', CONCAT(' comment ', column_comment))) AS CHAR), \
                    CAST(is_nullable = 'YES' AS SIGNED), CAST(column_default IS NOT NULL AS SIGNED) \
             FROM information_schema.columns WHERE table_schema = DATABASE() AND (? = '' OR table_name = ?) ORDER BY table_name, ordinal_position",
            "SELECT DISTINCT table_name, index_name FROM information_schema.statistics WHERE table_schema = DATABASE() AND (? = '' OR table_name = ?)",
            Some(
                "SELECT table_name, constraint_name FROM information_schema.table_constraints \
                 WHERE table_schema = DATABASE() AND constraint_type = 'FOREIGN KEY' AND (? = '' OR table_name = ?)",
            ),
        ),
    }
}
