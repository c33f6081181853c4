//! Tables, columns and indexes as text.

use super::literal::push_literal;
use super::{Backend, Dialect};
use crate::store::db::entity::DELETED_AT;
use crate::store::db::inspect::FoundColumn;
use crate::store::db::schema::{TableCheck, TableColumn, TableDef, TableForeignKey, TableIndex};
use crate::store::db::value::Value;

/// MySQL has no partial indexes: a generated column that is null for deleted rows takes part in each unique index.
pub(crate) const LIVE: &str = "live_";

/// The statements that make a table with its indexes. Foreign keys come extra, once all tables are there; SQLite has them inside.
pub(crate) fn create_table(table: &TableDef, dialect: &dyn Dialect) -> Vec<String> {
    let indexes = table.indexes.iter().map(|index| create_index(table, index, dialect));
    [create_table_as(&table.name, table, &[], dialect)].into_iter().chain(indexes).collect()
}

/// The statement that makes a table under a name, without its indexes; `extra` are definitions that stand in no declaration.
pub(crate) fn create_table_as(name: &str, table: &TableDef, extra: &[String], dialect: &dyn Dialect) -> String {
    let (columns, constraints) = extra.iter().cloned().partition::<Vec<_>, _>(|text| !is_constraint(text));
    let mut parts: Vec<String> = table.columns.iter().map(|column| column_definition(column, dialect)).collect();
    parts.extend(columns);
    if dialect.backend() == Backend::MySql && table.soft_delete {
        parts.push(live_definition(dialect));
    }
    if !table.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", quoted_list(table.primary_key.iter().map(AsRef::as_ref), dialect)));
    }
    parts.extend(table.checks.iter().map(|check| check_definition(check, dialect)));
    if dialect.backend() == Backend::Sqlite {
        parts.extend(table.foreign_keys.iter().map(|key| foreign_key(key, dialect)));
    }
    parts.extend(constraints);
    let suffix = match dialect.backend() {
        Backend::Sqlite if table.clustered => " WITHOUT ROWID",
        Backend::Sqlite | Backend::Postgres => "",
        Backend::MySql => " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {binary}",
    };
    format!("CREATE TABLE {} (\n    {}\n){suffix}", quoted(name, dialect), parts.join(",\n    "))
}

/// Whether a definition inside a table is none of a column.
fn is_constraint(definition: &str) -> bool {
    let first: String = definition.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].contains(&first.to_ascii_uppercase().as_str())
}

fn live_definition(dialect: &dyn Dialect) -> String {
    let (live, deleted_at) = (quoted(LIVE, dialect), quoted(DELETED_AT, dialect));
    format!("{live} BOOLEAN GENERATED ALWAYS AS (IF({deleted_at} IS NULL, 1, NULL)) VIRTUAL")
}

/// The statement that takes a table away.
pub(crate) fn drop_table(name: &str, dialect: &dyn Dialect) -> String {
    format!("DROP TABLE {}", quoted(name, dialect))
}

/// MySQL: the statement that adds the column which tells living rows.
pub(crate) fn add_live(table: &TableDef, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} ADD COLUMN {}", quoted(&table.name, dialect), live_definition(dialect))
}

/// The statement that adds a column to a table that is there.
pub(crate) fn add_column(table: &TableDef, column: &TableColumn, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} ADD COLUMN {}", quoted(&table.name, dialect), column_definition(column, dialect))
}

/// The statement that gives a table another name.
pub(crate) fn rename_table(old: &str, table: &TableDef, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} RENAME TO {}", quoted(old, dialect), quoted(&table.name, dialect))
}

/// The statement that gives a column another name.
pub(crate) fn rename_column(table: &TableDef, old: &str, column: &TableColumn, dialect: &dyn Dialect) -> String {
    let (old, new) = (quoted(old, dialect), quoted(&column.name, dialect));
    format!("ALTER TABLE {} RENAME COLUMN {old} TO {new}", quoted(&table.name, dialect))
}

/// The statement that gives a column its definition anew. Only MySQL knows it.
pub(crate) fn modify_column(table: &TableDef, column: &TableColumn, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} MODIFY COLUMN {}", quoted(&table.name, dialect), column_definition(column, dialect))
}

/// The statement that lets a column hold nothing. Not for SQLite, which makes the table anew.
pub(crate) fn relax_column(table: &TableDef, column: &FoundColumn, dialect: &dyn Dialect) -> String {
    let (table, name) = (quoted(&table.name, dialect), quoted(&column.name, dialect));
    if dialect.backend() != Backend::MySql {
        return format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL");
    }
    let ty = column.sql_type.replace(" comment json", "");
    let comment = if ty == column.sql_type { "" } else { " COMMENT 'json'" };
    format!("ALTER TABLE {table} MODIFY COLUMN {name} {ty} NULL{comment}")
}

/// The statement that takes a column away, with what it holds. Not for SQLite, which makes the table anew.
pub(crate) fn drop_column(table: &TableDef, column: &str, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} DROP COLUMN {}", quoted(&table.name, dialect), quoted(column, dialect))
}

/// PostgreSQL: the statement with the given changes of one column, such as `SET NOT NULL`.
pub(crate) fn alter_column(table: &TableDef, column: &str, changes: &[String], dialect: &dyn Dialect) -> String {
    let name = quoted(column, dialect);
    let changes: Vec<String> = changes.iter().map(|change| format!("ALTER COLUMN {name} {change}")).collect();
    format!("ALTER TABLE {} {}", quoted(&table.name, dialect), changes.join(", "))
}

/// The statement that adds a check to a table that is there. Not for SQLite.
pub(crate) fn add_check(table: &TableDef, check: &TableCheck, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} ADD {}", quoted(&table.name, dialect), check_definition(check, dialect))
}

/// The statement that takes a check away. Not for SQLite.
pub(crate) fn drop_check(table: &TableDef, check: &str, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} DROP CONSTRAINT {}", quoted(&table.name, dialect), quoted(check, dialect))
}

fn check_definition(check: &TableCheck, dialect: &dyn Dialect) -> String {
    format!("CONSTRAINT {} CHECK ({})", quoted(&check.name, dialect), check.condition)
}

/// The statement that takes an index away.
pub(crate) fn drop_index(table: &TableDef, index: &str, dialect: &dyn Dialect) -> String {
    let on = match dialect.backend() {
        Backend::Sqlite | Backend::Postgres => String::new(),
        Backend::MySql => format!(" ON {}", quoted(&table.name, dialect)),
    };
    format!("DROP INDEX {}{on}", quoted(index, dialect))
}

/// The statement that takes a foreign key away. Not for SQLite.
pub(crate) fn drop_foreign_key(table: &str, key: &str, dialect: &dyn Dialect) -> String {
    let what = if dialect.backend() == Backend::MySql { "FOREIGN KEY" } else { "CONSTRAINT" };
    format!("ALTER TABLE {} DROP {what} {}", quoted(table, dialect), quoted(key, dialect))
}

/// The columns of an index as the catalogue lists them.
pub(crate) fn index_columns(table: &TableDef, index: &TableIndex, dialect: &dyn Dialect) -> Vec<String> {
    let has_live = dialect.backend() == Backend::MySql && index.unique && table.soft_delete;
    index.columns.iter().map(ToString::to_string).chain(has_live.then(|| LIVE.to_owned())).collect()
}

/// PostgreSQL: the statement that makes an index while others write. Not inside a transaction.
pub(crate) fn create_index_concurrently(table: &TableDef, index: &TableIndex, dialect: &dyn Dialect) -> String {
    create_index(table, index, dialect).replacen("INDEX ", "INDEX CONCURRENTLY IF NOT EXISTS ", 1)
}

/// The statement that makes an index. Unique means unique among living rows.
pub(crate) fn create_index(table: &TableDef, index: &TableIndex, dialect: &dyn Dialect) -> String {
    let is_live_only = index.unique && table.soft_delete;
    let unique = if index.unique { "UNIQUE " } else { "" };
    let mut columns = quoted_list(index.columns.iter().map(AsRef::as_ref), dialect);
    let mut condition = String::new();
    match dialect.backend() {
        Backend::MySql if is_live_only => columns.extend([", ", &quoted(LIVE, dialect)]),
        Backend::Sqlite | Backend::Postgres if is_live_only => {
            condition = format!(" WHERE {} IS NULL", quoted(DELETED_AT, dialect))
        }
        _ => {}
    }
    format!(
        "CREATE {unique}INDEX {} ON {} ({columns}){condition}",
        quoted(&index.name, dialect),
        quoted(&table.name, dialect)
    )
}

/// The statement that adds a foreign key to a table that is there. Not for SQLite.
pub(crate) fn add_foreign_key(table: &TableDef, key: &TableForeignKey, dialect: &dyn Dialect) -> String {
    format!("ALTER TABLE {} ADD {}", quoted(&table.name, dialect), foreign_key(key, dialect))
}

fn foreign_key(key: &TableForeignKey, dialect: &dyn Dialect) -> String {
    format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})",
        quoted(&key.name, dialect),
        quoted(&key.column, dialect),
        quoted(&key.target.table, dialect),
        quoted(&key.target.column, dialect)
    )
}

/// The column's type as it stands behind its name, and the comment that MySQL wants last.
fn type_and_comment(column: &TableColumn, dialect: &dyn Dialect) -> (String, String) {
    let ty = dialect.column_type(column.ty, column.indexed);
    let parts = ty.split_once(" COMMENT ").map(|(ty, comment)| (ty.to_owned(), format!(" COMMENT {comment}")));
    parts.unwrap_or((ty, String::new()))
}

/// The column as it stands in CREATE TABLE and ADD COLUMN.
pub(crate) fn column_definition(column: &TableColumn, dialect: &dyn Dialect) -> String {
    let name = quoted(&column.name, dialect);
    if column.identity {
        let identity = match dialect.backend() {
            Backend::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
            Backend::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            Backend::MySql => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        };
        return format!("{name} {identity}");
    }
    let (ty, comment) = type_and_comment(column, dialect);
    let not_null = if column.nullable { "" } else { " NOT NULL" };
    let default = default_literal(column, dialect).map(|literal| default_clause(&literal, dialect)).unwrap_or_default();
    format!("{name} {ty}{not_null}{default}{comment}")
}

fn default_clause(literal: &str, dialect: &dyn Dialect) -> String {
    // In parentheses MySQL allows a default for long text too.
    if dialect.backend() == Backend::MySql { format!(" DEFAULT ({literal})") } else { format!(" DEFAULT {literal}") }
}

/// The column's default as a literal, where it has one.
pub(crate) fn default_literal(column: &TableColumn, dialect: &dyn Dialect) -> Option<String> {
    let value = column.default.as_ref().filter(|value| !value.is_null())?;
    let mut literal = String::new();
    match value {
        // A reader of the schema knows 0.5 better than 5e-1, and with few digits both are exact.
        Value::Float(x) if x.abs() < 1e15 && (x * 1024.0).fract() == 0.0 => literal = format!("{x:?}"),
        value => push_literal(value, dialect, &mut literal),
    }
    Some(literal)
}

/// A column of SQLite that stands in no declaration, as it is but for NOT NULL.
pub(crate) fn loose_definition(column: &FoundColumn, dialect: &dyn Dialect) -> String {
    let default = column.default.as_ref().map(|default| format!(" DEFAULT {default}")).unwrap_or_default();
    format!("{} {}{default}", quoted(&column.name, dialect), column.sql_type.to_uppercase())
}

/// A name in quotes. Names of constraints hold dots too, never quotes.
pub(crate) fn quoted(name: &str, dialect: &dyn Dialect) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    dialect.quote(name, &mut text);
    text
}

/// Names in quotes, with commas between them.
pub(crate) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>, dialect: &dyn Dialect) -> String {
    names.into_iter().map(|name| quoted(name, dialect)).collect::<Vec<_>>().join(", ")
}
