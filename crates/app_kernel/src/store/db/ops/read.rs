//! Reading.

use std::sync::Arc;

use crate::store::db::dialect::Backend;
use crate::store::db::driver::{Operation, RowRef, Session};
use crate::store::db::error::DbError;
use crate::store::db::row::DecodeError;
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

/// A query for the row that has a key.
pub(crate) struct Lookup<F>(pub(crate) Select<F>);

impl<T, F> Operation for Lookup<F>
where
    T: Send + 'static,
    F: Fn(&RowRef<'_>) -> Result<T, DecodeError> + Send + Sync + 'static,
{
    type Output = Option<T>;

    async fn run(&self, session: &mut Session<'_>) -> Result<Option<T>, DbError> {
        Ok(self.0.run(session).await?.into_iter().next())
    }

    fn is_one_statement(&self, backend: Backend) -> bool {
        self.0.is_one_statement(backend)
    }

    fn is_lookup(&self) -> bool {
        true
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
