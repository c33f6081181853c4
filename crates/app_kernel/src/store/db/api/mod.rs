//! The verbs that people call, as futures with optional arguments: `db.find(..).order_by(..).limit(50).await?`.
//! Typed and untyped verbs differ in their [`shape::Shape`] only.

pub(crate) mod batch;
pub(crate) mod find;
pub(crate) mod get;
pub(crate) mod params;
pub(crate) mod raw;
pub(crate) mod save;
pub(crate) mod shape;
pub(crate) mod sql;
pub(crate) mod undo;
mod values;
