//! From each database to each other one, and back: the same bytes.

use std::collections::BTreeMap;

use app_kernel::store::db::backup::BackedUp;
use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::start::{BringUp, StartBackup};
use app_kernel::store::db::{Backend, Db};
use app_kernel::testing::TestDatabase;
use serde_json::{Value, json};

use super::Desk;
use crate::backup::portable::{Line, Nothing, Torture, fill};
use crate::db::{Widget, widget};

fn torture_desk() -> Desk {
    Desk::new(&[Torture::definition(), Line::definition(), Nothing::definition()])
}

/// What the backups' torture set lacks: names and widths.
async fn fill_more(db: &Db) {
    fill(db).await;
    let longest = "t".repeat(54);
    for name in ["select", "user", "Group", longest.as_str()] {
        db.save_entity(name, json!({ "id": "1", "from": name, "where": null, "Desc": true })).await.expect("a save");
    }
    let columns: BTreeMap<String, Value> = (0..300).map(|i| (format!("c{i:03}"), json!(i))).collect();
    db.save_entity("wide", json!(columns)).await.expect("a save");
}

async fn goes_around(way: [Backend; 4]) {
    let desk = torture_desk();
    let mut database = TestDatabase::fresh(way[0]).await;
    let (db, told) = desk.start(&database).await;
    assert!(told.is_empty(), "{told:?}");
    fill_more(&db).await;
    db.close().await;
    let first = desk.contents(&database).await;
    assert!(first.len() > 20, "{}", first.len());
    for backend in &way[1..] {
        let next = TestDatabase::fresh(*backend).await;
        let (db, told) = desk.start(&next).await;
        let from = format!("{} → {}", database.backend().as_str(), backend.as_str());
        assert_eq!(told.len(), 6, "{told:#?}");
        assert_eq!(told[0], format!("🔄 DATABASE BACKEND CHANGED: {from}"));
        assert!(told[5].ends_with("completed: 0 statements"), "{told:#?}");
        db.close().await;
        let now = desk.contents(&next).await;
        assert_eq!(now.len(), first.len(), "{from}");
        for ((name, wanted), (found_name, found)) in first.iter().zip(&now) {
            assert_eq!(name, found_name, "{from}");
            assert!(wanted == found, "{from}: {name} is the same to the last byte");
        }
        database = next;
    }
    // What comes after counts on from there, and the rules are there.
    let (db, told) = desk.start(&database).await;
    assert!(told.is_empty(), "{told:?}");
    db.save_entity("nothings", json!({ "name": "new" })).await.expect("a save");
    for (table, row, rule) in [
        ("lines", json!({ "order_id": "nobody", "token": "" }), "a foreign key"),
        ("Order", json!({ "select": "", "group": -1 }), "a check"),
        ("Order", json!({ "select": "", "group": 1 }), "unique"),
    ] {
        assert!(db.save_entity(table, row).await.is_err(), "{rule}");
    }
    db.close().await;
}

/// Promise: R-14, E5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_postgres_mysql_sqlite_is_the_same_byte_for_byte() {
    goes_around([Backend::Sqlite, Backend::Postgres, Backend::MySql, Backend::Sqlite]).await;
}

/// Promise: R-14, E5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_mysql_postgres_sqlite_is_the_same_byte_for_byte() {
    goes_around([Backend::Sqlite, Backend::MySql, Backend::Postgres, Backend::Sqlite]).await;
}

/// Promise: E1, E3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_after_the_last_backup_comes_along_too() {
    let desk = Desk::new(&[Widget::definition()]);
    let (from, to) = (TestDatabase::sqlite().await, TestDatabase::sqlite().await);
    let (db, _) = desk.start(&from).await;
    db.save(widget("gear")).await.expect("a save");
    db.backups().expect("a place").make().await.expect("a backup");
    db.save(widget("cog")).await.expect("a save");
    db.close().await;
    // Another address of the same kind is another database, too.
    let (db, told) = desk.start(&to).await;
    assert!(told[0].starts_with("🔄 DATABASE CHANGED: sqlite /"), "{told:#?}");
    assert!(told[1].ends_with("of the old database as it is now"), "{told:#?}");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 2);
    db.close().await;
    assert_eq!(desk.contents(&from).await, desk.contents(&to).await);
}

/// Promise: E3
#[tokio::test]
async fn a_command_backs_up_what_it_brought_along() {
    let desk = Desk::new(&[Widget::definition()]);
    let (from, to) = (TestDatabase::sqlite().await, TestDatabase::sqlite().await);
    let (db, _) = desk.start(&from).await;
    db.save(widget("gear")).await.expect("a save");
    db.close().await;
    let db = desk.open(to.url()).await;
    let how = BringUp { backup: StartBackup::BeforeMigration, ..desk.how() };
    let BackedUp::Made(made) = db.bring_up(&how).await.expect("a start").backup else { panic!("no backup was made") };
    let there = db.backups().expect("a place").verify(&made.csv).await.expect("a good one");
    assert!(there.tables.iter().any(|table| (table.name.as_str(), table.rows) == ("widgets", 1)), "{there:?}");
    db.close().await;
}

/// Promise: E1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_starts_at_once_one_moves_and_all_go_on() {
    let desk = Desk::new(&[Widget::definition()]);
    let (from, to) = (TestDatabase::postgres().await, TestDatabase::mysql().await);
    let (db, _) = desk.start(&from).await;
    for i in 0..50 {
        db.save(widget(&format!("w{i}"))).await.expect("a save");
    }
    db.close().await;
    let starts = futures_util::future::join_all((0..4).map(|_| desk.try_start(&to))).await;
    let mut moves = 0;
    for (db, told) in starts {
        let told = told.unwrap_or_else(|error| panic!("a start is refused: {error:?}"));
        moves += told.iter().filter(|line| line.starts_with("✓ Found backup")).count();
        assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), 50);
        db.close().await;
    }
    assert_eq!(moves, 1, "one of them moved");
    assert_eq!(desk.contents(&from).await, desk.contents(&to).await);
}

/// Promise: E1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_with_its_own_marker_finds_the_data_there() {
    let (one, two) = (Desk::new(&[Widget::definition()]), Desk::new(&[Widget::definition()]));
    let (from, to) = (TestDatabase::postgres().await, TestDatabase::sqlite().await);
    for desk in [&one, &two] {
        let (db, _) = desk.start(&from).await;
        db.save_entity("notes", json!({ "n": 1 })).await.expect("a save");
        db.close().await;
    }
    let (db, told) = one.start(&to).await;
    assert_eq!(told.len(), 6);
    db.close().await;
    let (db, told) = two.start(&to).await;
    assert_eq!(told, ["the data of postgres came here already, by another process"]);
    db.close().await;
    // One that never started anywhere takes what is there.
    let (db, told) = Desk::new(&[Widget::definition()]).start(&to).await;
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(db.count_entities("notes").await.expect("a count"), 2);
    db.close().await;
}
