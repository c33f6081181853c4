//! Forty pairs of schemas, written down. Data is never dropped without the flag; what can't be done is refused before anything ran.

use app_kernel::store::db::entity::{ColumnDef, EntityDef, ForeignKey, IndexDef};
use app_kernel::store::db::value::{ColumnType, Value};
use app_kernel::store::db::{MigrationOptions, Severity};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::{Value as Json, json};

use super::{assert_settled, column, drops, entity, migrated, open, rows};
use ColumnType::{Bool, Bytes, Date, Decimal, Float, Int, Json as JsonType, Text, Time, Timestamp, Uuid};

on_every_database!(
    forty_pairs_are_applied_or_refused_and_lose_nothing,
    everything_that_is_in_the_way_is_told_at_once,
    flags_drop_what_left_the_code_and_say_how_much,
);

enum Outcome {
    /// With the value that `x` has then in the one row.
    Becomes(Json),
    /// With what the error says.
    Refused(&'static str),
}
use Outcome::{Becomes, Refused};

struct Pair(&'static str, ColumnDef, &'static [&'static str], ColumnDef, Outcome);

fn x(ty: ColumnType) -> ColumnDef {
    column("x", ty)
}

fn nullable(ty: ColumnType) -> ColumnDef {
    ColumnDef { nullable: true, ..x(ty) }
}

fn with_default(ty: ColumnType, default: impl Into<Value>) -> ColumnDef {
    ColumnDef { default: Some(default.into()), ..x(ty) }
}

/// A name, `x` before, its values (as JSON; the last one is looked at), `x` after, and what comes of it.
fn pairs() -> Vec<Pair> {
    let unique = || ColumnDef { unique: true, ..x(Text) };
    let index = || ColumnDef { index: true, ..x(Text) };
    let check = |check: &'static str| ColumnDef { check: Some(check.into()), ..x(Int) };
    let key = || {
        let target = ForeignKey { table: "targets".into(), column: "id".into() };
        ColumnDef { foreign_key: Some(target), ..nullable(Text) }
    };
    let renamed = |ty| ColumnDef { renamed_from: Some("x".into()), ..column("y", ty) };
    let other = |ty| column("other", ty);
    let no_way = "no way leads to";
    let unfit = "can't become";
    vec![
        Pair("int to text", x(Int), &["7"], x(Text), Becomes(json!("7"))),
        Pair("int to decimal", x(Int), &["-9223372036854775808"], x(Decimal), Becomes(json!("-9223372036854775808"))),
        Pair("int to float", x(Int), &["7"], x(Float), Becomes(json!(7.0))),
        Pair("int to float, inexact", x(Int), &["9007199254740993"], x(Float), Refused(unfit)),
        Pair("int to bool", x(Int), &["0", "1"], x(Bool), Becomes(json!(true))),
        Pair("int to bool, two", x(Int), &["0", "2"], x(Bool), Refused(unfit)),
        Pair("int to time", x(Int), &["0"], x(Timestamp), Refused(no_way)),
        Pair("text to int", x(Text), &["\"-1\"", "\"9223372036854775807\""], x(Int), Becomes(json!(i64::MAX))),
        Pair("text to int, too large", x(Text), &["\"9223372036854775808\""], x(Int), Refused(unfit)),
        Pair("text to int, leading zero", x(Text), &["\"007\""], x(Int), Refused(unfit)),
        Pair(
            "text to int, words",
            x(Text),
            &["\"1\"", "\"seven\""],
            x(Int),
            Refused("has rows (1) whose `x` can't become"),
        ),
        Pair("text to decimal", x(Text), &["\"-0.5\""], x(Decimal), Becomes(json!("-0.5"))),
        Pair("text to decimal, not the one form", x(Text), &["\"1.50\""], x(Decimal), Refused(unfit)),
        Pair("text to bool", x(Text), &["\"false\"", "\"true\""], x(Bool), Becomes(json!(true))),
        Pair("text to bool, yes", x(Text), &["\"yes\""], x(Bool), Refused(unfit)),
        Pair(
            "text to uuid",
            x(Text),
            &["\"01a20670-2a7f-7725-8105-0fbe584aaf00\""],
            x(Uuid),
            Becomes(json!("01a20670-2a7f-7725-8105-0fbe584aaf00")),
        ),
        Pair("text to uuid, capitals", x(Text), &["\"01A20670-2A7F-7725-8105-0FBE584AAF00\""], x(Uuid), Refused(unfit)),
        Pair("text to bytes", x(Text), &["\"a\""], x(Bytes), Refused(no_way)),
        Pair("text to json", x(Text), &["\"a\""], x(JsonType), Refused(no_way)),
        Pair("bool to text", x(Bool), &["true", "false"], x(Text), Becomes(json!("false"))),
        Pair("bool to int", x(Bool), &["true"], x(Int), Becomes(json!(1))),
        Pair("float to int", x(Float), &["-3.0"], x(Int), Becomes(json!(-3))),
        Pair("float to int, a half", x(Float), &["0.5"], x(Int), Refused(unfit)),
        Pair("float to text", x(Float), &["0.5"], x(Text), Refused(no_way)),
        Pair(
            "time to text",
            x(Timestamp),
            &["\"1969-12-31T23:59:59.999999Z\""],
            x(Text),
            Becomes(json!("1969-12-31T23:59:59.999999Z")),
        ),
        Pair(
            "day to moment",
            x(Date),
            &["\"0001-01-01\""],
            x(Timestamp),
            Becomes(json!("0001-01-01T00:00:00.000000Z")),
        ),
        Pair("moment to day", x(Timestamp), &["\"2026-01-30T00:00:01Z\""], x(Date), Refused(no_way)),
        Pair("time of day to text", x(Time), &["\"12:30\""], x(Text), Becomes(json!("12:30:00.000000"))),
        Pair("json to text", x(JsonType), &["[1,null]"], x(Text), Becomes(json!("[1,null]"))),
        Pair("any to any over nulls", nullable(Bytes), &["null"], nullable(Int), Becomes(json!(null))),
        Pair(
            "required over nulls",
            nullable(Text),
            &["\"a\"", "null"],
            x(Text),
            Refused("has rows (1) without `x`, which is required now"),
        ),
        Pair(
            "required over nulls with a default",
            nullable(Int),
            &["1", "null"],
            with_default(Int, 5),
            Becomes(json!(5)),
        ),
        Pair("optional", x(Text), &["\"a\""], nullable(Text), Becomes(json!("a"))),
        Pair("another default", with_default(Text, "a"), &["\"b\""], with_default(Text, "c"), Becomes(json!("b"))),
        Pair(
            "unique over duplicates",
            x(Text),
            &["\"a\"", "\"a\""],
            unique(),
            Refused("that stand on several rows (1)"),
        ),
        Pair("unique to an index", unique(), &["\"a\""], index(), Becomes(json!("a"))),
        Pair(
            "a rule that rows break",
            check("[x] > 0"),
            &["1"],
            check("[x] > 1"),
            Refused("has rows (1) that break the rule [x] > 1"),
        ),
        Pair("another rule", check("[x] > 0"), &["1"], check("[x] > -1"), Becomes(json!(1))),
        Pair(
            "a foreign key over orphans",
            nullable(Text),
            &["\"nobody\""],
            key(),
            Refused("refers to no row of `targets`"),
        ),
        Pair("a foreign key that is gone", key(), &["null"], nullable(Text), Becomes(json!(null))),
        Pair("another name and type", x(Int), &["7"], renamed(Text), Becomes(json!("7"))),
        Pair(
            "another column in its place",
            x(Int),
            &["7"],
            other(Text),
            Refused("no value for the new column `other`"),
        ),
    ]
}

/// Promise: D2, R-13
async fn forty_pairs_are_applied_or_refused_and_lose_nothing(database: TestDatabase) {
    let pairs = pairs();
    assert!(pairs.len() >= 40, "{}", pairs.len());
    let all: Vec<EntityDef> = pairs.iter().enumerate().map(|(i, pair)| table(i, pair.1.clone())).collect();
    let db = migrated(&database, &with_targets(&all)).await;
    let (mut ids, mut held) = (Vec::new(), Vec::new());
    for (i, Pair(name, _, values, ..)) in pairs.iter().enumerate() {
        let mut id = String::new();
        for value in *values {
            let value: Json = serde_json::from_str(value).expect("JSON");
            let saved = db.save_entity(&*all[i].table, json!({ "x": value })).await;
            id = saved.unwrap_or_else(|error| panic!("{name}: {error:?}")).id().to_owned();
        }
        ids.push(id);
        held.push(rows(&db, &all[i].table).await);
    }
    db.close().await;

    let (mut applied, mut stayed) = (Vec::new(), Vec::new());
    for (i, Pair(name, _, _, after, outcome)) in pairs.into_iter().enumerate() {
        match outcome {
            Becomes(value) => applied.push((i, name, table(i, after), value)),
            Refused(reason) => {
                let db = open(&database, &with_targets(&[table(i, after)]), MigrationOptions::default()).await;
                let migrated = db.migrate().await.map(|migration| panic!("{name}: {migration:#?}"));
                let error = migrated.expect_err("it is refused");
                assert!(error.message().contains(reason), "{name}: {error}");
                db.close().await;
                stayed.push(i);
            }
        }
    }
    let after: Vec<EntityDef> = applied.iter().map(|(_, _, after, _)| after.clone()).collect();
    let db = migrated(&database, &with_targets(&after)).await;
    for (i, name, after, value) in applied {
        let column = after.columns[0].name.to_string();
        assert_eq!(rows(&db, &after.table).await[&ids[i]][&column], value, "{name}");
    }
    db.close().await;
    let before: Vec<EntityDef> = stayed.iter().map(|i| all[*i].clone()).collect();
    let db = open(&database, &with_targets(&before), MigrationOptions::default()).await;
    assert_settled(&db).await;
    for i in stayed {
        assert_eq!(rows(&db, &all[i].table).await, held[i], "a refusal changes nothing");
    }
    db.close().await;
}

fn table(i: usize, column: ColumnDef) -> EntityDef {
    entity(&format!("pair{i}"), vec![column])
}

fn with_targets(entities: &[EntityDef]) -> Vec<EntityDef> {
    [&[EntityDef::new("targets")], entities].concat()
}

/// Promise: R-13
async fn everything_that_is_in_the_way_is_told_at_once(database: TestDatabase) {
    let db = migrated(&database, &[entity("notes", vec![x(Text), column("size", Int)])]).await;
    for size in [1, 2] {
        db.save_entity("notes", json!({ "x": "same", "size": size })).await.expect("a save");
    }
    db.close().await;
    let size = ColumnDef { check: Some("[size] > 1".into()), ..column("size", Int) };
    let unique = IndexDef { columns: vec!["x".into()], unique: true };
    let after = EntityDef { indexes: vec![unique], ..entity("notes", vec![x(Text), size, column("owner", Text)]) };
    let db = open(&database, &[after], MigrationOptions::default()).await;
    let plan = db.plan_migration().await.expect("a plan");
    let told: Vec<String> = plan.findings.iter().map(ToString::to_string).collect();
    let wanted = [
        "`notes` has rows (2), and they have no value for the new column `owner`; \
         give it a default by #[entity(default = ..)], or make it an Option",
        "`notes` has rows (1) that break the rule [size] > 1; change those rows first, or take the rule away",
        "`notes` has values of `x` that stand on several rows (1), so it can't be unique; \
         change those rows first, or take `unique` away",
    ];
    assert_eq!(told, wanted);
    assert!(plan.findings.iter().all(|finding| finding.severity == Severity::Refused && finding.table == "notes"));
    assert_eq!(db.migrate().await.expect_err("it is refused").message(), wanted.join(". Also: "));
}

/// Promise: D3
async fn flags_drop_what_left_the_code_and_say_how_much(database: TestDatabase) {
    let key = ForeignKey { table: "people".into(), column: "id".into() };
    let owner = ColumnDef { foreign_key: Some(key), nullable: true, ..column("owner", Text) };
    let before = [
        entity("people", vec![column("name", Text)]),
        entity(
            "notes",
            vec![ColumnDef { unique: true, ..x(Text) }, ColumnDef { index: true, ..column("old", Int) }, owner],
        ),
    ];
    let db = migrated(&database, &before).await;
    db.save_entity("thoughts", json!({ "text": "undeclared" })).await.expect("a save");
    let ann = db.save_entity("people", json!({ "name": "ann" })).await.expect("a save");
    let note = db.save_entity("notes", json!({ "x": "a", "old": 7, "owner": ann.id() })).await.expect("a save");
    db.close().await;

    let after = [entity("notes", vec![ColumnDef { unique: true, ..x(Text) }])];
    let db = open(&database, &after, MigrationOptions::default()).await;
    let migration = db.migrate().await.expect("a migration");
    let told: Vec<String> = migration.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "`notes.old` is in the database and not in the code; it stays; ALLOW_COLUMN_DELETION=true drops it",
            "`notes.owner` is in the database and not in the code; it stays; ALLOW_COLUMN_DELETION=true drops it",
            "`people` is in the database and not in the code; it stays; ALLOW_TABLE_DELETION=true drops it",
        ]
    );
    db.save_entity("notes", json!({ "x": "b" })).await.expect("nothing is in the way of new rows");
    assert_eq!(db.query("SELECT [old] FROM [notes] WHERE [old] = 7", ()).await.expect("a query").len(), 1);
    assert_settled(&db).await;
    db.close().await;

    let db = open(&database, &after, drops()).await;
    let migration = db.migrate().await.expect("a migration");
    let told: Vec<String> = migration.findings.iter().map(ToString::to_string).collect();
    let wanted = [
        "`notes.old` is dropped, with its values in 1 rows",
        "`notes.owner` is dropped, with its values in 1 rows",
        "`people` is dropped, with its 1 rows",
        "`people_history` is dropped, with its 1 rows",
    ];
    assert_eq!(told, wanted);
    assert_settled(&db).await;
    db.query("SELECT [notes].[old] FROM [notes]", ()).await.expect_err("it is gone");
    db.query("SELECT * FROM [people]", ()).await.expect_err("it is gone");
    let mut left = rows(&db, "notes").await;
    assert_eq!((left.len(), left.remove(note.id()).expect("it is there")["x"].clone()), (2, json!("a")));
    let twin = db.save_entity("notes", json!({ "x": "a" })).await.expect_err("still unique");
    assert_eq!(twin.error_code(), "duplicate");
    assert_eq!(rows(&db, "thoughts").await.len(), 1, "what was never declared is never dropped");
    db.close().await;
}
