//! Plans without a server: what stands in the catalogue is made up.

use std::collections::BTreeMap;

use super::super::dialect::{MySql, Postgres, Sqlite};
use super::super::entity::{ColumnDef, EntityDef, ForeignKey};
use super::super::inspect::{FoundColumn, FoundIndex, FoundKey};
use super::super::schema::{TableColumn, kernel_tables, tables_of};
use super::super::value::ColumnType;
use super::difference::catalogue_type;
use super::*;

fn widgets(columns: Vec<ColumnDef>) -> EntityDef {
    EntityDef { columns, ..EntityDef::new("widgets") }
}

fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(name, ColumnType::Text)
}

fn found_table(table: &TableDef, dialect: &dyn Dialect) -> FoundTable {
    let column = |column: &TableColumn| FoundColumn {
        name: column.name.to_string(),
        sql_type: catalogue_type(column, dialect),
        nullable: column.nullable,
        default: ddl::default_literal(column, dialect),
        generated: false,
    };
    let is_partial = |unique: bool| unique && table.soft_delete && dialect.backend() != Backend::MySql;
    let index = |index: &super::super::schema::TableIndex| FoundIndex {
        columns: ddl::index_columns(table, index, dialect),
        unique: index.unique,
        partial: is_partial(index.unique),
        state: IndexState::Ready,
        sql: None,
    };
    let mut columns: Vec<FoundColumn> = table.columns.iter().map(column).collect();
    if dialect.backend() == Backend::MySql && table.soft_delete {
        let (name, sql_type) = (ddl::LIVE.to_owned(), "tinyint(1)".to_owned());
        columns.push(FoundColumn { name, sql_type, nullable: true, default: None, generated: true });
    }
    let counted = table.columns.iter().filter(|column| column.identity).map(|column| column.name.to_string());
    FoundTable {
        columns,
        primary_key: counted.chain(table.primary_key.iter().map(ToString::to_string)).collect(),
        indexes: table.indexes.iter().map(|of| (of.name.clone(), index(of))).collect(),
        checks: table.checks.iter().map(|check| check.name.clone()).collect(),
        foreign_keys: (table.foreign_keys.iter())
            .map(|key| {
                let found = FoundKey { column: key.column.to_string(), target: key.target.table.to_string() };
                (key.name.clone(), found)
            })
            .collect(),
        rows: Some(0),
        ..FoundTable::default()
    }
}

/// A database that has exactly these entities.
fn database(entities: &[EntityDef], dialect: &dyn Dialect) -> (Found, Register) {
    let tables = wanted(entities, dialect);
    let found = tables.iter().map(|table| (table.name.clone(), found_table(table, dialect))).collect();
    let register = tables.iter().map(|table| (table.name.clone(), Declared::of(table))).collect();
    (Found { tables: found }, register)
}

fn wanted(entities: &[EntityDef], dialect: &dyn Dialect) -> Vec<TableDef> {
    let mut tables = kernel_tables();
    tables.extend(entities.iter().flat_map(|entity| tables_of(entity, dialect).expect("tables")));
    tables
}

fn plan_of(before: &[EntityDef], after: &[EntityDef], dialect: &dyn Dialect, options: &MigrationOptions) -> Plan {
    let (found, register) = database(before, dialect);
    let wanted = wanted(after, dialect);
    plan(Situation { wanted: &wanted, found: &found, register: &register, dialect, options, undeclared: None })
}

/// The statements without those that keep the register.
fn sql(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.sql.as_str()).filter(|sql| !sql.contains("kernel_declared")).collect()
}

fn dialects() -> [&'static dyn Dialect; 3] {
    [&Sqlite, &Postgres, &MySql]
}

/// Promise: D2
#[test]
fn a_new_field_becomes_a_column_and_a_new_index_an_index() {
    let before = widgets(vec![text("name")]);
    let budget = ColumnDef { default: Some(0.0.into()), ..ColumnDef::new("budget", ColumnType::Float) };
    let after = widgets(vec![ColumnDef { index: true, ..text("name") }, budget]);
    let wanted_sql: [&[&str]; 3] = [
        &[
            "ALTER TABLE \"widgets\" ADD COLUMN \"budget\" REAL NOT NULL DEFAULT 0.0",
            "CREATE INDEX \"ix.widgets.name\" ON \"widgets\" (\"name\", \"id\")",
        ],
        &[
            "ALTER TABLE \"widgets\" ADD COLUMN \"budget\" DOUBLE PRECISION NOT NULL DEFAULT 0.0",
            "CREATE INDEX \"ix.widgets.name\" ON \"widgets\" (\"name\", \"id\")",
        ],
        &[
            "ALTER TABLE `widgets` ADD COLUMN `budget` DOUBLE NOT NULL DEFAULT (0.0)",
            "ALTER TABLE `widgets` MODIFY COLUMN `name` VARCHAR(255) NOT NULL",
            "CREATE INDEX `ix.widgets.name` ON `widgets` (`name`)",
        ],
    ];
    for (dialect, wanted_sql) in dialects().into_iter().zip(wanted_sql) {
        let plan =
            plan_of(std::slice::from_ref(&before), std::slice::from_ref(&after), dialect, &MigrationOptions::default());
        assert_eq!(sql(&plan), wanted_sql);
    }
}

#[test]
fn a_schema_that_is_there_needs_nothing() {
    let columns = ColumnType::ALL.map(|ty| ColumnDef::new(format!("c_{ty:?}").to_lowercase(), ty));
    let entity = [widgets(columns.to_vec())];
    for dialect in dialects() {
        let plan = plan_of(&entity, &entity, dialect, &MigrationOptions::default());
        assert_eq!((plan.steps, plan.findings, plan.questions), (vec![], vec![], vec![]), "{dialect:?}");
    }
}

/// Promise: D3
#[test]
fn what_left_the_code_stays_until_a_flag_drops_it() {
    let before = [widgets(vec![text("name"), ColumnDef { nullable: true, ..text("old") }]), EntityDef::new("parts")];
    let after = [widgets(vec![text("name")])];
    for dialect in dialects() {
        let plan = plan_of(&before, &after, dialect, &MigrationOptions::default());
        assert_eq!(sql(&plan), Vec::<&str>::new());
        let told: Vec<String> = plan.findings.iter().map(ToString::to_string).collect();
        let wanted = [
            "`widgets.old` is in the database and not in the code; it stays; ALLOW_COLUMN_DELETION=true drops it",
            "`parts` is in the database and not in the code; it stays; ALLOW_TABLE_DELETION=true drops it",
        ];
        assert_eq!(told, wanted);

        let options =
            MigrationOptions { allow_column_deletion: true, allow_table_deletion: true, ..MigrationOptions::default() };
        let plan = plan_of(&before, &after, dialect, &options);
        assert_eq!(sql(&plan).iter().filter(|sql| sql.starts_with("DROP TABLE") && sql.contains("parts")).count(), 2);
        assert!(plan.questions.iter().all(|question| question.finding.severity == Severity::Warning));
        assert_eq!(plan.questions.len(), 3, "each is told with its rows");
    }
}

#[test]
fn what_was_never_declared_is_never_dropped() {
    let options =
        MigrationOptions { allow_column_deletion: true, allow_table_deletion: true, ..MigrationOptions::default() };
    let (mut found, register) = database(&[widgets(vec![text("name")])], &Postgres);
    let theirs = FoundColumn {
        name: "theirs".to_owned(),
        sql_type: "text".to_owned(),
        nullable: true,
        default: None,
        generated: false,
    };
    found.tables.get_mut("widgets").expect("it is there").columns.push(theirs);
    found.tables.insert("theirs".to_owned(), FoundTable::default());
    let wanted = wanted(&[widgets(vec![text("name")])], &Postgres);
    let situation = Situation {
        wanted: &wanted,
        found: &found,
        register: &register,
        dialect: &Postgres,
        options: &options,
        undeclared: None,
    };
    assert_eq!(plan(situation).steps, []);
}

/// Promise: R-13
#[test]
fn a_database_of_another_service_is_refused_and_nothing_of_it_dropped() {
    let named = |service: &str, was: Option<&str>| MigrationOptions {
        allow_table_deletion: true,
        service: Some(service.to_owned()),
        service_renamed_from: was.map(str::to_owned),
        ..MigrationOptions::default()
    };
    let (found, mut register) = database(&[widgets(vec![text("name")])], &Postgres);
    for (_, declared) in register.iter_mut().filter(|(name, _)| name.starts_with("widgets")) {
        declared.service = Some("shop".to_owned());
    }
    let wanted = wanted(&[], &Postgres);
    let plan = |options: &MigrationOptions| {
        plan(Situation {
            wanted: &wanted,
            found: &found,
            register: &register,
            dialect: &Postgres,
            options,
            undeclared: None,
        })
    };
    let theirs = plan(&named("blog", None));
    assert_eq!(theirs.steps, []);
    let told: Vec<String> = theirs.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "this database is of the service `shop`, which declared `widgets`, and this is `blog`; give `blog` a database of its own; \
             where it is `shop` under a new name, start once with SERVICE_RENAMED_FROM=shop"
        ]
    );
    for ours in [named("shop", None), named("blog", Some("shop"))] {
        let plan = plan(&ours);
        assert_eq!(sql(&plan).iter().filter(|sql| sql.starts_with("DROP TABLE")).count(), 2);
        assert!(plan.findings.iter().all(|finding| finding.severity != Severity::Refused));
    }
}

/// Promise: D2
#[test]
fn a_changed_column_is_altered_in_each_databases_own_way() {
    let before = widgets(vec![ColumnDef::new("size", ColumnType::Int)]);
    let size = ColumnDef { nullable: true, default: Some("none".into()), ..text("size") };
    let after = widgets(vec![size]);
    let plan = |dialect| {
        plan_of(std::slice::from_ref(&before), std::slice::from_ref(&after), dialect, &MigrationOptions::default())
    };
    assert_eq!(
        sql(&plan(&Postgres)),
        ["ALTER TABLE \"widgets\" ALTER COLUMN \"size\" DROP NOT NULL, \
          ALTER COLUMN \"size\" TYPE TEXT COLLATE \"C\" USING CAST(\"size\" AS TEXT), ALTER COLUMN \"size\" SET DEFAULT 'none'"]
    );
    assert_eq!(sql(&plan(&MySql)), ["ALTER TABLE `widgets` MODIFY COLUMN `size` LONGTEXT DEFAULT ('none')"]);
    let sqlite = plan(&Sqlite);
    assert_eq!(
        sql(&sqlite)[1..],
        [
            "INSERT INTO \"kernel_rebuild\" (\"id\", \"size\", \"created_at\", \"updated_at\", \"deleted_at\", \"version\") \
             SELECT \"id\", CAST(\"size\" AS TEXT), \"created_at\", \"updated_at\", \"deleted_at\", \"version\" FROM \"widgets\"",
            "DROP TABLE \"widgets\"",
            "PRAGMA legacy_alter_table = ON",
            "ALTER TABLE \"kernel_rebuild\" RENAME TO \"widgets\"",
            "PRAGMA legacy_alter_table = OFF",
        ]
    );
    assert_eq!(sqlite.rebuilt, ["widgets"]);
}

#[test]
fn a_changed_default_a_changed_check_and_a_foreign_key_elsewhere_are_seen() {
    let column = |default: &str, check: &'static str, target: &'static str| ColumnDef {
        default: Some(default.into()),
        check: Some(check.into()),
        foreign_key: Some(ForeignKey { table: target.into(), column: "id".into() }),
        ..text("owner")
    };
    let others = [EntityDef::new("people"), EntityDef::new("teams")];
    let with = |column: ColumnDef| [&[widgets(vec![column])][..], &others].concat();
    let before = with(column("ann", "[owner] <> 'x'", "people"));
    let after = with(column("bob", "[owner] <> 'y'", "teams"));
    let plan = plan_of(&before, &after, &Postgres, &MigrationOptions::default());
    assert_eq!(
        sql(&plan),
        [
            "ALTER TABLE \"widgets\" DROP CONSTRAINT \"fk.widgets.owner\"",
            "ALTER TABLE \"widgets\" DROP CONSTRAINT \"ck.widgets.owner\"",
            "ALTER TABLE \"widgets\" ALTER COLUMN \"owner\" DROP DEFAULT, ALTER COLUMN \"owner\" SET DEFAULT 'bob'",
            "ALTER TABLE \"widgets\" ADD CONSTRAINT \"ck.widgets.owner\" CHECK (\"owner\" <> 'y')",
            "ALTER TABLE \"widgets\" ADD CONSTRAINT \"fk.widgets.owner\" FOREIGN KEY (\"owner\") REFERENCES \"teams\" (\"id\")",
        ]
    );
    let refusals: BTreeMap<&str, &str> =
        plan.questions.iter().map(|question| (question.finding.what.as_str(), question.query.as_str())).collect();
    assert_eq!(
        refusals.keys().copied().collect::<Vec<_>>(),
        [
            "`widgets` has rows ({n}) that break the rule [owner] <> 'y'",
            "`widgets` has rows ({n}) whose `owner` refers to no row of `teams`",
        ]
    );
}

#[test]
fn indexes_of_large_tables_are_made_while_others_write_and_broken_ones_again() {
    let entity = [widgets(vec![ColumnDef { index: true, ..text("name") }])];
    let (mut found, register) = database(&entity, &Postgres);
    let table = found.tables.get_mut("widgets").expect("it is there");
    table.rows = Some(100_000);
    table.indexes.get_mut("ix.widgets.name").expect("it is there").state = IndexState::Broken;
    let (wanted, options) = (wanted(&entity, &Postgres), MigrationOptions::default());
    let of = |found: &Found| {
        plan(Situation {
            wanted: &wanted,
            found,
            register: &register,
            dialect: &Postgres,
            options: &options,
            undeclared: None,
        })
    };
    let made_again = of(&found);
    assert_eq!(
        sql(&made_again),
        [
            "DROP INDEX \"ix.widgets.name\"",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS \"ix.widgets.name\" ON \"widgets\" (\"name\", \"id\")",
        ]
    );
    assert_eq!(made_again.steps[1].later.as_deref(), Some("ix.widgets.name"));
    found
        .tables
        .get_mut("widgets")
        .expect("it is there")
        .indexes
        .get_mut("ix.widgets.name")
        .expect("it is there")
        .state = IndexState::Building;
    let waits = of(&found);
    assert_eq!((waits.steps.len(), waits.awaited.as_slice()), (0, &["ix.widgets.name".to_owned()][..]));
}
