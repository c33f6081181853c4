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
use crate::store::db::ops::write::{self, Target, match_columns};
use crate::store::db::row::{Row, Saved};
use crate::store::db::table::Table;
use crate::store::db::value::Value;
use crate::store::db::workspace::{Scope, WORKSPACE_ID};
use crate::store::db::{Db, dynamic};

/// What [`Db::save`] takes: a new entity, or one that was read and changed.
pub trait Savable: Send + 'static {
    /// The entity.
    type Entity: Entity;

    /// What is known of its row, where it has one, and the entity.
    fn into_parts(self) -> (Option<Known>, Self::Entity);
}

/// What is known of a row that was read.
#[derive(Debug, Clone)]
pub struct Known {
    id: String,
    /// The version that was read, and when the row was made; none where it was deleted then.
    living: Option<(i64, Timestamp)>,
}

impl<T: Entity> Savable for T {
    type Entity = T;

    fn into_parts(self) -> (Option<Known>, T) {
        (None, self)
    }
}

impl<T: Entity> Savable for Saved<T> {
    type Entity = T;

    fn into_parts(self) -> (Option<Known>, T) {
        let living = self.deleted_at.is_none().then_some((self.version, self.created_at));
        (Some(Known { id: self.id, living }), self.entity)
    }
}

impl Db {
    /// Saves an entity: a new one, or all fields of one that was read. In one transaction with its version and its change record.
    pub fn save<S: Savable>(&self, entity: S) -> Save<S::Entity> {
        let (known, entity) = entity.into_parts();
        let (id, living) = known.map_or((None, None), |known| (Some(known.id), known.living));
        Save { db: self.clone(), entity, id, living, match_by: Vec::new(), if_version: None }
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
        if self.scope(&table)?.is_some() && self.entity_history(&*name, &*id).limit(1).await?.is_empty() {
            return Ok(0);
        }
        self.without_workspace()
            .execute(format!("DELETE FROM [{}] WHERE [id] = ?", table.def.history_table()), [id])
            .await
    }

    pub(super) fn stamp(&self, operation: Operation) -> Stamp {
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
    living: Option<(i64, Timestamp)>,
    match_by: Vec<String>,
    if_version: Option<i64>,
}

impl<T: Entity> Save<T> {
    /// Under this id: the one that has it is changed, or a new one gets it.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self.living = None;
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
    pub(super) fn into_write(mut self) -> Result<(write::Save, T)> {
        let table = declared_table::<T>(&self.db)?;
        let scope = self.db.scope(&table)?;
        let mut values = self.entity.to_values()?;
        if let Some(scope) = &scope {
            scope.admit(&mut self.entity, &mut values)?;
        }
        let values = check_all(&table, values)?;
        let save = write::Save {
            target: target(&table, scope.as_ref(), self.id, &self.match_by)?,
            scope,
            table,
            given: values.into_iter().map(Some).collect(),
            living: self.living,
            if_version: self.if_version,
            stamp: self.db.stamp(Operation::Updated),
        };
        Ok((save, self.entity))
    }
}

/// Which row a save is about.
fn target(table: &Table, scope: Option<&Scope>, id: Option<String>, match_by: &[String]) -> Result<Target> {
    match (id, match_by) {
        (None, []) => Ok(Target::New),
        (Some(id), []) => Ok(Target::Id(check_id(&id)?)),
        (None, names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Ok(Target::MatchBy(match_columns(table, scope.map(|_| WORKSPACE_ID), &names)?))
        }
        (Some(_), _) => Err(Error::invalid("a save is either about an id or about matching fields, not both")),
    }
}

/// Runs a save, and answers what `keep` wants of the whole row. Where nothing needs to be looked at first, nothing is.
async fn run<R>(db: &Db, mut save: write::Save, keep: impl Fn(&[Value]) -> R) -> Result<R> {
    if let Some((how, row)) = save.row_without_a_look()? {
        let kept = keep(&row);
        let operation = if how == How::Insert { Operation::Created } else { Operation::Updated };
        let stamp = Stamp { operation, ..save.stamp.clone() };
        let entry = Entry::new(&save.table, db.backend(), how, row, &stamp);
        if db.write(write::Write { table: Arc::clone(&save.table), entry }).await? {
            return Ok(kept);
        }
    }
    db.write(save).await.map(|row| keep(&row))
}

/// What the store knows of a row.
pub(super) struct Kept {
    id: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: i64,
}

impl Kept {
    /// From the whole row.
    pub(super) fn of(row: &[Value]) -> Self {
        let last = row.len() - 1;
        let time = |value: &Value| match value {
            Value::Timestamp(time) => *time,
            _ => Timestamp::UNIX_EPOCH,
        };
        Kept {
            id: row[0].as_str().unwrap_or_default().to_owned(),
            created_at: time(&row[last - 3]),
            updated_at: time(&row[last - 2]),
            version: row[last].as_int().unwrap_or(0),
        }
    }

    /// With the entity itself.
    pub(super) fn with<T>(self, entity: T) -> Saved<T> {
        let Kept { id, created_at, updated_at, version } = self;
        Saved { id, entity, created_at, updated_at, deleted_at: None, version }
    }
}

impl<T: Entity> IntoFuture for Save<T> {
    type Output = Result<Saved<T>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let db = self.db.clone();
            let (save, entity) = self.into_write()?;
            Ok(run(&db, save, Kept::of).await?.with(entity))
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
            let mut row = self.row?;
            self.db.admit_row(&mut row)?;
            let table = dynamic::table_for(&self.db, &self.name, &row).await?;
            let scope = self.db.scope(&table)?;
            let save = write::Save {
                target: target(&table, scope.as_ref(), id_of(&row)?, &self.match_by)?,
                scope,
                given: from_object(&table, row)?,
                table: Arc::clone(&table),
                living: None,
                if_version: self.if_version,
                stamp: self.db.stamp(Operation::Updated),
            };
            let values = run(&self.db, save, <[Value]>::to_vec).await?;
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
            let delete = deletion(&self.db, table, vec![self.id], self.permanent, self.if_version)?;
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
) -> Result<write::Delete> {
    let operation = if permanent { Operation::Deleted } else { Operation::SoftDeleted };
    let scope = db.scope(&table)?;
    Ok(write::Delete { table, ids, permanent, if_version, scope, stamp: db.stamp(operation) })
}
