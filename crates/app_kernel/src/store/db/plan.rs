//! Wanted minus found: the steps that lead from one to the other, as a plain value. Planning never writes.
//! No data is ever dropped here; what is too much stays and is told.

use super::dialect::{Backend, Dialect, ddl};
use super::entity::{DELETED_AT, LONGEST_INDEXED_TEXT};
use super::inspect::{Found, FoundColumn, FoundTable};
use super::schema::{TableColumn, TableDef, TableForeignKey, TableIndex, constraint_name};
use ddl::quoted;

/// What has to be done, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Differences that are left alone, one sentence each.
    pub(crate) notes: Vec<String>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    CreateTable(TableDef),
    /// From the old name.
    RenameTable(String, TableDef),
    AddColumn(TableDef, TableColumn),
    /// From the old name.
    RenameColumn(TableDef, String, TableColumn),
    /// MySQL: a text that gets an index must be a bounded one.
    BoundText(TableDef, TableColumn),
    /// A column that the code no longer has, and that would refuse every new row.
    Relax(TableDef, FoundColumn),
    CreateIndex(TableDef, TableIndex),
    DropIndex(TableDef, String),
    AddForeignKey(TableDef, TableForeignKey),
    DropForeignKey(TableDef, String),
}

/// What the data can have against a step: a query that counts, and what to say if it counts any.
pub(crate) struct Obstacle {
    pub(crate) query: String,
    pub(crate) refusal: Box<dyn Fn(i64) -> String + Send + Sync>,
}

impl Step {
    /// Its statements.
    pub(crate) fn sql(&self, dialect: &dyn Dialect) -> Vec<String> {
        match self {
            Step::CreateTable(table) => ddl::create_table(table, dialect),
            Step::RenameTable(old, table) => vec![ddl::rename_table(old, table, dialect)],
            Step::AddColumn(table, column) => vec![ddl::add_column(table, column, dialect)],
            Step::RenameColumn(table, old, column) => vec![ddl::rename_column(table, old, column, dialect)],
            Step::BoundText(table, column) => vec![ddl::modify_column(table, column, dialect)],
            Step::Relax(table, column) => ddl::relax_column(table, column, dialect),
            Step::CreateIndex(table, index) => vec![ddl::create_index(table, index, dialect)],
            Step::DropIndex(table, index) => vec![ddl::drop_index(table, index, dialect)],
            Step::AddForeignKey(table, key) => vec![ddl::add_foreign_key(table, key, dialect)],
            Step::DropForeignKey(table, key) => vec![ddl::drop_foreign_key(table, key, dialect)],
        }
    }

    /// The table it is about.
    pub(crate) fn table(&self) -> &TableDef {
        match self {
            Step::CreateTable(table)
            | Step::RenameTable(_, table)
            | Step::AddColumn(table, _)
            | Step::RenameColumn(table, ..)
            | Step::BoundText(table, _)
            | Step::Relax(table, _)
            | Step::CreateIndex(table, _)
            | Step::DropIndex(table, _)
            | Step::AddForeignKey(table, _)
            | Step::DropForeignKey(table, _) => table,
        }
    }

    /// SQLite adds no required column to a table, not even to an empty one: the empty table is made anew.
    pub(crate) fn makes_table_anew(&self, dialect: &dyn Dialect) -> bool {
        dialect.backend() == Backend::Sqlite && matches!(self, Step::AddColumn(_, column) if lacks_value(column))
    }

    /// What the data can have against it. Asked before the first step, so tables and columns have the names that are found.
    pub(crate) fn obstacle(&self, found: &Found, dialect: &dyn Dialect) -> Option<Obstacle> {
        let present = Present::of(self.table(), found)?;
        let from = quoted(present.name, dialect);
        let table = self.table().name.clone();
        match self {
            Step::AddColumn(_, column) if lacks_value(column) => {
                let column = column.name.clone();
                Some(Obstacle {
                    query: format!("SELECT COUNT(*) FROM {from}"),
                    refusal: Box::new(move |rows| {
                        format!(
                            "`{table}` has rows ({rows}), and they have no value for the new column `{column}`; \
                             give it a default by #[entity(default = ..)], or make it an Option"
                        )
                    }),
                })
            }
            Step::CreateIndex(def, index) if index.unique => {
                let names: Option<Vec<String>> =
                    index.columns.iter().map(|name| Some(quoted(present.column(name)?, dialect))).collect();
                let names = names?;
                let mut conditions: Vec<String> = names.iter().map(|name| format!("{name} IS NOT NULL")).collect();
                if def.soft_delete {
                    conditions.push(format!("{} IS NULL", quoted(DELETED_AT, dialect)));
                }
                let columns = index.columns.join(", ");
                Some(Obstacle {
                    query: format!(
                        "SELECT COUNT(*) FROM (SELECT 1 AS twice FROM {from} WHERE {} GROUP BY {} HAVING COUNT(*) > 1) AS d",
                        conditions.join(" AND "),
                        names.join(", ")
                    ),
                    refusal: Box::new(move |values| {
                        format!(
                            "`{table}` has values of `{columns}` that stand on several rows ({values}), so it can't be unique; \
                             change those rows first, or take `unique` away"
                        )
                    }),
                })
            }
            Step::BoundText(_, column) => {
                let length = dialect.length(&quoted(present.column(&column.name)?, dialect));
                let column = column.name.clone();
                Some(Obstacle {
                    query: format!("SELECT COUNT(*) FROM {from} WHERE {length} > {LONGEST_INDEXED_TEXT}"),
                    refusal: Box::new(move |rows| {
                        format!(
                            "`{table}` has rows ({rows}) whose `{column}` is longer than {LONGEST_INDEXED_TEXT} characters, \
                             so it can't have an index; shorten them first, or take the index away"
                        )
                    }),
                })
            }
            _ => None,
        }
    }
}

/// A wanted table under the name it has now.
pub(crate) struct Present<'a> {
    pub(crate) name: &'a str,
    table: &'a TableDef,
    found: &'a FoundTable,
}

impl<'a> Present<'a> {
    pub(crate) fn of(table: &'a TableDef, found: &'a Found) -> Option<Self> {
        let names = [Some(table.name.as_str()), table.renamed_from.as_deref()].into_iter().flatten();
        names.filter_map(|name| Some(Present { name, table, found: found.tables.get(name)? })).next()
    }

    /// The name that a wanted column has now, where it is there.
    fn column(&self, name: &'a str) -> Option<&'a str> {
        let was = self.table.columns.iter().find(|column| column.name == name)?.renamed_from.as_deref();
        let mut names = [Some(name), was].into_iter().flatten();
        names.find(|name| self.found.columns.iter().any(|there| there.name == *name))
    }
}

fn lacks_value(column: &TableColumn) -> bool {
    !column.nullable && column.default.is_none()
}

/// Plans the way from what is found to what is wanted. Foreign keys come last, when all tables are there.
pub(crate) fn plan(wanted: &[TableDef], found: &Found, dialect: &dyn Dialect) -> Plan {
    let mut plan = Plan::default();
    let mut foreign_keys = Vec::new();
    for table in wanted {
        let was = table.renamed_from.as_ref().filter(|old| !wanted.iter().any(|other| other.name == **old));
        let there = match (found.tables.get(&table.name), was.and_then(|old| Some((old, found.tables.get(old)?)))) {
            (Some(there), None) => Some(there),
            (None, Some((old, there))) => {
                plan.steps.push(Step::RenameTable(old.clone(), table.clone()));
                Some(there)
            }
            (Some(there), Some((old, _))) => {
                plan.notes.push(format!("`{old}` was renamed to `{}`, but both are there; `{old}` stays", table.name));
                Some(there)
            }
            (None, None) => None,
        };
        match there {
            None => plan.steps.push(Step::CreateTable(table.clone())),
            Some(there) => plan_table(table, there, dialect, &mut plan),
        }
        // SQLite takes foreign keys only while a table is made.
        if dialect.backend() != Backend::Sqlite {
            let is_new = |key: &&TableForeignKey| !there.is_some_and(|there| there.foreign_keys.contains(&key.name));
            foreign_keys.extend(
                table.foreign_keys.iter().filter(is_new).map(|key| Step::AddForeignKey(table.clone(), key.clone())),
            );
        }
    }
    plan.steps.extend(foreign_keys);
    plan
}

fn plan_table(table: &TableDef, found: &FoundTable, dialect: &dyn Dialect, plan: &mut Plan) {
    let former = Former { table, found };
    let mut renamed = Vec::new();
    for column in &table.columns {
        let there = found.columns.iter().find(|there| there.name == column.name);
        match there.or_else(|| former.column(column)) {
            None => plan.steps.push(Step::AddColumn(table.clone(), column.clone())),
            Some(there) => {
                if there.name != column.name {
                    renamed.push(there.name.as_str());
                    let old = there.name.clone();
                    plan.steps.push(Step::RenameColumn(table.clone(), old, column.clone()));
                }
                plan_type(table, column, there, dialect, plan);
            }
        }
    }
    for there in &found.columns {
        let is_known = there.name == ddl::LIVE || table.columns.iter().any(|column| column.name == there.name);
        if is_known || renamed.contains(&there.name.as_str()) {
            continue;
        }
        plan.notes.push(format!("`{}.{}` is in the database and not in the code; it stays", table.name, there.name));
        if !there.nullable && !there.has_default {
            for index in former.indexes_of(&there.name) {
                plan.steps.push(Step::DropIndex(table.clone(), index));
            }
            plan.steps.push(Step::Relax(table.clone(), there.clone()));
        }
    }
    former.drop_old_names(plan);
    for index in table.indexes.iter().filter(|index| !found.indexes.contains(&index.name)) {
        plan.steps.push(Step::CreateIndex(table.clone(), index.clone()));
    }
}

fn plan_type(table: &TableDef, column: &TableColumn, there: &FoundColumn, dialect: &dyn Dialect, plan: &mut Plan) {
    let wanted = catalogue_type(column, dialect);
    if dialect.meaning_of(&there.sql_type) != dialect.meaning_of(&wanted) {
        plan.notes.push(format!(
            "`{}.{}` is `{}` in the database and {} in the code; it stays as it is",
            table.name,
            column.name,
            there.sql_type,
            column.ty.described()
        ));
    } else if dialect.backend() == Backend::MySql && there.sql_type == "longtext" && wanted.starts_with("varchar") {
        plan.steps.push(Step::BoundText(table.clone(), column.clone()));
    }
}

/// What a table and its columns were called before, where they were renamed.
struct Former<'a> {
    table: &'a TableDef,
    found: &'a FoundTable,
}

impl Former<'_> {
    /// The column under its old name, where it is still there and nobody else has that name now.
    fn column(&self, column: &TableColumn) -> Option<&FoundColumn> {
        let old = column.renamed_from.as_ref()?;
        let is_free = !self.table.columns.iter().any(|other| other.name == *old);
        self.found.columns.iter().find(|there| is_free && there.name == **old)
    }

    fn table_names(&self) -> impl Iterator<Item = &str> {
        [Some(self.table.name.as_str()), self.table.renamed_from.as_deref()].into_iter().flatten()
    }

    /// The indexes over this column alone.
    fn indexes_of(&self, column: &str) -> Vec<String> {
        let names = self.table_names().flat_map(|table| ["ix", "uq"].map(|kind| constraint_name(kind, table, column)));
        names.filter(|name| self.found.indexes.contains(name)).collect()
    }

    /// Indexes and foreign keys whose names tell of an old name: they are made again under the new one.
    fn drop_old_names(&self, plan: &mut Plan) {
        let table = self.table;
        let old_names = |column: &TableColumn| {
            let columns = [Some(column.name.to_string()), column.renamed_from.as_ref().map(ToString::to_string)];
            let tables: Vec<String> = self.table_names().map(str::to_owned).collect();
            let pairs = columns
                .into_iter()
                .flatten()
                .flat_map(move |column| tables.clone().into_iter().map(move |table| (table, column.clone())));
            let now = (table.name.clone(), column.name.to_string());
            pairs.filter(move |pair| *pair != now)
        };
        for column in &table.columns {
            for (old_table, old_column) in old_names(column) {
                let key = constraint_name("fk", &old_table, &old_column);
                if self.found.foreign_keys.contains(&key) {
                    plan.steps.push(Step::DropForeignKey(table.clone(), key));
                }
                for kind in ["ix", "uq"] {
                    let index = constraint_name(kind, &old_table, &old_column);
                    if self.found.indexes.contains(&index) {
                        plan.steps.push(Step::DropIndex(table.clone(), index));
                    }
                }
            }
        }
    }
}

/// The wanted type in the words that the catalogue uses.
fn catalogue_type(column: &TableColumn, dialect: &dyn Dialect) -> String {
    let ty = dialect.column_type(column.ty, column.indexed).to_lowercase();
    match dialect.backend() {
        Backend::Sqlite => ty,
        Backend::Postgres => match ty.as_str() {
            "text collate \"c\"" => "text".to_owned(),
            "timestamptz" => "timestamp with time zone".to_owned(),
            "time" => "time without time zone".to_owned(),
            _ => ty,
        },
        Backend::MySql => match ty.as_str() {
            "boolean" => "tinyint".to_owned(),
            _ => ty.replace('\'', ""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::{MySql, Postgres, Sqlite};
    use super::super::entity::{ColumnDef, EntityDef};
    use super::super::inspect::FoundColumn;
    use super::super::schema::{kernel_tables, tables_of};
    use super::super::value::ColumnType;
    use super::*;

    fn widgets(columns: Vec<ColumnDef>) -> EntityDef {
        EntityDef { columns, ..EntityDef::new("widgets") }
    }

    fn found(table: &TableDef, dialect: &dyn Dialect) -> FoundTable {
        let column = |column: &TableColumn| FoundColumn {
            name: column.name.to_string(),
            sql_type: catalogue_type(column, dialect),
            nullable: column.nullable,
            has_default: column.default.is_some(),
        };
        FoundTable {
            columns: table.columns.iter().map(column).collect(),
            indexes: table.indexes.iter().map(|index| index.name.clone()).collect(),
            foreign_keys: table.foreign_keys.iter().map(|key| key.name.clone()).collect(),
        }
    }

    const ALL_TYPES: [ColumnType; 11] = [
        ColumnType::Text,
        ColumnType::Bool,
        ColumnType::Int,
        ColumnType::Float,
        ColumnType::Decimal,
        ColumnType::Timestamp,
        ColumnType::Date,
        ColumnType::Time,
        ColumnType::Uuid,
        ColumnType::Bytes,
        ColumnType::Json,
    ];

    /// Promise: D2
    #[test]
    fn a_new_field_becomes_a_column_and_a_new_index_an_index() {
        let before = widgets(vec![ColumnDef::new("name", ColumnType::Text)]);
        let budget = ColumnDef { default: Some(0.0.into()), ..ColumnDef::new("budget", ColumnType::Float) };
        let name = ColumnDef { index: true, ..ColumnDef::new("name", ColumnType::Text) };
        let after = widgets(vec![name, budget]);
        let dialects: [(&dyn Dialect, &[&str]); 3] = [
            (
                &Sqlite,
                &[
                    "ALTER TABLE \"widgets\" ADD COLUMN \"budget\" REAL NOT NULL DEFAULT 0.0",
                    "CREATE INDEX \"ix.widgets.name\" ON \"widgets\" (\"name\", \"id\")",
                ],
            ),
            (
                &Postgres,
                &[
                    "ALTER TABLE \"widgets\" ADD COLUMN \"budget\" DOUBLE PRECISION NOT NULL DEFAULT 0.0",
                    "CREATE INDEX \"ix.widgets.name\" ON \"widgets\" (\"name\", \"id\")",
                ],
            ),
            (
                &MySql,
                &[
                    "ALTER TABLE `widgets` MODIFY COLUMN `name` VARCHAR(255) NOT NULL",
                    "ALTER TABLE `widgets` ADD COLUMN `budget` DOUBLE NOT NULL DEFAULT (0.0)",
                    "CREATE INDEX `ix.widgets.name` ON `widgets` (`name`)",
                ],
            ),
        ];
        for (dialect, wanted_sql) in dialects {
            let there = tables_of(&before, dialect).expect("tables");
            let found =
                Found { tables: there.iter().map(|table| (table.name.clone(), found(table, dialect))).collect() };
            let plan = plan(&tables_of(&after, dialect).expect("tables"), &found, dialect);
            let sql: Vec<String> = plan.steps.iter().flat_map(|step| step.sql(dialect)).collect();
            assert_eq!(sql, wanted_sql);
        }
    }

    #[test]
    fn a_schema_that_is_there_needs_nothing() {
        let columns = ALL_TYPES.map(|ty| ColumnDef::new(format!("c_{ty:?}").to_lowercase(), ty));
        let entity = widgets(columns.to_vec());
        for dialect in [&Sqlite as &dyn Dialect, &Postgres, &MySql] {
            let mut wanted = tables_of(&entity, dialect).expect("tables");
            wanted.extend(kernel_tables());
            let there =
                Found { tables: wanted.iter().map(|table| (table.name.clone(), found(table, dialect))).collect() };
            assert_eq!(plan(&wanted, &there, dialect), Plan::default(), "{dialect:?}");
        }
    }

    #[test]
    fn what_is_too_much_stays_and_is_told() {
        let wanted = tables_of(&widgets(vec![ColumnDef::new("size", ColumnType::Int)]), &Sqlite).expect("tables");
        let mut there = found(&wanted[0], &Sqlite);
        there.columns[1].sql_type = "text".to_owned();
        there.columns.push(FoundColumn {
            name: "old".into(),
            sql_type: "text".into(),
            nullable: true,
            has_default: false,
        });
        let found = Found { tables: [("widgets".to_owned(), there)].into() };
        let plan = plan(&wanted[..1], &found, &Sqlite);
        assert_eq!(plan.steps, []);
        assert_eq!(
            plan.notes,
            [
                "`widgets.size` is `text` in the database and a whole number of 64 bits in the code; it stays as it is",
                "`widgets.old` is in the database and not in the code; it stays",
            ]
        );
    }
}
