//! The HTTP client against servers that behave, and against one that does not.

mod calls;
mod failures;
mod pool;
mod raw_server;
