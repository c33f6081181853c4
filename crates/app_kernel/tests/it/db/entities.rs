//! Typed entities: saving, reading, merging, deleting.

use std::time::Duration;

use app_kernel::base::clock::{Clock, format_timestamp};
use app_kernel::base::error::ErrorKind;
use app_kernel::store::db::DbOptions;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Widget, open_with, widget, widgets};

on_every_database!(
    a_saved_entity_is_read_back_as_it_was,
    automatic_fields_are_kept,
    a_save_of_what_was_read_makes_the_next_version,
    a_stale_version_is_a_conflict,
    a_duplicate_is_a_conflict_that_names_the_field,
    a_broken_rule_names_the_field,
    a_deleted_entity_is_hidden_and_its_name_free,
    a_permanent_deletion_leaves_only_the_history,
    matching_updates_or_creates,
    matching_needs_a_unique_index,
    an_impossible_id_finds_nothing,
    a_text_too_long_for_its_index_is_refused,
    nul_is_refused,
);

/// Promise: C1, C2, C13
async fn a_saved_entity_is_read_back_as_it_was(database: TestDatabase) {
    let db = widgets(&database).await;
    let saved = db.save(widget("gear")).await.expect("a save");
    let read = db.get::<Widget>(&saved.id).await.expect("a read").expect("it is there");
    assert_eq!(read, saved);
    assert_eq!(read.entity, widget("gear"));
    assert_eq!(db.get::<Widget>("nobody").await.expect("a read"), None);
}

/// Promise: C9
async fn automatic_fields_are_kept(database: TestDatabase) {
    let clock = Clock::manual("2026-01-30T12:00:00.123456Z".parse().expect("a time"));
    let options = DbOptions { clock: clock.clone(), ..DbOptions::default() };
    let db = open_with(&database, &[Widget::definition()], options).await;

    let made = db.save(widget("gear")).await.expect("a save");
    assert_eq!((made.id.len(), made.version, made.deleted_at), (36, 1, None));
    assert_eq!(format_timestamp(made.created_at), "2026-01-30T12:00:00.123456Z");
    assert_eq!(made.updated_at, made.created_at);

    clock.advance(Duration::from_micros(1_000_001));
    let again = db.save(made.clone()).await.expect("a save");
    assert_eq!((again.created_at, again.version), (made.created_at, 2));
    assert_eq!(format_timestamp(again.updated_at), "2026-01-30T12:00:01.123457Z");

    clock.advance(Duration::from_secs(1));
    assert!(db.delete::<Widget>(&made.id).await.expect("a deletion"));
    let deleted = db.get::<Widget>(&made.id).include_deleted().await.expect("a read").expect("it is there");
    assert_eq!(format_timestamp(deleted.deleted_at.expect("a time")), "2026-01-30T12:00:02.123457Z");
    assert_eq!(deleted.version, 3);
}

async fn a_save_of_what_was_read_makes_the_next_version(database: TestDatabase) {
    let db = widgets(&database).await;
    let mut gear = db.save(widget("gear")).await.expect("a save");
    gear.color = "green".to_owned();
    gear.size = None;
    let saved = db.save(gear.clone()).await.expect("a save");
    assert_eq!((saved.id.as_str(), saved.version), (gear.id.as_str(), 2));
    let read = db.get::<Widget>(&gear.id).await.expect("a read").expect("it is there");
    assert_eq!(read, saved);
    assert_eq!((read.color.as_str(), read.size), ("green", None));
}

async fn a_stale_version_is_a_conflict(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear = db.save(widget("gear")).await.expect("a save");
    db.save(gear.clone()).if_version(1).await.expect("the version is right");
    let error = db.save(gear.clone()).if_version(1).await.expect_err("the version is old");
    assert_eq!((error.kind(), error.error_code()), (ErrorKind::Conflict, "version_conflict"));
    let error = db.delete::<Widget>(&gear.id).if_version(1).await.expect_err("the version is old");
    assert_eq!(error.error_code(), "version_conflict");
    assert_eq!(db.get::<Widget>(&gear.id).await.expect("a read").expect("it is there").version, 2);
    let error = db.save(widget("cog")).id("nobody").if_version(1).await.expect_err("nothing there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// Promise: C2, C13
async fn a_duplicate_is_a_conflict_that_names_the_field(database: TestDatabase) {
    let db = widgets(&database).await;
    db.save(widget("gear")).await.expect("a save");
    let error = db.save(widget("gear")).await.expect_err("the name is taken");
    assert_eq!((error.kind(), error.error_code()), (ErrorKind::Conflict, "duplicate"));
    assert_eq!(error.field_errors()[0].pointer, "/name");
    // Names that differ in case or in a space at the end are different names, on every database.
    for name in ["Gear", "gear ", " gear", "géar", "gear\u{301}"] {
        db.save(widget(name)).await.unwrap_or_else(|error| panic!("`{name}` is another name: {error:?}"));
    }
}

/// Promise: C2, C3
async fn a_broken_rule_names_the_field(database: TestDatabase) {
    let db = widgets(&database).await;
    let error = db.save(Widget { status: "lost".to_owned(), ..widget("gear") }).await.expect_err("no such status");
    assert_eq!((error.http_status(), error.error_code()), (422, "check_failed"));
    assert_eq!(error.field_errors()[0].pointer, "/status");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 0);
}

/// Promise: C7, C11
async fn a_deleted_entity_is_hidden_and_its_name_free(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear = db.save(widget("gear")).await.expect("a save");
    assert!(db.delete::<Widget>(&gear.id).await.expect("a deletion"));
    assert!(!db.delete::<Widget>(&gear.id).await.expect("a deletion"), "it is deleted already");
    assert!(!db.delete::<Widget>("nobody").await.expect("a deletion"));

    assert_eq!(db.get::<Widget>(&gear.id).await.expect("a read"), None);
    assert_eq!(db.find::<Widget>("", ()).await.expect("a query"), []);
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 0);
    assert_eq!(db.count::<Widget>("", ()).include_deleted().await.expect("a count"), 1);
    assert_eq!(db.find::<Widget>("", ()).include_deleted().await.expect("a query").len(), 1);

    let error = db.save(gear).await.expect_err("it is deleted");
    assert_eq!((error.kind(), error.error_code()), (ErrorKind::Conflict, "deleted"));
    db.save(widget("gear")).await.expect("the name is free again");
    db.save(widget("gear")).await.expect_err("and taken again");
}

/// Promise: C7, C10
async fn a_permanent_deletion_leaves_only_the_history(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear = db.save(widget("gear")).await.expect("a save");
    assert!(db.delete::<Widget>(&gear.id).await.expect("a deletion"));
    assert!(db.delete::<Widget>(&gear.id).permanent().await.expect("a soft deletion can be made permanent"));
    assert!(!db.delete::<Widget>(&gear.id).permanent().await.expect("a deletion"), "it is gone");
    assert_eq!(db.get::<Widget>(&gear.id).include_deleted().await.expect("a read"), None);
    let operations: Vec<&str> = db
        .history::<Widget>(&gear.id)
        .await
        .expect("a history")
        .iter()
        .map(|version| version.operation.as_str())
        .collect();
    assert_eq!(operations, ["deleted", "soft_deleted", "created"]);
    assert_eq!(db.purge_history("widgets", &gear.id).await.expect("a purge"), 3);
    assert_eq!(db.history::<Widget>(&gear.id).await.expect("a history"), []);
}

async fn matching_updates_or_creates(database: TestDatabase) {
    let db = widgets(&database).await;
    let made = db.save(widget("gear")).match_by(["name"]).await.expect("a save");
    let changed = db.save(Widget { size: Some(9), ..widget("gear") }).match_by(["name"]).await.expect("a save");
    assert_eq!((changed.id.as_str(), changed.version), (made.id.as_str(), 2));
    db.delete::<Widget>(&made.id).await.expect("a deletion");
    let other = db.save(widget("gear")).match_by(["name"]).await.expect("a save");
    assert_ne!(other.id, made.id, "a deleted one does not match");
}

async fn matching_needs_a_unique_index(database: TestDatabase) {
    let db = widgets(&database).await;
    let error = db.save(widget("gear")).match_by(["color"]).await.expect_err("no unique index");
    assert_eq!(
        error.message(),
        "matching `widgets` by color needs a unique index over exactly these columns, in this order"
    );
    let error = db.save(widget("gear")).match_by(["colour"]).await.expect_err("no such column");
    assert_eq!(error.message(), "`widgets` has no column `colour` to match by");
}

async fn an_impossible_id_finds_nothing(database: TestDatabase) {
    let db = widgets(&database).await;
    for id in [String::new(), "a\0b".to_owned(), "x".repeat(10_000), "'; DROP TABLE widgets; --".to_owned()] {
        assert_eq!(db.get::<Widget>(&id).await.expect("a read"), None);
        assert!(!db.delete::<Widget>(&id).await.expect("a deletion"));
        assert_eq!(db.history::<Widget>(&id).await.expect("a history"), []);
    }
    let error = db.save(widget("gear")).id("a\0b").await.expect_err("no id");
    assert_eq!(error.field_errors()[0].pointer, "/id");
}

async fn a_text_too_long_for_its_index_is_refused(database: TestDatabase) {
    let db = widgets(&database).await;
    // 255 of the widest characters still fit, on every database.
    let longest = "𝄞".repeat(255);
    let saved = db.save(widget(&longest)).await.expect("it fits");
    assert_eq!(db.get::<Widget>(&saved.id).await.expect("a read").expect("it is there").name, longest);
    let error = db.save(widget(&"x".repeat(256))).await.expect_err("too long");
    assert_eq!(error.http_status(), 422);
    assert_eq!(error.field_errors()[0].message, "must have at most 255 characters, because it has an index");
}

async fn nul_is_refused(database: TestDatabase) {
    let db = widgets(&database).await;
    let error = db.save(Widget { color: "a\0b".to_owned(), ..widget("gear") }).await.expect_err("NUL");
    assert_eq!((error.http_status(), error.field_errors()[0].pointer.as_str()), (422, "/color"));
}
