//! Many at once.

use std::time::{Duration, Instant};

use app_kernel::base::error::ErrorKind;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{Widget, widget, widgets};

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
    println!("R-10 held: 50 writers, {written} commits, 0 failures");
    if let Some(path) = database.url().expose().strip_prefix("sqlite:///") {
        let log = std::fs::metadata(format!("{path}-wal")).expect("the log is there").len();
        assert!(log < 128 << 20, "the log has {log} bytes");
    }
}
