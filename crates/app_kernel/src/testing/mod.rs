//! Behind the feature `testing`.

pub mod client;
pub mod databases;

pub use client::{Answer, Client};
pub use databases::TestDatabase;

pub use crate::__on_every_database as on_every_database;
