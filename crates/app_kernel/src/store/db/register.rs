//! The register: what was declared when the schema last changed, one row for each table.
//!
//! By it the planner tells a column that left the code from one that somebody else made, and knows what no catalogue says the same way
//! on every database: the declared default, the text of a check, and whether a text is a UUID or a decimal number.
//! A table that is not in it is taken as it is found.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::DbResult;
use super::dialect::ddl::quoted;
use super::dialect::{Backend, Dialect};
use super::driver::Session;
use super::inspect::Found;
use super::schema::{DECLARED, TableDef};
use super::value::ColumnType;

/// What was declared, by table.
pub(crate) type Register = BTreeMap<String, Declared>;

/// What was declared of one table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Declared {
    /// Also those that left the code and stayed in the database.
    pub(crate) columns: BTreeMap<String, DeclaredColumn>,
    pub(crate) indexes: BTreeSet<String>,
    /// The declared text of each.
    pub(crate) checks: BTreeMap<String, String>,
    pub(crate) foreign_keys: BTreeSet<String>,
    /// The service that did, where it has a name. None for the kernel's own tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DeclaredColumn {
    #[serde(rename = "type")]
    pub(crate) ty: ColumnType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<serde_json::Value>,
}

impl Declared {
    pub(crate) fn of(table: &TableDef) -> Self {
        let column = |column: &super::schema::TableColumn| {
            let default = column.default.as_ref().filter(|value| !value.is_null());
            let default = default.map(|value| serde_json::to_value(value).expect("a value is always JSON"));
            (column.name.to_string(), DeclaredColumn { ty: column.ty, default })
        };
        Declared {
            columns: table.columns.iter().map(column).collect(),
            indexes: table.indexes.iter().map(|index| index.name.clone()).collect(),
            checks: table.checks.iter().map(|check| (check.name.clone(), check.source.clone())).collect(),
            foreign_keys: table.foreign_keys.iter().map(|key| key.name.clone()).collect(),
            service: None,
        }
    }
}

/// Reads the register; empty where there is none yet.
pub(crate) async fn read(session: &mut Session<'_>, found: &Found) -> DbResult<Register> {
    if !found.tables.contains_key(DECLARED) {
        return Ok(Register::new());
    }
    let dialect = session.dialect();
    let [name, definition, table] = ["name", "definition", DECLARED].map(|name| quoted(name, dialect));
    let sql = format!("SELECT {name}, {definition} FROM {table}");
    let rows = session.query(&sql, &[], |row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).await?;
    let declared = |(name, text): (String, String)| Some((name, serde_json::from_str(&text).ok()?));
    Ok(rows.into_iter().filter_map(declared).collect())
}

/// The statement that writes what is declared of a table.
pub(crate) fn put(name: &str, declared: &Declared, dialect: &dyn Dialect) -> String {
    let mut values = String::new();
    dialect.text_literal(name, &mut values);
    values.push_str(", ");
    let text = serde_json::to_string(declared).expect("a declaration is always JSON");
    dialect.text_literal(&text, &mut values);
    let [name, definition, table] = ["name", "definition", DECLARED].map(|name| quoted(name, dialect));
    match dialect.backend() {
        Backend::MySql => format!("REPLACE INTO {table} ({name}, {definition}) VALUES ({values})"),
        Backend::Sqlite | Backend::Postgres => format!(
            "INSERT INTO {table} ({name}, {definition}) VALUES ({values}) \
             ON CONFLICT ({name}) DO UPDATE SET {definition} = excluded.{definition}"
        ),
    }
}

/// The statement that forgets a table.
pub(crate) fn remove(name: &str, dialect: &dyn Dialect) -> String {
    let mut literal = String::new();
    dialect.text_literal(name, &mut literal);
    format!("DELETE FROM {} WHERE {} = {literal}", quoted(DECLARED, dialect), quoted("name", dialect))
}
