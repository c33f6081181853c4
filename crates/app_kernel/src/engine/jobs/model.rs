//! What a job is and what becomes of it, decided without I/O.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::backoff::Backoff;
use crate::base::error::Error;
use crate::store::db::entity::Entity;

/// The longest error text that is kept with a job, in bytes.
pub(super) const LONGEST_ERROR: usize = 4096;
/// The longest payload, in bytes: what is larger belongs into a table or a file, and the job gets its id.
pub(super) const LONGEST_PAYLOAD: usize = 1 << 20;
/// The longest result, in bytes.
pub(super) const LONGEST_RESULT: usize = LONGEST_PAYLOAD;
/// The longest name of a task or a queue, and the longest key, in characters.
pub(super) const LONGEST_NAME: usize = 200;

/// Where a job is in its life; see the [module](super) for the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Entity, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// To be run later: delayed, or waiting for its next try.
    Scheduled,
    /// To be run as soon as a worker has room for it.
    Ready,
    /// A worker has it.
    Running,
    /// Done; the result is kept for a while.
    Succeeded,
    /// Given up after its last try. Kept with its error until somebody retries or deletes it.
    Failed,
    /// Taken back before it was done.
    Cancelled,
}

impl JobState {
    /// The word in the database and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Scheduled => "scheduled",
            JobState::Ready => "ready",
            JobState::Running => "running",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens to it any more by itself.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self, JobState::Succeeded | JobState::Failed | JobState::Cancelled)
    }
}

/// How a task is run, where it does not say: 5 tries of 10 minutes each, the waits between them growing from 10 seconds to an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOptions {
    /// How often a job is tried at most; at least 1.
    pub max_attempts: u32,
    /// How long one try may take.
    pub timeout: Duration,
    /// The queue that its jobs wait in, where the enqueuer names no other.
    pub queue: String,
    /// The waits between tries: up to this long before the second, doubling from there.
    pub backoff: Duration,
}

/// The queue of those who name none.
pub const DEFAULT_QUEUE: &str = "default";
/// The longest wait before another try.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Default for TaskOptions {
    fn default() -> Self {
        TaskOptions {
            max_attempts: 5,
            timeout: Duration::from_secs(600),
            queue: DEFAULT_QUEUE.to_owned(),
            backoff: Duration::from_secs(10),
        }
    }
}

impl TaskOptions {
    /// At most so many tries.
    #[must_use]
    pub fn max_attempts(mut self, tries: u32) -> Self {
        self.max_attempts = tries.max(1);
        self
    }

    /// The time for one try.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The queue that its jobs wait in.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// The longest wait before the second try.
    #[must_use]
    pub fn backoff(mut self, first: Duration) -> Self {
        self.backoff = first;
        self
    }

    /// The wait after so many failed tries, with jitter.
    pub(super) fn wait(&self, failures: u32) -> Duration {
        Backoff { first: self.backoff, most: LONGEST_WAIT.max(self.backoff) }.wait(failures)
    }
}

/// How a try failed, and what shall follow. A plain [`Error`] is tried again.
#[derive(Debug)]
pub enum JobError {
    /// Try again after the usual wait, while tries are left.
    Retry(Error),
    /// Try again after this time, while tries are left: what a `Retry-After` asks for.
    RetryIn(Duration, Error),
    /// Give it up now: another try would end the same way.
    Discard(Error),
    /// No failure: not now, but after this time. It costs no try.
    Snooze(Duration),
}

impl JobError {
    /// Gives the job up, for this reason.
    #[must_use]
    pub fn discard(reason: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        JobError::Discard(Error::internal(reason))
    }
}

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        JobError::Retry(error)
    }
}

/// What a job's row becomes after a try.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    Succeeded(serde_json::Value),
    /// Tried again after a wait.
    Again {
        wait: Duration,
        error: String,
    },
    Failed {
        error: String,
    },
    /// Comes back without having cost a try: snoozed, or handed back by a worker that stops.
    Back {
        wait: Duration,
    },
    Cancelled,
    /// Somebody else has it now.
    NotOurs,
}

impl Next {
    /// Whether the job is done with, however it ended.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Next::Succeeded(_) | Next::Failed { .. } | Next::Cancelled)
    }

    /// Whether the try failed.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Next::Again { .. } | Next::Failed { .. })
    }
}

/// What follows a try's answer.
pub(super) fn after(
    answer: Result<serde_json::Value, JobError>,
    attempt: u32,
    max_attempts: u32,
    options: &TaskOptions,
) -> Next {
    let failed = |wait: Duration, error: Error| {
        let error = bounded(&error.to_string());
        if attempt < max_attempts { Next::Again { wait, error } } else { Next::Failed { error } }
    };
    match answer {
        Ok(result) if result.to_string().len() > LONGEST_RESULT => Next::Failed {
            error: format!("the task's result is longer than {LONGEST_RESULT} bytes; store it, and answer its id"),
        },
        Ok(result) => Next::Succeeded(result),
        Err(JobError::Retry(error)) => failed(options.wait(attempt), error),
        Err(JobError::RetryIn(wait, error)) => failed(wait, error),
        Err(JobError::Discard(error)) => Next::Failed { error: bounded(&error.to_string()) },
        Err(JobError::Snooze(wait)) => Next::Back { wait },
    }
}

/// An error's text without what no database holds, and not too long.
pub(super) fn bounded(text: &str) -> String {
    let mut text = text.replace('\0', "\u{fffd}");
    if text.len() > LONGEST_ERROR {
        let end = (0..=LONGEST_ERROR - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> TaskOptions {
        TaskOptions::default().backoff(Duration::ZERO)
    }

    #[test]
    fn a_failure_is_tried_again_until_the_last_try() {
        let fails = |attempt| after(Err(Error::internal("no answer").into()), attempt, 3, &options());
        let error = "no answer".to_owned();
        assert_eq!(fails(1), Next::Again { wait: Duration::ZERO, error: error.clone() });
        assert_eq!(fails(2), Next::Again { wait: Duration::ZERO, error: error.clone() });
        assert_eq!(fails(3), Next::Failed { error });
    }

    #[test]
    fn the_error_says_what_follows() {
        let minute = Duration::from_secs(60);
        let say = |error| after(Err(error), 1, 5, &options());
        let text = "x".to_owned();
        assert_eq!(
            say(JobError::RetryIn(minute, Error::internal("x"))),
            Next::Again { wait: minute, error: text.clone() }
        );
        assert_eq!(say(JobError::discard("x")), Next::Failed { error: text });
        assert_eq!(say(JobError::Snooze(minute)), Next::Back { wait: minute });
    }

    #[test]
    fn a_result_that_is_no_row_is_a_failure_at_once() {
        let large = serde_json::Value::String("x".repeat(LONGEST_RESULT));
        assert!(
            matches!(after(Ok(large), 1, 3, &options()), Next::Failed { error } if error.contains("answer its id"))
        );
    }

    #[test]
    fn a_snooze_costs_no_try_even_at_the_last_one() {
        assert_eq!(after(Err(JobError::Snooze(Duration::ZERO)), 5, 5, &options()), Next::Back { wait: Duration::ZERO });
    }

    #[test]
    fn waits_grow_up_to_an_hour() {
        let options = TaskOptions::default();
        assert!((0..100).all(|_| options.wait(1) <= Duration::from_secs(10)));
        assert!((0..100).all(|_| options.wait(30) <= LONGEST_WAIT));
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let kept = bounded(&"ä\0".repeat(LONGEST_ERROR));
        assert!(kept.len() <= LONGEST_ERROR && kept.ends_with('…') && !kept.contains('\0'));
    }
}
