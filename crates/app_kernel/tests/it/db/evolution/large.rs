//! Large tables: what takes long is told, and PostgreSQL makes indexes while others write.

use app_kernel::store::db::entity::ColumnDef;
use app_kernel::store::db::value::ColumnType;
use app_kernel::store::db::{Backend, Db, MigrationOptions};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{assert_settled, column, entity, migrated, open};

on_every_database!(an_index_on_a_large_table_is_told_and_made);

async fn indexed_again(database: &TestDatabase) -> Db {
    let name = ColumnDef { index: true, ..column("name", ColumnType::Text) };
    let options = MigrationOptions { large_table_rows: 3, ..MigrationOptions::default() };
    open(database, &[entity("notes", vec![name])], options).await
}

async fn an_index_on_a_large_table_is_told_and_made(database: TestDatabase) {
    let db = migrated(&database, &[entity("notes", vec![column("name", ColumnType::Text)])]).await;
    for i in 0..5 {
        db.save_entity("notes", json!({ "name": format!("n{i}") })).await.expect("a save");
    }
    match database.backend() {
        Backend::Sqlite => {}
        Backend::Postgres => drop(db.execute("ANALYZE [notes]", ()).await.expect("rows are counted")),
        Backend::MySql => drop(db.query("ANALYZE TABLE [notes]", ()).await.expect("rows are counted")),
    }
    db.close().await;

    let db = indexed_again(&database).await;
    let migration = db.migrate().await.expect("a migration");
    let told: Vec<String> = migration.findings.iter().map(ToString::to_string).collect();
    match database.backend() {
        Backend::Sqlite => {
            assert_eq!(told, ["`notes` has 5 rows: its indexes are made, and writers wait until they are there"]);
        }
        Backend::MySql => assert_eq!(told.len(), 2, "{told:?}"),
        Backend::Postgres => {
            assert_eq!(told, ["`notes` has 5 rows: its indexes are made after the rest, while others write"]);
            assert!(migration.statements.iter().any(|sql| sql.starts_with("CREATE INDEX CONCURRENTLY")));
            let valid = "SELECT 1 FROM pg_index WHERE indexrelid = '\"ix.notes.name\"'::regclass AND indisvalid";
            assert_eq!(db.query(valid, ()).await.expect("a query").len(), 1);
            // As a kill leaves it.
            let broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"ix.notes.name\"'::regclass";
            db.execute(broken, ()).await.expect("an update");
            let db = indexed_again(&database).await;
            assert_eq!(db.migrate().await.expect("a migration").statements.len(), 2);
            assert_eq!(db.query(valid, ()).await.expect("a query").len(), 1);
        }
    }
    assert_settled(&db).await;
    db.close().await;
}
