//! An application kernel for backend services.
#![forbid(unsafe_code)]

extern crate self as app_kernel;

pub mod base;
pub mod engine;
pub mod feature;
pub mod kernel;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod web;
