//! Jobs for services: tasks, who runs them, and what people may see and do over HTTP.
//!
//! - A task is an async function under `#[task]`, or a closure in a [`JobRegistry`]; its service lists it with `.task(..)`.
//! - Whoever a job is for may look at `/jobs/{id}`: how far it is, and its result. To everybody else it is not there.
//! - Admins see all jobs with their errors, and may cancel, retry and delete them. Nobody sees a payload: it may hold what only the task
//!   should know.

mod context;
mod registry;
mod routes;

pub use self::context::JobContext;
pub use self::registry::{JobRegistry, RunTask};
pub(crate) use self::routes::routes;
/// What `#[task]` writes needs.
#[doc(hidden)]
pub mod written {
    pub use futures_util::future::BoxFuture;
    pub use serde_json::Value as Json;

    pub use super::registry::to_answer;
}

pub use crate::engine::jobs::{
    Enqueue, EnqueueMany, Enqueued, Job, JobError, JobState, Jobs, QueueLimits, Task, TaskOptions,
};
