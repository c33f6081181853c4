//! What tests of a service need: a real server, a fresh database for each test on all three databases, and a clock that the test moves.
//! Behind the feature `testing`.

pub mod client;
pub mod databases;
pub mod listener;
pub mod redis;
pub mod service;
pub mod wire;

pub use self::redis::TestRedis;
pub use client::{Answer, Client};
pub use databases::TestDatabase;
pub use listener::{Heard, Listener};
pub use service::TestService;
pub use wire::Wire;

pub use crate::__on_every_database as on_every_database;
