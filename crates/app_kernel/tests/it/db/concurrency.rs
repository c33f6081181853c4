//! Many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use app_kernel::base::error::ErrorKind;
use app_kernel::store::db::entity::Entity as _;
use app_kernel::store::db::{DbOptions, Options};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{Widget, open_with, widget, widgets};
use crate::support::scale;

on_every_database!(
    parallel_saves_of_one_row_all_count,
    parallel_twins_make_one_row,
    parallel_matching_makes_one_row,
    of_parallel_stale_saves_one_wins,
    many_writers_beside_a_long_reader_never_fail,
);

async fn parallel_saves_of_one_row_all_count(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear = db.save(widget("gear")).await.expect("a save");
    let saves = (0..40).map(|i| {
        let (db, id) = (db.clone(), gear.id.clone());
        tokio::spawn(async move { db.save_entity("widgets", json!({ "id": id, "size": i })).await })
    });
    let mut versions = Vec::new();
    for save in saves.collect::<Vec<_>>() {
        versions.push(save.await.expect("no panic").expect("a save")["version"].as_int().expect("a number"));
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=41).collect::<Vec<_>>());
    assert_eq!(db.history::<Widget>(&gear.id).await.expect("a history").len(), 41);
}

async fn parallel_twins_make_one_row(database: TestDatabase) {
    let db = widgets(&database).await;
    let saves = (0..20).map(|_| {
        let db = db.clone();
        tokio::spawn(async move { db.save(widget("gear")).await.map(drop).map_err(|error| error.kind()) })
    });
    let mut made = 0;
    for save in saves.collect::<Vec<_>>() {
        match save.await.expect("no panic") {
            Ok(()) => made += 1,
            Err(kind) => assert_eq!(kind, ErrorKind::Conflict),
        }
    }
    assert_eq!(made, 1);
}

async fn parallel_matching_makes_one_row(database: TestDatabase) {
    let db = widgets(&database).await;
    let saves = (0..20).map(|i| {
        let db = db.clone();
        tokio::spawn(async move {
            if i % 2 == 0 {
                db.save(widget("gear")).match_by(["name"]).await.map(|saved| saved.id)
            } else {
                db.save(widget("by id")).id("same").await.map(|saved| saved.id)
            }
        })
    });
    let mut ids = std::collections::BTreeSet::new();
    for save in saves.collect::<Vec<_>>() {
        ids.insert(save.await.expect("no panic").expect("a save"));
    }
    assert_eq!(ids.len(), 2);
    for id in ids {
        assert_eq!(db.get::<Widget>(id).await.expect("a read").expect("it is there").version, 10);
    }
}

async fn of_parallel_stale_saves_one_wins(database: TestDatabase) {
    let db = widgets(&database).await;
    let gear = db.save(widget("gear")).await.expect("a save");
    let saves = (0..10).map(|_| {
        let (db, gear) = (db.clone(), gear.clone());
        tokio::spawn(async move { db.save(gear).if_version(1).await.is_ok() })
    });
    let mut won = 0;
    for save in saves.collect::<Vec<_>>() {
        won += u32::from(save.await.expect("no panic"));
    }
    assert_eq!(won, 1);
}

/// Promise: R-10
async fn many_writers_beside_a_long_reader_never_fail(database: TestDatabase) {
    let db = widgets(&database).await;
    let end = Instant::now() + Duration::from_secs(2);
    let reader = {
        let db = db.clone();
        tokio::spawn(async move {
            while Instant::now() < end {
                db.find::<Widget>("", ()).order_by("[color], [name] DESC").limit(10_000).await.expect("a query");
            }
        })
    };
    let writers = (0..50).map(|writer| {
        let db = db.clone();
        tokio::spawn(async move {
            let mut written = 0;
            while Instant::now() < end {
                db.save(widget(&format!("{writer}-{written}"))).await.expect("a save");
                written += 1;
            }
            written
        })
    });
    let mut written = 0;
    for writer in writers.collect::<Vec<_>>() {
        written += writer.await.expect("no panic");
    }
    reader.await.expect("no panic");
    assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), written);
    let versions = db.query("SELECT COUNT(*) AS [n] FROM [widgets_history]", ()).await.expect("a query");
    assert_eq!(versions[0]["n"], written);
    let log = db.write_ahead_log_bytes().unwrap_or_default();
    println!("R-10 held: 50 writers, {written} commits, 0 failures, {} MiB of log", log >> 20);
    assert!(log < 128 << 20, "the log has {log} bytes");
}

/// Promise: R-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_overlap_without_a_gap_let_the_log_start_afresh() {
    const READERS: usize = 4;
    let database = TestDatabase::sqlite().await;
    // Without waiting for the disk, so that there is much to log.
    let driver = Options { sqlite_full_sync: false, pool_size: Some(READERS), ..Options::default() };
    let db = open_with(&database, &[Widget::definition()], DbOptions { driver, ..DbOptions::default() }).await;
    let many: Vec<Widget> = (0..2_000).map(|i| widget(&format!("w{i}"))).collect();
    db.save_many(many).await.expect("saves");
    let writing = Arc::new(AtomicBool::new(true));
    let readers = (0..READERS).map(|_| {
        let (db, writing) = (db.clone(), Arc::clone(&writing));
        tokio::spawn(async move {
            let mut read = 0_u32;
            while writing.load(Ordering::Relaxed) {
                db.find::<Widget>("", ()).order_by("[color], [name] DESC").limit(10_000).await.expect("a query");
                read += 1;
            }
            read
        })
    });
    let readers: Vec<_> = readers.collect();
    let (mut written, mut longest) = (0, 0);
    let long = "x".repeat(100_000);
    while written < scale(40 << 20) {
        let new = (0..16).map(|i| Widget { color: long.clone(), ..widget(&format!("long {written} {i}")) });
        let saved = db.save_many(new.collect::<Vec<_>>()).await.expect("saves");
        let ids = saved.into_iter().map(|widget| widget.id);
        db.delete_many::<Widget>(ids).permanent().await.expect("deletes");
        written += 16 * long.len();
        longest = longest.max(db.write_ahead_log_bytes().expect("it is SQLite"));
    }
    writing.store(false, Ordering::Relaxed);
    let mut read = 0;
    for reader in readers {
        read += reader.await.expect("no panic");
    }
    let (written, longest) = (written >> 20, longest >> 20);
    println!(
        "R-10 held: {READERS} readers without a gap, {read} reads, {written} MiB written, at most {longest} MiB of log"
    );
    assert!(longest < 64, "the log had {longest} MiB");
}
