//! What services get for free, a folder for each: its table, rules, routes and texts.

pub mod api_keys;
pub mod audit;
pub mod auth;
pub mod health;
pub mod jobs;
pub mod metering;
pub mod oauth;
pub mod workspaces;
