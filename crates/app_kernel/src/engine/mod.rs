//! What runs beside the store. Each engine has its forms behind one behaviour.

pub(crate) mod claims;
pub(crate) mod courier;
pub mod jobs;
pub mod mail;
pub mod outbound;
pub mod rate_limit;
pub(crate) mod relay;
pub mod s3;
pub(crate) mod spool;
