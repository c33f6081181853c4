//! The table of jobs, and the times in it.

use std::time::Duration;

use serde_json::Value as Json;

use super::model::JobState;
use crate::base::clock::{Timestamp, parse_timestamp};
use crate::store::db::entity::Entity;
use crate::store::db::value::Value;
use crate::store::db::{Db, Sql};

pub(super) const TABLE: &str = "kernel_jobs";

/// A job.
#[derive(Debug, Clone, Entity)]
#[allow(clippy::duplicated_attributes, reason = "both indexes begin with the state")]
#[entity(kernel, table = "kernel_jobs", history = false, index(state, queue, priority, due_at), index(state, due_at))]
pub struct Job {
    /// Which task it runs.
    pub task: String,
    /// Which queue it waits in.
    pub queue: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Smaller numbers run first.
    #[entity(default = 0)]
    pub priority: i64,
    /// While it waits: when it may run. While it runs: when its worker's lease ends. Afterwards: when it is swept out.
    pub due_at: Timestamp,
    /// What the task gets.
    pub payload: Json,
    /// For whom it is.
    pub user_id: Option<String>,
    /// How many tries have begun.
    #[entity(default = 0)]
    pub attempt: i64,
    /// How many may.
    pub max_attempts: i64,
    /// One more with each claim; see [`claims`](crate::engine).
    #[entity(default = 0)]
    pub fence: i64,
    /// The worker that has it.
    pub worker_id: Option<String>,
    /// What no other unfinished job has.
    pub unique_key: Option<String>,
    /// The same while it is unfinished: the database keeps it unique.
    #[entity(unique)]
    pub open_key: Option<String>,
    /// Jobs with the same key count together against their queue's limit for a key.
    pub concurrency_key: Option<String>,
    /// The span that it was enqueued in, as W3C's `traceparent` says it.
    pub traceparent: Option<String>,
    /// Whether somebody wants it to end, while it runs.
    #[entity(default = false)]
    pub cancel_requested: bool,
    /// What its task last said about how far it is.
    pub progress: Option<Json>,
    /// What its task answered.
    pub result: Option<Json>,
    /// How its first try failed.
    pub first_error: Option<String>,
    /// How its last try failed.
    pub last_error: Option<String>,
    /// When its last try began.
    pub started_at: Option<Timestamp>,
    /// When it succeeded, failed for good, or was cancelled.
    pub finished_at: Option<Timestamp>,
}

/// The time of the service: the database's own, or what a test's clock shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now(pub(super) Option<Timestamp>);

impl Now {
    pub(super) fn sql(self, db: &Db) -> Sql {
        db.sql("").time(self.0)
    }

    pub(super) fn later(self, db: &Db, by: Duration) -> Sql {
        match self.0 {
            Some(now) => db.sql("").bind(now.saturating_add(signed(by)).unwrap_or(Timestamp::MAX)),
            None => db.sql("").later(by),
        }
    }
}

fn signed(time: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(time).unwrap_or(jiff::SignedDuration::MAX)
}

/// What raw SQL answers for a column of time: a time, or its text.
pub(super) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Timestamp(time) => Some(*time),
        Value::Text(text) => parse_timestamp(text),
        _ => None,
    }
}
