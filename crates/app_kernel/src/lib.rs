//! An application kernel for backend services: sign-up and tokens, entities with history, schema changes, HTTP.
//! A service is a few lines on top; the same binary runs on SQLite, PostgreSQL and MySQL.
//!
//! Start with [`Service`](service::Service) and the [`prelude`]. The house has floors, and each uses only those below it:
//!
//! | floor | what |
//! |---|---|
//! | [`base`] | plain values: errors, callers, time, ids, secrets, configuration |
//! | [`store`] | where data lies: entities over SQLite, PostgreSQL and MySQL |
//! | [`engine`] | mechanisms with several forms: jobs, mail, limits |
//! | [`kernel`] | one cheap handle to the engines; the axum state |
//! | [`web`] | the accept loop, what happens to every request, extractors, the only way from error to response |
//! | [`feature`] | what services get for free: auth, workspaces, API keys, jobs, health |
//! | [`service`] | builder, roles, life cycle |
//! | `testing` | a real server and a fresh database for each test (Cargo feature `testing`) |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate self as app_kernel;

pub mod base;
pub mod engine;
pub mod feature;
pub mod kernel;
pub mod prelude;
pub mod service;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod web;

pub use app_kernel_macros::{cached, task};
pub use engine::http_client::http_client;
pub use store::db::entity::Entity;
