//! A version of the past as the next one.

use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use crate::db::{open, widget, widgets};

on_every_database!(
    a_version_of_the_past_becomes_the_next_one,
    a_deleted_one_lives_again,
    secrets_stay_as_they_are,
    what_can_not_come_back_is_refused,
);

async fn a_version_of_the_past_becomes_the_next_one(database: TestDatabase) {
    let db = widgets(&database).await;
    let mut gear = db.save(widget("gear")).await.expect("a save");
    let first = gear.entity.clone();
    gear.color = "green".to_owned();
    gear.size = None;
    let gear = db.save(gear).await.expect("a save");
    assert_eq!(db.restore_version::<crate::db::Widget>(&gear.id, 1).await.expect("an undo"), 3);
    let now = db.get::<crate::db::Widget>(&gear.id).await.expect("a read").expect("it is there");
    assert_eq!((now.entity, now.version, now.created_at), (first, 3, gear.created_at));
    let history = db.history::<crate::db::Widget>(&gear.id).await.expect("a history");
    assert_eq!(history.iter().map(|version| version.version).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(history[0].data["color"], "red");
}

async fn a_deleted_one_lives_again(database: TestDatabase) {
    let db = open(&database, &[]).await;
    let value = json!({ "id": "a", "n": 1, "x": 0.5, "list": [1, "2"], "t": "text" });
    db.save_entity("things", value.clone()).await.expect("a save");
    assert!(db.delete_entity("things", "a").await.expect("a deletion"));
    let row = db.restore_entity_version("things", "a", 1).await.expect("an undo").to_json();
    for field in ["id", "n", "x", "list", "t"] {
        assert_eq!(row[field], value[field]);
    }
    assert_eq!((&row["version"], &row["deleted_at"]), (&json!(3), &json!(null)));
    assert_eq!(db.get_entity("things", "a").await.expect("a read").expect("it lives").to_json(), row);
}

#[derive(Debug, Clone, Entity)]
struct Door {
    name: String,
    #[entity(secret)]
    code: String,
}

async fn secrets_stay_as_they_are(database: TestDatabase) {
    let db = open(&database, &[Door::definition()]).await;
    let mut door = db.save(Door { name: "front".to_owned(), code: "1234".to_owned() }).await.expect("a save");
    (door.name, door.code) = ("back".to_owned(), "9876".to_owned());
    let door = db.save(door).await.expect("a save");
    db.restore_version::<Door>(&door.id, 1).await.expect("an undo");
    let now = db.get::<Door>(&door.id).await.expect("a read").expect("it is there");
    assert_eq!((now.name.as_str(), now.code.as_str()), ("front", "9876"));
}

async fn what_can_not_come_back_is_refused(database: TestDatabase) {
    let db = widgets(&database).await;
    let mut gear = db.save(widget("gear")).await.expect("a save");
    let error = db.restore_version::<crate::db::Widget>(&gear.id, 2).await.expect_err("no such version");
    assert_eq!(error.http_status(), 404);
    gear.name = "cog".to_owned();
    let gear = db.save(gear).await.expect("a save");
    db.save(widget("gear")).await.expect("another one takes the name");
    let error = db.restore_version::<crate::db::Widget>(&gear.id, 1).await.expect_err("a duplicate");
    assert_eq!((error.http_status(), error.error_code()), (409, "duplicate"));
    db.delete::<crate::db::Widget>(&gear.id).permanent().await.expect("a deletion");
    let error = db.restore_version::<crate::db::Widget>(&gear.id, 1).await.expect_err("only history is left");
    assert_eq!(error.to_string(), "it was deleted for good; only its history is left");
}
