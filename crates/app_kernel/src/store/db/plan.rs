//! Wanted minus found: the steps that lead from one to the other, as a plain value. Planning never writes.
//! Nothing is ever dropped or changed here; what is too much stays and is told.

use super::dialect::{Backend, Dialect, ddl};
use super::inspect::{Found, FoundTable};
use super::schema::{TableColumn, TableDef, TableForeignKey, TableIndex};

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
    AddColumn(TableDef, TableColumn),
    CreateIndex(TableDef, TableIndex),
    AddForeignKey(TableDef, TableForeignKey),
}

impl Step {
    /// Its statements.
    pub(crate) fn sql(&self, dialect: &dyn Dialect) -> Vec<String> {
        match self {
            Step::CreateTable(table) => ddl::create_table(table, dialect),
            Step::AddColumn(table, column) => vec![ddl::add_column(table, column, dialect)],
            Step::CreateIndex(table, index) => vec![ddl::create_index(table, index, dialect)],
            Step::AddForeignKey(table, key) => vec![ddl::add_foreign_key(table, key, dialect)],
        }
    }

    /// The table that must be empty for this to be possible, with the column that it lacks a value for.
    pub(crate) fn needs_no_rows(&self) -> Option<(&str, &str)> {
        match self {
            Step::AddColumn(table, column) if !column.nullable && column.default.is_none() => {
                Some((&table.name, &column.name))
            }
            _ => None,
        }
    }
}

/// Plans the way from what is found to what is wanted. Foreign keys come last, when all tables are there.
pub(crate) fn plan(wanted: &[TableDef], found: &Found, dialect: &dyn Dialect) -> Plan {
    let mut plan = Plan::default();
    let mut foreign_keys = Vec::new();
    for table in wanted {
        let found = found.tables.get(&table.name);
        match found {
            None => plan.steps.push(Step::CreateTable(table.clone())),
            Some(found) => plan_table(table, found, dialect, &mut plan),
        }
        // SQLite takes foreign keys only while a table is made.
        if dialect.backend() != Backend::Sqlite {
            let is_new = |key: &&TableForeignKey| !found.is_some_and(|found| found.foreign_keys.contains(&key.name));
            foreign_keys.extend(
                table.foreign_keys.iter().filter(is_new).map(|key| Step::AddForeignKey(table.clone(), key.clone())),
            );
        }
    }
    plan.steps.extend(foreign_keys);
    plan
}

fn plan_table(table: &TableDef, found: &FoundTable, dialect: &dyn Dialect, plan: &mut Plan) {
    for column in &table.columns {
        match found.columns.iter().find(|there| there.name == column.name) {
            None => plan.steps.push(Step::AddColumn(table.clone(), column.clone())),
            Some(there)
                if dialect.meaning_of(&there.sql_type) != dialect.meaning_of(&catalogue_type(column, dialect)) =>
            {
                plan.notes.push(format!(
                    "`{}.{}` is `{}` in the database and {} in the code; it stays as it is",
                    table.name,
                    column.name,
                    there.sql_type,
                    column.ty.described()
                ));
            }
            Some(_) => {}
        }
    }
    for there in &found.columns {
        let is_known = there.name == ddl::LIVE || table.columns.iter().any(|column| column.name == there.name);
        if !is_known {
            plan.notes
                .push(format!("`{}.{}` is in the database and not in the code; it stays", table.name, there.name));
        }
    }
    for index in table.indexes.iter().filter(|index| !found.indexes.contains(&index.name)) {
        plan.steps.push(Step::CreateIndex(table.clone(), index.clone()));
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
        let dialects: [(&dyn Dialect, [&str; 2]); 3] = [
            (
                &Sqlite,
                [
                    "ALTER TABLE \"widgets\" ADD COLUMN \"budget\" REAL NOT NULL DEFAULT 0.0",
                    "CREATE INDEX \"ix.widgets.name\" ON \"widgets\" (\"name\", \"id\")",
                ],
            ),
            (
                &Postgres,
                [
                    "ALTER TABLE \"widgets\" ADD COLUMN \"budget\" DOUBLE PRECISION NOT NULL DEFAULT 0.0",
                    "CREATE INDEX \"ix.widgets.name\" ON \"widgets\" (\"name\", \"id\")",
                ],
            ),
            (
                &MySql,
                [
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
