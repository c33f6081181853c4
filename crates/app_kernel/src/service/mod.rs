//! Puts a service together, runs it and stops it.

pub mod log;
