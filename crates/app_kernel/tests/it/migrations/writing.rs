//! Each migration becomes two files, whatever happens between.

use std::time::Duration;

use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::{Backend, Db};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::{Value, json};

use super::project::{first, with_color, with_size};
use super::{Checkout, names, records};

on_every_database!(
    a_migration_is_two_files_and_a_record,
    two_migrations_in_one_second_do_not_collide,
    there_and_back_again_works,
    files_that_were_not_written_are_written_by_the_next_start,
    a_file_that_somebody_removed_stays_away,
    a_first_save_makes_no_file,
    a_newer_kernel_is_told_of,
);

/// Promise: D5, D8
async fn a_migration_is_two_files_and_a_record(database: TestDatabase) {
    let checkout = Checkout::new();
    let migration = checkout.started(&database, &[first::Project::definition()]).await;
    let [name] = &checkout.migrations()[..] else { panic!("one migration: {:?}", checkout.names()) };
    assert_eq!(checkout.names(), [format!("{name}.json"), format!("{name}.sql")]);
    assert_eq!(migration.files, [checkout.path(name, "sql"), checkout.path(name, "json")]);
    let (stamp, hash) = name.split_at(16);
    assert_eq!(stamp, "20260130_120000_");
    assert!(hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");

    let sql = checkout.read(name, "sql");
    let backend = database.backend().as_str();
    let version = env!("CARGO_PKG_VERSION");
    let head = format!("-- Migration {name} of shop for {backend}. Reason: start. Made by app_kernel {version}.\n");
    assert!(sql.starts_with(&head), "{sql}");
    for statement in &migration.statements {
        assert!(sql.contains(&format!("\n\n{statement};\n")), "{statement} is not in:\n{sql}");
    }
    let document: Value = serde_json::from_str(&checkout.read(name, "json")).expect("JSON");
    assert_eq!(document["checksum"], app_kernel::base::secret::token_hash(&sql));
    let told =
        ["format", "service", "backend", "applied_at", "kernel_version", "rows_touched"].map(|key| &document[key]);
    assert_eq!(
        told,
        [&json!(1), &json!("shop"), &json!(backend), &json!("2026-01-30T12:00:00.000000Z"), &json!(version), &json!(0)]
    );
    assert!(document["duration_ms"].is_u64() && document["schema_after"].as_str().expect("a hash").starts_with(hash));
    let made: Vec<&Value> = document["steps"].as_array().expect("steps").iter().map(|step| &step["makes"]).collect();
    assert!(made.iter().any(|made| made["column projects.name"] == "text"), "{made:?}");

    let recorded = records(&database, "[name], [checksum], [statements], [metadata], [reason]").await;
    let checksum = document["checksum"].as_str().expect("a text").to_owned();
    assert_eq!(recorded, [[name.clone(), checksum, sql, checkout.read(name, "json"), "start".to_owned()]]);

    let again = checkout.started(&database, &[first::Project::definition()]).await;
    assert_eq!((again.statements, again.files, again.replayed), (vec![], vec![], vec![]));
    assert_eq!(names(&checkout.data()), [".gitignore", "migrations_audit"]);
    let rules = std::fs::read_to_string(checkout.data().join(".gitignore")).expect("rules");
    assert!(rules.ends_with("\n/*\n!/.gitignore\n!/migrations_audit/\n.unfinished_*\n"), "{rules}");
}

async fn two_migrations_in_one_second_do_not_collide(database: TestDatabase) {
    let checkout = Checkout::new();
    checkout.started(&database, &[first::Project::definition()]).await;
    checkout.started(&database, &[with_size::Project::definition()]).await;
    let migrations = checkout.migrations();
    let stamps: Vec<&str> = migrations.iter().map(|name| &name[..15]).collect();
    assert_eq!(stamps, ["20260130_120000", "20260130_120001"]);
    assert!(checkout.read(&migrations[1], "sql").contains("size"));
}

/// Promise: D2
async fn there_and_back_again_works(database: TestDatabase) {
    let checkout = Checkout::new();
    checkout.started(&database, &[first::Project::definition()]).await;
    let db = Db::open(database.url(), &[first::Project::definition()], checkout.options()).await.expect("it opens");
    let old = db.save(first::Project { name: "one".into() }).await.expect("a save");
    db.close().await;
    checkout.clock.advance(Duration::from_secs(60));
    checkout.started(&database, &[with_size::Project::definition()]).await;
    checkout.clock.advance(Duration::from_secs(60));
    checkout.started(&database, &[first::Project::definition()]).await;
    let db = Db::open(database.url(), &[first::Project::definition()], checkout.options()).await.expect("it opens");
    assert_eq!(db.get::<first::Project>(&old.id).await.expect("a read").expect("it is there").name, "one");
    db.save(first::Project { name: "two".into() }).await.expect("a save by the code of before");
    db.close().await;
    // And the files of all that lead a fresh database the same way.
    let fresh = TestDatabase::fresh(database.backend()).await;
    checkout.cloned().started(&fresh, &[first::Project::definition()]).await;
    assert_eq!(super::catalogue(&fresh).await, super::catalogue(&database).await);
}

/// What a process leaves behind that dies after the commit and before the files.
async fn die_before_the_files(database: &TestDatabase, checkout: &Checkout) {
    let db = Db::open(database.url(), &[], checkout.options()).await.expect("the database opens");
    db.execute("UPDATE [kernel_migrations] SET [filed_at] = NULL", ()).await.expect("an update");
    db.close().await;
    for name in checkout.names() {
        std::fs::remove_file(checkout.folder().join(name)).expect("it is there");
    }
}

/// Promise: D8
async fn files_that_were_not_written_are_written_by_the_next_start(database: TestDatabase) {
    let checkout = Checkout::new();
    checkout.started(&database, &[first::Project::definition()]).await;
    let name = checkout.migrations().remove(0);
    let texts = ["sql", "json"].map(|ending| checkout.read(&name, ending));
    die_before_the_files(&database, &checkout).await;
    // Half of it may be there.
    std::fs::write(checkout.path(&name, "json"), &texts[1]).expect("a file");
    std::fs::write(checkout.folder().join(".unfinished_one"), "half").expect("a file");

    let next = checkout.started(&database, &[first::Project::definition()]).await;
    assert_eq!((next.statements, next.files.len()), (vec![], 2));
    assert_eq!(checkout.names(), [format!("{name}.json"), format!("{name}.sql")]);
    assert_eq!(["sql", "json"].map(|ending| checkout.read(&name, ending)), texts);
    let after = checkout.started(&database, &[first::Project::definition()]).await;
    assert_eq!(after.files.len(), 0);

    // The same where more is to be done at once.
    die_before_the_files(&database, &checkout).await;
    checkout.clock.advance(Duration::from_secs(60));
    let next = checkout.started(&database, &[with_color::Project::definition()]).await;
    assert_eq!((next.files.len(), checkout.migrations().len(), &checkout.migrations()[0]), (4, 2, &name));
}

async fn a_file_that_somebody_removed_stays_away(database: TestDatabase) {
    let checkout = Checkout::new();
    checkout.started(&database, &[first::Project::definition()]).await;
    // Another branch is checked out, which does not have it.
    std::fs::remove_dir_all(checkout.folder()).expect("it is there");
    let next = checkout.started(&database, &[first::Project::definition()]).await;
    assert_eq!((next.statements, next.files), (vec![], vec![]));
    assert!(!checkout.folder().exists());
}

/// Promise: D8
async fn a_first_save_makes_no_file(database: TestDatabase) {
    let checkout = Checkout::new();
    checkout.started(&database, &[first::Project::definition()]).await;
    let db = Db::open(database.url(), &[first::Project::definition()], checkout.options()).await.expect("it opens");
    db.save_entity("gadgets", json!({ "name": "gear" })).await.expect("a save");
    db.close().await;
    assert_eq!(checkout.migrations().len(), 1);
    assert_eq!(records(&database, "[reason], [dynamic_table]").await, [["start", "null"], ["first_save", "gadgets"]]);
    let next = checkout.started(&database, &[with_size::Project::definition()]).await;
    assert!(next.files.len() == 2 && !checkout.read(&checkout.migrations()[1], "json").contains("gadgets"));
}

async fn a_newer_kernel_is_told_of(database: TestDatabase) {
    let checkout = Checkout::new();
    checkout.started(&database, &[first::Project::definition()]).await;
    let db = Db::open(database.url(), &[], checkout.options()).await.expect("the database opens");
    db.execute("UPDATE [kernel_migrations] SET [kernel_version] = '99.4.1'", ()).await.expect("an update");
    db.close().await;
    let findings = checkout.started(&database, &[first::Project::definition()]).await.findings;
    let wanted = format!(
        "app_kernel 99.4.1 made the last migration of this database, and this is the older {}; what only the later one knows is left alone",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(findings.iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted]);
}

/// Files are written by whoever has changed the schema, also where the database is elsewhere.
#[tokio::test]
async fn a_folder_of_sources_gets_no_rules_from_us() {
    let (checkout, database) = (Checkout::new(), TestDatabase::sqlite().await);
    std::fs::create_dir_all(checkout.data().join(".git")).expect("a folder");
    checkout.started(&database, &[first::Project::definition()]).await;
    assert_eq!(names(&checkout.data()), [".git", "migrations_audit"]);
    assert_eq!(database.backend(), Backend::Sqlite);
}
