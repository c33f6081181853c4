//! What is done on a connection, as plain data: the one path below the typed and the untyped verbs.

pub(crate) mod entry;
pub(crate) mod read;
pub(crate) mod write;
