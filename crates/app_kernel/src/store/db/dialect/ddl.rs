//! Tables, columns and indexes as text.

use super::literal::push_literal;
use super::{Backend, Dialect};
use crate::store::db::entity::DELETED_AT;
use crate::store::db::inspect::FoundColumn;
use crate::store::db::schema::{TableColumn, TableDef, TableForeignKey, TableIndex};
use crate::store::db::value::Value;

/// MySQL has no partial indexes: a generated column that is null for deleted rows takes part in each unique index.
pub(crate) const LIVE: &str = "live_";

/// The statements that make a table with its indexes. Foreign keys come extra, once all tables are there; SQLite has them inside.
pub(crate) fn create_table(table: &TableDef, dialect: &dyn Dialect) -> Vec<String> {
    let mut parts: Vec<String> = table.columns.iter().map(|column| column_definition(column, dialect)).collect();
    if dialect.backend() == Backend::MySql && table.soft_delete {
        let (live, deleted_at) = (quoted(LIVE, dialect), quoted(DELETED_AT, dialect));
        parts.push(format!("{live} BOOLEAN GENERATED ALWAYS AS (IF({deleted_at} IS NULL, 1, NULL)) VIRTUAL"));
    }
    if !table.primary_key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", names(&table.primary_key, dialect)));
    }
    for check in &table.checks {
        parts.push(format!("CONSTRAINT {} CHECK ({})", quoted(&check.name, dialect), check.condition));
    }
    if dialect.backend() == Backend::Sqlite {
        parts.extend(table.foreign_keys.iter().map(|key| foreign_key(key, dialect)));
    }
    let suffix = match dialect.backend() {
        Backend::Sqlite if table.clustered => " WITHOUT ROWID",
        Backend::Sqlite | Backend::Postgres => "",
        Backend::MySql => " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {binary}",
    };
    let mut statements =
        vec![format!("CREATE TABLE {} (\n    {}\n){suffix}", quoted(&table.name, dialect), parts.join(",\n    "))];
    statements.extend(table.indexes.iter().map(|index| create_index(table, index, dialect)));
    statements
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

/// The statements that let a column hold nothing, with what it holds kept.
pub(crate) fn relax_column(table: &TableDef, column: &FoundColumn, dialect: &dyn Dialect) -> Vec<String> {
    let (table, name) = (quoted(&table.name, dialect), quoted(&column.name, dialect));
    match dialect.backend() {
        Backend::Postgres => vec![format!("ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL")],
        Backend::MySql => {
            let ty = column.sql_type.replace(" comment json", "");
            let comment = if ty == column.sql_type { "" } else { " COMMENT 'json'" };
            vec![format!("ALTER TABLE {table} MODIFY COLUMN {name} {ty} NULL{comment}")]
        }
        // It can't change a column, but it can fill another one and swap the names.
        Backend::Sqlite => {
            let kept = quoted(&format!("{}_kept", column.name), dialect);
            vec![
                format!("ALTER TABLE {table} ADD COLUMN {kept} {}", column.sql_type.to_uppercase()),
                format!("UPDATE {table} SET {kept} = {name}"),
                format!("ALTER TABLE {table} DROP COLUMN {name}"),
                format!("ALTER TABLE {table} RENAME COLUMN {kept} TO {name}"),
            ]
        }
    }
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
pub(crate) fn drop_foreign_key(table: &TableDef, key: &str, dialect: &dyn Dialect) -> String {
    let what = if dialect.backend() == Backend::MySql { "FOREIGN KEY" } else { "CONSTRAINT" };
    format!("ALTER TABLE {} DROP {what} {}", quoted(&table.name, dialect), quoted(key, dialect))
}

/// The statement that makes an index. Unique means unique among living rows.
pub(crate) fn create_index(table: &TableDef, index: &TableIndex, dialect: &dyn Dialect) -> String {
    let is_live_only = index.unique && table.soft_delete;
    let unique = if index.unique { "UNIQUE " } else { "" };
    let mut columns = names(&index.columns, dialect);
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

fn column_definition(column: &TableColumn, dialect: &dyn Dialect) -> String {
    let name = quoted(&column.name, dialect);
    if column.identity {
        let identity = match dialect.backend() {
            Backend::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
            Backend::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
            Backend::MySql => "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
        };
        return format!("{name} {identity}");
    }
    let ty = dialect.column_type(column.ty, column.indexed);
    // MySQL wants the comment that is part of some types last.
    let (ty, comment) =
        ty.split_once(" COMMENT ").map_or((ty.as_str(), String::new()), |(ty, c)| (ty, format!(" COMMENT {c}")));
    let not_null = if column.nullable { "" } else { " NOT NULL" };
    let default = column.default.as_ref().map(|value| default_clause(value, dialect)).unwrap_or_default();
    format!("{name} {ty}{not_null}{default}{comment}")
}

fn default_clause(value: &Value, dialect: &dyn Dialect) -> String {
    if value.is_null() {
        return String::new();
    }
    let mut literal = String::new();
    match value {
        // A reader of the schema knows 0.5 better than 5e-1, and with few digits both are exact.
        Value::Float(x) if x.abs() < 1e15 && (x * 1024.0).fract() == 0.0 => literal = format!("{x:?}"),
        value => push_literal(value, dialect, &mut literal),
    }
    // In parentheses MySQL allows a default for long text too.
    if dialect.backend() == Backend::MySql { format!(" DEFAULT ({literal})") } else { format!(" DEFAULT {literal}") }
}

fn names(columns: &[std::borrow::Cow<'static, str>], dialect: &dyn Dialect) -> String {
    columns.iter().map(|name| quoted(name, dialect)).collect::<Vec<_>>().join(", ")
}

/// A name in quotes. Names of constraints hold dots too, never quotes.
pub(crate) fn quoted(name: &str, dialect: &dyn Dialect) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    dialect.quote(name, &mut text);
    text
}
