//! Where data lies. Knows nothing of HTTP or users.

pub mod db;
pub mod redis;
