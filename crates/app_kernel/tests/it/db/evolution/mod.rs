//! Schemas that change under data: written-down pairs, random ones, and migrations that are killed.

mod faults;
mod large;
mod looks;
mod pairs;
mod random;
mod rebuilt;

use std::collections::BTreeMap;

use app_kernel::base::secret::Secret;
use app_kernel::store::db::entity::{ColumnDef, EntityDef};
use app_kernel::store::db::value::ColumnType;
use app_kernel::store::db::{Db, DbOptions, MigrationOptions};
use app_kernel::testing::TestDatabase;
use serde_json::Value as Json;

/// Rows by id.
type Rows = BTreeMap<String, Json>;

/// Opens the database for these entities without a look at its tables.
async fn open(database: &TestDatabase, entities: &[EntityDef], migrations: MigrationOptions) -> Db {
    open_at(database.url(), entities, migrations).await
}

async fn open_at(url: &Secret, entities: &[EntityDef], migrations: MigrationOptions) -> Db {
    let entities: Vec<&EntityDef> = entities.iter().collect();
    let options = DbOptions { migrations, ..DbOptions::default() };
    Db::open(url, &entities, options).await.expect("the database opens")
}

fn drops() -> MigrationOptions {
    MigrationOptions { allow_column_deletion: true, allow_table_deletion: true, ..MigrationOptions::default() }
}

async fn migrated(database: &TestDatabase, entities: &[EntityDef]) -> Db {
    let db = open(database, entities, MigrationOptions::default()).await;
    db.migrate().await.expect("a migration");
    assert_settled(&db).await;
    db
}

/// Planning again gives nothing.
async fn assert_settled(db: &Db) {
    let plan = db.plan_migration().await.expect("a plan");
    assert_eq!(plan.statements, Vec::<String>::new());
    assert!(!plan.is_refused(), "{:?}", plan.findings);
}

/// All rows of an entity, deleted ones too.
async fn rows(db: &Db, entity: &str) -> Rows {
    let found = db.find_entities(entity).include_deleted().limit(10_000).await.expect("a query");
    found.iter().map(|row| (row.id().to_owned(), row.to_json())).collect()
}

fn entity(table: &str, columns: Vec<ColumnDef>) -> EntityDef {
    EntityDef { columns, ..EntityDef::new(table.to_owned()) }
}

fn column(name: &str, ty: ColumnType) -> ColumnDef {
    ColumnDef::new(name.to_owned(), ty)
}
