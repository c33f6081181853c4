//! Many entities at once.

use app_kernel::base::error::ErrorKind;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Widget, widget, widgets};

on_every_database!(
    many_are_saved_and_keep_their_order,
    one_wrong_entity_keeps_all_out,
    many_are_read_in_the_order_of_their_ids,
    many_are_deleted,
    too_many_are_refused,
    a_thousand_are_saved_in_one_transaction,
);

async fn many_are_saved_and_keep_their_order(database: TestDatabase) {
    let db = widgets(&database).await;
    let saved = db.save_many(["c", "a", "b"].map(widget)).await.expect("saves");
    let names: Vec<&str> = saved.iter().map(|widget| widget.name.as_str()).collect();
    assert_eq!(names, ["c", "a", "b"]);
    let changed: Vec<_> = saved
        .into_iter()
        .map(|mut widget| {
            widget.size = Some(7);
            widget
        })
        .collect();
    let again = db.save_many(changed).await.expect("saves");
    assert!(again.iter().all(|widget| widget.version == 2));
    assert_eq!(db.count::<Widget>("[size] = 7", ()).await.expect("a count"), 3);
    assert_eq!(db.save_many(Vec::<Widget>::new()).await.expect("nothing to save"), []);
}

async fn one_wrong_entity_keeps_all_out(database: TestDatabase) {
    let db = widgets(&database).await;
    let error = db.save_many(["a", "b", "a"].map(widget)).await.expect_err("a duplicate");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 0);
    let error = db.save_many(["a", "b\0"].map(widget)).await.expect_err("NUL");
    assert_eq!(error.field_errors()[0].pointer, "/1/name");
}

async fn many_are_read_in_the_order_of_their_ids(database: TestDatabase) {
    let db = widgets(&database).await;
    let saved = db.save_many((0..300).map(|i| widget(&format!("w{i}")))).await.expect("saves");
    let mut ids: Vec<String> = saved.iter().rev().map(|widget| widget.id.clone()).collect();
    db.delete::<Widget>(&ids[5]).await.expect("a deletion");
    ids.insert(3, "nobody".to_owned());
    let read = db.get_many::<Widget>(&ids).await.expect("a read");
    let wanted: Vec<&String> = ids.iter().enumerate().filter(|(i, _)| *i != 3 && *i != 6).map(|(_, id)| id).collect();
    assert_eq!(read.iter().map(|widget| &widget.id).collect::<Vec<_>>(), wanted);
    assert_eq!(db.get_many::<Widget>(Vec::<String>::new()).await.expect("a read"), []);
}

async fn many_are_deleted(database: TestDatabase) {
    let db = widgets(&database).await;
    let saved = db.save_many(["a", "b", "c"].map(widget)).await.expect("saves");
    let ids = [saved[0].id.as_str(), saved[2].id.as_str(), "nobody", saved[0].id.as_str()];
    assert_eq!(db.delete_many::<Widget>(ids).await.expect("deletions"), 2);
    assert_eq!(db.delete_many::<Widget>(ids).permanent().await.expect("deletions"), 2);
    assert_eq!(db.count::<Widget>("", ()).include_deleted().await.expect("a count"), 1);
}

async fn too_many_are_refused(database: TestDatabase) {
    let db = widgets(&database).await;
    let error = db.save_many((0..10_001).map(|i| widget(&i.to_string()))).await.expect_err("too many");
    assert_eq!((error.http_status(), error.error_code()), (400, "too_many_entities"));
    let ids = (0..10_001).map(|i| i.to_string());
    assert_eq!(db.get_many::<Widget>(ids.clone()).await.expect_err("too many").error_code(), "too_many_entities");
    assert_eq!(db.delete_many::<Widget>(ids).await.expect_err("too many").error_code(), "too_many_entities");
}

async fn a_thousand_are_saved_in_one_transaction(database: TestDatabase) {
    let db = widgets(&database).await;
    db.save_many((0..1000).map(|i| widget(&format!("w{i}")))).await.expect("saves");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 1000);
    let rows = db.query("SELECT COUNT(*) AS [n] FROM [widgets_history]", ()).await.expect("a query");
    assert_eq!(rows[0]["n"], 1000);
}
