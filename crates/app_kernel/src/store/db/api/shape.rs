//! What rows are read as: a struct, or a row of names and values.

use std::marker::PhantomData;
use std::sync::Arc;

use sealed::Read;

use crate::base::error::{Error, Result};
use crate::store::db::driver::RowRef;
use crate::store::db::entity::Entity;
use crate::store::db::row::{DecodeError, Row, Saved};
use crate::store::db::table::{self, Table};
use crate::store::db::{Db, dynamic};

/// What rows are read as: [`Typed`] or [`Untyped`].
pub trait Shape: Read + Clone + Send + Sync + 'static {}

/// Rows as `Saved<T>`.
pub struct Typed<T>(PhantomData<fn() -> T>);

/// Rows of the entity of this name, as [`Row`].
#[derive(Debug, Clone)]
pub struct Untyped(pub(crate) String);

pub(crate) mod sealed {
    use super::{Arc, Db, DecodeError, Result, RowRef, Table};

    pub trait Read {
        /// One row, read.
        type Item: Send + 'static;

        /// The table to read from; none where nobody ever saved under an undeclared name.
        fn table(&self, db: &Db) -> impl Future<Output = Result<Option<Arc<Table>>>> + Send;

        fn read(table: &Table, row: &RowRef<'_>) -> Result<Self::Item, DecodeError>;
    }
}

impl<T: Entity> Shape for Typed<T> {}
impl Shape for Untyped {}

impl<T> Typed<T> {
    pub(crate) fn new() -> Self {
        Typed(PhantomData)
    }
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Typed(PhantomData)
    }
}

impl<T> std::fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Typed")
    }
}

impl<T: Entity> Read for Typed<T> {
    type Item = Saved<T>;

    async fn table(&self, db: &Db) -> Result<Option<Arc<Table>>> {
        declared_table::<T>(db).map(Some)
    }

    fn read(_: &Table, row: &RowRef<'_>) -> Result<Saved<T>, DecodeError> {
        table::read_saved(row)
    }
}

impl Read for Untyped {
    type Item = Row;

    async fn table(&self, db: &Db) -> Result<Option<Arc<Table>>> {
        dynamic::find_table(db, &self.0).await
    }

    fn read(table: &Table, row: &RowRef<'_>) -> Result<Row, DecodeError> {
        table.read_row(row)
    }
}

/// The table of a declared entity.
pub(crate) fn declared_table<T: Entity>(db: &Db) -> Result<Arc<Table>> {
    let name = &T::definition().table;
    db.shared.tables.get(name).filter(|table| !table.def.dynamic).ok_or_else(|| {
        Error::internal(format!(
            "the entity `{name}` is not declared; add .entity::<{}>() to the service",
            std::any::type_name::<T>()
        ))
    })
}
