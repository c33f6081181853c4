//! The entity store: typed and untyped entities with history on SQLite, PostgreSQL and MySQL.

pub mod dialect;
pub(crate) mod driver;
pub mod entity;
pub(crate) mod error;
pub mod row;
pub mod url;
pub mod value;

pub use dialect::Backend;
pub use driver::Options;

/// The database, on behalf of one caller. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {}

impl Db {
    /// The same database, on behalf of `caller`.
    #[must_use]
    pub fn with_caller(&self, caller: crate::base::caller::Caller) -> Db {
        let _ = caller;
        self.clone()
    }
}
