//! Reading one entity, and its past.

use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::shape::{Shape, Typed, Untyped};
use super::values::is_possible_id;
use crate::base::error::Result;
use crate::store::db::entity::Entity;
use crate::store::db::history::{Version, read_version};
use crate::store::db::ops::read::{Lookup, Select};
use crate::store::db::table::Table;
use crate::store::db::value::Value;
use crate::store::db::workspace::Scope;
use crate::store::db::{Db, driver::RowRef};

impl Db {
    /// The entity of this id, where it lives.
    pub fn get<T: Entity>(&self, id: impl Into<String>) -> Get<Typed<T>> {
        Get { db: self.clone(), shape: Typed::new(), id: id.into(), include_deleted: false }
    }

    /// The row of this id, where it lives.
    pub fn get_entity(&self, name: impl Into<String>, id: impl Into<String>) -> Get<Untyped> {
        Get { db: self.clone(), shape: Untyped(name.into()), id: id.into(), include_deleted: false }
    }

    /// The versions of an entity, the newest first; also of one that is deleted.
    pub fn history<T: Entity>(&self, id: impl Into<String>) -> History<Typed<T>> {
        History { db: self.clone(), shape: Typed::new(), id: id.into(), limit: 100, offset: 0 }
    }

    /// The versions of a row, the newest first; also of one that is deleted.
    pub fn entity_history(&self, name: impl Into<String>, id: impl Into<String>) -> History<Untyped> {
        History { db: self.clone(), shape: Untyped(name.into()), id: id.into(), limit: 100, offset: 0 }
    }

    /// One version of an entity.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get_version<T: Entity>(&self, id: impl Into<String>, version: i64) -> Result<Option<Version>> {
        self.history::<T>(id).version(version).await
    }
}

/// Reads one entity by id; see [`Db::get`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct Get<S> {
    db: Db,
    shape: S,
    id: String,
    include_deleted: bool,
}

impl<S> Get<S> {
    /// Finds softly deleted ones too.
    pub fn include_deleted(mut self) -> Self {
        self.include_deleted = true;
        self
    }
}

impl<S: Shape> IntoFuture for Get<S> {
    type Output = Result<Option<S::Item>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(table) = self.shape.table(&self.db).await?.filter(|_| is_possible_id(&self.id)) else {
                return Ok(None);
            };
            let scope = self.db.scope(&table)?;
            let read = move |table: &Arc<Table>, row: &RowRef<'_>| match &scope {
                Some(scope) if !scope.holds_read(row)? => Ok(None),
                _ => S::read(table, row).map(Some),
            };
            self.db.read(Lookup { table, id: self.id, include_deleted: self.include_deleted, read }).await
        })
    }
}

/// Reads versions; see [`Db::history`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct History<S> {
    db: Db,
    shape: S,
    id: String,
    limit: u32,
    offset: u32,
}

impl<S: Shape> History<S> {
    /// At most so many; 100 where not said.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }

    /// Without the newest so many.
    pub fn offset(mut self, offset: u32) -> Self {
        self.offset = offset;
        self
    }

    /// Only the one of this number.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn version(self, version: i64) -> Result<Option<Version>> {
        let Some(table) = self.shape.table(&self.db).await?.filter(|table| table.def.history) else { return Ok(None) };
        if !is_possible_id(&self.id) {
            return Ok(None);
        }
        let scope = self.db.scope(&table)?;
        let params = vec![Value::Text(self.id), Value::Int(version)];
        let found =
            self.db.read(Select { sql: Arc::clone(&table.sql.get_version), params, read: read_version }).await?;
        Ok(found.into_iter().next().filter(|version| is_held(scope.as_ref(), version)))
    }
}

impl<S: Shape> IntoFuture for History<S> {
    type Output = Result<Vec<Version>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let table = self.shape.table(&self.db).await?.filter(|table| table.def.history);
            let Some(table) = table.filter(|_| is_possible_id(&self.id)) else { return Ok(Vec::new()) };
            let params = vec![Value::Text(self.id), Value::from(self.limit), Value::from(self.offset)];
            let scope = self.db.scope(&table)?;
            let mut found =
                self.db.read(Select { sql: Arc::clone(&table.sql.history), params, read: read_version }).await?;
            found.retain(|version| is_held(scope.as_ref(), version));
            Ok(found)
        })
    }
}

/// Whether the handle may see a version: that of a row that was in its workspace then.
fn is_held(scope: Option<&Scope>, version: &Version) -> bool {
    scope.is_none_or(|scope| scope.held(version))
}
