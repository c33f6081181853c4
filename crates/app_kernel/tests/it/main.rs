//! All integration tests, in one binary: one link, and one list of what there is.
#![forbid(unsafe_code)]

mod architecture;
mod backup;
mod db;
mod documents;
mod support;
