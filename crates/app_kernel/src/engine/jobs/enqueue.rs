//! Enqueuing, one job or many, with what may be said about them.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::catalogue::{TaskRef, check_name};
use super::model::{LONGEST_NAME, LONGEST_PAYLOAD};
use super::store::{NewJob, When};
use super::{Jobs, store};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::id::new_id;
use crate::base::trace;

/// How often the holder of a unique key is looked for, where it ends between two looks.
const LOOKS: usize = 5;

/// What an enqueuer gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Enqueued {
    /// The job's identifier, for `/jobs/{id}`.
    pub job_id: String,
    /// False where an unfinished job with the same unique key was there already: then this is that one, as it was enqueued.
    pub is_new: bool,
}

impl Jobs {
    /// A job of a task: `jobs.enqueue(send_email, SendEmail { .. }).await?`, or by name, `jobs.enqueue("send_email", json!({ .. })).await?`.
    /// It is for the caller, where that is a user.
    pub fn enqueue<P: Serialize, T: TaskRef<P>>(&self, task: T, payload: P) -> Enqueue {
        Enqueue { new: self.new_job::<P, T>(&task, &payload), jobs: self.clone() }
    }

    /// A job of the same task for each of these payloads, hundreds with one statement. All of them, or none.
    pub fn enqueue_many<P: Serialize, T: TaskRef<P>>(
        &self,
        task: T,
        payloads: impl IntoIterator<Item = P>,
    ) -> EnqueueMany {
        let new = payloads.into_iter().map(|payload| self.new_job::<P, T>(&task, &payload)).collect();
        EnqueueMany { new, jobs: self.clone() }
    }

    fn new_job<P: Serialize, T: TaskRef<P>>(&self, task: &T, payload: &P) -> Result<NewJob> {
        let name = task.name();
        let known = self.shared.catalogue.get(name)?;
        let unfit = |problem: String| {
            Error::invalid(format!("the payload does not fit the task `{name}`: {problem}")).code("payload_unfit")
        };
        let payload = serde_json::to_value(payload).map_err(|error| unfit(error.to_string()))?;
        if !T::IS_CHECKED {
            (known.check)(&payload).map_err(unfit)?;
        }
        check_payload(&payload).map_err(unfit)?;
        Ok(NewJob {
            id: new_id(),
            task: name.to_owned(),
            queue: known.options.queue.clone(),
            priority: 0,
            payload,
            user_id: self.db.caller().user_id().map(str::to_owned),
            max_attempts: known.options.max_attempts,
            unique_key: None,
            concurrency_key: None,
            traceparent: trace::current().map(|current| current.context().traceparent()),
            when: When::Now,
        })
    }

    async fn make(self, new: Vec<NewJob>, or_none: bool) -> Result<()> {
        store::insert(&self.db, &new, self.now(), or_none).await?;
        let shared = std::sync::Arc::clone(&self.shared);
        self.db.after_commit(move || {
            shared.wake.enqueued(new.iter().filter(|job| job.when == When::Now).map(|job| job.task.as_str()));
        });
        Ok(())
    }
}

/// A row is no place for a file.
fn check_payload(payload: &Json) -> Result<(), String> {
    let bytes = payload.to_string();
    if bytes.len() > LONGEST_PAYLOAD {
        return Err(format!(
            "it has {} bytes; {LONGEST_PAYLOAD} are the most. Store it, and enqueue its id",
            bytes.len()
        ));
    }
    Ok(())
}

fn check_key(what: &str, key: &str) -> Result<()> {
    if (1..=LONGEST_NAME).contains(&key.chars().count()) && !key.contains('\0') {
        return Ok(());
    }
    Err(Error::invalid(format!("{what} must have 1 to {LONGEST_NAME} characters")))
}

/// Enqueues a job once it is awaited; see [`Jobs::enqueue`].
#[derive(Debug)]
#[must_use = "nothing is enqueued until it is awaited"]
pub struct Enqueue {
    jobs: Jobs,
    new: Result<NewJob>,
}

/// Enqueues many jobs once it is awaited; see [`Jobs::enqueue_many`].
#[derive(Debug)]
#[must_use = "nothing is enqueued until it is awaited"]
pub struct EnqueueMany {
    jobs: Jobs,
    new: Result<Vec<NewJob>>,
}

/// What may be said about one job and about many alike.
macro_rules! options {
    ($name:ident, |$new:ident, $each:ident| $apply:expr) => {
        impl $name {
            fn change(mut self, change: impl Fn(&mut NewJob) -> Result<()>) -> Self {
                self.new = self.new.and_then(|mut $new| {
                    let $each = change;
                    $apply;
                    Ok($new)
                });
                self
            }

            /// For whom it is: who may look at `/jobs/{id}`, and in whose name its task changes things. The caller, where not said.
            pub fn user(self, id: impl Into<String>) -> Self {
                let id = id.into();
                self.change(|job| {
                    check_key("a user's id", &id)?;
                    job.user_id = Some(id.clone());
                    Ok(())
                })
            }

            /// Not before so much time has passed.
            pub fn delay(self, delay: Duration) -> Self {
                self.change(|job| {
                    job.when = if delay.is_zero() { When::Now } else { When::In(delay) };
                    Ok(())
                })
            }

            /// Not before this time.
            pub fn at(self, time: Timestamp) -> Self {
                self.change(|job| {
                    job.when = When::At(time);
                    Ok(())
                })
            }

            /// Smaller numbers run first, as with `nice`; 0 where not said.
            pub fn priority(self, priority: i32) -> Self {
                self.change(|job| {
                    job.priority = priority.into();
                    Ok(())
                })
            }

            /// Counts together with others of this key in its queue, against the queue's limit for a key.
            pub fn concurrency_key(self, key: impl Into<String>) -> Self {
                let key = key.into();
                self.change(|job| {
                    check_key("a concurrency key", &key)?;
                    job.concurrency_key = Some(key.clone());
                    Ok(())
                })
            }

            /// In another queue than the task's own.
            pub fn queue(self, queue: impl Into<String>) -> Self {
                let queue = queue.into();
                self.change(|job| {
                    check_name("a queue's name", &queue)?;
                    job.queue.clone_from(&queue);
                    Ok(())
                })
            }
        }
    };
}

options!(Enqueue, |new, change| change(&mut new)?);
options!(EnqueueMany, |new, change| new.iter_mut().try_for_each(change)?);

impl EnqueueMany {
    /// As `concurrency_key`, to each job its own, in the order of the payloads. Jobs that none is left for have none.
    pub fn concurrency_keys<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.new = self.new.and_then(|mut new| {
            for (job, key) in new.iter_mut().zip(keys) {
                let key = key.into();
                check_key("a concurrency key", &key)?;
                job.concurrency_key = Some(key);
            }
            Ok(new)
        });
        self
    }
}

impl Enqueue {
    /// At most one unfinished job has this key: where there is one, its id is answered and nothing is enqueued.
    pub fn unique_key(self, key: impl Into<String>) -> Self {
        let key = key.into();
        self.change(|job| {
            check_key("a unique key", &key)?;
            job.unique_key = Some(key.clone());
            Ok(())
        })
    }
}

impl IntoFuture for Enqueue {
    type Output = Result<Enqueued>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (new, jobs) = (self.new?, self.jobs);
            let id = new.id.clone();
            let Some(key) = new.unique_key.clone() else {
                jobs.make(vec![new], false).await?;
                return Ok(Enqueued { job_id: id, is_new: true });
            };
            for _ in 0..LOOKS {
                jobs.clone().make(vec![new.clone()], true).await?;
                if let Some(holder) = store::holder_of(&jobs.db, &key).await? {
                    let is_new = holder == id;
                    return Ok(Enqueued { job_id: holder, is_new });
                }
                // Ours was made and is finished already; or another was there and is finished by now.
                if jobs.get(&id).await?.is_some() {
                    return Ok(Enqueued { job_id: id, is_new: true });
                }
            }
            Err(Error::conflict("jobs with this unique key come and go; try again").code("try_again"))
        })
    }
}

impl IntoFuture for EnqueueMany {
    type Output = Result<Vec<String>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (new, jobs) = (self.new?, self.jobs);
            let ids = new.iter().map(|job| job.id.clone()).collect();
            if new.len() <= store::BATCH {
                jobs.make(new, false).await?;
            } else {
                let make = |tx| jobs.on(&tx).make(new.clone(), false);
                jobs.db.transaction(make).await?;
            }
            Ok(ids)
        })
    }
}
