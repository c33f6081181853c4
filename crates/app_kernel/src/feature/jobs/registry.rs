//! The tasks of a service: what each does, beside what the engine knows of it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::JobContext;
use crate::base::error::{Error, Result};
use crate::engine::jobs::{Answer, Catalogue, Handler, JobError, QueueLimits, Run, Schedule, Task, TaskOptions};
use crate::kernel::Kernel;

/// A task with what it does. `#[task]` writes this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    note = "write #[task] above its `async fn(payload: YourPayload, ctx: JobContext) -> Result<..>`"
)]
pub trait RunTask: Task {
    /// One try.
    fn run(payload: Self::Payload, ctx: JobContext) -> BoxFuture<'static, Result<Json, JobError>>;
}

/// Makes the handler once there is a kernel.
type MakeHandler = Box<dyn FnOnce(&Kernel) -> Handler + Send>;

/// The tasks of a service, by name. A module of many tasks hands its own to [`Service::tasks`](crate::service::Service::tasks).
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # use app_kernel::feature::jobs::TaskOptions;
/// # use serde_json::{Value, json};
/// async fn resize(payload: Value, ctx: JobContext) -> Result<Value> {
///     ctx.progress(50).await?;
///     Ok(json!({ "resized": payload["image"] }))
/// }
///
/// fn main() -> Result<()> {
///     let mut registry = JobRegistry::new();
///     registry.register("resize", TaskOptions::default().max_attempts(3), resize);
///     Service::new("images", ServiceConfig::from_env()?).tasks(registry).run()
/// }
/// ```
#[derive(Default)]
#[must_use = "a registry does nothing until a service has it"]
pub struct JobRegistry {
    catalogue: Catalogue,
    handlers: Vec<(String, MakeHandler)>,
    problem: Option<Error>,
}

impl fmt::Debug for JobRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobRegistry").field("tasks", &self.catalogue).finish_non_exhaustive()
    }
}

impl JobRegistry {
    /// One without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task that `#[task]` has made. Two of one name end the start of the service.
    pub fn task<T: RunTask>(&mut self, _: T) -> &mut Self {
        self.register(T::NAME, T::options(), |payload: T::Payload, ctx| T::run(payload, ctx))
    }

    /// Adds a task by name: `payload` is any type that serde can read.
    pub fn register<P, F, W, O, E>(&mut self, name: &str, options: TaskOptions, handler: F) -> &mut Self
    where
        P: DeserializeOwned + Send + 'static,
        F: Fn(P, JobContext) -> W + Send + Sync + 'static,
        W: Future<Output = Result<O, E>> + Send + 'static,
        O: Serialize,
        E: Into<JobError>,
    {
        if let Err(problem) = self.catalogue.add::<P>(name, options) {
            self.problem.get_or_insert(problem);
            return self;
        }
        let handler = Arc::new(handler);
        let make: MakeHandler = Box::new(move |kernel| {
            let kernel = kernel.clone();
            Arc::new(move |payload: Json, run: Run| -> BoxFuture<'static, Answer> {
                let (handler, ctx) = (Arc::clone(&handler), JobContext::new(run, kernel.clone()));
                Box::pin(async move {
                    let payload = P::deserialize(payload).map_err(unfit)?;
                    to_answer(handler(payload, ctx).await)
                })
            })
        });
        self.handlers.push((name.to_owned(), make));
        self
    }

    /// Gives a queue limits, which hold for all processes together.
    pub fn queue(&mut self, name: &str, limits: QueueLimits) -> &mut Self {
        let limited = self.catalogue.limit(name, limits);
        self.note(limited)
    }

    /// Enqueues a job of a task whenever a cron expression comes round, in UTC: once for each tick, however many processes there are.
    pub fn cron<T: RunTask>(&mut self, name: &str, expression: &str, _: T, payload: T::Payload) -> &mut Self {
        let payload = serde_json::to_value(payload)
            .map_err(|error| Error::invalid(format!("the payload of the schedule `{name}` is no JSON: {error}")));
        let schedule = payload.and_then(|payload| Schedule::new(name, expression, T::NAME, payload));
        let added = schedule.and_then(|schedule| self.catalogue.schedule(schedule));
        self.note(added)
    }

    /// Keeps the first thing that is wrong for the start, which can say it.
    fn note(&mut self, added: Result<()>) -> &mut Self {
        if let Err(problem) = added {
            self.problem.get_or_insert(problem);
        }
        self
    }

    /// Adds all the tasks of another.
    pub(crate) fn absorb(&mut self, other: JobRegistry) {
        let JobRegistry { catalogue, handlers, problem } = other;
        let problem = self.catalogue.absorb(catalogue).err().or(problem);
        if let Some(problem) = problem {
            self.problem.get_or_insert(problem);
        }
        self.handlers.extend(handlers);
    }

    /// What the engine knows of them.
    ///
    /// # Errors
    /// What was wrong with the first that could not be added.
    pub(crate) fn catalogue(&mut self) -> Result<Catalogue> {
        match self.problem.take() {
            Some(problem) => Err(problem),
            None => {
                self.catalogue.check()?;
                Ok(self.catalogue.clone())
            }
        }
    }

    /// What they do, with this kernel.
    pub(crate) fn handlers(self, kernel: &Kernel) -> BTreeMap<String, Handler> {
        self.handlers.into_iter().map(|(name, make)| (name, make(kernel))).collect()
    }
}

/// Rows outlive deploys: a payload may be that of another version of the task.
fn unfit(error: serde_json::Error) -> JobError {
    JobError::Discard(Error::invalid(format!("the payload does not fit the task: {error}")).cause(error))
}

/// What `#[task]` calls with the answer of its function.
#[doc(hidden)]
pub fn to_answer<O: Serialize, E: Into<JobError>>(answer: Result<O, E>) -> Result<Json, JobError> {
    let result = answer.map_err(Into::into)?;
    serde_json::to_value(result).map_err(|error| {
        JobError::Discard(Error::internal(format!("the task's result can't be written as JSON: {error}")).cause(error))
    })
}
