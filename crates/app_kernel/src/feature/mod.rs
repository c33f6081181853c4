//! What services get for free, a folder for each: its table, rules, routes and texts.

pub mod audit;
pub mod auth;
pub mod health;
pub mod metering;
pub mod workspaces;
