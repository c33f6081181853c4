//! SQLite makes a table anew for what ALTER TABLE can't do: all that was in it and around it is there afterwards.

use app_kernel::store::db::MigrationOptions;
use app_kernel::store::db::entity::{ColumnDef, ForeignKey};
use app_kernel::store::db::value::ColumnType;
use app_kernel::testing::TestDatabase;
use serde_json::json;

use super::{assert_settled, column, entity, migrated, open, rows};

/// Promise: D2, R-13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_added_to_a_table_outlives_its_rebuilding() {
    let database = TestDatabase::sqlite().await;
    let key = ForeignKey { table: "notes".into(), column: "id".into() };
    let replies = entity("replies", vec![ColumnDef { foreign_key: Some(key), ..column("note_id", ColumnType::Text) }]);
    let before = [entity("notes", vec![column("size", ColumnType::Int)]), replies.clone()];
    let db = migrated(&database, &before).await;
    let note = db.save_entity("notes", json!({ "size": 7 })).await.expect("a save").id().to_owned();
    db.save_entity("replies", json!({ "note_id": note })).await.expect("a save");
    for theirs in [
        "CREATE TABLE log (note_id TEXT REFERENCES notes (id) ON DELETE CASCADE, at TEXT DEFAULT 'now')",
        "ALTER TABLE notes ADD COLUMN tag TEXT DEFAULT 'none' CHECK (tag <> 'x,y)')",
        "ALTER TABLE notes ADD COLUMN loud TEXT GENERATED ALWAYS AS (upper(tag)) VIRTUAL",
        "CREATE INDEX by_tag ON notes (tag, size) WHERE size > 1",
        "CREATE TRIGGER logged AFTER UPDATE OF tag ON notes BEGIN INSERT INTO log (note_id) VALUES (new.id); END",
        "CREATE VIEW large AS SELECT id, size FROM notes WHERE size > 5",
    ] {
        db.execute(theirs, ()).await.expect(theirs);
    }
    db.execute("INSERT INTO log (note_id) VALUES (?)", [&note]).await.expect("a row");
    db.close().await;

    let size = ColumnDef { nullable: true, check: Some("[size] < 100".into()), ..column("size", ColumnType::Int) };
    let db = open(&database, &[entity("notes", vec![size]), replies], MigrationOptions::default()).await;
    db.migrate().await.expect("a migration");
    assert_settled(&db).await;
    assert_eq!(rows(&db, "notes").await[&note]["size"], 7);
    let texts = |rows: Vec<app_kernel::store::db::row::Row>| -> Vec<String> {
        rows.iter().map(|row| row["v"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let query = async |sql: &str| texts(db.query(sql, ()).await.expect("a query"));
    assert_eq!(query("SELECT note_id AS v FROM log").await, std::slice::from_ref(&note), "nothing cascaded");
    assert_eq!(query("SELECT loud AS v FROM notes").await, ["NONE"]);
    assert_eq!(query("SELECT id AS v FROM large").await, std::slice::from_ref(&note));
    assert_eq!(
        query("SELECT name AS v FROM sqlite_schema WHERE name IN ('by_tag', 'logged') ORDER BY 1").await,
        ["by_tag", "logged"]
    );
    db.execute("UPDATE notes SET tag = 'new'", ()).await.expect("an update");
    assert_eq!(query("SELECT note_id AS v FROM log").await.len(), 2, "the trigger works");
    db.execute("UPDATE notes SET tag = 'x,y)'", ()).await.expect_err("their rule holds");
    let orphan = db.save_entity("replies", json!({ "note_id": "nobody" })).await.expect_err("keys are enforced again");
    assert_eq!(orphan.error_code(), "foreign_key");
    db.delete_entity("notes", note).permanent().await.expect_err("a reply refers to it");
    assert_eq!(query("SELECT integrity_check AS v FROM pragma_integrity_check").await, ["ok"]);
    db.close().await;
}
