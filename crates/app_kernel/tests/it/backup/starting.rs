//! A start backs up before it changes the schema, in one process at a time, and does neither where there is nothing to do.

use app_kernel::base::clock::Clock;
use app_kernel::store::db::Db;
use app_kernel::store::db::backup::{BackedUp, Reason};
use app_kernel::store::db::entity::{Entity, EntityDef};
use app_kernel::store::db::start::{BringUp, BroughtUp, StartBackup};
use app_kernel::testing::{TestDatabase, on_every_database};

use super::Place;

on_every_database!(
    a_start_backs_up_then_migrates,
    an_empty_database_is_migrated_without_a_backup,
    a_migration_whose_backup_fails_is_refused,
    a_backup_that_fails_is_no_obstacle_where_the_schema_stays,
    a_command_backs_up_before_a_migration_only,
    of_many_starts_at_once_one_works,
    a_start_waits_for_a_restore,
);

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
        pub(super) name: String,
        #[entity(default = 0.5)]
        pub(super) budget: f64,
    }
}

/// A database with a project of the schema before, and where its backups go.
async fn with_a_project(database: &TestDatabase) -> Place {
    let place = Place::new(database, &[before::Project::definition()]).await;
    place.db.save(before::Project { name: "one".to_owned() }).await.expect("a save");
    place
}

async fn open(place: &Place, entities: &[&EntityDef]) -> Db {
    let options = super::options(place.folder.path(), &place.clock);
    Db::open(&place.url, entities, options).await.expect("the database opens")
}

/// Promise: D1
async fn a_start_backs_up_then_migrates(database: TestDatabase) {
    let place = with_a_project(&database).await;
    let db = open(&place, &[after::Project::definition()]).await;
    let BroughtUp { backup, migration, .. } = db.bring_up(&BringUp::default()).await.expect("a start");
    let BackedUp::Made(made) = backup else { panic!("{backup:?}") };
    assert!(!migration.statements.is_empty());
    assert_eq!(place.backups.verify(&made.csv).await.expect("a good one").reason, Reason::Start);
    let new = db.find::<after::Project>("[budget] = 0.5", ()).await.expect("a query");
    assert_eq!(new.len(), 1, "the schema is that of the code");

    // What was backed up is what was there before.
    place.backups.restore(&made.csv, None).await.expect("a restore");
    let pending = db.plan_migration().await.expect("a plan");
    assert!(pending.statements.iter().any(|statement| statement.contains("budget")), "{pending:?}");
    for db in [db, place.db] {
        db.close().await;
    }
}

async fn an_empty_database_is_migrated_without_a_backup(database: TestDatabase) {
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("backups");
    let options = super::options(&below, &Clock::system());
    let db = Db::open(database.url(), &[after::Project::definition()], options).await.expect("the database opens");
    let BroughtUp { backup, migration, .. } = db.bring_up(&BringUp::default()).await.expect("a start");
    assert!(matches!(backup, BackedUp::NothingThere) && !migration.statements.is_empty(), "{backup:?}");
    assert!(!below.exists(), "not even the folder is made");
    db.close().await;
}

async fn a_migration_whose_backup_fails_is_refused(database: TestDatabase) {
    let place = with_a_project(&database).await;
    let (folder, db) = in_a_file(&place, &[after::Project::definition()]).await;
    let planned = db.plan_migration().await.expect("a plan");
    let message = db.bring_up(&BringUp::default()).await.expect_err("a refusal").to_string();
    let start = format!(
        "the schema must change, and the backup before it failed, so nothing was changed; BACKUP_ENABLED=false migrates without one: \
         BACKUP_DIR: the folder {folder} can't be used: "
    );
    assert!(message.starts_with(&start), "{message}");
    assert_eq!(db.plan_migration().await.expect("a plan"), planned, "nothing was changed");
    let off = BringUp { backup: StartBackup::Never, ..BringUp::default() };
    assert_eq!(db.bring_up(&off).await.expect("a start").migration.statements, planned.statements);
    for db in [db, place.db] {
        db.close().await;
    }
}

async fn a_backup_that_fails_is_no_obstacle_where_the_schema_stays(database: TestDatabase) {
    let place = with_a_project(&database).await;
    let (folder, db) = in_a_file(&place, &[before::Project::definition()]).await;
    let BroughtUp { backup, migration, .. } = db.bring_up(&BringUp::default()).await.expect("a start");
    let BackedUp::Failed(error) = backup else { panic!("{backup:?}") };
    assert!(error.to_string().contains(&folder) && migration.statements.is_empty(), "{error}");
    for db in [db, place.db] {
        db.close().await;
    }
}

/// The same database with a file where the folder of backups should be: root may write into any folder.
async fn in_a_file(place: &Place, entities: &[&EntityDef]) -> (String, Db) {
    let file = place.folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let folder = file.join("backups");
    let options = super::options(&folder, &place.clock);
    let db = Db::open(&place.url, entities, options).await.expect("the database opens");
    (folder.display().to_string(), db)
}

async fn a_command_backs_up_before_a_migration_only(database: TestDatabase) {
    let place = with_a_project(&database).await;
    let command = BringUp { backup: StartBackup::BeforeMigration, ..BringUp::default() };
    let backup = place.db.bring_up(&command).await.expect("a start").backup;
    assert!(matches!(backup, BackedUp::NotAskedFor), "{backup:?}");
    let db = open(&place, &[after::Project::definition()]).await;
    let backup = db.bring_up(&command).await.expect("a start").backup;
    assert!(matches!(backup, BackedUp::Made(_)), "{backup:?}");
    for db in [db, place.db] {
        db.close().await;
    }
}

/// Promise: R-11, D1
async fn of_many_starts_at_once_one_works(database: TestDatabase) {
    let place = with_a_project(&database).await;
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let db = open(&place, &[after::Project::definition()]).await;
        starts.spawn(async move {
            let done = db.bring_up(&BringUp::default()).await.expect("a start");
            db.close().await;
            done
        });
    }
    let (mut migrated, mut made) = (0, Vec::new());
    for BroughtUp { backup, migration, .. } in starts.join_all().await {
        migrated += u32::from(!migration.statements.is_empty());
        match backup {
            BackedUp::Made(backup) => made.push(backup.csv),
            BackedUp::Unchanged(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(migrated, 1);
    made.sort();
    // One that began after the migration may find that something has changed since the first.
    assert!(matches!(made.len(), 1 | 2), "{made:?}");
    place.backups.restore(&made[0], None).await.expect("a restore");
    let db = open(&place, &[after::Project::definition()]).await;
    assert!(!db.plan_migration().await.expect("a plan").is_empty(), "the first was made before the migration");
    for db in [db, place.db] {
        db.close().await;
    }
}

async fn a_start_waits_for_a_restore(database: TestDatabase) {
    let place = with_a_project(&database).await;
    let made = place.backups.make().await.expect("a backup");
    let db = open(&place, &[after::Project::definition()]).await;
    let how = BringUp::default();
    let (restored, started) = tokio::join!(place.backups.restore(&made.csv, None), db.bring_up(&how));
    assert_eq!(restored.expect("a restore").name, made.csv);
    started.expect("a start");
    // Whoever was first, the database is whole; what the restore took back comes with the next start.
    db.bring_up(&how).await.expect("a start");
    assert_eq!(db.count::<after::Project>("[budget] = 0.5", ()).await.expect("a count"), 1);
    for db in [db, place.db] {
        db.close().await;
    }
}
