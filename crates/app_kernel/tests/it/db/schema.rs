//! A start brings the schema up to date, once, however many start.

use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::{Db, DbOptions, Options};
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Widget, open, widget};

on_every_database!(
    a_second_start_changes_nothing,
    a_plan_writes_nothing,
    a_new_field_gets_its_default,
    a_new_required_field_on_rows_is_refused_with_the_cure,
    a_new_required_field_on_an_empty_table_is_fine,
    ten_starts_at_once_make_one_schema,
    foreign_keys_hold,
    a_check_that_is_none_is_refused,
);

async fn bare(database: &TestDatabase, entities: &[&app_kernel::store::db::entity::EntityDef]) -> Db {
    Db::open(database.url(), entities, DbOptions::default()).await.expect("the database opens")
}

async fn a_second_start_changes_nothing(database: TestDatabase) {
    let db = bare(&database, &[Widget::definition(), Part::definition(), Project::definition()]).await;
    let first = db.migrate().await.expect("a migration");
    assert!(first.statements.len() > 5 && first.notes.is_empty(), "{first:?}");
    db.close().await;
    let db = bare(&database, &[Widget::definition(), Part::definition(), Project::definition()]).await;
    let second = db.migrate().await.expect("a migration");
    assert_eq!((second.statements, second.notes), (Vec::new(), Vec::new()));
}

async fn a_plan_writes_nothing(database: TestDatabase) {
    let db = bare(&database, &[Widget::definition()]).await;
    let planned = db.plan_migration().await.expect("a plan");
    assert_eq!(db.plan_migration().await.expect("a plan"), planned);
    assert_eq!(db.migrate().await.expect("a migration").statements, planned);
    assert_eq!(db.plan_migration().await.expect("a plan"), Vec::<String>::new());
}

mod before {
    #[derive(Debug, app_kernel::store::db::entity::Entity)]
    #[entity(table = "projects")]
    pub(super) struct Project {
        pub(super) name: String,
    }
}

mod after {
    #[derive(Debug, app_kernel::store::db::entity::Entity)]
    #[entity(table = "projects")]
    pub(super) struct Project {
        #[entity(index)]
        pub(super) name: String,
        #[entity(default = 0.5)]
        pub(super) budget: f64,
        #[entity(default = "it's \"new\" \\ 新")]
        pub(super) state: String,
        pub(super) ends_at: Option<app_kernel::base::clock::Timestamp>,
        #[entity(default = "[]")]
        pub(super) tags: Vec<String>,
        #[entity(default = true)]
        pub(super) live: bool,
    }
}

/// Promise: D2
async fn a_new_field_gets_its_default(database: TestDatabase) {
    let db = open(&database, &[before::Project::definition()]).await;
    let old = db.save(before::Project { name: "one".into() }).await.expect("a save");
    db.close().await;
    let db = open(&database, &[after::Project::definition()]).await;
    let read = db.get::<after::Project>(&old.id).await.expect("a read").expect("it is there");
    assert_eq!((read.name.as_str(), read.budget, read.state.as_str()), ("one", 0.5, "it's \"new\" \\ 新"));
    assert_eq!((read.ends_at, read.tags.len(), read.live), (None, 0, true));
    assert_eq!(db.migrate().await.expect("a migration").statements, Vec::<String>::new());
}

mod required {
    #[derive(Debug, app_kernel::store::db::entity::Entity)]
    #[entity(table = "projects")]
    pub(super) struct Project {
        pub(super) name: String,
        pub(super) owner: String,
    }
}

/// Promise: R-13
async fn a_new_required_field_on_rows_is_refused_with_the_cure(database: TestDatabase) {
    let db = open(&database, &[before::Project::definition()]).await;
    let old = db.save(before::Project { name: "one".into() }).await.expect("a save");
    db.close().await;
    let db = bare(&database, &[required::Project::definition()]).await;
    let error = db.migrate().await.expect_err("the row has no owner");
    assert_eq!(
        error.message(),
        "`projects` has rows, and they have no value for the new column `owner`; \
         give it a default by #[entity(default = ..)], or make it an Option"
    );
    db.close().await;
    let db = open(&database, &[before::Project::definition()]).await;
    assert_eq!(db.get::<before::Project>(&old.id).await.expect("a read").expect("it is there").name, "one");
}

async fn a_new_required_field_on_an_empty_table_is_fine(database: TestDatabase) {
    open(&database, &[before::Project::definition()]).await.close().await;
    let db = open(&database, &[required::Project::definition()]).await;
    let saved = db.save(required::Project { name: "one".into(), owner: "ann".into() }).await.expect("a save");
    assert_eq!(db.get::<required::Project>(&saved.id).await.expect("a read").expect("it is there").owner, "ann");
}

/// Promise: R-11
async fn ten_starts_at_once_make_one_schema(database: TestDatabase) {
    let starts = (0..10).map(|_| {
        let url = database.url().clone();
        tokio::spawn(async move {
            let options =
                DbOptions { driver: Options { pool_size: Some(2), ..Options::default() }, ..DbOptions::default() };
            let db =
                Db::open(&url, &[Widget::definition(), Project::definition(), Part::definition()], options).await?;
            db.migrate().await?;
            db.save(widget(&app_kernel::base::id::new_id())).await?;
            Ok::<Db, app_kernel::base::error::Error>(db)
        })
    });
    let mut last = None;
    for start in starts.collect::<Vec<_>>() {
        last = Some(start.await.expect("no panic").expect("a start"));
    }
    let db = last.expect("ten starts");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 10);
    assert_eq!(db.query("SELECT [seq] FROM [kernel_migrations]", ()).await.expect("a query").len(), 1);
}

#[derive(Debug, Entity)]
struct Project {
    name: String,
}

#[derive(Debug, Entity)]
struct Part {
    #[entity(foreign_key = "projects.id")]
    project_id: String,
}

async fn foreign_keys_hold(database: TestDatabase) {
    // Declared in the order in which the second needs the first.
    let db = open(&database, &[Part::definition(), Project::definition()]).await;
    let error = db.save(Part { project_id: "nobody".into() }).await.expect_err("no such project");
    assert_eq!((error.http_status(), error.error_code()), (409, "foreign_key"));
    let project = db.save(Project { name: "one".into() }).await.expect("a save");
    let part = db.save(Part { project_id: project.id.clone() }).await.expect("a save");
    let error = db.delete::<Project>(&project.id).permanent().await.expect_err("a part refers to it");
    assert_eq!(error.error_code(), "foreign_key");
    db.delete::<Part>(&part.id).permanent().await.expect("a deletion");
    assert!(db.delete::<Project>(&project.id).permanent().await.expect("nothing refers to it any more"));
}

#[derive(Debug, Entity)]
struct Wrong {
    #[entity(check = "[size] IN ('a')")]
    size: i64,
}

async fn a_check_that_is_none_is_refused(database: TestDatabase) {
    let db = bare(&database, &[Wrong::definition()]).await;
    let error = db.migrate().await.expect_err("a number is no text");
    assert_eq!(error.error_code(), "bad_where_clause");
}
