//! Many entities at once.

use std::collections::HashMap;
use std::future::IntoFuture;
use std::marker::PhantomData;

use futures_util::future::BoxFuture;

use super::save::{Kept, Savable, deletion};
use super::shape::declared_table;
use super::values::is_possible_id;
use crate::base::error::{Error, Result};
use crate::store::db::Db;
use crate::store::db::driver::RowRef;
use crate::store::db::entity::Entity;
use crate::store::db::ops::read::Select;
use crate::store::db::ops::write;
use crate::store::db::places::{padded, padded_length};
use crate::store::db::row::Saved;
use crate::store::db::table::read_saved;
use crate::store::db::value::Value;

/// How many entities one call takes: more would hold a transaction for too long.
const MOST: usize = 10_000;
/// How many ids one query asks for.
const IDS_PER_QUERY: usize = 256;

impl Db {
    /// Saves several entities in one transaction: all or none. The answer keeps their order.
    pub fn save_many<S: Savable>(&self, entities: impl IntoIterator<Item = S>) -> SaveMany<S> {
        SaveMany { db: self.clone(), entities: entities.into_iter().collect() }
    }

    /// The living entities of these ids, in the order of the ids; those that are not there are left out.
    pub fn get_many<T: Entity>(&self, ids: impl IntoIterator<Item = impl Into<String>>) -> GetMany<T> {
        GetMany { db: self.clone(), ids: ids.into_iter().map(Into::into).collect(), entity: PhantomData }
    }

    /// Deletes several entities softly in one transaction. Answers how many there were to delete.
    pub fn delete_many<T: Entity>(&self, ids: impl IntoIterator<Item = impl Into<String>>) -> DeleteMany<T> {
        DeleteMany {
            db: self.clone(),
            ids: ids.into_iter().map(Into::into).collect(),
            permanent: false,
            entity: PhantomData,
        }
    }
}

fn check_count(count: usize) -> Result<()> {
    if count <= MOST {
        return Ok(());
    }
    Err(Error::invalid(format!("{count} entities at once are too many; send at most {MOST} in one call"))
        .code("too_many_entities"))
}

/// Several saves; see [`Db::save_many`].
#[must_use = "nothing is saved until it is awaited"]
pub struct SaveMany<S> {
    db: Db,
    entities: Vec<S>,
}

impl<S: Savable> IntoFuture for SaveMany<S> {
    type Output = Result<Vec<Saved<S::Entity>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            check_count(self.entities.len())?;
            let mut saves = Vec::with_capacity(self.entities.len());
            let mut entities = Vec::with_capacity(self.entities.len());
            for (i, entity) in self.entities.into_iter().enumerate() {
                let (save, entity) = self.db.save(entity).into_write().map_err(|error| at_position(error, i))?;
                saves.push(save);
                entities.push(entity);
            }
            if saves.is_empty() {
                return Ok(Vec::new());
            }
            let rows = self.db.write(write::SaveMany(saves)).await?;
            Ok(entities.into_iter().zip(&rows).map(|(entity, row)| Kept::of(row).with(entity)).collect())
        })
    }
}

/// The same error, its fields found below their place in the list.
fn at_position(error: Error, position: usize) -> Error {
    let fields: Vec<_> = error.field_errors().to_vec();
    if fields.is_empty() {
        return error;
    }
    let moved = fields.into_iter().map(|mut field| {
        field.pointer = format!("/{position}{}", field.pointer);
        field
    });
    Error::new(error.kind(), error.message().to_owned()).fields(moved)
}

/// Several reads by id; see [`Db::get_many`].
#[must_use = "nothing is read until it is awaited"]
pub struct GetMany<T> {
    db: Db,
    ids: Vec<String>,
    entity: PhantomData<fn() -> T>,
}

impl<T: Entity> IntoFuture for GetMany<T> {
    type Output = Result<Vec<Saved<T>>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            check_count(self.ids.len())?;
            let table = declared_table::<T>(&self.db)?;
            let (dialect, scope) = (self.db.shared.driver.dialect(), self.db.scope(&table)?);
            let mut found: HashMap<String, Saved<T>> = HashMap::with_capacity(self.ids.len());
            let possible: Vec<&String> = self.ids.iter().filter(|id| is_possible_id(id)).collect();
            for ids in possible.chunks(IDS_PER_QUERY) {
                let sql = table.get_several(padded_length(ids), false, dialect);
                let params = padded(ids).copied().map(Value::from).collect();
                let scope = scope.clone();
                let read = move |row: &RowRef<'_>| match &scope {
                    Some(scope) if !scope.holds_read(row)? => Ok(None),
                    _ => read_saved::<T>(row).map(Some),
                };
                let rows = self.db.read(Select { sql: sql.into(), params, read }).await?;
                found.extend(rows.into_iter().flatten().map(|row| (row.id.clone(), row)));
            }
            Ok(self.ids.iter().filter_map(|id| found.remove(id)).collect())
        })
    }
}

/// Several deletions; see [`Db::delete_many`].
#[must_use = "nothing is deleted until it is awaited"]
pub struct DeleteMany<T> {
    db: Db,
    ids: Vec<String>,
    permanent: bool,
    entity: PhantomData<fn() -> T>,
}

impl<T> DeleteMany<T> {
    /// For good: only the history is left.
    pub fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }
}

impl<T: Entity> IntoFuture for DeleteMany<T> {
    type Output = Result<u64>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            check_count(self.ids.len())?;
            let table = declared_table::<T>(&self.db)?;
            // One order for all, so that two calls over the same rows wait for each other instead of locking each other out.
            let mut ids: Vec<String> = self.ids.into_iter().filter(|id| is_possible_id(id)).collect();
            ids.sort_unstable();
            ids.dedup();
            self.db.write(deletion(&self.db, table, ids, self.permanent, None)?).await
        })
    }
}
