//! The CSV form is the same bytes on every database, and goes from each to each.

use app_kernel::base::clock::Timestamp;
use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::{Backend, Db};
use app_kernel::testing::{TestDatabase, on_every_database};
use jiff::civil::{Date, Time};
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use super::{Place, files};

on_every_database!(
    the_torture_set_goes_to_every_other_database_and_comes_back_byte_for_byte,
    the_torture_set_comes_back_from_the_native_form,
);

#[derive(Debug, Clone, PartialEq, Default, Entity)]
#[entity(table = "Order")]
pub(crate) struct Torture {
    text: Option<String>,
    truth: Option<bool>,
    #[entity(index)]
    number: Option<i64>,
    float: Option<f64>,
    price: Option<Decimal>,
    moment: Option<Timestamp>,
    day: Option<Date>,
    hour: Option<Time>,
    uuid: Option<Uuid>,
    bytes: Option<Vec<u8>>,
    json: Option<serde_json::Value>,
    #[entity(default = "a 'quoted' \\ default")]
    select: String,
    #[entity(unique, check = "[group] > 0")]
    group: i64,
}

#[derive(Debug, Clone, PartialEq, Entity)]
pub(crate) struct Line {
    #[entity(foreign_key = "Order")]
    order_id: String,
    #[entity(secret)]
    token: String,
}

#[derive(Debug, Clone, PartialEq, Entity)]
pub(crate) struct Nothing {
    name: String,
}

fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "a ",
        "A",
        "a",
        "é",
        "e\u{301}",
        "ß",
        "İı",
        "👩‍👩‍👧‍👦",
        "\u{10FFFF}",
        "\u{FEFF}bom",
        "\u{202E}bidi",
        "\r",
        "\n",
        "\r\n",
        "\t",
        "'\"`[](){}",
        "\\",
        "\\N",
        "NULL",
        "null",
        "=1+1",
        "-- ;",
        "%_",
        "\u{1}\u{7f}",
        "\"",
        "\"\"",
        ",",
        "a,\"b\"\nc",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend([1 << 20, (64 << 10) - 1, 64 << 10, (64 << 10) + 1].map(|length| "x".repeat(length)));
    texts
}

/// What is hard to carry: see `texts`, and what follows.
pub(crate) async fn fill(db: &Db) {
    let mut group = 0;
    let mut row = |torture: Torture| {
        group += 1;
        Torture { group, select: "*".to_owned(), ..torture }
    };
    let mut rows = vec![row(Torture::default())];
    rows.extend(texts().into_iter().map(|text| row(Torture { text: Some(text), ..Torture::default() })));
    let integers = [0, 1, -1, 1 << 31, -(1 << 31), (1 << 53) + 1, -(1 << 53) - 1, i64::MAX, i64::MIN];
    rows.extend(integers.map(|number| row(Torture { number: Some(number), ..Torture::default() })));
    let floats = [0.1, 1e308, 5e-324, -0.0, 1.0 / 3.0, 1e15, 123_456_789.123_456_79];
    rows.extend(
        floats.map(|float| row(Torture { float: Some(float), truth: Some(float > 1.0), ..Torture::default() })),
    );
    let moments =
        ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2038-01-19T03:14:08Z", "9999-12-30T21:59:59.999999Z"];
    let days = ["0001-01-01", "1582-10-10", "2024-02-29", "9999-12-31"];
    let hours = ["00:00:00", "23:59:59.999999", "12:30:00.5", "00:00:00.000001"];
    for i in 0..moments.len() {
        rows.push(row(Torture {
            moment: Some(moments[i].parse().expect("a time")),
            day: Some(days[i].parse().expect("a day")),
            hour: Some(hours[i].parse().expect("a time of day")),
            price: Some(Decimal::new(-1999 * i as i64, 3)),
            uuid: Some(Uuid::from_u128(i as u128)),
            bytes: Some((0..=255).take(i * 85).collect()),
            json: Some(json!({ "z": 9_007_199_254_740_993_i64, "a": [null, 1.0, "\n\"", {}], "i": i })),
            ..Torture::default()
        }));
    }
    rows.push(row(Torture { json: Some(json!("a text")), ..Torture::default() }));
    for (i, torture) in rows.into_iter().enumerate() {
        let saved = db.save(torture).id(format!("o{i:03}")).await.expect("a save");
        if i % 10 == 0 {
            let line = Line { order_id: saved.id.clone(), token: "hush".to_owned() };
            db.save(line).id(format!("l{i}")).await.expect("a save");
        }
    }
    for id in ["a", "A", "a ", " a", "é", "e\u{301}", "ｱ"] {
        db.save_entity("Dynamic_things", json!({ "id": id, "n": 1, "x": 0.5, "on": true, "list": [1, "2"], "t": id }))
            .await
            .expect("a save");
    }
    db.delete::<Line>("l0").await.expect("a deletion");
    db.delete::<Line>("l10").permanent().await.expect("a deletion");
    db.save_entity("only_deleted", json!({ "id": "gone", "n": 1 })).await.expect("a save");
    db.delete_entity("only_deleted", "gone").await.expect("a deletion");
}

/// Promise: R-14, D5
async fn the_torture_set_goes_to_every_other_database_and_comes_back_byte_for_byte(database: TestDatabase) {
    let entities = [Torture::definition(), Line::definition(), Nothing::definition()];
    let first = Place::new(&database, &entities).await;
    fill(&first.db).await;
    let made = first.backups.make().await.expect("a backup");
    assert_eq!(made.csv.len(), "csv_20260130_120000_a1b2c3d4".len());
    let wanted = files(&first.folder.path().join(&made.csv));
    assert!(wanted.iter().any(|(name, _)| name == "nothings_history.csv") && wanted.len() == 13, "{:?}", wanted.len());
    let mut last = (first.folder.path().join(&made.csv), made.csv.clone());
    let mut folders = Vec::new();
    for backend in [Backend::Sqlite, Backend::Postgres, Backend::MySql, first.db.backend()] {
        let database = TestDatabase::fresh(backend).await;
        // Nothing is declared there but what a service of another version would have: it must not matter.
        let other = Place::new(&database, &[]).await;
        copy(&last.0, &other.folder.path().join(&last.1));
        other.backups.restore(&last.1, None).await.expect("a restore");
        // A migration that were needed now would be a row more in kernel_migrations.
        let again = crate::db::open_with(&database, &entities, super::options(other.folder.path(), &other.clock)).await;
        let exported = again.backups().expect("a place for backups").make().await.expect("a backup");
        let found = files(&other.folder.path().join(&exported.csv));
        assert_eq!(found.len(), wanted.len());
        for ((name, wanted), (found_name, found)) in wanted.iter().zip(&found) {
            assert_eq!(name, found_name, "{backend:?}");
            assert!(wanted == found, "{backend:?}: {name} is the same to the last byte");
        }
        // What comes after counts on from there.
        again.save(Nothing { name: "new".to_owned() }).await.expect("a save");
        assert!(again.save(Line { order_id: "nobody".to_owned(), token: String::new() }).await.is_err(), "{backend:?}");
        assert!(again.save(Torture { group: -1, ..Torture::default() }).await.is_err(), "{backend:?}: a check");
        again.close().await;
        other.db.close().await;
        last = (other.folder.path().join(&exported.csv), exported.csv);
        folders.push(other.folder);
    }
    first.db.close().await;
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for name in super::names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).expect("a copy");
    }
}

async fn the_torture_set_comes_back_from_the_native_form(database: TestDatabase) {
    let place = Place::new(&database, &[Torture::definition(), Line::definition(), Nothing::definition()]).await;
    fill(&place.db).await;
    let made = place.backups.make().await.expect("a backup");
    place.db.execute("DELETE FROM [lines]", ()).await.expect("a deletion");
    place.backups.restore(&made.native, None).await.expect("a restore");
    let again = place.backups.make().await.expect("a backup").csv;
    assert!(files(&place.folder.path().join(&again)) == files(&place.folder.path().join(&made.csv)));
    place.db.close().await;
}
