//! All integration tests, in one binary: one link, and one list of what there is.
#![forbid(unsafe_code)]

mod access;
mod api_keys;
mod architecture;
mod audit;
mod auth;
mod backup;
mod bad_input;
mod chaos;
mod db;
#[cfg(target_os = "linux")]
mod dev_servers;
#[cfg(unix)]
mod doctor;
mod documents;
mod events;
mod example;
mod flags;
mod guide;
mod health;
mod http_client;
mod jobs;
mod journey;
mod limits;
mod metering;
mod migrations;
mod moves;
mod oauth;
mod observability;
#[cfg(target_os = "linux")]
mod redis;
mod service;
mod startup;
mod support;
mod web;
mod webhooks;
mod workspaces;

/// What new services take: memory that a burst needed goes back to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
