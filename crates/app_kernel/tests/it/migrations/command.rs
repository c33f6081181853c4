//! The command `migrate` as a person or a machine meets it.

use std::path::Path;

use app_kernel::store::db::Backend;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::{Value, json};

use super::{catalogue, names};
use crate::support::program::Place;

on_every_database!(
    a_plan_writes_nothing_at_all,
    migrate_says_what_it_did_and_a_clone_replays_it,
    a_refused_plan_is_a_failure
);

/// Every file below a folder, with its bytes.
fn everything(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        if path.is_dir() {
            all.push((path.display().to_string(), Vec::new()));
            all.extend(everything(&path));
        } else {
            all.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
        }
    }
    all
}

/// A place for the quick start whose database is this one, or a file in its own folder.
fn place(database: &TestDatabase) -> Place {
    match database.backend() {
        Backend::Sqlite => Place::new().with("DATABASE_URL", "sqlite:///./data/app.db"),
        Backend::Postgres | Backend::MySql => Place::new().with("DATABASE_URL", database.url().expose()),
    }
}

async fn a_plan_writes_nothing_at_all(database: TestDatabase) {
    let place = place(&database);
    let before = catalogue(&database).await;
    let [plan, machine] = [&["migrate", "--plan"][..], &["migrate", "--plan", "--json"]].map(|args| place.run(args));
    assert_eq!((plan.code, plan.err.as_str(), machine.code, machine.err.as_str()), (Some(0), "", Some(0), ""));
    assert!(plan.out.iter().any(|line| line.starts_with("CREATE TABLE")), "{:?}", plan.out);
    assert!(!plan.out.concat().contains('\x1b'), "no colours where nobody looks");
    let said: Value = serde_json::from_str(&machine.out.join("\n")).expect("JSON");
    assert_eq!((&said["refused"], &said["replays"], &said["findings"]), (&json!(false), &json!([]), &json!([])));
    let statements: Vec<&str> =
        said["statements"].as_array().expect("statements").iter().filter_map(Value::as_str).collect();
    assert_eq!(statements.iter().map(|sql| format!("{sql};\n")).collect::<String>().trim_end(), plan.out.join("\n"));
    assert_eq!((everything(place.folder()), catalogue(&database).await), (vec![], before));

    // The same on a database that is there, and behind the code or not.
    assert_eq!(place.run(&["migrate"]).code, Some(0));
    let there = everything(place.folder());
    let again = place.run(&["migrate", "--plan"]);
    assert_eq!(
        (again.code, again.out),
        (Some(0), vec!["-- nothing to do: the database has the schema of the code".to_owned()])
    );
    assert_eq!(everything(place.folder()), there);
}

/// Promise: D5, D6
async fn migrate_says_what_it_did_and_a_clone_replays_it(database: TestDatabase) {
    let ann = place(&database);
    let migrated = ann.run(&["migrate"]);
    assert_eq!(migrated.code, Some(0), "{}", migrated.err);
    let files = names(&ann.folder().join(".data/migrations_audit"));
    let [json_file, sql_file] = &files[..] else { panic!("two files: {files:?}") };
    let told: Vec<&str> = migrated.err.lines().collect();
    let wrote = [sql_file, json_file].map(|name| format!("wrote .data/migrations_audit/{name}"));
    assert_eq!(told[..2], wrote);
    assert!(told[2].starts_with("done: ") && told[2].ends_with(" ms"), "{told:?}");

    let others = TestDatabase::fresh(database.backend()).await;
    let bob = place(&others);
    let folder = bob.folder().join(".data/migrations_audit");
    std::fs::create_dir_all(&folder).expect("a folder");
    for name in &files {
        std::fs::copy(ann.folder().join(".data/migrations_audit").join(name), folder.join(name)).expect("a copy");
    }
    let name = sql_file.trim_end_matches(".sql");
    let planned = bob.run(&["migrate", "--plan"]);
    assert_eq!((planned.code, planned.out[0].as_str()), (Some(0), format!("-- replayed from {name}.sql").as_str()));
    assert!(!planned.out.concat().contains("beyond the files"), "{:?}", planned.out);
    let replayed = bob.run(&["migrate", "--json"]);
    let said: Value = serde_json::from_str(&replayed.out.join("\n")).expect("JSON");
    assert_eq!((&said["replayed"], &said["files"]), (&json!([name]), &json!([])), "{}", replayed.err);
    assert_eq!(names(&folder), files);
}

async fn a_refused_plan_is_a_failure(database: TestDatabase) {
    let place = place(&database);
    assert_eq!(place.run(&["migrate"]).code, Some(0));
    let folder = place.folder().join(".data/migrations_audit");
    let sql = names(&folder).into_iter().find(|name| name.ends_with(".sql")).expect("a file");
    std::fs::write(folder.join(&sql), "-- nothing left\n").expect("a file");
    for arguments in [&["migrate", "--plan"][..], &["migrate"], &[]] {
        let ended = place.run(arguments);
        let wanted = format!("Error: MIGRATIONS_DIR: .data/migrations_audit/{sql} can't be taken over: it was edited");
        assert!(ended.code == Some(1) && ended.err.starts_with(&wanted), "{arguments:?}: {}", ended.err);
    }
    let machine = place.run(&["migrate", "--plan", "--json"]);
    let said: Value = serde_json::from_str(&machine.out.join("\n")).expect("JSON");
    assert_eq!((machine.code, &said["refused"]), (Some(1), &json!(true)));
    assert!(said["findings"][0]["what"].as_str().is_some_and(|what| what.contains(&sql)), "{said}");
}
