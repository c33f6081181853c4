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
mod documents;
mod example;
mod jobs;
mod journey;
mod metering;
mod migrations;
mod moves;
mod oauth;
#[cfg(target_os = "linux")]
mod redis;
mod service;
mod startup;
mod support;
mod web;
mod workspaces;
