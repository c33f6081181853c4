//! Every version of every entity, who made it, and the change record beside it.

use app_kernel::base::caller::Caller;
use app_kernel::base::clock::format_timestamp;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::history::Operation;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Widget, open, widget, widgets};

on_every_database!(
    every_version_is_found_in_the_history,
    each_change_has_one_version_and_one_record,
    a_version_tells_who_made_it,
    a_secret_is_not_in_the_history,
);

/// Promise: C10
async fn every_version_is_found_in_the_history(database: TestDatabase) {
    let db = widgets(&database).await;
    let mut gear = db.save(widget("gear")).await.expect("a save");
    for color in ["green", "blue"] {
        gear.color = color.to_owned();
        gear = db.save(gear).await.expect("a save");
    }
    db.delete::<Widget>(&gear.id).await.expect("a deletion");
    let versions = db.history::<Widget>(&gear.id).await.expect("a history");
    let told: Vec<(i64, Operation, &str)> = versions
        .iter()
        .map(|version| (version.version, version.operation, version.data["color"].as_str().expect("a colour")))
        .collect();
    assert_eq!(
        told,
        [
            (4, Operation::SoftDeleted, "blue"),
            (3, Operation::Updated, "blue"),
            (2, Operation::Updated, "green"),
            (1, Operation::Created, "red"),
        ]
    );
    // The whole row, in the form that the API has.
    let first = &versions[3].data;
    assert_eq!(first["id"], gear.id);
    assert_eq!(first["size"], 3);
    assert_eq!(first["version"], 1);
    assert_eq!(first["deleted_at"], serde_json::Value::Null);
    assert_eq!(first["created_at"], format_timestamp(gear.created_at));
    assert!(versions[0].data["deleted_at"].is_string());

    let second = db.get_version::<Widget>(&gear.id, 2).await.expect("a read").expect("it is there");
    assert_eq!(second, versions[2]);
    assert_eq!(db.get_version::<Widget>(&gear.id, 9).await.expect("a read"), None);
    assert_eq!(db.history::<Widget>(&gear.id).limit(1).offset(1).await.expect("a history"), versions[1..2]);
}

/// Promise: C10, R-05
async fn each_change_has_one_version_and_one_record(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear = db.save(widget("gear")).await.expect("a save");
    db.save(gear.clone()).await.expect("a save");
    db.save(widget("gear")).await.expect_err("a duplicate");
    db.delete::<Widget>(&gear.id).permanent().await.expect("a deletion");
    let records = db
        .query("SELECT [entity], [entity_id], [entity_version], [operation], [caller] FROM [kernel_changes] ORDER BY [seq]", ())
        .await
        .expect("a query");
    let told: Vec<(i64, String)> = records
        .iter()
        .map(|record| {
            assert_eq!(record["entity"], "widgets");
            assert_eq!(record["entity_id"], gear.id.as_str());
            assert_eq!(record["caller"], "system");
            let operation = record["operation"].as_str().expect("a word").to_owned();
            (record["entity_version"].as_int().expect("a number"), operation)
        })
        .collect();
    assert_eq!(told, [(1, "created".to_owned()), (2, "updated".to_owned()), (3, "deleted".to_owned())]);
    let versions = db.history::<Widget>(&gear.id).await.expect("a history");
    assert_eq!(versions.len(), told.len());
}

async fn a_version_tells_who_made_it(database: TestDatabase) {
    let db = widgets(&database).await;
    let ann = db.with_caller(Caller::user("ann").in_request("request-1").in_workspace("acme"));
    let gear = ann.save(widget("gear")).await.expect("a save");
    let version = db.get_version::<Widget>(&gear.id, 1).await.expect("a read").expect("it is there");
    assert_eq!((version.user_id.as_deref(), version.request_id.as_deref()), (Some("ann"), Some("request-1")));
    let records = db.query("SELECT * FROM [kernel_changes]", ()).await.expect("a query");
    assert_eq!(records[0]["user_id"], "ann");
    assert_eq!(records[0]["workspace_id"], "acme");
    assert_eq!(records[0]["request_id"], "request-1");
    assert_eq!(records[0]["caller"], "user");
}

#[derive(Debug, Entity)]
struct Account {
    name: String,
    #[entity(secret)]
    pin: String,
    token: Option<Secret>,
}

/// Promise: R-32
async fn a_secret_is_not_in_the_history(database: TestDatabase) {
    let db = open(&database, &[Account::definition()]).await;
    let account = Account { name: "ann".into(), pin: "canary-1".into(), token: Some(Secret::new("canary-2")) };
    let saved = db.save(account).await.expect("a save");
    let read = db.get::<Account>(&saved.id).await.expect("a read").expect("it is there");
    assert_eq!((read.pin.as_str(), read.token.as_ref().map(Secret::expose)), ("canary-1", Some("canary-2")));
    let history = db.query("SELECT * FROM [accounts_history]", ()).await.expect("a query");
    let text = format!("{history:?}");
    assert!(!text.contains("canary") && text.contains("[redacted]"), "{text}");
}
