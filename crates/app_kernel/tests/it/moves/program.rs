//! The quick start, whose DATABASE_URL changes between two starts.

use app_kernel::store::db::{Db, DbOptions};
use app_kernel::testing::TestDatabase;
use serde_json::{Value, json};

use crate::support::program::Place;

/// Promise: E1, E2, E3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_another_database_says_six_lines_and_has_the_data() {
    let postgres = TestDatabase::postgres().await;
    let place = Place::new().with("LOG_FORMAT", "json");
    let ended = place.serve().stop();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let file = app_kernel::base::secret::Secret::new(format!("sqlite:///{}/data/app.db", place.folder().display()));
    let db = Db::open(&file, &[], DbOptions::default()).await.expect("the quick start's database");
    db.save_entity("widgets", json!({ "id": "w1", "name": "gear", "color": "red", "owner_id": "ann" }))
        .await
        .expect("a save");
    db.close().await;

    let place = place.with("DATABASE_URL", postgres.url().expose());
    let ended = place.serve().stop();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let logged = ended.out.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<String> = logged
        .filter(|line| line["target"] == "app_kernel::moves")
        .filter_map(|line| line["message"].as_str().map(str::to_owned))
        .collect();
    let starts = [
        "🔄 DATABASE BACKEND CHANGED: sqlite → postgres",
        "✓ Found backup from 20",
        "  Auto-migrating data to new backend...",
        "✓ Data migrated successfully from sqlite to postgres",
        "✓ Automated backup completed",
        "✓ Schema migration completed",
    ];
    assert_eq!(lines.len(), starts.len(), "{:#?}", ended.out);
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(lines[0], starts[0]);

    let db = Db::open(postgres.url(), &[], DbOptions::default()).await.expect("the new database");
    let widget = db.get_entity("widgets", "w1").await.expect("a query").expect("the widget came along");
    assert_eq!(widget["color"], "red");
    db.close().await;
    // The next start is like any other.
    let ended = place.serve().stop();
    assert!(!ended.out.iter().any(|line| line.contains("DATABASE")), "{:#?}", ended.out);
}
