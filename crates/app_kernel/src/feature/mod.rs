//! What services get for free, a folder for each: its table, rules, routes and texts.

pub mod api_keys;
pub mod auth;
pub mod health;
pub mod jobs;
pub mod oauth;
pub mod workspaces;
