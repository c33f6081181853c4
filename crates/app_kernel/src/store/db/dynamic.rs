//! The tables at hand: those that were declared, and those that were made on the first save of an undeclared name.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::fast::RandomState;
use serde_json::{Map, Value as Json};

use super::dialect::Dialect;
use super::driver::{Operation, Session};
use super::entity::{AUTOMATIC, ColumnDef, EntityDef, is_valid_name};
use super::inspect::{self, FoundTable};
use super::schema::KERNEL_PREFIX;
use super::table::Table;
use super::value::ColumnType;
use super::workspace::WORKSPACE_ID;
use super::{Db, DbResult, migrate};
use crate::base::error::{Error, Result};

/// How many columns saving makes at most: InnoDB's rows, the narrowest, take as many texts of some length. A body may have more fields.
const MOST_COLUMNS: usize = 300;

/// The tables by name. Undeclared ones are looked up in the database when they are first asked for.
#[derive(Debug)]
pub(crate) struct Tables {
    declared: Vec<Arc<Table>>,
    by_name: RwLock<HashMap<String, Arc<Table>, RandomState>>,
    strict: bool,
}

impl Tables {
    pub(crate) fn new(declared: impl Iterator<Item = Table>, strict: bool) -> Self {
        let declared: Vec<Arc<Table>> = declared.map(Arc::new).collect();
        let by_name = declared.iter().map(|table| (table.def.table.to_string(), Arc::clone(table))).collect();
        Tables { declared, by_name: RwLock::new(by_name), strict }
    }

    pub(crate) fn declared(&self) -> Vec<EntityDef> {
        self.declared.iter().map(|table| table.def.clone()).collect()
    }

    /// A table that is known already.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Table>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The tables in the database are others now: undeclared ones are looked up anew.
    pub(crate) fn forget_undeclared(&self) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        *by_name = self.declared.iter().map(|table| (table.def.table.to_string(), Arc::clone(table))).collect();
    }

    fn put(&self, table: Table) -> Arc<Table> {
        let table = Arc::new(table);
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        by_name.insert(table.def.table.to_string(), Arc::clone(&table));
        table
    }
}

/// What a first save needs: a table, or columns of one.
#[derive(Debug, Clone)]
pub(crate) struct Missing(EntityDef);

impl Missing {
    /// Makes it, unless somebody else has meanwhile, and learns the table as it then is.
    pub(crate) async fn make(self, db: &Db) -> Result<Arc<Table>> {
        let name = self.0.table.to_string();
        migrate::run(db, &[self.0], migrate::Reason::FirstSave(name.clone())).await?;
        look_up(db, &name).await?.ok_or_else(|| Error::internal("a table that was just made is not there"))
    }
}

/// The table of an undeclared name as it stands in the database. A name that no table has is `None`; so is, within a workspace, a table that
/// nobody has saved to within one.
pub(crate) async fn find_table(db: &Db, name: &str) -> Result<Option<Arc<Table>>> {
    check_owner(name)?;
    let known = match db.shared.tables.get(name) {
        Some(table) => Some(table),
        None => {
            check_name(db, name)?;
            look_up(db, name).await?
        }
    };
    let is_unbounded = |table: &Arc<Table>| table.def.dynamic && table.def.column(WORKSPACE_ID).is_none();
    if db.workspace_id().is_some() && known.as_ref().is_some_and(is_unbounded) {
        // Nothing was ever saved there within a workspace; unless another process did so lately.
        return Ok(look_up(db, name).await?.filter(|table| !is_unbounded(table)));
    }
    Ok(known)
}

/// The table that a row of an undeclared entity fits into. Makes what is missing.
pub(crate) async fn table_for(db: &Db, name: &str, row: &Map<String, Json>) -> Result<Arc<Table>> {
    check_owner(name)?;
    let mut known = db.shared.tables.get(name);
    if known.is_none() {
        check_name(db, name)?;
        known = look_up(db, name).await?;
    }
    if let Some(table) = &known {
        if !table.def.dynamic || new_columns(table, row)?.is_empty() {
            return Ok(Arc::clone(table));
        }
        // Somebody else may have made the columns.
        known = look_up(db, name).await?;
    }
    let mut wanted = match &known {
        Some(table) => table.def.clone(),
        None => EntityDef { dynamic: true, ..EntityDef::new(name.to_owned()) },
    };
    let new = match &known {
        Some(table) => new_columns(table, row)?,
        None => new_columns(&Table::new(wanted.clone(), db.shared.driver.dialect(), db.shared.is_audited), row)?,
    };
    match known {
        Some(table) if new.is_empty() => Ok(table),
        _ => {
            wanted.columns.extend(new);
            if wanted.columns.len() > MOST_COLUMNS {
                return Err(Error::invalid(format!(
                    "`{name}` would have {} fields; saving makes {MOST_COLUMNS} at most. Nest some in one field, or declare the entity",
                    wanted.columns.len()
                ))
                .code("too_many_fields")
                .status(422));
            }
            let missing = Missing(wanted);
            match &db.transaction {
                Some(held) => Err(held.lacks(missing).await),
                None => missing.make(db).await,
            }
        }
    }
}

/// The kernel's own tables hold password hashes and roles: whoever takes a name from a client must not reach them by it. Their types do.
fn check_owner(name: &str) -> Result<()> {
    if name.to_ascii_lowercase().starts_with(KERNEL_PREFIX) {
        return Err(unfit(name, "names that start with kernel_ are the kernel's own; read them by their types"));
    }
    Ok(())
}

fn unfit(name: &str, problem: &str) -> Error {
    Error::invalid(format!("`{}` can't be an entity: {problem}", shortened(name))).code("bad_entity_name")
}

fn check_name(db: &Db, name: &str) -> Result<()> {
    let wrong = |problem: &str| Err(unfit(name, problem));
    if !is_valid_name(name) {
        return wrong("names are letters, digits and underscores, do not start with a digit and have at most 54");
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("sqlite_") || lower.starts_with("pg_") {
        return wrong("names that start with sqlite_ or pg_ are the databases' own");
    }
    if lower.ends_with("_history") {
        return wrong("names that end with _history hold the versions of others");
    }
    if db.shared.tables.strict {
        return wrong("it is not declared, and SCHEMA_STRICT is on; declare it with .entity::<..>()");
    }
    Ok(())
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= 60 { name.to_owned() } else { name.chars().take(60).chain(['…']).collect() }
}

/// The columns that a row has and the table lacks, typed by their values. A null makes no column.
fn new_columns(table: &Table, row: &Map<String, Json>) -> Result<Vec<ColumnDef>> {
    let mut columns: Vec<ColumnDef> = Vec::new();
    for (name, value) in row {
        if AUTOMATIC.contains(&name.as_str()) || table.def.column(name).is_some() {
            continue;
        }
        let clash = table.columns.iter().map(AsRef::as_ref).chain(columns.iter().map(|column| column.name.as_ref()));
        if !is_valid_name(name) {
            return Err(Error::invalid("a field can't be stored").field(
                format!("/{}", shortened(name)),
                "can't be a column: names are letters, digits and underscores, do not start with a digit and have at most 54",
            ));
        }
        if let Some(other) = clash.into_iter().find(|other| other.eq_ignore_ascii_case(name)) {
            return Err(Error::invalid("a field can't be stored")
                .field(format!("/{name}"), format!("differs from `{other}` only in case")));
        }
        let ty = match value {
            Json::Null => continue,
            Json::Bool(_) => ColumnType::Bool,
            Json::Number(n) if n.is_i64() => ColumnType::Int,
            Json::Number(_) => ColumnType::Float,
            Json::String(_) => ColumnType::Text,
            Json::Array(_) | Json::Object(_) => ColumnType::Json,
        };
        columns.push(ColumnDef { nullable: true, ..ColumnDef::new(name.clone(), ty) });
    }
    Ok(columns)
}

/// Reads one table's columns from the database's catalogue and remembers them.
async fn look_up(db: &Db, name: &str) -> Result<Option<Arc<Table>>> {
    // Not inside the caller's transaction, which may not see what others made.
    let found = db.shared.driver.read(LookUp(name.to_owned())).await?;
    let Some(found) = found else { return Ok(None) };
    let dialect = db.shared.driver.dialect();
    let Some(def) = definition_of(name, &found, dialect) else {
        return Err(Error::invalid(format!(
            "the table `{name}` is there, but is no entity of ours: it lacks {}",
            AUTOMATIC.join(", ")
        )));
    };
    Ok(Some(db.shared.tables.put(Table::new(def, dialect, db.shared.is_audited))))
}

/// The table of an entity with history, whoever owns it: for what the store itself reads. None where it is gone, or is no entity of ours.
pub(crate) async fn table_of(db: &Db, name: &str) -> Result<Option<Arc<Table>>> {
    if let Some(table) = db.shared.tables.get(name) {
        return Ok(Some(table).filter(|table| table.def.history));
    }
    let (Some(rows), Some(_history)) =
        (db.read(LookUp(name.to_owned())).await?, db.read(LookUp(format!("{name}_history"))).await?)
    else {
        return Ok(None);
    };
    let dialect = db.shared.driver.dialect();
    Ok(definition_of(name, &rows, dialect).map(|def| Arc::new(Table::new(def, dialect, db.shared.is_audited))))
}

struct LookUp(String);

impl Operation for LookUp {
    type Output = Option<FoundTable>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Option<FoundTable>> {
        let mut found = inspect::inspect(session, Some(&self.0)).await?;
        Ok(found.tables.remove(&self.0))
    }
}

/// The entity that a found table holds, where it is one.
fn definition_of(name: &str, found: &FoundTable, dialect: &dyn Dialect) -> Option<EntityDef> {
    let is_ours = AUTOMATIC.iter().all(|automatic| found.columns.iter().any(|column| column.name == *automatic));
    let own = found
        .columns
        .iter()
        .filter(|column| !AUTOMATIC.contains(&column.name.as_str()) && column.name != super::dialect::ddl::LIVE);
    is_ours.then(|| EntityDef {
        dynamic: true,
        columns: own
            .filter_map(|column| {
                let ty = dialect.meaning_of(&column.sql_type)?;
                Some(ColumnDef { nullable: column.nullable, ..ColumnDef::new(column.name.clone(), ty) })
            })
            .collect(),
        ..EntityDef::new(name.to_owned())
    })
}
