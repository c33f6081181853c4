//! What runs beside the store. Each engine has its forms behind one behaviour.

pub(crate) mod claims;
pub mod jobs;
pub mod mail;
pub mod outbound;
pub mod rate_limit;
pub mod s3;
