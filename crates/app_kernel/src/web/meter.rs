//! Who counts requests: the seam that a feature fills.

use std::time::Duration;

use axum::http::Method;

use crate::base::caller::Caller;
use crate::engine::spool::Mark;

/// A request that has reached a route, as it ends.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The template of the route.
    pub route: &'a str,
    /// How it ended; 499 where the client left first.
    pub status: u16,
    /// How long it took until its answer was made.
    pub duration: Duration,
    /// How long the answer is, where that is known.
    pub bytes: Option<u64>,
    /// Who asked.
    pub caller: Option<&'a Caller>,
    /// The workspace that it was about.
    pub workspace_id: Option<&'a str>,
}

/// Counts requests. Called before the answer leaves, so it must be quick.
pub trait Meter: Send + Sync + 'static {
    /// Counts one; none where it is not to be counted.
    fn count(&self, ended: &Ended<'_>) -> Option<Mark>;

    /// Writes down what was counted up to a mark. Called before the answer leaves.
    fn settle(&self, mark: Mark);
}
