//! The web floor: the accept loop, what happens to every request, extractors, and the only place where errors become responses.

pub mod etag;
pub mod extract;
pub mod openapi;
pub mod reply;
