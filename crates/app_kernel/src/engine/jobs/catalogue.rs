//! The tasks that a service knows, by name. What is enqueued must be among them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::limits::QueueLimits;
use super::model::{LONGEST_NAME, TaskOptions};
use super::schedule::Schedule;
use crate::base::error::{Error, Result};

/// A kind of job: its name, what it gets, and how it is run. Made by `#[task]`, which also gives it what it does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    note = "write #[task] above its `async fn(payload: YourPayload, ctx: JobContext) -> Result<..>`"
)]
pub trait Task: Send + Sync + 'static {
    /// What it gets.
    type Payload: Serialize + DeserializeOwned + Send + 'static;
    /// What its jobs are known by. Rows carry it: a task that is renamed leaves those that wait behind.
    const NAME: &'static str;

    /// How its jobs are run.
    #[must_use]
    fn options() -> TaskOptions {
        TaskOptions::default()
    }
}

/// What [`Jobs::enqueue`](super::Jobs::enqueue) takes for a task: the task itself, with its own payload, or its name and anything that serde can
/// write.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task that takes a `{P}`",
    note = "enqueue a #[task] with the payload it declares, or name it: jobs.enqueue(\"its_name\", json!({{ .. }}))"
)]
pub trait TaskRef<P> {
    /// The task's name.
    fn name(&self) -> &str;
    /// Whether the compiler has seen that the payload fits.
    #[doc(hidden)]
    const IS_CHECKED: bool;
}

impl<T: Task> TaskRef<T::Payload> for T {
    fn name(&self) -> &str {
        T::NAME
    }

    const IS_CHECKED: bool = true;
}

impl<P: Serialize> TaskRef<P> for &str {
    fn name(&self) -> &str {
        self
    }

    const IS_CHECKED: bool = false;
}

/// Says what is wrong with a payload.
type Check = Arc<dyn Fn(&Json) -> Result<(), String> + Send + Sync>;

/// What is known of one task.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) options: TaskOptions,
    pub(super) check: Check,
}

/// All tasks of a service.
#[derive(Clone, Default)]
pub(crate) struct Catalogue {
    tasks: BTreeMap<String, Known>,
    limits: BTreeMap<String, QueueLimits>,
    pub(super) schedules: Vec<Schedule>,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.tasks.keys()).finish()
    }
}

impl Catalogue {
    /// Adds a task that takes a `P`.
    ///
    /// # Errors
    /// Where its name or an option is none, or another has the name.
    pub(crate) fn add<P: DeserializeOwned>(&mut self, name: &str, options: TaskOptions) -> Result<()> {
        check_name("a task's name", name)?;
        check_name("a queue's name", &options.queue)?;
        if options.timeout.is_zero() || options.max_attempts == 0 {
            return Err(Error::invalid(format!("the task `{name}` needs a timeout and at least one attempt")));
        }
        let check: Check = Arc::new(|payload| P::deserialize(payload).map(drop).map_err(|error| error.to_string()));
        match self.tasks.insert(name.to_owned(), Known { options, check }) {
            None => Ok(()),
            Some(_) => Err(Error::invalid(format!("two tasks are called `{name}`; rename one of them"))),
        }
    }

    /// Gives a queue limits.
    ///
    /// # Errors
    /// Where its name is none.
    pub(crate) fn limit(&mut self, queue: &str, limits: QueueLimits) -> Result<()> {
        check_name("a queue's name", queue)?;
        self.limits.insert(queue.to_owned(), limits);
        Ok(())
    }

    /// Whether any queue has limits.
    pub(super) fn has_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// The queues that have places of their own, with their number.
    pub(super) fn own_slots(&self) -> impl Iterator<Item = (&str, usize)> {
        self.limits.iter().filter_map(|(queue, limits)| Some((queue.as_str(), limits.own_slots? as usize)))
    }

    /// The limits of a queue, where it has any.
    pub(super) fn limits_of(&self, queue: &str) -> Option<QueueLimits> {
        self.limits.get(queue).copied()
    }

    /// Adds a schedule.
    ///
    /// # Errors
    /// Where another has its name.
    pub(crate) fn schedule(&mut self, schedule: Schedule) -> Result<()> {
        let name = schedule.name();
        if self.schedules.iter().any(|other| other.name() == name) {
            return Err(Error::invalid(format!("two schedules are called `{name}`; rename one of them")));
        }
        self.schedules.push(schedule);
        Ok(())
    }

    /// Makes sure that what is scheduled can be run.
    ///
    /// # Errors
    /// Names the task that is missing.
    pub(crate) fn check(&self) -> Result<()> {
        self.schedules.iter().try_for_each(|schedule| self.get(schedule.task()).map(drop))
    }

    /// Adds all that is in another.
    ///
    /// # Errors
    /// Where both have a task or a schedule of one name.
    pub(crate) fn absorb(&mut self, other: Catalogue) -> Result<()> {
        if let Some(name) = other.names().find(|name| self.tasks.contains_key(*name)) {
            return Err(Error::invalid(format!("two tasks are called `{name}`; rename one of them")));
        }
        self.tasks.extend(other.tasks);
        self.limits.extend(other.limits);
        other.schedules.into_iter().try_for_each(|schedule| self.schedule(schedule))
    }

    pub(super) fn get(&self, name: &str) -> Result<&Known> {
        self.tasks.get(name).ok_or_else(|| {
            Error::invalid(format!(
                "there is no task `{name}`; add it to the service: .task({name}). Known: {}",
                if self.tasks.is_empty() { "none".to_owned() } else { self.names().collect::<Vec<_>>().join(", ") }
            ))
            .code("unknown_task")
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.keys().map(String::as_str)
    }
}

/// Names stand in logs, commands and lists apart by commas.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
    if (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} is {name:?}; it must be 1 to {LONGEST_NAME} of the characters A-Z, a-z, 0-9 and _ - . : /"
    )))
}
