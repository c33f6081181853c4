//! What several test files need.

pub(crate) mod program;
pub(crate) mod repository;
pub(crate) mod rust_source;
