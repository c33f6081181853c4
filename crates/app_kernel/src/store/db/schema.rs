//! The wanted schema: what tables the declared entities and the kernel need, as plain values.
//! `inspect` finds the schema that is there; `plan` takes one from the other.

use std::borrow::Cow;

use super::dialect::{Backend, Dialect};
use super::entity::{
    AUTOMATIC, CREATED_AT, DELETED_AT, EntityDef, ForeignKey, ID, IndexDef, UPDATED_AT, VERSION, is_valid_name,
};
use super::filter;
use super::value::{ColumnType, Value};
use crate::base::error::{Error, Result};

/// Tables whose names start so are the kernel's own.
pub(crate) const KERNEL_PREFIX: &str = "kernel_";
/// Every change of an entity, until a worker has carried it onward.
pub(crate) const CHANGES: &str = "kernel_changes";
/// Every change of the schema.
pub(crate) const MIGRATIONS: &str = "kernel_migrations";
/// What was declared when the schema last changed: see [`register`](super::register).
pub(crate) const DECLARED: &str = "kernel_declared";
/// How far the last move into this database is. Only where there was one, and no part of its data.
pub(crate) const MOVE: &str = "kernel_move";

/// A table as a database holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableDef {
    pub(crate) name: String,
    /// The name it had before, where it was renamed.
    pub(crate) renamed_from: Option<String>,
    pub(crate) columns: Vec<TableColumn>,
    pub(crate) primary_key: Vec<Cow<'static, str>>,
    pub(crate) indexes: Vec<TableIndex>,
    pub(crate) checks: Vec<TableCheck>,
    pub(crate) foreign_keys: Vec<TableForeignKey>,
    /// Whether rows are softly deleted, so that unique means unique among the living.
    pub(crate) soft_delete: bool,
    /// SQLite: rows lie in the primary key itself.
    pub(crate) clustered: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableColumn {
    pub(crate) name: Cow<'static, str>,
    /// The name it had before, where it was renamed.
    pub(crate) renamed_from: Option<Cow<'static, str>>,
    pub(crate) ty: ColumnType,
    pub(crate) indexed: bool,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    /// Counted up by the database.
    pub(crate) identity: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableIndex {
    pub(crate) name: String,
    pub(crate) columns: Vec<Cow<'static, str>>,
    pub(crate) unique: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableCheck {
    pub(crate) name: String,
    /// Rendered for the database already.
    pub(crate) condition: String,
    /// As it was declared: the same on every database.
    pub(crate) source: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableForeignKey {
    pub(crate) name: String,
    pub(crate) column: Cow<'static, str>,
    pub(crate) target: ForeignKey,
}

/// Refuses a declaration that can't become a table, or two that get in each other's way.
pub(crate) fn check_declarations(entities: &[&EntityDef]) -> Result<()> {
    for (i, entity) in entities.iter().enumerate() {
        check_declaration(entity)?;
        for other in &entities[..i] {
            let (a, b) = (entity.table.to_lowercase(), other.table.to_lowercase());
            if a == b || a == format!("{b}_history") || b == format!("{a}_history") {
                return Err(Error::invalid(format!(
                    "the entities `{}` and `{}` want the same table; give one of them another name by #[entity(table = \"…\")]",
                    other.table, entity.table
                )));
            }
        }
        for column in &entity.columns {
            let Some(key) = &column.foreign_key else { continue };
            let Some(target) = entities.iter().find(|other| other.table == key.table) else {
                return Err(Error::invalid(format!(
                    "`{}.{}` refers to `{}`, which is not declared; add .entity::<..>() for it",
                    entity.table, column.name, key.table
                )));
            };
            if key.column != ID {
                return Err(Error::invalid(format!(
                    "`{}.{}` refers to `{}.{}`; a foreign key refers to an id",
                    entity.table, column.name, target.table, key.column
                )));
            }
        }
    }
    Ok(())
}

fn check_declaration(entity: &EntityDef) -> Result<()> {
    let names = entity.columns.iter().map(|column| &column.name).chain([&entity.table]);
    for name in names {
        if !is_valid_name(name) {
            return Err(Error::invalid(format!(
                "`{name}` in the entity `{}` can't be a name; names are letters, digits and underscores, at most 54",
                entity.table
            )));
        }
    }
    for (i, column) in entity.columns.iter().enumerate() {
        let is_same = |name: &str| name.eq_ignore_ascii_case(&column.name);
        if AUTOMATIC.iter().any(|name| is_same(name)) || entity.columns[..i].iter().any(|other| is_same(&other.name)) {
            return Err(Error::invalid(format!(
                "the entity `{}` has two columns called `{}`",
                entity.table, column.name
            )));
        }
    }
    Ok(())
}

/// The tables of one entity: its rows and, where it keeps one, its history.
pub(crate) fn tables_of(entity: &EntityDef, dialect: &dyn Dialect) -> Result<Vec<TableDef>> {
    let mut tables = vec![rows_of(entity, dialect)?];
    if entity.history {
        tables.push(history_of(entity));
    }
    Ok(tables)
}

fn rows_of(entity: &EntityDef, dialect: &dyn Dialect) -> Result<TableDef> {
    let table = &entity.table;
    let mut columns = vec![TableColumn { indexed: true, ..column(ID, ColumnType::Text) }];
    columns.extend(entity.columns.iter().map(|own| TableColumn {
        name: own.name.clone(),
        renamed_from: own.renamed_from.clone(),
        ty: own.ty,
        indexed: entity.is_indexed(own),
        nullable: own.nullable,
        default: own.default.clone(),
        identity: false,
    }));
    columns.push(column(CREATED_AT, ColumnType::Timestamp));
    columns.push(column(UPDATED_AT, ColumnType::Timestamp));
    columns.push(nullable(DELETED_AT, ColumnType::Timestamp));
    columns.push(column(VERSION, ColumnType::Int));

    let indexes = entity.all_indexes().map(|index| index_of(table, index, dialect.backend()));
    let mut checks = Vec::new();
    for own in &entity.columns {
        if let Some(check) = &own.check {
            let condition = filter::render_check(check, entity, dialect)?;
            let name = constraint_name("ck", table, &own.name);
            checks.push(TableCheck { name, condition, source: check.to_string() });
        }
    }
    let foreign_keys = entity.columns.iter().filter_map(|own| {
        let target = own.foreign_key.clone()?;
        Some(TableForeignKey { name: constraint_name("fk", table, &own.name), column: own.name.clone(), target })
    });
    Ok(TableDef {
        name: table.to_string(),
        renamed_from: entity.renamed_from.as_ref().map(ToString::to_string),
        columns,
        primary_key: vec![ID.into()],
        indexes: indexes.collect(),
        checks,
        foreign_keys: foreign_keys.collect(),
        soft_delete: true,
        clustered: false,
    })
}

/// An index as this database has it. Queries are in the order of the id where nothing else is said, so the id lies in an index over one
/// column too: what is found comes in order, and the first page of many rows costs no more than of few. In MySQL each index ends with the
/// primary key anyway.
pub(crate) fn index_of(table: &str, index: IndexDef, backend: Backend) -> TableIndex {
    let name = index_name(table, &index);
    let mut columns = index.columns;
    if columns.len() == 1 && !index.unique && backend != Backend::MySql {
        columns.push(ID.into());
    }
    TableIndex { name, columns, unique: index.unique }
}

/// The name of an index as it was declared, on whatever database.
pub(crate) fn index_name(table: &str, index: &IndexDef) -> String {
    constraint_name(if index.unique { "uq" } else { "ix" }, table, &index.columns.join("+"))
}

/// One row for each version of each entity. The version's row is kept as JSON, so that a change of the schema leaves the past alone.
fn history_of(entity: &EntityDef) -> TableDef {
    TableDef {
        renamed_from: entity.renamed_from.as_ref().map(|old| format!("{old}_history")),
        primary_key: vec![ID.into(), VERSION.into()],
        clustered: true,
        ..plain_table(
            &entity.history_table(),
            vec![
                TableColumn { indexed: true, ..column(ID, ColumnType::Text) },
                column(VERSION, ColumnType::Int),
                column("operation", ColumnType::Text),
                column("recorded_at", ColumnType::Timestamp),
                nullable("user_id", ColumnType::Text),
                nullable("request_id", ColumnType::Text),
                column("data", ColumnType::Json),
            ],
        )
    }
}

/// The kernel's own tables below the features.
pub(crate) fn kernel_tables() -> Vec<TableDef> {
    let counted = || TableColumn { identity: true, ..column("seq", ColumnType::Int) };
    let changes = vec![
        counted(),
        column("entity", ColumnType::Text),
        column("entity_id", ColumnType::Text),
        column("entity_version", ColumnType::Int),
        column("operation", ColumnType::Text),
        column("changed_at", ColumnType::Timestamp),
        column("caller", ColumnType::Text),
        nullable("user_id", ColumnType::Text),
        nullable("workspace_id", ColumnType::Text),
        nullable("request_id", ColumnType::Text),
    ];
    let migrations = vec![
        counted(),
        column("applied_at", ColumnType::Timestamp),
        column("reason", ColumnType::Text),
        nullable("dynamic_table", ColumnType::Text),
        column("statements", ColumnType::Text),
        column("kernel_version", ColumnType::Text),
        // Beside the first saves of undeclared entities, each has a file; see `migration_files`.
        nullable("name", ColumnType::Text),
        nullable("checksum", ColumnType::Text),
        nullable("metadata", ColumnType::Text),
        nullable("filed_at", ColumnType::Timestamp),
    ];
    let declared =
        vec![TableColumn { indexed: true, ..column("name", ColumnType::Text) }, column("definition", ColumnType::Json)];
    let declared = TableDef { primary_key: vec!["name".into()], ..plain_table(DECLARED, declared) };
    vec![plain_table(CHANGES, changes), plain_table(MIGRATIONS, migrations), declared]
}

/// The table of [`MOVE`]: texts by name.
pub(crate) fn moves_table() -> TableDef {
    let name = TableColumn { indexed: true, ..column("name", ColumnType::Text) };
    TableDef { primary_key: vec!["name".into()], ..plain_table(MOVE, vec![name, column("value", ColumnType::Text)]) }
}

fn plain_table(name: &str, columns: Vec<TableColumn>) -> TableDef {
    TableDef {
        name: name.to_owned(),
        renamed_from: None,
        columns,
        primary_key: Vec::new(),
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        soft_delete: false,
        clustered: false,
    }
}

fn column(name: &'static str, ty: ColumnType) -> TableColumn {
    TableColumn {
        name: name.into(),
        renamed_from: None,
        ty,
        indexed: false,
        nullable: false,
        default: None,
        identity: false,
    }
}

fn nullable(name: &'static str, ty: ColumnType) -> TableColumn {
    TableColumn { nullable: true, ..column(name, ty) }
}

/// The name of an index or constraint: `uq.widgets.name`, so that an error can name the column. Too long a one is cut to a hash and the column.
pub(crate) fn constraint_name(kind: &str, table: &str, column: &str) -> String {
    const LONGEST: usize = 63;
    let plain = format!("{kind}.{table}.{column}");
    if plain.len() <= LONGEST {
        return plain;
    }
    let hash = crate::base::secret::token_hash(&plain);
    let shorter = format!("{}{}.{column}", &kind[..1], &hash[..6]);
    if shorter.len() <= LONGEST { shorter } else { format!("{kind}.{}", &hash[..32]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::entity::ColumnDef;

    #[test]
    fn a_constraint_is_named_after_its_column_and_fits_everywhere() {
        assert_eq!(constraint_name("uq", "widgets", "name"), "uq.widgets.name");
        let (table, column) = ("t".repeat(54), "c".repeat(54));
        let name = constraint_name("uq", &table, &column);
        assert!(name.len() <= 63 && name.ends_with(&column), "{name}");
        let name = constraint_name("ix", &table, &format!("{column}+{column}"));
        assert!(name.len() <= 63 && name.starts_with("ix."), "{name}");
    }

    #[test]
    fn two_entities_for_one_table_are_refused() {
        let (a, b) = (EntityDef::new("notes"), EntityDef::new("Notes_history"));
        let message = check_declarations(&[&a, &b]).expect_err("the history is in the way").to_string();
        assert!(message.starts_with("the entities `notes` and `Notes_history` want the same table"), "{message}");
    }

    #[test]
    fn a_foreign_key_to_nothing_declared_is_refused() {
        let key = ForeignKey { table: "projects".into(), column: "id".into() };
        let project_id = ColumnDef { foreign_key: Some(key), ..ColumnDef::new("project_id", ColumnType::Text) };
        let services = EntityDef { columns: vec![project_id], ..EntityDef::new("services") };
        let message = check_declarations(&[&services]).expect_err("no projects").to_string();
        assert_eq!(
            message,
            "`services.project_id` refers to `projects`, which is not declared; add .entity::<..>() for it"
        );
    }
}
