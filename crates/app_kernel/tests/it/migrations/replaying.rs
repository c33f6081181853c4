//! What one database went through, others go through too.

use std::time::Duration;

use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::{Backend, Db};
use app_kernel::testing::{TestDatabase, on_every_database};

use super::project::{first, long_renamed, renamed, with_both, with_size};
use super::{Checkout, catalogue, records};

on_every_database!(
    a_fresh_checkout_on_an_empty_database_goes_the_same_way,
    a_colleagues_migration_is_replayed_with_the_data_kept,
    a_rename_is_replayed_where_the_code_says_nothing_of_it_any_more,
    what_is_there_already_is_only_noted,
    files_of_another_database_are_noted_and_the_way_is_planned,
    files_of_another_service_are_left_alone,
    what_files_do_not_say_is_planned_after_them,
);

/// Promise: D6
async fn a_fresh_checkout_on_an_empty_database_goes_the_same_way(database: TestDatabase) {
    let ann = Checkout::new();
    ann.started(&database, &[first::Project::definition()]).await;
    ann.clock.advance(Duration::from_secs(3600));
    ann.started(&database, &[with_size::Project::definition()]).await;
    ann.clock.advance(Duration::from_secs(3600));
    ann.started(&database, &[renamed::Plan::definition()]).await;
    let migrations = ann.migrations();
    assert_eq!(migrations.len(), 3);

    let (bob, fresh) = (ann.cloned(), TestDatabase::fresh(database.backend()).await);
    let replayed = bob.started(&fresh, &[renamed::Plan::definition()]).await;
    assert_eq!((&replayed.replayed, &replayed.files), (&migrations, &vec![]));
    assert_eq!(catalogue(&fresh).await, catalogue(&database).await);
    assert_eq!(bob.names(), ann.names());
    let recorded: Vec<_> = migrations.iter().map(|name| [name.clone(), "replayed".to_owned()]).collect();
    assert_eq!(records(&fresh, "[name], [reason]").await, recorded);
    let again = bob.started(&fresh, &[renamed::Plan::definition()]).await;
    assert_eq!((again.statements, again.replayed), (vec![], vec![]));
}

/// Promise: D6
async fn a_colleagues_migration_is_replayed_with_the_data_kept(database: TestDatabase) {
    let ann = Checkout::new();
    ann.started(&database, &[first::Project::definition()]).await;
    let (bob, bobs) = (ann.cloned(), TestDatabase::fresh(database.backend()).await);
    bob.started(&bobs, &[first::Project::definition()]).await;
    let db = Db::open(bobs.url(), &[first::Project::definition()], bob.options()).await.expect("it opens");
    let old = db.save(first::Project { name: "one".into() }).await.expect("a save").id.clone();
    db.close().await;

    ann.clock.advance(Duration::from_secs(3600));
    ann.started(&database, &[with_size::Project::definition()]).await;
    bob.pull(&ann);
    let migration = bob.started(&bobs, &[with_size::Project::definition()]).await;
    assert_eq!((migration.replayed, migration.files), (vec![ann.migrations()[1].clone()], vec![]));
    assert_eq!(catalogue(&bobs).await, catalogue(&database).await);
    let db = Db::open(bobs.url(), &[with_size::Project::definition()], bob.options()).await.expect("it opens");
    let read = db.get::<with_size::Project>(&old).await.expect("a read").expect("it is there");
    assert_eq!((read.name.as_str(), read.size), ("one", 3));
    db.close().await;
}

/// Promise: D6
async fn a_rename_is_replayed_where_the_code_says_nothing_of_it_any_more(database: TestDatabase) {
    let ann = Checkout::new();
    ann.started(&database, &[with_size::Project::definition()]).await;
    let (bob, bobs) = (ann.cloned(), TestDatabase::fresh(database.backend()).await);
    bob.started(&bobs, &[with_size::Project::definition()]).await;
    let db = Db::open(bobs.url(), &[with_size::Project::definition()], bob.options()).await.expect("it opens");
    let old = db.save(with_size::Project { name: "one".into(), size: 7 }).await.expect("a save").id.clone();
    db.close().await;

    ann.clock.advance(Duration::from_secs(3600));
    ann.started(&database, &[renamed::Plan::definition()]).await;
    bob.pull(&ann);
    bob.started(&bobs, &[long_renamed::Plan::definition()]).await;
    assert_eq!(catalogue(&bobs).await, catalogue(&database).await);
    let db = Db::open(bobs.url(), &[long_renamed::Plan::definition()], bob.options()).await.expect("it opens");
    let read = db.get::<long_renamed::Plan>(&old).await.expect("a read").expect("it is there");
    assert_eq!((read.title.as_str(), read.size), ("one", 7));
    db.close().await;
}

async fn what_is_there_already_is_only_noted(database: TestDatabase) {
    let ann = Checkout::new();
    ann.started(&database, &[first::Project::definition()]).await;
    ann.clock.advance(Duration::from_secs(3600));
    ann.started(&database, &[renamed::Plan::definition()]).await;
    // Bob had the code before the files, so his database went there by itself.
    let (bob, bobs) = (Checkout::new(), TestDatabase::fresh(database.backend()).await);
    bob.started(&bobs, &[renamed::Plan::definition()]).await;
    let before = catalogue(&bobs).await;
    bob.pull(&ann);
    let migration = bob.started(&bobs, &[renamed::Plan::definition()]).await;
    assert_eq!((migration.statements, migration.replayed, migration.files), (vec![], vec![], vec![]));
    assert_eq!(catalogue(&bobs).await, before);
    let reasons: Vec<String> = records(&bobs, "[reason]").await.concat();
    assert_eq!(reasons, ["start", "already_there", "already_there"]);
}

async fn files_of_another_database_are_noted_and_the_way_is_planned(database: TestDatabase) {
    let other = if database.backend() == Backend::Sqlite { Backend::Postgres } else { Backend::Sqlite };
    if std::env::var("DATABASES").is_ok_and(|list| !list.contains(other.as_str())) {
        return println!("deselected by DATABASES");
    }
    let (checkout, others) = (Checkout::new(), TestDatabase::fresh(other).await);
    checkout.started(&others, &[first::Project::definition()]).await;
    let migration = checkout.started(&database, &[first::Project::definition()]).await;
    assert_eq!((migration.replayed, migration.files.len()), (vec![], 2));
    let reasons: Vec<String> = records(&database, "[reason]").await.concat();
    assert_eq!(reasons, ["other_backend", "start"]);
    // And the other one goes on undisturbed.
    let next = checkout.started(&others, &[first::Project::definition()]).await;
    assert_eq!((next.statements, next.files), (vec![], vec![]));
    assert_eq!(checkout.migrations().len(), 2);
}

async fn files_of_another_service_are_left_alone(database: TestDatabase) {
    let (checkout, others) = (Checkout::new(), TestDatabase::fresh(database.backend()).await);
    let mut options = checkout.options();
    options.migrations.files.as_mut().expect("there are files").service = "bank".to_owned();
    let db = Db::open(others.url(), &[with_size::Project::definition()], options).await.expect("it opens");
    db.migrate().await.expect("a migration");
    db.close().await;
    let migration = checkout.started(&database, &[first::Project::definition()]).await;
    assert_eq!((migration.replayed, migration.files.len()), (vec![], 2));
    assert!(!catalogue(&database).await.concat().contains("size"));
    assert_eq!(checkout.migrations().len(), 2);
}

async fn what_files_do_not_say_is_planned_after_them(database: TestDatabase) {
    let ann = Checkout::new();
    ann.started(&database, &[first::Project::definition()]).await;
    let (bob, bobs) = (ann.cloned(), TestDatabase::fresh(database.backend()).await);
    bob.clock.advance(Duration::from_secs(3600));
    let migration = bob.started(&bobs, &[with_both::Project::definition()]).await;
    assert_eq!((migration.replayed, migration.files.len()), (ann.migrations(), 2));
    let new = bob.read(&bob.migrations()[1], "sql");
    assert!(new.contains("color") && !new.contains("CREATE TABLE"), "{new}");
}
