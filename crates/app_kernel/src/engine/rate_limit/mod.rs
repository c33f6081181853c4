//! How often something may happen, by key.

pub(crate) mod memory;
