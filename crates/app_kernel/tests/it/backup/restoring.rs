//! Going back, whole or in part: the state of then, with a copy of the state before.

use app_kernel::store::db::Db;
use app_kernel::store::db::backup::{Reason, rollback_to_date};
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;
use std::time::Duration;

use super::{Place, files};
use crate::db::{Widget, widget};

on_every_database!(
    a_restore_brings_back_that_state_and_keeps_the_one_before,
    a_native_backup_brings_back_the_same,
    one_table_comes_back_with_its_history_and_nothing_else,
    a_table_that_others_need_rows_of_is_refused,
    a_plan_changes_nothing,
    a_restore_that_fails_half_way_leaves_the_state_before,
    a_rollback_takes_the_last_point_of_the_day,
);

async fn names(db: &Db) -> Vec<String> {
    let found = db.find::<Widget>("[id] IS NOT NULL", ()).order_by("[name]").await.expect("a query");
    found.into_iter().map(|widget| widget.entity.name).collect()
}

async fn a_restore_brings_back_that_state_and_keeps_the_one_before(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let db = &place.db;
    let gear = db.save(widget("gear")).await.expect("a save");
    let made = place.backups.make().await.expect("a backup");
    db.save(widget("cog")).await.expect("a save");
    db.delete::<Widget>(&gear.id).permanent().await.expect("a deletion");
    db.save_entity("things", json!({ "n": 1 })).await.expect("a save");
    db.execute("CREATE TABLE [somebody_elses] ([n] INTEGER)", ()).await.expect("a table");

    let restored = place.backups.restore(&made.csv, None).await.expect("a restore");
    assert_eq!(names(db).await, ["gear"]);
    assert_eq!(db.get_entity("things", "x").await.expect("a read"), None, "the table is gone");
    db.query("SELECT [n] FROM [somebody_elses]", ()).await.expect("what is not ours stays");
    let steps: Vec<String> = restored.steps.iter().map(ToString::to_string).collect();
    assert!(steps.contains(&"things: goes, with 1 rows".to_owned()), "{steps:?}");
    assert!(steps.contains(&"widgets_history: 3 rows become 1".to_owned()), "{steps:?}");
    let exported = place.backups.make().await.expect("a backup").csv;
    assert!(files(&place.folder.path().join(&exported)) == files(&place.folder.path().join(&made.csv)));

    let copy = restored.safety_copy.expect("a safety copy");
    assert_eq!(place.backups.verify(&copy).await.expect("a good one").reason, Reason::BeforeRestore);
    place.backups.restore(&copy, None).await.expect("a restore of the safety copy");
    assert_eq!(names(db).await, ["cog"]);
    assert_eq!(db.count_entities("things").await.expect("a count"), 1);
    db.save(widget("new")).await.expect("life goes on");
    place.db.close().await;
}

async fn a_native_backup_brings_back_the_same(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    place.db.save(widget("gear")).await.expect("a save");
    let made = place.backups.make().await.expect("a backup");
    place.db.save(widget("cog")).await.expect("a save");
    place.db.save_entity("things", json!({ "n": 1 })).await.expect("a save");
    place.backups.restore(&made.native, None).await.expect("a restore");
    assert_eq!(names(&place.db).await, ["gear"]);
    let exported = place.backups.make().await.expect("a backup").csv;
    assert!(files(&place.folder.path().join(&exported)) == files(&place.folder.path().join(&made.csv)));
    place.db.save(widget("new")).await.expect("life goes on");
    place.db.close().await;
}

async fn one_table_comes_back_with_its_history_and_nothing_else(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition(), Shelf::definition()]).await;
    let gear = place.db.save(widget("gear")).await.expect("a save");
    place.db.save(Shelf { widget_id: gear.id.clone() }).await.expect("a save");
    let made = place.backups.make().await.expect("a backup");
    let mut changed = gear.clone();
    changed.color = "green".to_owned();
    place.db.save(changed).await.expect("a save");
    place.db.save(Shelf { widget_id: gear.id.clone() }).await.expect("a save");
    place.backups.restore(&made.csv, Some("widgets")).await.expect("a restore");
    let now = place.db.get::<Widget>(&gear.id).await.expect("a read").expect("it is there");
    assert_eq!(now, gear);
    assert_eq!(place.db.history::<Widget>(&gear.id).await.expect("a history").len(), 1);
    assert_eq!(place.db.count::<Shelf>("", ()).await.expect("a count"), 2, "the other table stays");
    assert!(place.db.save(Shelf { widget_id: "nobody".to_owned() }).await.is_err(), "its key still holds");
    place.db.close().await;
}

#[derive(Debug, Clone, Entity)]
#[entity(table = "shelves")]
struct Shelf {
    #[entity(foreign_key = "widgets")]
    widget_id: String,
}

async fn a_table_that_others_need_rows_of_is_refused(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition(), Shelf::definition()]).await;
    let made = place.backups.make().await.expect("a backup");
    let gear = place.db.save(widget("gear")).await.expect("a save");
    place.db.save(Shelf { widget_id: gear.id.clone() }).await.expect("a save");
    let error = place.backups.restore(&made.csv, Some("widgets")).await.expect_err("the shelf needs its widget");
    assert_eq!(error.http_status(), 409);
    assert!(
        error.to_string().contains("`shelves` would refer to rows that are not there; nothing was changed")
            || error.to_string().contains("fk.shelves.widget_id"),
        "{error}"
    );
    assert_eq!(names(&place.db).await, ["gear"]);
    assert!(place.db.save(Shelf { widget_id: "nobody".to_owned() }).await.is_err(), "its key still holds");
    place.db.close().await;
}

async fn a_plan_changes_nothing(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let made = place.backups.make().await.expect("a backup");
    place.db.save(widget("gear")).await.expect("a save");
    let before = place.names();
    let plan = place.backups.plan_restore(&made.csv, Some("widgets")).await.expect("a plan");
    let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(steps, ["widgets: 1 rows become 0", "widgets_history: 1 rows become 0"]);
    assert_eq!((plan.safety_copy, place.names()), (None, before));
    assert_eq!(names(&place.db).await, ["gear"]);
    place.db.close().await;
}

/// Promise: R-16
async fn a_restore_that_fails_half_way_leaves_the_state_before(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let db = &place.db;
    db.save(widget("gear")).await.expect("a save");
    db.save_entity("zones", json!({ "n": 1 })).await.expect("a save");
    let made = place.backups.make().await.expect("a backup");
    db.save(widget("cog")).await.expect("a save");
    // The last table that the backup brings finds its name taken by what is not the kernel's.
    for sql in ["DROP TABLE [zones]", "DROP TABLE [zones_history]", "CREATE VIEW [zones] AS SELECT 1 AS [n]"] {
        db.execute(sql, ()).await.expect("it is obstructed");
    }
    let before = names(db).await;
    place.backups.restore(&made.csv, None).await.expect_err("a view is in the way");
    assert_eq!(names(db).await, before, "what came before it is undone");
    db.save(widget("new")).await.expect("life goes on");
    db.execute("DROP VIEW [zones]", ()).await.expect("the way is free");
    place.backups.restore(&made.csv, None).await.expect("a restore");
    assert_eq!((names(db).await, db.count_entities("zones").await.expect("a count")), (vec!["gear".to_owned()], 1));
    place.db.close().await;
}

/// Promise: D7
async fn a_rollback_takes_the_last_point_of_the_day(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let mut made = Vec::new();
    for name in ["one", "two", "three"] {
        place.db.save(widget(name)).await.expect("a save");
        made.push(place.backups.make().await.expect("a backup").csv);
        place.clock.advance(Duration::from_secs(11 * 3600));
    }
    // At 12:00 and 23:00 of the 30th, and at 10:00 of the 31st.
    let plan = rollback_to_date(&place.db, "2026-01-30", false).await.expect("a plan");
    assert_eq!((&plan.name, &plan.safety_copy), (&made[1], &None));
    assert_eq!(names(&place.db).await, ["one", "three", "two"]);
    let done = rollback_to_date(&place.db, "2026-01-30", true).await.expect("a rollback");
    assert!(done.name == made[1] && done.safety_copy.is_some());
    assert_eq!(names(&place.db).await, ["one", "two"]);
    assert_eq!(
        rollback_to_date(&place.db, "2030-01-01", false).await.expect("a plan").name,
        done.safety_copy.expect("one")
    );
    let error = rollback_to_date(&place.db, "2026-01-29", true).await.expect_err("nothing so old");
    let message = error.to_string();
    assert!(
        message.starts_with("there is no restore point of 2026-01-29 or earlier; there are csv_20260130_120000_"),
        "{message}"
    );
    let error = rollback_to_date(&place.db, "29.1.2026", true).await.expect_err("no day");
    assert_eq!(error.to_string(), "`29.1.2026` is no day; write it as 2026-01-29");
    place.db.close().await;
}
