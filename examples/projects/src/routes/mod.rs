//! What clients may do, a file for each thing.

pub mod costs;
pub mod deployments;
pub mod projects;
pub mod services;
