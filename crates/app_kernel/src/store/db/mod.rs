//! The entity store: typed and untyped entities with history on SQLite, PostgreSQL and MySQL.

pub mod dialect;
pub(crate) mod driver;
pub mod entity;
#[cfg(test)]
mod entity_derive_tests;
pub(crate) mod error;
pub mod row;
pub mod url;
pub mod value;

pub use dialect::Backend;
pub use driver::Options;

/// The database, on behalf of one caller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {}
