//! What a start looks at before it does anything.

use app_kernel::store::db::entity::{ColumnDef, EntityDef};
use app_kernel::store::db::value::ColumnType;
use app_kernel::store::db::{Backend, Db, DbOptions, Options};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{assert_settled, column, drops, entity, migrated, open, rows};

on_every_database!(
    a_database_without_a_register_is_taken_as_it_is,
    a_table_that_was_undeclared_keeps_what_it_has_when_it_is_declared,
    a_look_asks_as_little_of_many_tables_as_of_few,
);

fn notes() -> EntityDef {
    let state = ColumnDef {
        default: Some("new".into()),
        check: Some("[state] <> 'x'".into()),
        index: true,
        ..column("state", ColumnType::Text)
    };
    entity("notes", vec![state, column("price", ColumnType::Decimal)])
}

/// As an older version of the kernel left it.
async fn a_database_without_a_register_is_taken_as_it_is(database: TestDatabase) {
    let db = migrated(&database, &[notes(), EntityDef::new("others")]).await;
    db.save_entity("notes", json!({ "price": "1.5" })).await.expect("a save");
    db.execute("DROP TABLE [kernel_declared]", ()).await.expect("it goes");
    db.close().await;
    let db = open(&database, &[notes()], drops()).await;
    let statements = db.migrate().await.expect("a migration").statements;
    assert!(statements.iter().all(|sql| sql.contains("kernel_declared")), "{statements:?}");
    assert_settled(&db).await;
    assert_eq!(rows(&db, "notes").await.len(), 1);
    db.query("SELECT [id] FROM [others]", ()).await.expect("nobody knows whose it is, so it stays");
    db.close().await;
}

/// Promise: D3
async fn a_table_that_was_undeclared_keeps_what_it_has_when_it_is_declared(database: TestDatabase) {
    let db = migrated(&database, &[]).await;
    let row = db.save_entity("notes", json!({ "state": "old", "extra": [1], "size": 3 })).await.expect("a save");
    db.close().await;
    let state = ColumnDef { index: true, nullable: true, ..column("state", ColumnType::Text) };
    let size = ColumnDef { nullable: true, ..column("size", ColumnType::Float) };
    let declared = [entity("notes", vec![state, size])];
    let db = open(&database, &declared, drops()).await;
    db.migrate().await.expect("a migration");
    assert_settled(&db).await;
    let now = rows(&db, "notes").await;
    assert_eq!((&now[row.id()]["state"], &now[row.id()]["size"]), (&json!("old"), &json!(3.0)));
    assert_eq!(db.query("SELECT [notes].[extra] FROM [notes]", ()).await.expect("it is not ours to drop").len(), 1);
    db.close().await;
}

async fn a_look_asks_as_little_of_many_tables_as_of_few(database: TestDatabase) {
    let mut asked = Vec::new();
    for count in [2, 50] {
        let entities: Vec<EntityDef> =
            (0..count).map(|i| EntityDef { table: format!("notes{i}").into(), ..notes() }).collect();
        migrated(&database, &entities).await.close().await;
        let driver = Options { pool_size: Some(1), ..Options::default() };
        let all: Vec<&EntityDef> = entities.iter().collect();
        let db = Db::open(database.url(), &all, DbOptions { driver, ..DbOptions::default() }).await.expect("it opens");
        db.migrate().await.expect("nothing to do");
        let before = statements_so_far(&db).await;
        let looks = std::time::Instant::now();
        db.migrate().await.expect("nothing to do");
        println!("{count} entities: a look takes {:?}", looks.elapsed());
        asked.push(statements_so_far(&db).await - before);
        db.close().await;
    }
    assert_eq!(asked[0], asked[1], "the same however many tables there are");
    assert!(database.backend() != Backend::MySql || (1..=12).contains(&asked[0]), "{asked:?}");
}

/// Only MySQL counts the statements of a session.
async fn statements_so_far(db: &Db) -> i64 {
    if db.backend() != Backend::MySql {
        return 0;
    }
    let rows = db.query("SHOW SESSION STATUS LIKE 'Questions'", ()).await.expect("a count");
    let value = rows[0].iter().nth(1).and_then(|(_, value)| value.as_str()).expect("a text").to_owned();
    value.parse().expect("a number")
}
