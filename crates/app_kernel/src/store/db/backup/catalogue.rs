//! Which tables of a database are ours, and what they look like: from the database's catalogue, with what only the code knows beside it.
//! Tables of others in the same database are no part of a backup, and no restore touches them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::manifest::{ColumnManifest, IndexManifest, TableManifest};
use super::text;
use super::unfinished::TO_DO;
use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::dialect::ddl::LIVE;
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::driver::{RowRef, Session};
use crate::store::db::entity::{AUTOMATIC, EntityDef, IndexDef};
use crate::store::db::inspect::{FoundColumn, FoundTable, inspect};
use crate::store::db::schema::{KERNEL_PREFIX, MOVE, constraint_name, index_name};
use crate::store::db::table::HISTORY_COLUMNS;
use crate::store::db::value::{ColumnType, Value, base64_text};

/// Tables that a restore on MySQL has under way.
pub(super) const SCRATCH: [&str; 2] = ["kernel_new_", "kernel_old_"];

/// How often a catalogue that makes no sense is read.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// The key of a table, in its order, and which of its columns counts up.
#[derive(Debug, Default)]
struct Key {
    columns: Vec<String>,
    identity: Option<String>,
}

/// Our tables, by name; their rows are not counted yet.
pub(super) async fn our_tables(session: &mut Session<'_>, declared: &[EntityDef]) -> DbResult<Vec<TableManifest>> {
    let mut tries = 0;
    loop {
        let looked = look(session, declared).await;
        tries += 1;
        // MySQL answers the questions one by one, and the last statement of a process that was killed may still be at work between them.
        if looked.is_ok() || tries == LOOKS || session.dialect().backend() != Backend::MySql {
            return looked;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn look(session: &mut Session<'_>, declared: &[EntityDef]) -> DbResult<Vec<TableManifest>> {
    let dialect = session.dialect();
    let found = inspect(session, None).await?.tables;
    let mut keys = keys(session).await?;
    let mut tables = Vec::new();
    for (name, table) in &found {
        if is_ours(name, &found) {
            let key = keys.remove(name).unwrap_or_default();
            let entity = declared.iter().find(|entity| entity.table == *name);
            tables.push(describe(name, table, key, entity, dialect)?);
        }
    }
    Ok(tables)
}

/// Whether a table is ours: the kernel's, an entity's or its history's.
pub(in crate::store::db) fn is_ours(name: &str, found: &BTreeMap<String, FoundTable>) -> bool {
    let has =
        |table: &FoundTable, names: &[&str]| names.iter().all(|name| table.columns.iter().any(|c| c.name == *name));
    let is_entity = |name: &str| found.get(name).is_some_and(|table| has(table, &AUTOMATIC));
    // What a move or a restore notes in the database that it fills is no data.
    if name == MOVE || name == TO_DO || SCRATCH.iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    let is_history = |entity: &str| is_entity(entity) && has(&found[name], &HISTORY_COLUMNS);
    name.starts_with(KERNEL_PREFIX) || is_entity(name) || name.strip_suffix("_history").is_some_and(is_history)
}

fn describe(
    name: &str,
    found: &FoundTable,
    key: Key,
    entity: Option<&EntityDef>,
    dialect: &dyn Dialect,
) -> DbResult<TableManifest> {
    let mut columns = Vec::new();
    for column in found.columns.iter().filter(|column| column.name != LIVE) {
        columns.push(describe_column(name, column, found, &key, entity, dialect)?);
    }
    if key.columns.is_empty() {
        return Err(Error::invalid(format!(
            "the table `{name}` has no primary key, so it can't be backed up in a fixed order; give it one"
        ))
        .into());
    }
    let index = |index: IndexDef| {
        let columns = index.columns.iter().map(ToString::to_string).collect();
        IndexManifest { name: index_name(name, &index), columns, unique: index.unique }
    };
    // Only what the database has already: before a migration, the code knows more.
    let declared = entity.into_iter().flat_map(EntityDef::all_indexes);
    let indexes = declared.map(index).filter(|index| found.indexes.contains_key(&index.name)).collect();
    Ok(TableManifest { name: name.to_owned(), rows: 0, file: None, primary_key: key.columns, columns, indexes })
}

fn describe_column(
    table: &str,
    found: &FoundColumn,
    in_table: &FoundTable,
    key: &Key,
    entity: Option<&EntityDef>,
    dialect: &dyn Dialect,
) -> DbResult<ColumnManifest> {
    let name = &found.name;
    let Some(meaning) = dialect.meaning_of(&found.sql_type) else {
        return Err(Error::invalid(format!(
            "the column `{table}.{name}` is `{}`, which the portable form can't hold; give it a type of the kernel, or drop it",
            found.sql_type
        ))
        .into());
    };
    let known = entity.and_then(|entity| entity.column(name));
    let constraint = |kind: &str| constraint_name(kind, table, name);
    let (has_check, has_reference) =
        (in_table.checks.contains(&constraint("ck")), in_table.foreign_keys.contains_key(&constraint("fk")));
    let ty = match known.map(|column| column.ty) {
        // Kept as text; only the code knows what the text is.
        Some(ty @ (ColumnType::Uuid | ColumnType::Decimal)) if meaning == ColumnType::Text => ty,
        _ => meaning,
    };
    let default = known.filter(|_| found.default.is_some()).and_then(|column| default_text(column.default.as_ref()?));
    Ok(ColumnManifest {
        name: name.clone(),
        ty,
        nullable: found.nullable && !key.columns.contains(name),
        identity: key.identity.as_ref() == Some(name),
        default,
        check: known.filter(|_| has_check).and_then(|column| column.check.as_deref().map(str::to_owned)),
        references: known
            .filter(|_| has_reference)
            .and_then(|column| column.foreign_key.as_ref().map(|key| key.table.to_string())),
    })
}

fn default_text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => base64_text(bytes),
        Value::Float(x) => text::of_float(*x),
        Value::Time(time) => format!("{time:.6}"),
        Value::Timestamp(time) => crate::base::clock::format_timestamp(*time),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Date(date) => date.to_string(),
        Value::Json(json) => json.to_string(),
    })
}

async fn keys(session: &mut Session<'_>) -> DbResult<BTreeMap<String, Key>> {
    let mut keys: BTreeMap<String, Key> = BTreeMap::new();
    let read = |row: &RowRef<'_>| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.int(2)? != 0));
    let columns = session.query(key_columns(session.dialect().backend()), &[], read).await?;
    for (table, column, is_identity) in columns {
        let key = keys.entry(table).or_default();
        if is_identity {
            key.identity = Some(column.clone());
        }
        key.columns.push(column);
    }
    Ok(keys)
}

/// The query for the columns of primary keys, in their order, with whether they count up.
fn key_columns(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => {
            "SELECT m.name, c.name, c.type = 'INTEGER' AND m.sql LIKE '%PRIMARY KEY AUTOINCREMENT%' \
             FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND c.pk > 0 ORDER BY m.name, c.pk"
        }
        Backend::Postgres => {
            "SELECT t.relname::text, a.attname::text, CASE WHEN a.attidentity <> '' THEN 1 ELSE 0 END \
             FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid CROSS JOIN LATERAL unnest(x.indkey) WITH ORDINALITY k(attnum, n) \
             JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum \
             WHERE x.indisprimary AND t.relnamespace = current_schema()::regnamespace ORDER BY t.relname, k.n"
        }
        Backend::MySql => {
            "SELECT s.table_name, s.column_name, CAST(c.extra LIKE '%auto_increment%' AS SIGNED) \
             FROM information_schema.statistics s JOIN information_schema.columns c \
               ON c.table_schema = s.table_schema AND c.table_name = s.table_name AND c.column_name = s.column_name \
             WHERE s.table_schema = DATABASE() AND s.index_name = 'PRIMARY' ORDER BY s.table_name, s.seq_in_index"
        }
    }
}
