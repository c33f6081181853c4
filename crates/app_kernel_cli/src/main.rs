//! The `app-kernel` tool.
#![forbid(unsafe_code)]
fn main() {}
