//! Files that are not as they were written, and folders that can't hold any: refused by name, before anything runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use app_kernel::store::db::Db;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::project::{first, with_size};
use super::{Checkout, catalogue};

on_every_database!(
    a_damaged_folder_is_refused_with_the_file_and_the_cure,
    a_file_that_was_applied_in_another_form_is_refused,
    a_folder_that_can_not_be_written_stops_the_start_before_anything_runs,
    a_file_whose_statement_fails_is_named_with_the_cause,
);

async fn refusal(checkout: &Checkout, database: &TestDatabase) -> String {
    let error = checkout.start(database, &[with_size::Project::definition()]).await.expect_err("a refusal");
    error.message().to_owned()
}

/// What is done to a file, and what is said of it.
type Damage = (fn(&Checkout, &str), fn(&Checkout, &str) -> String);

fn shown(path: PathBuf) -> String {
    path.display().to_string()
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("it is there");
    std::fs::write(path, change(text)).expect("it can be written");
}

const DAMAGES: [Damage; 6] = [
    (
        |checkout, name| edit(&checkout.path(name, "sql"), |sql| sql + "\nUPDATE projects SET size = 4;\n"),
        |checkout, name| {
            let sql = shown(checkout.path(name, "sql"));
            format!(
                "{sql} can't be taken over: it was edited after it was applied; take it back as it was (git checkout -- {sql})."
            )
        },
    ),
    (
        |checkout, name| edit(&checkout.path(name, "json"), |json| json.replace("ADD COLUMN", "ADD  COLUMN")),
        |checkout, name| format!("{} can't be taken over: it was edited", shown(checkout.path(name, "sql"))),
    ),
    (
        |checkout, name| edit(&checkout.path(name, "json"), |json| json[..json.len() / 2].to_owned()),
        |checkout, name| {
            let json = shown(checkout.path(name, "json"));
            format!("{json} can't be taken over: it is damaged: EOF while parsing")
        },
    ),
    (
        |checkout, name| std::fs::remove_file(checkout.path(name, "json")).expect("it is there"),
        |checkout, name| {
            let [sql, json] = ["sql", "json"].map(|ending| shown(checkout.path(name, ending)));
            format!(
                "{sql} can't be taken over: its other half {json} is missing; bring it back from version control, or delete both"
            )
        },
    ),
    (
        |checkout, name| std::fs::remove_file(checkout.path(name, "sql")).expect("it is there"),
        |checkout, name| {
            let [sql, json] = ["sql", "json"].map(|ending| shown(checkout.path(name, ending)));
            format!("{json} can't be taken over: its other half {sql} is missing; bring it back")
        },
    ),
    (
        |checkout, name| edit(&checkout.path(name, "json"), |json| json.replacen("\"format\": 1", "\"format\": 2", 1)),
        |checkout, name| {
            format!(
                "{} can't be taken over: a later version of app_kernel wrote it",
                shown(checkout.path(name, "json"))
            )
        },
    ),
];

/// Promise: D6
async fn a_damaged_folder_is_refused_with_the_file_and_the_cure(database: TestDatabase) {
    let ann = Checkout::new();
    ann.started(&database, &[first::Project::definition()]).await;
    let fresh = TestDatabase::fresh(database.backend()).await;
    let beside = ann.cloned();
    beside.started(&fresh, &[first::Project::definition()]).await;
    ann.clock.advance(Duration::from_secs(3600));
    ann.started(&database, &[with_size::Project::definition()]).await;
    let before = catalogue(&fresh).await;
    for (damage, wanted) in DAMAGES {
        let bob = ann.cloned();
        let name = bob.migrations()[1].clone();
        damage(&bob, &name);
        let wanted = format!("MIGRATIONS_DIR: {}", wanted(&bob, &name));
        // Where it would have to run, and where it did.
        for there in [&fresh, &database] {
            let message = refusal(&bob, there).await;
            assert!(message.starts_with(&wanted), "{message}\nis not\n{wanted}");
        }
        assert_eq!(catalogue(&fresh).await, before);
    }
    // Line ends that version control changed are no edit.
    let windows = ann.cloned();
    for name in windows.names() {
        edit(&windows.folder().join(name), |text| text.replace('\n', "\r\n"));
    }
    assert_eq!(windows.started(&fresh, &[with_size::Project::definition()]).await.replayed.len(), 1);
}

/// Somebody edits a file and its checksum too.
async fn a_file_that_was_applied_in_another_form_is_refused(database: TestDatabase) {
    let checkout = Checkout::new();
    checkout.started(&database, &[with_size::Project::definition()]).await;
    let name = checkout.migrations().remove(0);
    let sql = checkout.read(&name, "sql");
    let edited = sql.replace("projects", "project5");
    std::fs::write(checkout.path(&name, "sql"), &edited).expect("it can be written");
    let [old, new] = [&sql, &edited].map(|text| app_kernel::base::secret::token_hash(text));
    edit(&checkout.path(&name, "json"), |json| json.replace("projects", "project5").replace(&old, &new));
    let message = refusal(&checkout, &database).await;
    let path = shown(checkout.path(&name, "sql"));
    assert!(message.starts_with(&format!("MIGRATIONS_DIR: {path} can't be taken over: it was edited")), "{message}");
}

/// Promise: R-13
async fn a_folder_that_can_not_be_written_stops_the_start_before_anything_runs(database: TestDatabase) {
    let checkout = Checkout::new();
    std::fs::write(checkout.data(), "a file where the folder should be").expect("a file");
    let before = catalogue(&database).await;
    let error = checkout.start(&database, &[first::Project::definition()]).await.expect_err("nowhere to write");
    let wanted = format!("MIGRATIONS_DIR: the folder {} can't be used: ", checkout.folder().display());
    let cure = "; let this user write there, or set MIGRATIONS_DIR to another folder; nothing was migrated";
    assert!(error.message().starts_with(&wanted) && error.message().ends_with(cure), "{error}");
    assert_eq!(catalogue(&database).await, before);
    // Where nothing is to be done, nothing has to be written.
    let elsewhere = Checkout::new();
    elsewhere.started(&database, &[first::Project::definition()]).await;
    let mut options = elsewhere.options();
    options.migrations.files.as_mut().expect("there are files").folder = "/proc/no/folder".into();
    let db = Db::open(database.url(), &[first::Project::definition()], options).await.expect("it opens");
    assert_eq!(db.migrate().await.expect("nothing to do").statements, Vec::<String>::new());
    db.close().await;
}

mod unique {
    #[derive(Debug, app_kernel::store::db::entity::Entity)]
    #[entity(table = "projects")]
    pub(super) struct Project {
        #[entity(unique)]
        pub(super) name: String,
    }
}

async fn a_file_whose_statement_fails_is_named_with_the_cause(database: TestDatabase) {
    let (ann, bobs) = (Checkout::new(), TestDatabase::fresh(database.backend()).await);
    ann.started(&database, &[unique::Project::definition()]).await;
    let bob = Checkout::new();
    bob.started(&bobs, &[first::Project::definition()]).await;
    let bob = bob.cloned();
    ann.clock.advance(Duration::from_secs(3600));
    let [theirs] = &ann.migrations()[..] else { panic!("one migration") };
    // Bob's rows are in the way of what Ann's database had no rows for.
    let db = Db::open(bobs.url(), &[first::Project::definition()], bob.options()).await.expect("it opens");
    for _ in 0..2 {
        db.save(first::Project { name: "one".into() }).await.expect("a save");
    }
    db.close().await;
    bob.pull(&ann);
    let before = catalogue(&bobs).await;
    let error = bob.start(&bobs, &[unique::Project::definition()]).await.expect_err("two of one name");
    // A table that is there is not made again; what it lacks is planned, with the cure for the rows.
    assert!(error.message().starts_with("`projects` has values of `name` that stand on several rows (1)"), "{error}");
    assert_eq!(catalogue(&bobs).await, before);
    assert!(bob.migrations().contains(theirs));
}
