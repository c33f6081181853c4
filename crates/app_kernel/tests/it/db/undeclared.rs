//! Entities that nobody declared: their tables and columns are made on the first save.

use app_kernel::base::error::Error;
use app_kernel::store::db::{Db, DbOptions, MigrationOptions, StatementHook};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{open, open_with, widget, widgets};

on_every_database!(
    a_first_save_makes_the_table,
    new_fields_make_columns,
    nothing_is_found_before_the_first_save,
    types_survive_a_restart,
    ten_handles_make_one_table_at_once,
    ten_handles_add_columns_at_once,
    a_value_of_another_type_is_refused,
    names_that_are_none_are_refused,
    a_strict_schema_makes_nothing,
    a_first_save_in_a_transaction_makes_the_table_and_keeps_all_or_nothing,
    a_first_save_is_recorded_as_a_migration,
    a_first_save_that_is_cut_off_anywhere_is_made_up_for_by_the_next,
);

/// Promise: C4, C9
async fn a_first_save_makes_the_table(database: TestDatabase) {
    let db = open(&database, &[]).await;
    let gear = db.save_entity("gadgets", json!({ "name": "gear", "color": "blue" })).await.expect("a save");
    assert_eq!(gear.id().len(), 36);
    let read = db.get_entity("gadgets", gear.id()).await.expect("a read").expect("it is there");
    assert_eq!(read, gear);
    assert_eq!(db.entity_history("gadgets", gear.id()).await.expect("a history").len(), 1);
    let found = db.find_entities("gadgets").where_clause("[name] = ?", ["gear"]).await.expect("a query");
    assert_eq!(found, [gear]);
}

async fn new_fields_make_columns(database: TestDatabase) {
    let db = open(&database, &[]).await;
    let gear = db.save_entity("gadgets", json!({ "name": "gear" })).await.expect("a save");
    let more = json!({ "id": gear.id(), "size": 3, "weight": 1.5, "live": true, "tags": ["a"], "nothing": null });
    let more = db.save_entity("gadgets", more).await.expect("a save");
    assert_eq!(
        (more["name"].as_str(), more["size"].as_int(), more["live"].as_bool()),
        (Some("gear"), Some(3), Some(true))
    );
    assert_eq!(more.to_json()["tags"], json!(["a"]));
    assert_eq!(more.get("nothing"), None, "null makes no column");
    let cog = db.save_entity("gadgets", json!({ "size": 4 })).await.expect("other rows need not have them");
    assert!(cog["name"].is_null());
}

async fn nothing_is_found_before_the_first_save(database: TestDatabase) {
    let db = open(&database, &[]).await;
    assert_eq!(db.find_entities("gadgets").await.expect("a query"), []);
    assert_eq!(db.get_entity("gadgets", "x").await.expect("a read"), None);
    assert_eq!(db.count_entities("gadgets").await.expect("a count"), 0);
    assert!(!db.delete_entity("gadgets", "x").await.expect("a deletion"));
    assert_eq!(db.find_entities("gadgets").page().await.expect("a page").next, None);
}

async fn types_survive_a_restart(database: TestDatabase) {
    let row = json!({ "name": "1", "size": 3, "weight": 2.0, "live": false, "tags": [1, { "a": null }] });
    let db = open(&database, &[]).await;
    let gear = db.save_entity("gadgets", row.clone()).await.expect("a save");
    db.close().await;
    let db = open(&database, &[]).await;
    let read = db.get_entity("gadgets", gear.id()).await.expect("a read").expect("it is there").to_json();
    for (name, value) in row.as_object().expect("an object") {
        assert_eq!(&read[name], value, "{name}");
    }
    db.save_entity("gadgets", json!({ "id": gear.id(), "tags": [] })).await.expect("a save");
    assert_eq!(
        db.count_entities("gadgets").where_clause("[live] = ? AND [size] = 3", [false]).await.expect("a count"),
        1
    );
}

async fn ten_handles(database: &TestDatabase) -> Vec<Db> {
    let mut handles = Vec::new();
    for _ in 0..10 {
        let options = DbOptions {
            driver: app_kernel::store::db::Options { pool_size: Some(2), ..Default::default() },
            ..DbOptions::default()
        };
        handles.push(open_with(database, &[], options).await);
    }
    handles
}

async fn ten_handles_make_one_table_at_once(database: TestDatabase) {
    let handles = ten_handles(&database).await;
    let saves = handles.iter().enumerate().map(|(i, db)| {
        let db = db.clone();
        tokio::spawn(async move { db.save_entity("gadgets", json!({ "name": format!("gear {i}") })).await })
    });
    for save in saves.collect::<Vec<_>>() {
        save.await.expect("no panic").expect("a save");
    }
    assert_eq!(handles[0].count_entities("gadgets").await.expect("a count"), 10);
    let made = handles[0].query("SELECT [seq] FROM [kernel_migrations] WHERE [dynamic_table] = ?", ["gadgets"]).await;
    assert_eq!(made.expect("a query").len(), 1, "one of them made it");
}

async fn ten_handles_add_columns_at_once(database: TestDatabase) {
    let handles = ten_handles(&database).await;
    handles[0].save_entity("gadgets", json!({ "name": "first" })).await.expect("a save");
    let saves = handles.iter().enumerate().map(|(i, db)| {
        let db = db.clone();
        tokio::spawn(async move {
            db.save_entity("gadgets", json!({ "name": "x", "shared": i, format!("own_{i}"): "y" })).await
        })
    });
    for save in saves.collect::<Vec<_>>() {
        save.await.expect("no panic").expect("a save");
    }
    for (i, db) in handles.iter().enumerate() {
        let other = (i + 1) % 10;
        let found = db.find_entities("gadgets").where_clause("[shared] = ?", [i as i64]).await.expect("a query");
        assert_eq!(found[0][format!("own_{i}").as_str()], "y");
        // A handle that did not make a column learns of it when it saves.
        let row = json!({ "id": found[0].id(), format!("own_{other}"): "z" });
        assert_eq!(db.save_entity("gadgets", row).await.expect("a save")["version"], 2);
    }
}

async fn a_value_of_another_type_is_refused(database: TestDatabase) {
    let db = open(&database, &[]).await;
    db.save_entity("gadgets", json!({ "size": 3 })).await.expect("a save");
    let error = db.save_entity("gadgets", json!({ "size": "many" })).await.expect_err("it is a number");
    assert_eq!((error.http_status(), error.field_errors()[0].pointer.as_str()), (422, "/size"));
}

async fn names_that_are_none_are_refused(database: TestDatabase) {
    let db = open(&database, &[]).await;
    let too_long = "x".repeat(55);
    for name in
        ["", "a b", "a;b", "1a", "a-b", "ä", "a.b", "\"", "`", "kernel_users", "Kernel_x", "a_history", &too_long]
    {
        let error = db.save_entity(name, json!({ "a": 1 })).await.expect_err("no name");
        assert_eq!((error.http_status(), error.error_code()), (400, "bad_entity_name"), "{name}");
        let error = db.find_entities(name).await.expect_err("no name");
        assert_eq!(error.error_code(), "bad_entity_name", "{name}");
    }
    for field in ["", "a b", "a;b", "1a", "[a]", "\"a\"", &too_long] {
        let error = db.save_entity("gadgets", json!({ field: 1 })).await.expect_err("no name");
        assert_eq!((error.http_status(), error.field_errors().len()), (422, 1), "{field}");
    }
    let error = db.save_entity("gadgets", json!({ "size": 1, "Size": 2 })).await.expect_err("one column twice");
    assert_eq!(error.field_errors()[0].message, "differs from `size` only in case");
    db.save_entity("select", json!({ "where": 1, "order": "x" })).await.expect("words of SQL are names too");
}

async fn a_strict_schema_makes_nothing(database: TestDatabase) {
    let options = DbOptions { schema_strict: true, ..DbOptions::default() };
    let db = open_with(&database, &[], options).await;
    let error = db.save_entity("gadgets", json!({ "name": "gear" })).await.expect_err("nothing is declared");
    assert_eq!((error.http_status(), error.error_code()), (400, "bad_entity_name"));
    assert!(error.message().contains("SCHEMA_STRICT"));
}

async fn a_first_save_in_a_transaction_makes_the_table_and_keeps_all_or_nothing(database: TestDatabase) {
    let db = widgets(&database).await;
    db.transaction(async |tx| {
        tx.save(widget("gear")).await?;
        tx.save_entity("gadgets", json!({ "name": "cog" })).await?;
        tx.save_entity("gadgets", json!({ "size": 4 })).await
    })
    .await
    .expect("a transaction");
    assert_eq!(db.count_entities("widgets").await.expect("a count"), 1);
    assert_eq!(db.count_entities("gadgets").await.expect("a count"), 2);
    assert_eq!(db.query("SELECT * FROM [widgets_history]", ()).await.expect("a query").len(), 1);
}

async fn a_first_save_is_recorded_as_a_migration(database: TestDatabase) {
    let db = open(&database, &[]).await;
    db.save_entity("gadgets", json!({ "name": "gear" })).await.expect("a save");
    let recorded = db.query("SELECT * FROM [kernel_migrations] ORDER BY [seq]", ()).await.expect("a query");
    let told: Vec<(Option<&str>, Option<&str>)> =
        recorded.iter().map(|row| (row["reason"].as_str(), row["dynamic_table"].as_str())).collect();
    assert_eq!(told, [(Some("start"), None), (Some("first_save"), Some("gadgets"))]);
    assert!(recorded[1]["statements"].as_str().expect("SQL").contains("CREATE TABLE"));
}

/// On MySQL each statement of it is committed by itself.
///
/// Promise: C4, R-12
async fn a_first_save_that_is_cut_off_anywhere_is_made_up_for_by_the_next(database: TestDatabase) {
    let db = open(&database, &[]).await;
    for last in 0..4 {
        let name = format!("gadgets_{last}");
        let on_statement = Some(StatementHook::new(move |number, sql| match sql {
            Some(_) if number == last => Err(Error::internal("it is cut off")),
            _ => Ok(()),
        }));
        let migrations = MigrationOptions { on_statement, ..MigrationOptions::default() };
        let cut_off = open_with(&database, &[], DbOptions { migrations, ..DbOptions::default() }).await;
        let is_cut_off = cut_off.save_entity(&name, json!({ "name": "gear" })).await.is_err();
        assert!(is_cut_off || last > 1, "a table and its history take two statements at least");
        let gear = db.save_entity(&name, json!({ "name": "gear" })).await.expect("the next save finds what it needs");
        assert_eq!(db.entity_history(&name, gear.id()).await.expect("a history").len(), 1, "{name}");
        cut_off.close().await;
    }
}
