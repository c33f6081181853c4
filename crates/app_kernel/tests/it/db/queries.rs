//! Where clauses mean the same on every database.

use app_kernel::store::db::Db;
use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::value::Value;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Widget, open, widget, widgets};

on_every_database!(
    conditions_find_the_same_rows_everywhere,
    orders_are_the_same_everywhere,
    a_limit_holds,
    a_bad_clause_is_refused_in_words,
    raw_sql_speaks_the_same_values,
);

#[derive(Debug, Clone, PartialEq, Entity)]
struct Thing {
    name: String,
    size: Option<i64>,
    weight: Option<f64>,
    live: Option<bool>,
    seen_at: Option<app_kernel::base::clock::Timestamp>,
}

async fn things(database: &TestDatabase) -> Db {
    let db = open(database, &[Thing::definition()]).await;
    let rows = [
        ("apple", Some(1), Some(0.5), Some(true), Some("2026-01-01T00:00:00Z")),
        ("Apple", Some(2), None, Some(false), None),
        ("banana", None, Some(2.5), None, Some("2026-01-02T00:00:00Z")),
        ("50% off_now", Some(4), Some(-1.0), Some(true), None),
        ("back\\slash", Some(5), None, Some(false), Some("2026-01-03T00:00:00.000001Z")),
        ("ÉCLAIR é", Some(-6), None, None, None),
    ];
    for (name, size, weight, live, seen_at) in rows {
        let seen_at = seen_at.map(|time| time.parse().expect("a time"));
        db.save(Thing { name: name.into(), size, weight, live, seen_at }).await.expect("a save");
    }
    db
}

/// Promise: C3, C6, C8, R-26
async fn conditions_find_the_same_rows_everywhere(database: TestDatabase) {
    let db = things(&database).await;
    let none: &[Value] = &[];
    let cases: &[(&str, &[Value], &[&str])] = &[
        ("[name] = ?", &["apple".into()], &["apple"]),
        ("[name] = 'APPLE'", none, &[]),
        ("LOWER([name]) = 'apple'", none, &["apple", "Apple"]),
        ("LOWER([name]) = 'Éclair é'", none, &["ÉCLAIR é"]),
        ("UPPER([name]) = 'ÉCLAIR é'", none, &["ÉCLAIR é"]),
        ("LENGTH([name]) = 8", none, &["ÉCLAIR é"]),
        ("[name] LIKE 'a%'", none, &["apple"]),
        ("[name] LIKE ?", &["%PP%".into()], &[]),
        ("[name] LIKE '50\\% off\\_%'", none, &["50% off_now"]),
        ("[name] LIKE '50_ off_now'", none, &["50% off_now"]),
        ("[name] LIKE '%\\\\%'", none, &["back\\slash"]),
        ("[name] NOT LIKE '%a%'", none, &["Apple", "50% off_now", "ÉCLAIR é"]),
        ("[name] LIKE '_CLAIR _'", none, &["ÉCLAIR é"]),
        ("[size] = NULL OR [size] IS NULL", none, &[]),
        ("[size] IS NULL", none, &["banana"]),
        ("[size] IS NOT NULL AND [size] > 1", none, &["Apple", "50% off_now", "back\\slash"]),
        ("[size] != 1", none, &["Apple", "50% off_now", "back\\slash", "ÉCLAIR é"]),
        ("[size] <> ?", &[Value::Null], &[]),
        ("[size] IN (1, ?, 99)", &[4.into()], &["apple", "50% off_now"]),
        ("[size] IN ()", none, &[]),
        ("[size] NOT IN ()", none, &["apple", "Apple", "banana", "50% off_now", "back\\slash", "ÉCLAIR é"]),
        ("[size] NOT IN (1, 2)", none, &["50% off_now", "back\\slash", "ÉCLAIR é"]),
        ("[size] BETWEEN 1 AND 4", none, &["apple", "Apple", "50% off_now"]),
        ("[size] NOT BETWEEN ? AND ?", &[1.into(), 4.into()], &["back\\slash", "ÉCLAIR é"]),
        ("ABS([size]) = 6", none, &["ÉCLAIR é"]),
        ("COALESCE([size], 0) = 0", none, &["banana"]),
        ("[weight] > 0", none, &["apple", "banana"]),
        ("[weight] = 2.5", none, &["banana"]),
        ("[weight] < ?", &[0.25.into()], &["50% off_now"]),
        ("[live]", none, &["apple", "50% off_now"]),
        ("NOT [live]", none, &["Apple", "back\\slash"]),
        ("[live] = TRUE", none, &["apple", "50% off_now"]),
        ("[live] = ?", &[false.into()], &["Apple", "back\\slash"]),
        ("NOT ([live] OR [size] > 1)", none, &[]),
        ("[seen_at] > '2026-01-02T00:00:00Z'", none, &["back\\slash"]),
        ("[seen_at] >= ?", &["2026-01-02T01:00:00+01:00".into()], &["banana", "back\\slash"]),
        ("[created_at] > '2020-01-01T00:00:00Z' AND [version] = 1 AND [name] = 'apple'", none, &["apple"]),
        ("[name] = 'it''s' OR ([size] = 1 AND ([live] OR [size] IS NULL))", none, &["apple"]),
        ("", none, &["apple", "Apple", "banana", "50% off_now", "back\\slash", "ÉCLAIR é"]),
    ];
    for (clause, params, wanted) in cases {
        if *clause == "[size] = NULL OR [size] IS NULL" {
            let error = db.find::<Thing>(*clause, *params).await.expect_err("= NULL is never what was meant");
            assert_eq!(error.error_code(), "bad_where_clause");
            continue;
        }
        let found = db.find::<Thing>(*clause, *params).await.unwrap_or_else(|error| panic!("{clause}: {error:?}"));
        let names: Vec<&str> = found.iter().map(|thing| thing.name.as_str()).collect();
        assert_eq!(names, *wanted, "{clause} {params:?}");
        let count = db.count::<Thing>(*clause, *params).await.expect("a count");
        assert_eq!(count as usize, wanted.len(), "{clause}");
    }
}

/// Promise: C6, C13
async fn orders_are_the_same_everywhere(database: TestDatabase) {
    let db = things(&database).await;
    let cases: &[(&str, &[&str])] = &[
        ("[name]", &["50% off_now", "Apple", "apple", "back\\slash", "banana", "ÉCLAIR é"]),
        ("[size] ASC", &["banana", "ÉCLAIR é", "apple", "Apple", "50% off_now", "back\\slash"]),
        ("[size] DESC", &["back\\slash", "50% off_now", "Apple", "apple", "ÉCLAIR é", "banana"]),
        ("[size] ASC NULLS LAST", &["ÉCLAIR é", "apple", "Apple", "50% off_now", "back\\slash", "banana"]),
        ("[size] DESC NULLS FIRST", &["banana", "back\\slash", "50% off_now", "Apple", "apple", "ÉCLAIR é"]),
        (
            "[live] DESC, [weight] ASC NULLS LAST, [name]",
            &["50% off_now", "apple", "Apple", "back\\slash", "banana", "ÉCLAIR é"],
        ),
    ];
    for (order, wanted) in cases {
        let found =
            db.find::<Thing>("", ()).order_by(*order).await.unwrap_or_else(|error| panic!("{order}: {error:?}"));
        let names: Vec<&str> = found.iter().map(|thing| thing.name.as_str()).collect();
        assert_eq!(names, *wanted, "{order}");
    }
}

/// Promise: C6
async fn a_limit_holds(database: TestDatabase) {
    let db = widgets(&database).await;
    db.save_many((0..120).map(|i| widget(&format!("w{i:03}")))).await.expect("saves");
    assert_eq!(db.find::<Widget>("", ()).await.expect("a query").len(), 100, "where no limit is said");
    let names = |found: Vec<app_kernel::store::db::row::Saved<Widget>>| {
        found.iter().map(|w| w.name.clone()).collect::<Vec<_>>()
    };
    let found = db.find::<Widget>("", ()).order_by("[name]").limit(2).offset(3).await.expect("a query");
    assert_eq!(names(found), ["w003", "w004"]);
    assert_eq!(db.find::<Widget>("", ()).limit(0).await.expect("a query"), []);
    let error = db.find::<Widget>("", ()).limit(10_001).await.expect_err("too many");
    assert_eq!((error.http_status(), error.error_code()), (400, "bad_limit"));
    let first = db.find::<Widget>("", ()).order_by("[name] DESC").first().await.expect("a query").expect("a row");
    assert_eq!(first.name, "w119");
}

/// Promise: R-26
async fn a_bad_clause_is_refused_in_words(database: TestDatabase) {
    let db = widgets(&database).await;
    let bad: &[(&str, &[Value])] = &[
        ("[colour] = 'red'", &[]),
        ("[name] = ?", &[]),
        ("[name] = 'a'", &["b".into()]),
        ("[name] = 'a'; DROP TABLE widgets", &[]),
        ("[name] = 'a' -- and so on", &[]),
        ("[id] IN (SELECT id FROM widgets)", &[]),
        ("[name] = 'a' UNION SELECT 1", &[]),
        ("[size] = 'many'", &[]),
        ("[size] = ?", &["many".into()]),
        ("name = 'a'", &[]),
        ("(", &[]),
    ];
    for (clause, params) in bad {
        let error = db.find::<Widget>(*clause, *params).await.err().unwrap_or_else(|| panic!("{clause} was taken"));
        assert_eq!((error.http_status(), error.error_code()), (400, "bad_where_clause"), "{clause}");
        let error = db.count::<Widget>(*clause, *params).await.err().unwrap_or_else(|| panic!("{clause} was taken"));
        assert_eq!(error.error_code(), "bad_where_clause");
    }
    for order in ["[colour]", "name", "[name] UP", "[name]; DROP TABLE widgets", "[name],", "[name], [name]"] {
        let error =
            db.find::<Widget>("", ()).order_by(order).await.err().unwrap_or_else(|| panic!("{order} was taken"));
        assert_eq!((error.http_status(), error.error_code()), (400, "bad_order_by"), "{order}");
    }
}

async fn raw_sql_speaks_the_same_values(database: TestDatabase) {
    let db = widgets(&database).await;
    db.save_many(["a", "b", "c"].map(widget)).await.expect("saves");
    let touched = db
        .execute("UPDATE [widgets] SET [color] = ? WHERE [name] IN (?, ?)", ("green", "a", "b"))
        .await
        .expect("an update");
    assert_eq!(touched, 2);
    // Rows that match count as touched, whether or not they change: on every database.
    assert_eq!(
        db.execute("UPDATE [widgets] SET [color] = ? WHERE [name] = ?", ("green", "a")).await.expect("an update"),
        1
    );
    let rows = db
        .query(
            "SELECT [color] AS [c], COUNT(*) AS [n] FROM [widgets] WHERE [size] >= ? GROUP BY [color] ORDER BY [color]",
            [3],
        )
        .await
        .expect("a query");
    let counts: Vec<(&str, i64)> =
        rows.iter().map(|row| (row["c"].as_str().expect("a text"), row["n"].as_int().expect("a number"))).collect();
    assert_eq!(counts, [("green", 2), ("red", 1)]);
    let error = db.query("SELECT * FROM [nowhere]", ()).await.expect_err("no such table");
    assert_eq!(error.http_status(), 500);
    assert!(!error.to_string().contains("nowhere"), "what the database says stays inside");
}
