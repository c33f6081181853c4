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
    a_renamed_table_and_column_keep_their_data,
    a_field_that_is_gone_stays_in_the_table_and_in_nobodys_way,
    an_index_over_text_that_is_too_long_is_refused_with_the_cure,
    a_unique_index_over_duplicates_is_refused_with_the_cure,
);

async fn bare(database: &TestDatabase, entities: &[&app_kernel::store::db::entity::EntityDef]) -> Db {
    Db::open(database.url(), entities, DbOptions::default()).await.expect("the database opens")
}

async fn a_second_start_changes_nothing(database: TestDatabase) {
    let db = bare(&database, &[Widget::definition(), Part::definition(), Project::definition()]).await;
    let first = db.migrate().await.expect("a migration");
    assert!(first.statements.len() > 5 && first.findings.is_empty(), "{first:?}");
    db.close().await;
    let db = bare(&database, &[Widget::definition(), Part::definition(), Project::definition()]).await;
    let second = db.migrate().await.expect("a migration");
    assert_eq!((second.statements, second.findings), (Vec::new(), Vec::new()));
}

async fn a_plan_writes_nothing(database: TestDatabase) {
    let db = bare(&database, &[Widget::definition()]).await;
    let planned = db.plan_migration().await.expect("a plan");
    assert_eq!(db.plan_migration().await.expect("a plan"), planned);
    assert_eq!(db.migrate().await.expect("a migration").statements, planned.statements);
    assert!(db.plan_migration().await.expect("a plan").is_empty());
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
        "`projects` has rows (1), and they have no value for the new column `owner`; \
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

/// Promise: C2
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

mod old {
    #[derive(Debug, app_kernel::store::db::entity::Entity)]
    #[entity(table = "jobs")]
    pub(super) struct Job {
        #[entity(unique)]
        pub(super) title: String,
        #[entity(index)]
        pub(super) pay: i64,
        #[entity(foreign_key = "projects.id")]
        pub(super) project: String,
    }
}

mod new {
    #[derive(Debug, PartialEq, app_kernel::store::db::entity::Entity)]
    #[entity(table = "positions", renamed_from = "jobs")]
    pub(super) struct Position {
        #[entity(unique, renamed_from = "title")]
        pub(super) name: String,
        #[entity(index)]
        pub(super) pay: i64,
        #[entity(foreign_key = "projects.id", renamed_from = "project")]
        pub(super) project_id: String,
        #[entity(default = 40)]
        pub(super) hours: i64,
    }
}

/// Promise: C2
async fn a_renamed_table_and_column_keep_their_data(database: TestDatabase) {
    let db = open(&database, &[Project::definition(), old::Job::definition()]).await;
    let project = db.save(Project { name: "one".into() }).await.expect("a save").id.clone();
    let job = db.save(old::Job { title: "smith".into(), pay: 7, project: project.clone() }).await.expect("a save");
    db.close().await;

    let db = open(&database, &[Project::definition(), new::Position::definition()]).await;
    let position = db.get::<new::Position>(&job.id).await.expect("a read").expect("it is there");
    let wanted = new::Position { name: "smith".into(), pay: 7, project_id: project.clone(), hours: 40 };
    assert_eq!((&position.entity, position.version, position.created_at), (&wanted, 1, job.created_at));
    assert_eq!(db.history::<new::Position>(&job.id).await.expect("a history").len(), 1);
    let twin = new::Position { name: "smith".into(), pay: 1, project_id: project, hours: 1 };
    assert_eq!(db.save(twin).await.expect_err("still unique").field_errors()[0].pointer, "/name");
    let lost = new::Position { name: "x".into(), pay: 1, project_id: "nobody".into(), hours: 1 };
    assert_eq!(db.save(lost).await.expect_err("no such project").error_code(), "foreign_key");
    let again = db.migrate().await.expect("a migration");
    assert_eq!((again.statements, again.findings), (Vec::new(), Vec::new()));
}

mod fewer {
    #[derive(Debug, PartialEq, app_kernel::store::db::entity::Entity)]
    #[entity(table = "jobs")]
    pub(super) struct Job {
        #[entity(unique)]
        pub(super) title: String,
    }
}

mod rich {
    #[derive(Debug, Clone, PartialEq, app_kernel::store::db::entity::Entity)]
    #[entity(table = "jobs")]
    pub(super) struct Job {
        #[entity(unique)]
        pub(super) title: String,
        #[entity(index)]
        pub(super) pay: i64,
        #[entity(unique)]
        pub(super) code: String,
        pub(super) tags: Vec<String>,
        pub(super) at: app_kernel::base::clock::Timestamp,
        pub(super) live: bool,
    }
}

/// Promise: D2, R-13
async fn a_field_that_is_gone_stays_in_the_table_and_in_nobodys_way(database: TestDatabase) {
    let db = open(&database, &[rich::Job::definition()]).await;
    let at = "2026-01-30T12:34:56.789012Z".parse().expect("a time");
    let job = rich::Job { title: "smith".into(), pay: 7, code: "s".into(), tags: vec!["a".into()], at, live: true };
    let rich = db.save(job.clone()).await.expect("a save");
    db.close().await;

    let db = bare(&database, &[fewer::Job::definition()]).await;
    let migration = db.migrate().await.expect("a migration");
    let told = "`jobs.pay` is in the database and not in the code; it stays; ALLOW_COLUMN_DELETION=true drops it";
    assert!(migration.findings.iter().any(|finding| finding.to_string() == told), "{:?}", migration.findings);
    let second = db.save(fewer::Job { title: "mason".into() }).await.expect("new rows need not have it");
    assert_eq!(db.get::<fewer::Job>(&rich.id).await.expect("a read").expect("it is there").title, "smith");
    assert_eq!(db.migrate().await.expect("a migration").statements, Vec::<String>::new());
    assert!(db.delete::<fewer::Job>(&second.id).permanent().await.expect("a deletion"));
    db.close().await;

    // Back again: what was there is there.
    let db = bare(&database, &[rich::Job::definition()]).await;
    db.migrate().await.expect("a migration");
    assert_eq!(db.get::<rich::Job>(&rich.id).await.expect("a read").expect("it is there").entity, job);
}

async fn an_index_over_text_that_is_too_long_is_refused_with_the_cure(database: TestDatabase) {
    let db = open(&database, &[before::Project::definition()]).await;
    let long = db.save(before::Project { name: "x".repeat(256) }).await.expect("a save");
    db.close().await;
    let db = bare(&database, &[after::Project::definition()]).await;
    if database.backend() == app_kernel::store::db::Backend::MySql {
        let error = db.migrate().await.expect_err("the text is too long");
        assert_eq!(
            error.message(),
            "`projects` has rows (1) whose `name` is longer than 255 characters, \
             so it can't have an index; shorten them first, or take the index away"
        );
        db.execute("UPDATE [projects] SET [name] = 'short'", ()).await.expect("an update");
    }
    db.migrate().await.expect("a migration");
    assert!(db.get::<after::Project>(&long.id).await.expect("a read").is_some());
    assert_eq!(db.migrate().await.expect("a migration").statements, Vec::<String>::new());
}

mod unique {
    #[derive(Debug, app_kernel::store::db::entity::Entity)]
    #[entity(table = "projects")]
    pub(super) struct Project {
        #[entity(unique)]
        pub(super) name: String,
    }
}

/// Promise: R-13
async fn a_unique_index_over_duplicates_is_refused_with_the_cure(database: TestDatabase) {
    let db = open(&database, &[before::Project::definition()]).await;
    let first = db.save(before::Project { name: "one".into() }).await.expect("a save");
    db.save(before::Project { name: "one".into() }).await.expect("a save");
    db.close().await;
    let db = bare(&database, &[unique::Project::definition()]).await;
    assert_eq!(
        db.migrate().await.expect_err("two of one name").message(),
        "`projects` has values of `name` that stand on several rows (1), so it can't be unique; \
         change those rows first, or take `unique` away"
    );
    db.delete::<unique::Project>(&first.id).await.expect("a deletion");
    db.migrate().await.expect("unique means unique among the living");
}
