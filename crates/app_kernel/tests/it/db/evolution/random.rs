//! Random schemas that become others and go back: a plan is applied whole or refused whole, planning again gives nothing, and what a
//! column held is still there, in its new type.

use app_kernel::base::clock::Timestamp;
use app_kernel::store::db::entity::{ColumnDef, EntityDef, ForeignKey, IndexDef};
use app_kernel::store::db::value::{ColumnType, Value};
use app_kernel::store::db::{Db, MigrationOptions};
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::{Map, Value as Json, json};

use super::{Rows, assert_settled, column, drops, entity, migrated, open, rows};
use crate::support::{Dice, scale, seed};

on_every_database!(random_schemas_become_each_other_and_go_back);

const PAIRS: usize = 6;
const ROWS: usize = 4;
/// Promise: D2, R-13
async fn random_schemas_become_each_other_and_go_back(database: TestDatabase) {
    let seed = seed();
    let (mut applied, mut refused, mut back) = (0, 0, 0);
    for pair in 0..scale(PAIRS) {
        let mut world = World { dice: Dice::new(seed.wrapping_add(pair as u64 * 7919)), pair, counter: 0 };
        println!("pair {pair}, seed {seed}");
        let before = world.schema();
        let db = migrated(&database, &before).await;
        for entity in &before {
            world.fill(&db, entity, ROWS).await;
        }
        let held = snapshot(&db, &before).await;
        db.close().await;

        let after = world.changed(&before);
        if !become_other(&database, &before, &after, &held).await {
            refused += 1;
            clear(&database).await;
            continue;
        }
        applied += 1;
        let db = open(&database, &after, MigrationOptions::default()).await;
        for entity in &after {
            world.fill(&db, entity, 1).await;
        }
        let with_new = snapshot(&db, &after).await;
        db.close().await;
        let again = going_back(&before, &after);
        back += usize::from(become_other(&database, &after, &again, &with_new).await);
        clear(&database).await;
    }
    println!("R-13 held: {applied} applied, {refused} refused, {back} went back, seed {seed}");
    assert!(applied > 0, "all {refused} pairs were refused");
}

/// Drops all tables, as two flags allow.
async fn clear(database: &TestDatabase) {
    let db = open(database, &[], drops()).await;
    db.migrate().await.expect("all tables are dropped");
    assert_settled(&db).await;
    db.close().await;
}

/// Migrates, and answers whether that was done; where it was refused, nothing has changed.
async fn become_other(database: &TestDatabase, before: &[EntityDef], after: &[EntityDef], held: &[Rows]) -> bool {
    let db = open(database, after, MigrationOptions::default()).await;
    let plan = db.plan_migration().await.expect("a plan");
    let outcome = db.migrate().await;
    if plan.is_refused() {
        let error = outcome.expect_err("it is refused");
        assert_eq!(error.error_code(), "migration_refused", "{error}");
        db.close().await;
        let db = open(database, before, MigrationOptions::default()).await;
        assert_settled(&db).await;
        assert_eq!(snapshot(&db, before).await, held, "a refusal changes nothing");
        db.close().await;
        return false;
    }
    let migration = outcome.unwrap_or_else(|error| panic!("{error:?}: {:#?}", plan.statements));
    assert_eq!(migration.statements, plan.statements);
    assert_settled(&db).await;
    let now = snapshot(&db, after).await;
    for (entity, (rows, expected)) in after.iter().zip(now.iter().zip(changes(before, after, held))) {
        for (id, column, value) in expected {
            assert_eq!(rows[&id][&column], value, "{}.{column}: {:#?}", entity.table, migration.statements);
        }
    }
    db.close().await;
    true
}

async fn snapshot(db: &Db, entities: &[EntityDef]) -> Vec<Rows> {
    let mut all = Vec::new();
    for entity in entities {
        all.push(rows(db, &entity.table).await);
    }
    all
}

/// What each row must hold afterwards: id, column, value.
fn changes(before: &[EntityDef], after: &[EntityDef], held: &[Rows]) -> Vec<Vec<(String, String, Json)>> {
    let of_entity = |after: &EntityDef| {
        let old =
            before.iter().position(|old| old.table == after.table || Some(&old.table) == after.renamed_from.as_ref());
        let Some((old, rows)) = old.map(|i| (&before[i], &held[i])) else { return Vec::new() };
        let mut expected = Vec::new();
        for new in &after.columns {
            let was =
                old.columns.iter().find(|was| was.name == new.name || Some(&was.name) == new.renamed_from.as_ref());
            for (id, row) in rows {
                let value = match was {
                    Some(was) => converted(&row[&*was.name], was, new),
                    None => continue,
                };
                expected.push((id.clone(), new.name.to_string(), value));
            }
        }
        expected
    };
    after.iter().map(of_entity).collect()
}

/// What a value becomes: told in Rust, where the planner tells it in SQL.
fn converted(value: &Json, old: &ColumnDef, new: &ColumnDef) -> Json {
    use ColumnType::{Bool, Date, Decimal, Float, Int, Json as JsonType, Text, Time, Timestamp as Moment, Uuid};
    let text = || value.as_str().unwrap_or_default().to_owned();
    match (old.ty, new.ty) {
        _ if value.is_null() => match &new.default {
            Some(default) if !new.nullable => json!(default),
            _ => Json::Null,
        },
        (old, new) if old == new => value.clone(),
        (Uuid | Decimal | Moment | Date, Text) | (Text, Uuid | Decimal) => value.clone(),
        (Int | Bool, Text) | (Int, Decimal) => json!(value.to_string()),
        (Text | Decimal, Int) => json!(text().parse::<i64>().expect("a number")),
        (Text, Bool) => json!(text() == "true"),
        (Bool, Int) => json!(i64::from(value == &json!(true))),
        (Int, Bool) => json!(value == &json!(1)),
        (Int, Float) => json!(value.as_i64().expect("a number") as f64),
        (Float, Int) => json!(value.as_f64().expect("a number") as i64),
        (Time, Text) => {
            let time: jiff::civil::Time = text().parse().expect("a time");
            json!(format!("{time:.6}"))
        }
        (Date, Moment) => json!(format!("{}T00:00:00.000000Z", text())),
        (JsonType, Text) => json!(value.to_string()),
        (old, new) => panic!("no way leads from {old:?} to {new:?}, and {value} went"),
    }
}

/// The first schema again, with the names it has to come back from.
fn going_back(before: &[EntityDef], after: &[EntityDef]) -> Vec<EntityDef> {
    let back = |old: &EntityDef| {
        let mut again = old.clone();
        let Some(new) =
            after.iter().find(|new| new.table == old.table || new.renamed_from.as_ref() == Some(&old.table))
        else {
            return again;
        };
        again.renamed_from = Some(new.table.clone()).filter(|name| *name != old.table);
        for column in &mut again.columns {
            let now = new.columns.iter().find(|new| new.renamed_from.as_ref() == Some(&column.name));
            column.renamed_from = now.map(|now| now.name.clone());
        }
        again
    };
    before.iter().map(back).collect()
}

struct World {
    dice: Dice,
    pair: usize,
    /// So that values differ where they must.
    counter: usize,
}

impl World {
    fn schema(&mut self) -> Vec<EntityDef> {
        let alpha = self.entity("alpha", None);
        let beta = self.entity("beta", Some(&alpha.table));
        vec![alpha, beta]
    }

    fn entity(&mut self, name: &str, target: Option<&str>) -> EntityDef {
        let columns = (0..2 + self.dice.below(4)).map(|i| self.column(&format!("c{i}"), target)).collect();
        let mut entity = entity(&format!("{name}{}", self.pair), columns);
        let plain: Vec<_> =
            entity.columns.iter().filter(|column| is_ordered(column.ty)).map(|c| c.name.clone()).collect();
        if plain.len() > 1 && self.chance(30) {
            entity.indexes.push(IndexDef { columns: plain[..2].to_vec(), unique: false });
        }
        entity
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.dice.below(100) < percent
    }

    fn column(&mut self, name: &str, target: Option<&str>) -> ColumnDef {
        let ty = *self.dice.one_of(&ColumnType::ALL);
        let mut column = ColumnDef { nullable: self.chance(50), ..column(name, ty) };
        if self.chance(40) {
            column.default = Some(self.default(ty));
        }
        self.decorate(&mut column);
        if let Some(target) = target.filter(|_| self.chance(25)) {
            let key = ForeignKey { table: target.to_owned().into(), column: "id".into() };
            column = ColumnDef { foreign_key: Some(key), nullable: true, ..super::column(name, ColumnType::Text) };
        }
        column
    }

    /// An index, uniqueness or a rule, where the type can have one.
    fn decorate(&mut self, column: &mut ColumnDef) {
        column.index = is_ordered(column.ty) && self.chance(25);
        column.unique =
            is_ordered(column.ty) && column.ty != ColumnType::Bool && column.default.is_none() && self.chance(15);
        column.check = None;
        if self.chance(25) {
            column.check = match column.ty {
                ColumnType::Int => Some(format!("[{}] <> 13", column.name).into()),
                ColumnType::Text => Some(format!("[{}] NOT IN ('', 'x''y', '(')", column.name).into()),
                _ => None,
            };
        }
    }

    fn default(&mut self, ty: ColumnType) -> Value {
        let at: Timestamp = "2026-01-30T12:34:56.789012Z".parse().expect("a time");
        match ty {
            ColumnType::Text => Value::from(*self.dice.one_of(&["none", "it's \"new\" \\ 新", "12", "CHECK (1)"])),
            ColumnType::Bool => Value::Bool(self.chance(50)),
            ColumnType::Int => Value::Int(*self.dice.one_of(&[0, 1, -7, i64::MAX, i64::MIN])),
            ColumnType::Float => Value::Float(*self.dice.one_of(&[0.5, -3.0, 1e300, 0.1])),
            ColumnType::Decimal => Value::from(*self.dice.one_of(&["12.5", "-3"])),
            ColumnType::Timestamp => Value::Timestamp(at),
            ColumnType::Date => Value::Date("2026-01-30".parse().expect("a day")),
            ColumnType::Time => Value::Time("12:34:56.5".parse().expect("a time")),
            ColumnType::Uuid => Value::from("01a20670-2a7f-7725-8105-0fbe584aaf00"),
            ColumnType::Bytes => Value::Bytes(vec![0, 255, 39]),
            ColumnType::Json => Value::Json(Box::new(json!({ "a": [1, null, "it's"] }))),
        }
    }

    /// One to four changes.
    fn changed(&mut self, before: &[EntityDef]) -> Vec<EntityDef> {
        let mut after = before.to_vec();
        for _ in 0..1 + self.dice.below(4) {
            let i = self.dice.below(after.len());
            let (head, tail) = after.split_at_mut(i);
            let target = head.first().map(|alpha| alpha.table.to_string());
            self.change(&mut tail[0], before, target.as_deref());
        }
        let (alpha, beta) = (after[0].table.clone(), &mut after[1]);
        for column in &mut beta.columns {
            if let Some(key) = &mut column.foreign_key {
                key.table = alpha.clone();
            }
        }
        after
    }

    fn change(&mut self, entity: &mut EntityDef, before: &[EntityDef], target: Option<&str>) {
        let is_old = before.iter().any(|old| old.table == entity.table);
        let i = self.dice.below(entity.columns.len());
        let was =
            before.iter().find(|old| old.table == entity.table || Some(&old.table) == entity.renamed_from.as_ref());
        let is_old_column =
            was.is_some_and(|was| was.columns.iter().any(|column| column.name == entity.columns[i].name));
        match self.dice.below(10) {
            0 if is_old => {
                entity.renamed_from = Some(entity.table.clone());
                entity.table = format!("{}_renamed", entity.table).into();
            }
            1 if is_old_column => {
                let column = &mut entity.columns[i];
                let (old, new) = (column.name.clone(), format!("{}_renamed", column.name));
                column.check = column.check.as_ref().map(|check| check.replace(&*old, &new).into());
                (column.renamed_from, column.name) = (Some(old.clone()), new.clone().into());
                for index in &mut entity.indexes {
                    index.columns.iter_mut().filter(|name| **name == old).for_each(|name| *name = new.clone().into());
                }
            }
            2 => {
                let name = format!("n{}", self.count());
                let new = self.column(&name, target);
                entity.columns.push(new);
            }
            3 if entity.columns.len() > 1 => {
                let gone = entity.columns.remove(i);
                entity.indexes.retain(|index| !index.columns.contains(&gone.name));
            }
            4 | 5 => {
                let ty = *self.dice.one_of(&ColumnType::ALL);
                let column = &mut entity.columns[i];
                (column.ty, column.foreign_key) = (ty, None);
                column.default = column.default.is_some().then(|| self.default(ty));
                let name = column.name.clone();
                self.decorate(&mut entity.columns[i]);
                entity.indexes.retain(|index| is_ordered(ty) || !index.columns.contains(&name));
            }
            6 => {
                let column = &mut entity.columns[i];
                column.nullable = column.foreign_key.is_some() || !column.nullable;
            }
            7 => {
                let ty = entity.columns[i].ty;
                let (had, is_key) = (entity.columns[i].default.is_some(), entity.columns[i].foreign_key.is_some());
                entity.columns[i].default = (!is_key && (!had || self.chance(50))).then(|| self.default(ty));
            }
            8 if entity.columns[i].foreign_key.is_none() => self.decorate(&mut entity.columns[i]),
            _ => entity.columns[i].foreign_key = None,
        }
    }

    fn count(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    /// Rows, one of them softly deleted.
    async fn fill(&mut self, db: &Db, entity: &EntityDef, count: usize) {
        for i in 0..count {
            let mut row = Map::new();
            for column in &entity.columns {
                if let Some(value) = self.value(db, column).await {
                    row.insert(column.name.to_string(), value);
                }
            }
            let saved = db.save_entity(&*entity.table, &row).await;
            let saved = saved.unwrap_or_else(|error| panic!("{error:?}: {row:?} as {entity:?}"));
            if i == 1 {
                db.delete_entity(&*entity.table, saved.id()).await.expect("a deletion");
            }
        }
    }

    /// None leaves the field out.
    async fn value(&mut self, db: &Db, column: &ColumnDef) -> Option<Json> {
        if let Some(key) = &column.foreign_key {
            let targets: Vec<String> = rows(db, &key.table).await.into_keys().collect();
            return (!targets.is_empty() && self.chance(80)).then(|| json!(self.dice.one_of(&targets)));
        }
        if column.default.is_some() && self.chance(20) {
            return None;
        }
        if column.nullable && self.chance(30) {
            return Some(Json::Null);
        }
        let n = self.count();
        let is_free = !column.unique && self.chance(70);
        Some(match column.ty {
            ColumnType::Text if is_free => {
                json!(self.dice.one_of(&["a ", "ß", "line\nbreak", "12", "-7", "true", "\\'\""]))
            }
            ColumnType::Text => json!(format!("text {n}")),
            ColumnType::Bool => json!(self.chance(50)),
            ColumnType::Int if is_free => json!(self.dice.one_of(&[0, 1, i64::MAX, i64::MIN, 1 << 53])),
            ColumnType::Int => json!(100 + n),
            ColumnType::Float if is_free => json!(self.dice.one_of(&[0.1, 1e300, -3.0, 5e-324])),
            ColumnType::Float => json!(n as f64),
            ColumnType::Decimal if is_free => json!(self.dice.one_of(&["0.1", "-12345678901234567890.5", "7"])),
            ColumnType::Decimal => json!(n.to_string()),
            ColumnType::Timestamp => json!(format!("0001-01-01T00:00:{:02}.{:06}Z", n % 60, n)),
            ColumnType::Date => json!(format!("{:04}-12-31", 1 + n)),
            ColumnType::Time => json!(format!("23:59:{:02}.{:06}", n % 60, n)),
            ColumnType::Uuid => json!(app_kernel::base::id::new_id()),
            ColumnType::Bytes => json!("AP8n"),
            ColumnType::Json if is_free => json!({ "b": [n, null, "ß"], "a": { "deep": 1.5 } }),
            ColumnType::Json => json!("it's text"),
        })
    }
}

/// Whether every database can have an index over it.
fn is_ordered(ty: ColumnType) -> bool {
    !matches!(ty, ColumnType::Bytes | ColumnType::Json)
}
