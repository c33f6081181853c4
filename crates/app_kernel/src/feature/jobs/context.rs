//! What a task knows of the job it is in, and what it may reach.

use std::ops::Deref;

use crate::engine::cache::{Cache, HasCache};
use crate::engine::jobs::{Jobs, Run};
use crate::kernel::Kernel;

/// What a task gets beside its payload: the try that it is in ([`Run`], which this derefs to: `ctx.job_id`, `ctx.attempt`, `ctx.db`,
/// `ctx.progress(..)`, `ctx.is_cancelled()`), and the service's engines.
#[derive(Debug, Clone)]
pub struct JobContext {
    run: Run,
    kernel: Kernel,
}

impl JobContext {
    pub(super) fn new(run: Run, kernel: Kernel) -> Self {
        JobContext { run, kernel }
    }

    /// The service's engines: its configuration, its clock, mail.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Enqueues further jobs, for the same user.
    ///
    /// # Panics
    /// Never: a job runs where there are jobs.
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        self.kernel.jobs().expect("a job runs where there are jobs").on(&self.run.db)
    }
}

impl HasCache for JobContext {
    fn cache(&self) -> &Cache {
        self.kernel.cache()
    }
}

impl Deref for JobContext {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.run
    }
}
