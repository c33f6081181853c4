//! What tests of a service need: a fresh database for each, on all three databases. Behind the feature `testing`.

pub mod databases;

pub use databases::TestDatabase;

pub use crate::__on_every_database as on_every_database;
