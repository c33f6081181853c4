//! Saving and deleting one entity.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::shape::{Shape, Typed, Untyped, declared_table};
use super::values::{check_all, check_id, from_object, id_of, is_possible_id};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::store::db::entity::Entity;
use crate::store::db::history::Operation;
use crate::store::db::ops::entry::{Entry, How, Stamp};
use crate::store::db::ops::write::{self, InsertNew, Target, match_columns};
use crate::store::db::row::{Row, Saved};
use crate::store::db::table::Table;
use crate::store::db::value::Value;
use crate::store::db::{Db, dynamic};

/// What [`Db::save`] takes: a new entity, or one that was read and changed.
pub trait Savable: Send + 'static {
    /// The entity.
    type Entity: Entity;

    /// The id, where it has one, and the entity.
    fn into_parts(self) -> (Option<String>, Self::Entity);
}

impl<T: Entity> Savable for T {
    type Entity = T;

    fn into_parts(self) -> (Option<String>, T) {
        (None, self)
    }
}

impl<T: Entity> Savable for Saved<T> {
    type Entity = T;

    fn into_parts(self) -> (Option<String>, T) {
        (Some(self.id), self.entity)
    }
}

impl Db {
    /// Saves an entity: a new one, or all fields of one that was read. In one transaction with its version and its change record.
    pub fn save<S: Savable>(&self, entity: S) -> Save<S::Entity> {
        let (id, entity) = entity.into_parts();
        Save { db: self.clone(), entity, id, match_by: Vec::new(), if_version: None }
    }

    /// Saves a row: `db.save_entity("widgets", json!({ "name": "gear" }))`. With an `id` it changes the fields that are given and leaves the rest.
    /// An undeclared entity gets its table and columns on the way.
    pub fn save_entity(&self, name: impl Into<String>, row: impl Serialize) -> SaveRow {
        let row = match serde_json::to_value(row) {
            Ok(Json::Object(row)) => Ok(row),
            Ok(_) => Err(Error::invalid("an entity is saved from a JSON object").field("", "must be an object")),
            Err(error) => Err(Error::invalid("the entity can't be written as JSON").cause(error)),
        };
        SaveRow { db: self.clone(), name: name.into(), row, match_by: Vec::new(), if_version: None }
    }

    /// Deletes an entity softly: it is hidden and can be looked at with `include_deleted`. Answers whether there was one to delete.
    pub fn delete<T: Entity>(&self, id: impl Into<String>) -> Delete<Typed<T>> {
        Delete { db: self.clone(), shape: Typed::new(), id: id.into(), permanent: false, if_version: None }
    }

    /// Deletes a row softly. Answers whether there was one to delete.
    pub fn delete_entity(&self, name: impl Into<String>, id: impl Into<String>) -> Delete<Untyped> {
        Delete { db: self.clone(), shape: Untyped(name.into()), id: id.into(), permanent: false, if_version: None }
    }

    /// Erases the versions of a row for good, also those of a permanently deleted one. The row itself stays. Answers how many versions went.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn purge_history(&self, name: impl Into<String>, id: impl Into<String>) -> Result<u64> {
        let (name, id) = (name.into(), id.into());
        let table = match self.shared.tables.get(&name) {
            Some(table) => Some(table),
            None => dynamic::find_table(self, &name).await?,
        };
        let Some(table) = table.filter(|table| table.def.history && is_possible_id(&id)) else { return Ok(0) };
        self.execute(format!("DELETE FROM [{}] WHERE [id] = ?", table.def.history_table()), [id]).await
    }

    fn stamp(&self, operation: Operation) -> Stamp {
        Stamp { operation, caller: self.caller.clone(), at: self.shared.clock.now() }
    }
}

/// A save; see [`Db::save`].
#[derive(Debug)]
#[must_use = "nothing is saved until it is awaited"]
pub struct Save<T> {
    db: Db,
    entity: T,
    id: Option<String>,
    match_by: Vec<String>,
    if_version: Option<i64>,
}

impl<T: Entity> Save<T> {
    /// Under this id: the one that has it is changed, or a new one gets it.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Changes the living entity that has the same values in these fields, or makes a new one. They need a unique index of their own.
    pub fn match_by<const N: usize>(mut self, fields: [&str; N]) -> Self {
        self.match_by = fields.map(str::to_owned).to_vec();
        self
    }

    /// Only if nobody has saved it since this version; else the save is a `Conflict`.
    pub fn if_version(mut self, version: i64) -> Self {
        self.if_version = Some(version);
        self
    }

    /// What is to be written, checked.
    pub(super) fn into_write(self) -> Result<(write::Save, T)> {
        let table = declared_table::<T>(&self.db)?;
        let values = check_all(&table, self.entity.to_values()?)?;
        let save = write::Save {
            target: target(&table, self.id, &self.match_by)?,
            table,
            given: values.into_iter().map(Some).collect(),
            if_version: self.if_version,
            stamp: self.db.stamp(Operation::Updated),
        };
        Ok((save, self.entity))
    }
}

/// Which row a save is about.
fn target(table: &Table, id: Option<String>, match_by: &[String]) -> Result<Target> {
    match (id, match_by) {
        (None, []) => Ok(Target::New),
        (Some(id), []) => Ok(Target::Id(check_id(&id)?)),
        (None, names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Ok(Target::MatchBy(match_columns(table, &names)?))
        }
        (Some(_), _) => Err(Error::invalid("a save is either about an id or about matching fields, not both")),
    }
}

/// Runs a save; a new row takes the shorter way. Answers the whole row.
async fn run(db: &Db, save: write::Save) -> Result<Vec<Value>> {
    let is_new = matches!(save.target, Target::New) && save.if_version.is_none();
    if !is_new {
        return db.write(save).await;
    }
    let row = save.new_row()?;
    let stamp = Stamp { operation: Operation::Created, ..save.stamp };
    let entry = Entry::new(&save.table, db.backend(), How::Insert, row.clone(), &stamp);
    db.write(InsertNew { table: save.table, entry }).await?;
    Ok(row)
}

/// The entity with what the store knows of it, taken from the whole row.
pub(super) fn saved<T>(entity: T, row: &[Value]) -> Saved<T> {
    let last = row.len() - 1;
    let time = |value: &Value| match value {
        Value::Timestamp(time) => *time,
        _ => Timestamp::UNIX_EPOCH,
    };
    Saved {
        id: row[0].as_str().unwrap_or_default().to_owned(),
        entity,
        created_at: time(&row[last - 3]),
        updated_at: time(&row[last - 2]),
        deleted_at: None,
        version: row[last].as_int().unwrap_or(0),
    }
}

impl<T: Entity> IntoFuture for Save<T> {
    type Output = Result<Saved<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let db = self.db.clone();
            let (save, entity) = self.into_write()?;
            if !matches!(save.target, Target::New) || save.if_version.is_some() {
                let row = db.write(save).await?;
                return Ok(saved(entity, &row));
            }
            let mut row = save.new_row()?;
            let stamp = Stamp { operation: Operation::Created, ..save.stamp };
            let (id, at) = (row[0].as_str().unwrap_or_default().to_owned(), stamp.at);
            let entry = Entry::new(&save.table, db.backend(), How::Insert, std::mem::take(&mut row), &stamp);
            db.write(InsertNew { table: save.table, entry }).await?;
            Ok(Saved { id, entity, created_at: at, updated_at: at, deleted_at: None, version: 1 })
        })
    }
}

/// A save without a struct; see [`Db::save_entity`].
#[derive(Debug)]
#[must_use = "nothing is saved until it is awaited"]
pub struct SaveRow {
    db: Db,
    name: String,
    row: Result<Map<String, Json>>,
    match_by: Vec<String>,
    if_version: Option<i64>,
}

impl SaveRow {
    /// Changes the living row that has the same values in these fields, or makes a new one. They need a unique index of their own.
    pub fn match_by<const N: usize>(mut self, fields: [&str; N]) -> Self {
        self.match_by = fields.map(str::to_owned).to_vec();
        self
    }

    /// Only if nobody has saved it since this version; else the save is a `Conflict`.
    pub fn if_version(mut self, version: i64) -> Self {
        self.if_version = Some(version);
        self
    }
}

impl IntoFuture for SaveRow {
    type Output = Result<Row>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let row = self.row?;
            let table = dynamic::table_for(&self.db, &self.name, &row).await?;
            let save = write::Save {
                target: target(&table, id_of(&row)?, &self.match_by)?,
                given: from_object(&table, row)?,
                table: Arc::clone(&table),
                if_version: self.if_version,
                stamp: self.db.stamp(Operation::Updated),
            };
            let values = run(&self.db, save).await?;
            Ok(Row::new(Arc::clone(&table.columns), values))
        })
    }
}

/// A deletion; see [`Db::delete`].
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct Delete<S> {
    db: Db,
    shape: S,
    id: String,
    permanent: bool,
    if_version: Option<i64>,
}

impl<S> Delete<S> {
    /// For good: only the history is left, with a last version `deleted`.
    pub fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }

    /// Only if nobody has saved it since this version; else the deletion is a `Conflict`.
    pub fn if_version(mut self, version: i64) -> Self {
        self.if_version = Some(version);
        self
    }
}

impl<S: Shape> IntoFuture for Delete<S> {
    type Output = Result<bool>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(table) = self.shape.table(&self.db).await?.filter(|_| is_possible_id(&self.id)) else {
                return Ok(false);
            };
            let delete = deletion(&self.db, table, vec![self.id], self.permanent, self.if_version);
            Ok(self.db.write(delete).await? > 0)
        })
    }
}

pub(super) fn deletion(
    db: &Db,
    table: Arc<Table>,
    ids: Vec<String>,
    permanent: bool,
    if_version: Option<i64>,
) -> write::Delete {
    let operation = if permanent { Operation::Deleted } else { Operation::SoftDeleted };
    write::Delete { table, ids, permanent, if_version, stamp: db.stamp(operation) }
}
