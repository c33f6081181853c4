//! Reading.

use std::sync::Arc;

use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::driver::{ByKey, Operation, RowRef, Session};
use crate::store::db::error::DbError;
use crate::store::db::row::DecodeError;
use crate::store::db::table::Table;
use crate::store::db::value::Value;

/// A query and how its rows are read.
pub(crate) struct Select<F> {
    pub(crate) sql: Arc<str>,
    pub(crate) params: Vec<Value>,
    pub(crate) read: F,
}

impl<T, F> Operation for Select<F>
where
    T: Send + 'static,
    F: Fn(&RowRef<'_>) -> Result<T, DecodeError> + Send + Sync + 'static,
{
    type Output = Vec<T>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<T>, DbError> {
        session.query(&self.sql, &self.params, &self.read).await
    }

    fn is_one_statement(&self, _: Backend) -> bool {
        true
    }
}

/// The row of an id, as `read` makes of it; none where it is not there, or not to be seen.
pub(crate) struct Lookup<F> {
    pub(crate) table: Arc<Table>,
    pub(crate) id: String,
    pub(crate) include_deleted: bool,
    pub(crate) read: F,
}

impl<T, F> Operation for Lookup<F>
where
    T: Send + 'static,
    F: Fn(&Arc<Table>, &RowRef<'_>) -> Result<Option<T>, DecodeError> + Send + Sync + 'static,
{
    type Output = Option<T>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Option<T>, DbError> {
        let read = |row: &RowRef<'_>| (self.read)(&self.table, row);
        let found = session.query(self.statement(), &[Value::Text(self.id.clone())], read).await?;
        Ok(found.into_iter().next().flatten())
    }

    fn is_one_statement(&self, _: Backend) -> bool {
        true
    }

    fn is_lookup(&self) -> bool {
        true
    }

    fn by_key(&self) -> Option<&dyn ByKey<Option<T>>> {
        Some(self)
    }
}

impl<T, F> ByKey<Option<T>> for Lookup<F>
where
    F: Fn(&Arc<Table>, &RowRef<'_>) -> Result<Option<T>, DecodeError> + Send + Sync + 'static,
{
    fn statement(&self) -> &Arc<str> {
        if self.include_deleted { &self.table.sql.get } else { &self.table.sql.get_living }
    }

    fn for_several(&self, keys: usize, dialect: &dyn Dialect) -> String {
        self.table.get_several(keys, self.include_deleted, dialect)
    }

    fn key(&self) -> &str {
        &self.id
    }

    fn answer(&self, row: Option<&RowRef<'_>>) -> Result<Option<T>, DecodeError> {
        row.map_or(Ok(None), |row| (self.read)(&self.table, row))
    }
}

/// A statement that answers with the number of rows it touched.
pub(crate) struct Execute {
    pub(crate) sql: Arc<str>,
    pub(crate) params: Vec<Value>,
}

impl Operation for Execute {
    type Output = u64;

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, DbError> {
        session.execute(&self.sql, &self.params).await
    }

    fn is_one_statement(&self, _: Backend) -> bool {
        true
    }
}
