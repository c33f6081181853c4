//! What a move refuses, and that it then changes nothing; and what it does where there is nothing to bring.

use app_kernel::base::secret::Secret;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::Desk;
use crate::db::{Widget, widget};

on_every_database!(
    a_database_with_rows_of_its_own_is_refused,
    a_table_of_somebody_else_in_the_way_is_refused,
    two_services_do_not_share_one_database,
    a_damaged_backup_is_refused,
    without_the_database_its_newest_backup_comes,
    without_database_and_backup_it_is_empty_and_says_so,
);

/// A service that started on SQLite and has one widget there.
async fn with_a_widget() -> (Desk, TestDatabase) {
    let desk = Desk::new(&[Widget::definition()]);
    let from = TestDatabase::sqlite().await;
    let (db, _) = desk.start(&from).await;
    db.save(widget("gear")).await.expect("a save");
    db.close().await;
    (desk, from)
}

fn path(database: &TestDatabase) -> String {
    database.url().expose().trim_start_matches("sqlite://").to_owned()
}

fn change_of(to: &TestDatabase) -> String {
    match to.backend().as_str() {
        "sqlite" => "DATABASE CHANGED: sqlite".to_owned(),
        other => format!("DATABASE BACKEND CHANGED: sqlite → {other}"),
    }
}

/// Promise: E1
async fn a_database_with_rows_of_its_own_is_refused(to: TestDatabase) {
    let (desk, _from) = with_a_widget().await;
    let db = crate::db::widgets(&to).await;
    for name in ["a", "b"] {
        db.save(widget(name)).await.expect("a save");
    }
    db.close().await;
    if to.backend().as_str() == "sqlite" {
        // Of the same kind, it is simply another database, such as staging beside production.
        let (db, told) = desk.start(&to).await;
        assert!(told.len() == 1 && told[0].contains("with data of its own (2 rows in `widgets`)"), "{told:?}");
        assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 2);
        return db.close().await;
    }
    let before = desk.contents(&to).await;
    let message = desk.refused(&to).await;
    assert!(message.contains("This one holds ") && message.contains("nothing was changed. Give an empty"), "{message}");
    assert!(message.contains(&desk.marker().display().to_string()), "the cure: {message}");
    assert_eq!(desk.contents(&to).await, before);
    std::fs::remove_file(desk.marker()).expect("a marker");
    let (db, told) = desk.start(&to).await;
    assert!(told.is_empty(), "{told:?}");
    db.close().await;
}

async fn a_table_of_somebody_else_in_the_way_is_refused(to: TestDatabase) {
    let (desk, _from) = with_a_widget().await;
    let db = desk.open(to.url()).await;
    db.execute("CREATE TABLE widgets (shape INT)", ()).await.expect("a table");
    db.close().await;
    let message = desk.refused(&to).await;
    assert!(message.contains("has a table `widgets` that is not of this kernel"), "{message}");
    let db = desk.open(to.url()).await;
    db.query("SELECT shape FROM widgets", ()).await.expect("it is there still");
    db.execute("DROP TABLE widgets", ()).await.expect("it goes");
    db.execute("CREATE TABLE theirs (shape INT)", ()).await.expect("a table");
    db.close().await;
    let (db, told) = desk.start(&to).await;
    assert_eq!(told.len(), 6, "{told:?}");
    db.query("SELECT shape FROM theirs", ()).await.expect("tables of others stay");
    db.close().await;
}

/// A move of another service that was begun here stands against ours.
async fn two_services_do_not_share_one_database(to: TestDatabase) {
    let (desk, _from) = with_a_widget().await;
    let (mut bakery, theirs) = with_a_widget().await;
    std::fs::remove_file(bakery.marker()).expect("a marker");
    bakery.service = "bakery";
    bakery.start(&theirs).await.0.close().await;
    // Begun and not finished: its last table can't be made.
    let db = bakery.open(to.url()).await;
    db.execute("CREATE TABLE kernel_move (name VARCHAR(80) PRIMARY KEY, value TEXT NOT NULL)", ())
        .await
        .expect("a table");
    let record = r#"{"service":"bakery","from":{"backend":"sqlite","address":"/b.db"},"born_at":null,"began_at":"2026-01-30T12:00:00Z","imported_at":null,"finished_at":null}"#;
    db.execute("INSERT INTO kernel_move VALUES ('move', ?)", [record]).await.expect("a row");
    db.close().await;
    let message = desk.refused(&to).await;
    assert!(
        message.contains("the data of the service `bakery` at /b.db is being moved into this database"),
        "{message}"
    );
    // Nor is it taken for a finished one by somebody who never started anywhere.
    let message = Desk::new(&[Widget::definition()]).refused(&to).await;
    assert!(message.contains("the data of the service `bakery` was being moved into this database"), "{message}");
}

/// Promise: E3
async fn a_damaged_backup_is_refused(to: TestDatabase) {
    let (desk, from) = with_a_widget().await;
    let (db, _) = desk.start(&from).await;
    let made = db.backups().expect("a place").make().await.expect("a backup");
    db.close().await;
    std::fs::remove_file(path(&from)).expect("the old database goes");
    let empty = desk.contents(&to).await;
    for file in ["widgets.csv", "manifest.json"] {
        let file = desk.backups().join(&made.csv).join(file);
        let good = std::fs::read(&file).expect("a file");
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [&flipped[..], &good[..good.len() / 2]] {
            std::fs::write(&file, bad).expect("a write");
            let message = desk.refused(&to).await;
            assert!(message.contains("is damaged"), "{message}");
            assert_eq!(desk.contents(&to).await, empty, "nothing was changed");
        }
        std::fs::write(&file, good).expect("a write");
    }
    let (db, told) = desk.start(&to).await;
    assert_eq!(told.len(), 6, "{told:?}");
    db.close().await;
}

/// Promise: E3
async fn without_the_database_its_newest_backup_comes(to: TestDatabase) {
    let (desk, from) = with_a_widget().await;
    let (db, _) = desk.start(&from).await;
    for name in ["cog", "wheel"] {
        db.save(widget(name)).await.expect("a save");
        db.backups().expect("a place").make().await.expect("a backup");
    }
    db.save(widget("lost")).await.expect("a save");
    db.close().await;
    std::fs::remove_file(path(&from)).expect("the old database goes");
    let (db, told) = desk.start(&to).await;
    assert!(told[0].contains(&change_of(&to)), "{told:#?}");
    assert!(told[1].starts_with("✓ Found backup from 20") && told[1].contains(": 5 tables, "), "{told:#?}");
    assert!(told[1].contains(" s old. What was written since does not come along: the file /"), "{told:#?}");
    let names: Vec<String> = db
        .find::<Widget>("", ())
        .order_by("[name]")
        .await
        .expect("widgets")
        .into_iter()
        .map(|w| w.name.clone())
        .collect();
    assert_eq!(names, ["cog", "gear", "wheel"]);
    db.close().await;
}

/// Promise: E4
async fn without_database_and_backup_it_is_empty_and_says_so(to: TestDatabase) {
    let (desk, from) = with_a_widget().await;
    std::fs::remove_file(path(&from)).expect("the old database goes");
    // Those of another service are not ours.
    let _removed = std::fs::remove_dir_all(desk.backups());
    let (db, told) = desk.start(&to).await;
    assert_eq!(told.len(), 2, "{told:#?}");
    assert!(told[1].starts_with("there is no backup of the old database (sqlite at /"), "{told:#?}");
    assert!(told[1].ends_with(&format!("starting with an EMPTY DATABASE on {}", to.backend().as_str())), "{told:#?}");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 0);
    db.close().await;
    let (db, told) = desk.start(&to).await;
    assert!(told.is_empty(), "once: {told:?}");
    db.close().await;
}

#[tokio::test]
async fn an_old_database_in_use_is_refused() {
    let (desk, from) = with_a_widget().await;
    let to = TestDatabase::sqlite().await;
    let still_at_work = desk.open(from.url()).await;
    let message = desk.refused(&to).await;
    assert!(message.contains("is in use by another process, whose writes would be lost; stop it"), "{message}");
    still_at_work.close().await;
    let (db, told) = desk.start(&to).await;
    assert_eq!(told.len(), 6, "{told:?}");
    db.close().await;
}

#[tokio::test]
async fn without_migrations_nothing_is_filled() {
    let (desk, _from) = with_a_widget().await;
    let to = TestDatabase::sqlite().await;
    let db = desk.open(to.url()).await;
    let how = app_kernel::store::db::start::BringUp { migrate: false, ..desk.how() };
    let message = db.bring_up(&how).await.expect_err("a refusal").to_string();
    assert!(message.contains("MIGRATION_ENABLED=false forbids to fill it"), "{message}");
    db.close().await;
}

/// Promise: R-32
#[tokio::test]
async fn a_password_is_not_written_down_and_asked_for_by_name() {
    let mut desk = Desk::new(&[Widget::definition()]);
    let (from, to) = (TestDatabase::postgres().await, TestDatabase::sqlite().await);
    let with_password = from.url().expose().replacen("postgres@", "postgres:hunter2@", 1);
    assert!(with_password.contains("hunter2"), "the test server's address has its user and no password");
    let db = desk.open(&Secret::new(with_password.clone())).await;
    db.bring_up(&desk.how()).await.expect("a start");
    db.save(widget("gear")).await.expect("a save");
    db.close().await;
    let marker = std::fs::read_to_string(desk.marker()).expect("a marker");
    assert!(!marker.contains("hunter2") && marker.contains("\"url\": null"), "{marker}");

    desk.previous_url = Some(Secret::new("postgres://elsewhere/app"));
    let message = desk.refused(&to).await;
    assert!(
        message.starts_with("DATABASE_URL_PREVIOUS is not the address of the last database, which was postgres at "),
        "{message}"
    );
    desk.previous_url = Some(Secret::new(with_password));
    let (db, told) = desk.start(&to).await;
    assert!(told[1].ends_with("as it is now"), "{told:#?}");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 1);
    db.close().await;
}

#[tokio::test]
async fn an_unreachable_database_is_named_before_anything_is_changed() {
    let (desk, from) = with_a_widget().await;
    let nobody = Secret::new("postgres://nobody@127.0.0.1:1/nothing");
    let message =
        app_kernel::store::db::Db::open(&nobody, &[], Default::default()).await.expect_err("nobody").to_string();
    assert!(message.starts_with("DATABASE_URL: "), "{message}");
    let (db, told) = desk.start(&from).await;
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 1);
    db.close().await;
}
