//! What services get for free, a folder for each: its table, rules, routes and texts.

pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod flags;
pub mod health;
pub mod jobs;
pub mod metering;
pub(crate) mod metrics;
pub mod oauth;
pub mod webhooks;
pub mod workspaces;
