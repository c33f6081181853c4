//! Every type of column arrives as it left, on every database; what can't is refused alike everywhere.

use std::collections::BTreeMap;

use app_kernel::base::clock::Timestamp;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};
use jiff::civil::{Date, Time};
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use super::open;

on_every_database!(
    every_type_is_read_back_exactly,
    extreme_values_are_read_back_exactly,
    texts_of_all_kinds_are_read_back_exactly,
    numbers_that_are_none_are_refused,
    ids_that_look_alike_stay_apart,
    names_that_are_sql_words_are_names,
);

#[derive(Debug, Clone, Copy, PartialEq, Entity)]
enum Mood {
    Calm,
    VeryLoud,
}

#[derive(Debug, Clone, PartialEq, Entity)]
struct Everything {
    text: String,
    truth: bool,
    tiny: i8,
    number: i64,
    unsigned: u32,
    float: f64,
    price: Decimal,
    moment: Timestamp,
    day: Date,
    hour: Time,
    uuid: Uuid,
    bytes: Vec<u8>,
    json: serde_json::Value,
    tags: Vec<String>,
    counts: BTreeMap<String, i64>,
    mood: Mood,
    no_text: Option<String>,
    no_truth: Option<bool>,
    no_number: Option<i64>,
    no_float: Option<f64>,
    no_price: Option<Decimal>,
    no_moment: Option<Timestamp>,
    no_day: Option<Date>,
    no_hour: Option<Time>,
    no_uuid: Option<Uuid>,
    no_bytes: Option<Vec<u8>>,
    no_json: Option<serde_json::Value>,
    no_mood: Option<Mood>,
}

fn everything() -> Everything {
    Everything {
        text: "a text".into(),
        truth: true,
        tiny: -128,
        number: 42,
        unsigned: u32::MAX,
        float: 0.1,
        price: Decimal::new(1999, 2),
        moment: "2026-01-30T12:34:56.789012Z".parse().expect("a time"),
        day: "2024-02-29".parse().expect("a day"),
        hour: "23:59:59.999999".parse().expect("a time of day"),
        uuid: "0190b6c3-e5f3-7cc2-9d1e-2f6a4b8c0d1e".parse().expect("a UUID"),
        bytes: (0..=255).collect(),
        json: json!({ "z": 1, "a": [null, true, 1.5, "x", 9_007_199_254_740_993_i64], "": {} }),
        tags: vec!["one".into(), "two".into()],
        counts: BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]),
        mood: Mood::VeryLoud,
        no_text: None,
        no_truth: None,
        no_number: None,
        no_float: None,
        no_price: None,
        no_moment: None,
        no_day: None,
        no_hour: None,
        no_uuid: None,
        no_bytes: None,
        no_json: None,
        no_mood: None,
    }
}

async fn every_type_is_read_back_exactly(database: TestDatabase) {
    let db = open(&database, &[Everything::definition()]).await;
    let full = Everything {
        no_text: Some(String::new()),
        no_truth: Some(false),
        no_number: Some(0),
        no_float: Some(-1.25),
        no_price: Some(Decimal::new(-5, 1)),
        no_moment: Some("2000-01-01T00:00:00Z".parse().expect("a time")),
        no_day: Some("1999-12-31".parse().expect("a day")),
        no_hour: Some("00:00:00".parse().expect("a time of day")),
        no_uuid: Some(Uuid::nil()),
        no_bytes: Some(Vec::new()),
        no_json: Some(json!("a text that is JSON")),
        no_mood: Some(Mood::Calm),
        ..everything()
    };
    for given in [everything(), full] {
        let saved = db.save(given.clone()).await.expect("a save");
        let read = db.get::<Everything>(&saved.id).await.expect("a read").expect("it is there");
        assert_eq!(read.entity, given);
        let keys: Vec<&String> = read.json.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["z", "a", ""], "the keys keep their order");
        // The untyped reader sees the same.
        let row = db.get_entity("everythings", &saved.id).await.expect("a read").expect("it is there").to_json();
        assert_eq!(row["moment"], "2026-01-30T12:34:56.789012Z");
        assert_eq!((row["price"].as_str(), row["mood"].as_str()), (Some("19.99"), Some("very_loud")));
        assert_eq!(row["json"], given.json);
        assert_eq!(row["truth"], true);
    }
}

/// Promise: C13
async fn extreme_values_are_read_back_exactly(database: TestDatabase) {
    let db = open(&database, &[Everything::definition()]).await;
    let integers = [0, 1, -1, 1 << 31, -(1 << 31), (1 << 53) + 1, (1 << 53) - 1, -(1 << 53) - 1, i64::MAX, i64::MIN];
    let floats = [0.1, 1e308, 5e-324, -0.0, 1.0 / 3.0, f64::MAX, f64::MIN_POSITIVE, 1e15, 123_456_789.123_456_79];
    let moments = [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999999Z",
        "2038-01-19T03:14:08Z",
        "1582-10-10T00:00:00Z",
        "9999-12-30T21:59:59.999999Z",
    ];
    let days = ["0001-01-01", "1582-10-10", "9999-12-31"];
    for i in 0..integers.len() {
        let given = Everything {
            number: integers[i],
            float: floats[i % floats.len()],
            moment: moments[i % moments.len()].parse().expect("a time"),
            day: days[i % days.len()].parse().expect("a day"),
            ..everything()
        };
        let saved = db.save(given.clone()).await.expect("a save");
        let read = db.get::<Everything>(&saved.id).await.expect("a read").expect("it is there");
        assert_eq!(read.entity, given);
        // MariaDB has no zero below zero, so it is a plain zero everywhere.
        assert_eq!(read.float.to_bits(), (given.float + 0.0).to_bits(), "{} to the last bit", given.float);
        let found = db
            .count::<Everything>(
                "[id] = ? AND [number] = ? AND [moment] = ? AND [day] = ?",
                (&saved.id, given.number, given.moment, given.day),
            )
            .await;
        assert_eq!(found.expect("a count"), 1, "{given:?} is found by its values");
    }
}

async fn texts_of_all_kinds_are_read_back_exactly(database: TestDatabase) {
    let db = open(&database, &[Everything::definition()]).await;
    let long = "x".repeat(1 << 20);
    let edge = ["y".repeat((64 << 10) - 1), "z".repeat(64 << 10), "w".repeat((64 << 10) + 1)];
    let texts = [
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
        &long,
        &edge[0],
        &edge[1],
        &edge[2],
    ];
    for text in texts {
        let given = Everything { text: text.to_owned(), json: json!({ "t": text, text: 1 }), ..everything() };
        let saved = db.save(given.clone()).await.expect("a save");
        let read = db.get::<Everything>(&saved.id).await.expect("a read").expect("it is there");
        assert!(read.entity == given, "{:?} is read back", text.chars().take(20).collect::<String>());
        let found = db.count::<Everything>("[id] = ? AND [text] = ?", (&saved.id, text)).await.expect("a count");
        assert_eq!(found, 1, "{:?} is found", text.chars().take(20).collect::<String>());
        let version = db.get_version::<Everything>(&saved.id, 1).await.expect("a read").expect("it is there");
        assert_eq!(version.data["text"], text);
    }
}

async fn numbers_that_are_none_are_refused(database: TestDatabase) {
    let db = open(&database, &[Everything::definition()]).await;
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = db.save(Everything { float, ..everything() }).await.expect_err("no number");
        assert_eq!((error.http_status(), error.field_errors()[0].pointer.as_str()), (422, "/float"));
    }
    let error = db.save(Everything { json: json!({ "a": ["x\0y"] }), ..everything() }).await.expect_err("NUL");
    assert_eq!(error.field_errors()[0].pointer, "/json");
}

async fn ids_that_look_alike_stay_apart(database: TestDatabase) {
    let db = open(&database, &[Everything::definition()]).await;
    let ids = ["a", "A", "a ", " a", "é", "e\u{301}", "ß", "ss", "ｱ", "ア"];
    for id in ids {
        db.save(Everything { text: id.to_owned(), ..everything() }).id(id).await.expect("a save");
    }
    for id in ids {
        let read = db.get::<Everything>(id).await.expect("a read").expect("it is there");
        assert_eq!((read.id.as_str(), read.text.as_str(), read.version), (id, id, 1));
    }
}

#[derive(Debug, Clone, PartialEq, Entity)]
#[entity(table = "Order")]
struct Reserved {
    select: String,
    #[entity(index)]
    group: i64,
    r#where: bool,
    #[entity(unique)]
    a_name_of_fifty_four_bytes_as_long_as_any_may_be______: String,
}

async fn names_that_are_sql_words_are_names(database: TestDatabase) {
    let db = open(&database, &[Reserved::definition()]).await;
    let given = Reserved {
        select: "*".into(),
        group: 1,
        r#where: true,
        a_name_of_fifty_four_bytes_as_long_as_any_may_be______: "x".into(),
    };
    let saved = db.save(given.clone()).await.expect("a save");
    let found = db
        .find::<Reserved>("[select] = '*' AND [where] AND [group] = 1", ())
        .order_by("[group] DESC")
        .await
        .expect("a query");
    assert_eq!(found, [saved]);
    let error = db.save(given).await.expect_err("a duplicate");
    assert_eq!(error.error_code(), "duplicate");
}
