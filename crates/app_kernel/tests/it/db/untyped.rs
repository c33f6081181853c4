//! Rows without a struct, on declared entities: the specification's verbs.

use app_kernel::base::error::ErrorKind;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{Widget, widget, widgets};

on_every_database!(
    a_row_is_saved_read_found_counted_and_deleted,
    a_save_changes_what_is_given_and_leaves_the_rest,
    a_row_that_was_read_can_be_saved_as_it_is,
    unknown_fields_of_a_declared_entity_are_refused,
    wrong_fields_are_told_all_at_once,
    typed_and_untyped_see_the_same_rows,
    an_id_of_ones_own_makes_or_changes_the_row,
);

/// Promise: C2, C4, C5, C6, C7, C8, C16
async fn a_row_is_saved_read_found_counted_and_deleted(database: TestDatabase) {
    let db = widgets(&database).await;
    let saved = db.save_entity("widgets", json!({ "name": "gear", "owner_id": "ann" })).await.expect("a save");
    assert_eq!(saved["name"], "gear");
    assert_eq!(saved["color"], "blue");
    assert_eq!(saved["status"], "active");
    assert!(saved["size"].is_null());
    assert_eq!(saved["version"], 1);

    let other = db.save_entity("widgets", json!({ "name": "cog", "owner_id": "bob" })).await.expect("a save");

    let read = db.get_entity("widgets", saved.id()).await.expect("a read").expect("it is there");
    assert_eq!(read, saved);
    assert_eq!(db.get_entity("widgets", "nobody").await.expect("a read"), None);
    let json = read.to_json();
    let names: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(
        names,
        ["id", "name", "color", "owner_id", "size", "status", "created_at", "updated_at", "deleted_at", "version"]
    );
    assert!(json["created_at"].as_str().expect("a time").ends_with('Z'));

    let found = db
        .find_entities("widgets")
        .where_clause("[owner_id] = ? AND [status] = ?", ("ann", "active"))
        .order_by("[created_at] DESC")
        .limit(100)
        .offset(0)
        .await
        .expect("a query");
    assert_eq!(found, std::slice::from_ref(&saved));
    assert_eq!(db.count_entities("widgets").where_clause("[owner_id] = ?", ["ann"]).await.expect("a count"), 1);
    assert_eq!(db.count_entities("widgets").await.expect("a count"), 2);

    assert!(db.delete_entity("widgets", saved.id()).await.expect("a deletion"));
    assert_eq!(db.get_entity("widgets", saved.id()).await.expect("a read"), None);
    let deleted = db.get_entity("widgets", saved.id()).include_deleted().await.expect("a read").expect("it is there");
    assert!(!deleted["deleted_at"].is_null());
    assert_eq!(db.find_entities("widgets").await.expect("a query"), [other]);
    assert_eq!(db.find_entities("widgets").include_deleted().await.expect("a query").len(), 2);
    assert_eq!(db.count_entities("widgets").await.expect("a count"), 1);
    assert!(db.delete_entity("widgets", saved.id()).permanent().await.expect("a deletion"));
    assert_eq!(db.get_entity("widgets", saved.id()).include_deleted().await.expect("a read"), None);
    assert_eq!(db.entity_history("widgets", saved.id()).await.expect("a history").len(), 3);
}

/// Promise: C2, C4
async fn a_save_changes_what_is_given_and_leaves_the_rest(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear =
        db.save_entity("widgets", json!({ "name": "gear", "owner_id": "ann", "size": 3 })).await.expect("a save");
    let changed = db.save_entity("widgets", json!({ "id": gear.id(), "color": "green" })).await.expect("a save");
    assert_eq!(
        (changed["name"].as_str(), changed["color"].as_str(), changed["size"].as_int()),
        (Some("gear"), Some("green"), Some(3))
    );
    assert_eq!(changed["version"], 2);
    assert_eq!(changed["created_at"], gear["created_at"]);
    let changed = db.save_entity("widgets", json!({ "id": gear.id(), "size": null })).await.expect("null sets null");
    assert!(changed["size"].is_null());
    let error = db.save_entity("widgets", json!({ "id": gear.id(), "name": null })).await.expect_err("it is required");
    assert_eq!(error.field_errors()[0].message, "must not be null");
    let history = db.entity_history("widgets", gear.id()).await.expect("a history");
    assert_eq!(history[0].data["name"], "gear", "the history has the whole row");
    let error =
        db.save_entity("widgets", json!({ "id": gear.id(), "size": 1 })).if_version(1).await.expect_err("stale");
    assert_eq!(error.error_code(), "version_conflict");
}

async fn a_row_that_was_read_can_be_saved_as_it_is(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear = db.save_entity("widgets", json!({ "name": "gear", "owner_id": "ann" })).await.expect("a save");
    let mut row = gear.to_json();
    row["status"] = "archived".into();
    let saved = db.save_entity("widgets", row).await.expect("a save");
    assert_eq!((saved["status"].as_str(), saved["version"].as_int()), (Some("archived"), Some(2)));
}

async fn unknown_fields_of_a_declared_entity_are_refused(database: TestDatabase) {
    let db = widgets(&database).await;
    let row = json!({ "name": "gear", "owner_id": "ann", "colour": "red", "a/b~c": 1, "x; DROP TABLE widgets": 1 });
    let error = db.save_entity("widgets", row).await.expect_err("unknown fields");
    assert_eq!(error.http_status(), 422);
    let told: Vec<&str> = error.field_errors().iter().map(|field| field.pointer.as_str()).collect();
    assert_eq!(told, ["/colour", "/a~1b~0c", "/x; DROP TABLE widgets"]);
    assert_eq!(error.field_errors()[0].message, "is no field of `widgets`");
    assert_eq!(db.count_entities("widgets").await.expect("a count"), 0);
}

async fn wrong_fields_are_told_all_at_once(database: TestDatabase) {
    let db = widgets(&database).await;
    let row = json!({ "name": 7, "color": ["red"], "owner_id": "a\0", "size": "many", "status": true });
    let error = db.save_entity("widgets", row).await.expect_err("all wrong");
    let told: Vec<(&str, &str)> =
        error.field_errors().iter().map(|field| (field.pointer.as_str(), field.message.as_str())).collect();
    assert_eq!(
        told,
        [
            ("/name", "must be a text"),
            ("/color", "must be a text"),
            ("/owner_id", "must not contain the character NUL"),
            ("/size", "must be a whole number of 64 bits"),
            ("/status", "must be a text"),
        ]
    );
    let error = db.save_entity("widgets", json!({})).await.expect_err("fields are missing");
    let told: Vec<&str> = error.field_errors().iter().map(|field| field.pointer.as_str()).collect();
    assert_eq!(told, ["/name", "/owner_id"]);
    for no_object in [json!([]), json!("gear"), json!(null), json!(1)] {
        assert_eq!(db.save_entity("widgets", no_object).await.expect_err("no object").kind(), ErrorKind::Invalid);
    }
    for id in [json!(7), json!(""), json!("x".repeat(256))] {
        let error =
            db.save_entity("widgets", json!({ "id": id, "name": "n", "owner_id": "o" })).await.expect_err("no id");
        assert_eq!(error.field_errors()[0].pointer, "/id");
    }
}

async fn typed_and_untyped_see_the_same_rows(database: TestDatabase) {
    let db = widgets(&database).await;
    let typed = db.save(widget("gear")).await.expect("a save");
    let row = db.get_entity("widgets", &typed.id).await.expect("a read").expect("it is there");
    assert_eq!(row["name"], "gear");
    let row = db.save_entity("widgets", json!({ "id": typed.id, "size": 12 })).await.expect("a save");
    assert_eq!(row["version"], 2);
    assert_eq!(db.get::<Widget>(&typed.id).await.expect("a read").expect("it is there").size, Some(12));
}

/// Promise: C4, C9
async fn an_id_of_ones_own_makes_or_changes_the_row(database: TestDatabase) {
    let db = widgets(&database).await;
    let row = json!({ "id": "my-gear", "name": "gear", "owner_id": "ann" });
    assert_eq!(db.save_entity("widgets", row.clone()).await.expect("a save")["version"], 1);
    assert_eq!(db.save_entity("widgets", row).await.expect("a save")["version"], 2);
    let by_name = json!({ "name": "gear", "owner_id": "bob" });
    let row = db.save_entity("widgets", by_name).match_by(["name"]).await.expect("a save");
    assert_eq!((row.id(), row["owner_id"].as_str()), ("my-gear", Some("bob")));
}
