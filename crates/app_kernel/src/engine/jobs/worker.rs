//! The worker: claims jobs that are due and runs them side by side. Beside that it keeps their leases (`leases.rs`), writes down what became of
//! them (`ends.rs`), and looks after what others left (`tidy.rs`).
//!
//! What is claimed is started at once: a job that a worker takes down with it has had its try.

mod ends;
mod leases;
mod tidy;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[cfg(feature = "testing")]
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};

use self::ends::{Ends, Finished};
use super::catalogue::Known;
use super::model::Next;
use super::run::{Handler, Run, Signal, execute};
use super::slots::Slots;
use super::store::{self, Claimed, Outcome};
use super::tally::word_of;
use super::{Jobs, limits};
use crate::base::error::Result;
use crate::base::id::new_id;
use crate::base::trace::{self, Span, SpanKind, TraceContext, Tracer};
use crate::engine::pulse::Pulse;
use crate::engine::relay::{self, AtTheEnd, Carried, Rhythm};

/// Which part of the longest wait between two looks the first one is.
const FIRST_WAIT: u32 = 20;
/// How long whoever drives a worker waits for an end at most, before it looks itself.
#[cfg(feature = "testing")]
const LOOK: Duration = Duration::from_millis(100);
/// How many jobs are claimed, and how many ends written, at once.
const BATCH: usize = 500;

/// How a worker works.
#[derive(Debug, Clone)]
pub(crate) struct WorkerOptions {
    /// How many jobs it runs side by side, beside those of queues that have places of their own.
    pub(crate) concurrency: usize,
    /// For how long it claims a job, until it renews the claim.
    pub(crate) lease: Duration,
    /// How long it lets jobs finish once it is told to stop. What is not done by then is handed back.
    pub(crate) drain: Duration,
    /// Only these tasks. None: all it knows.
    pub(crate) tasks: Option<Vec<String>>,
    /// Only these queues. None: all.
    pub(crate) queues: Option<Vec<String>>,
    /// How long it waits at most, before it looks for jobs that nobody has told it of.
    pub(crate) poll: Duration,
}

/// Runs jobs. Cheap to clone; clones share one identity and its slots.
#[derive(Clone)]
pub(crate) struct Worker(Arc<Inner>);

struct Inner {
    id: Arc<str>,
    jobs: Jobs,
    tasks: HashMap<String, RegisteredTask>,
    names: Vec<String>,
    options: WorkerOptions,
    slots: Slots,
    pulse: Pulse,
    /// The jobs it has, until their end is written.
    held: Mutex<HashMap<String, Held>>,
    /// Ends were written, which whoever drives the worker waits for.
    written: Notify,
}

/// A task as the worker knows it.
struct RegisteredTask {
    name: Arc<str>,
    handler: Handler,
    known: Known,
}

struct Held {
    fence: i64,
    since: Instant,
    signal: watch::Sender<Signal>,
}

const UNPOISONED: &str = "nothing panics while holding it";

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("id", &self.0.id).field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker for these tasks, all of which the catalogue of `jobs` knows.
    ///
    /// # Errors
    /// Where its options name a task that is none.
    pub(crate) fn new(
        jobs: &Jobs,
        handlers: &BTreeMap<String, Handler>,
        options: WorkerOptions,
        pulse: Pulse,
    ) -> Result<Self> {
        let mut tasks = HashMap::new();
        for name in options.tasks.iter().flatten() {
            jobs.shared.catalogue.get(name)?;
        }
        let is_wanted = |name: &String| options.tasks.as_ref().is_none_or(|wanted| wanted.contains(name));
        for (name, handler) in handlers.iter().filter(|(name, _)| is_wanted(name)) {
            let (handler, known) = (Arc::clone(handler), jobs.shared.catalogue.get(name)?.clone());
            tasks.insert(name.clone(), RegisteredTask { name: name.as_str().into(), handler, known });
        }
        let names = tasks.keys().cloned().collect();
        let slots = Slots::new(options.concurrency, jobs.shared.catalogue.own_slots());
        let (id, jobs, held, written) = (new_id().into(), jobs.clone(), Mutex::default(), Notify::new());
        Ok(Worker(Arc::new(Inner { id, jobs, tasks, names, options, slots, pulse, held, written })))
    }

    /// How many tasks it knows.
    pub(crate) fn tasks(&self) -> usize {
        self.0.tasks.len()
    }

    /// Works until told to stop; then lets what it has begun finish, and hands back what takes too long.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        if self.0.tasks.is_empty() {
            return;
        }
        let (ends, ended) = mpsc::unbounded_channel();
        let (worker, inner) = (&self, &*self.0);
        let fetch = async move {
            worker.fetch(&ends, stop).await;
            inner.drain().await;
        };
        let (closing, closed) = watch::channel(false);
        let write = async {
            inner.write_ends(ended).await;
            closing.send_replace(true);
        };
        tokio::join!(fetch, write, inner.keep_leases(closed.clone()), inner.keep_tidy(closed.clone()));
    }

    /// Runs all that is due, what silent workers had, and what becomes due by that, until nothing is. Answers how many tries there were.
    ///
    /// Boxed here: a test of a service need not know the layout of all that a worker does, which is deeper than the compiler goes by itself.
    #[cfg(feature = "testing")]
    #[inline(never)]
    pub(crate) fn run_to_idle(self) -> BoxFuture<'static, Result<usize>> {
        Box::pin(async move {
            let (ends, ended) = mpsc::unbounded_channel();
            let inner = &*self.0;
            let (closing, closed) = watch::channel(false);
            let work = self.work_to_idle(ends);
            let write = async {
                inner.write_ends(ended).await;
                closing.send_replace(true);
            };
            let (result, (), ()) = tokio::join!(work, write, inner.keep_leases(closed));
            inner.jobs.shared.wake.is_idle();
            result
        })
    }

    #[cfg(feature = "testing")]
    async fn work_to_idle(&self, ends: Ends) -> Result<usize> {
        let inner = &*self.0;
        inner.rescue().await?;
        let mut tries = 0;
        loop {
            tries += match self.claim(&ends).await? {
                0 if inner.is_idle() => return Ok(tries),
                claimed => claimed,
            };
            // Bounded, because the last end may have been written before we listened.
            drop(tokio::time::timeout(LOOK, inner.written.notified()).await);
        }
    }

    /// Claims and starts, until told to stop. A claim that is under way is not given up: nobody would run what it took.
    async fn fetch(&self, ends: &Ends, stop: watch::Receiver<bool>) {
        let inner = &*self.0;
        let rhythm = Rhythm {
            soon: inner.options.poll / FIRST_WAIT,
            seldom: inner.options.poll,
            gather: Duration::ZERO,
            at_the_end: AtTheEnd::Leave,
        };
        let claim = async || {
            let mut told_to_stop = stop.clone();
            tokio::select! {
                biased;
                () = until(&mut told_to_stop) => return Ok(Carried::All),
                () = inner.slots.any_free() => {}
            }
            let claimed = self.claim(ends).await?;
            Ok(if claimed > 0 { Carried::More } else { Carried::All })
        };
        relay::run(&inner.pulse, rhythm, stop.clone(), || inner.jobs.shared.wake.woken(), claim).await;
    }

    /// Claims what there is room for, a queue after the other, and starts it. Answers how many.
    async fn claim(&self, ends: &Ends) -> Result<usize> {
        let inner = &*self.0;
        let (db, now) = (&inner.jobs.db, inner.jobs.now());
        inner.jobs.tick().await?;
        let mut outlook = store::look(db, now).await?;
        if outlook.is_promotion_due {
            // Another worker may be doing the same: then it promotes none here, and they are ready all the same.
            store::promote(db, now).await?;
            outlook = store::look(db, now).await?;
        }
        if outlook.queues.is_empty() {
            inner.pulse.has_none_waiting();
        }
        let mut claimed = 0;
        for queue in outlook.queues.iter().filter(|queue| inner.serves(queue)) {
            claimed += self.claim_from(queue, ends).await?;
        }
        Ok(claimed)
    }

    /// Claims the jobs of a queue, batch after batch while they come full.
    async fn claim_from(&self, queue: &str, ends: &Ends) -> Result<usize> {
        let inner = &*self.0;
        let mut sum = 0;
        loop {
            let most = inner.slots.free(queue).min(BATCH);
            if most == 0 {
                return Ok(sum);
            }
            let (db, tasks, lease) = (&inner.jobs.db, &inner.names, inner.options.lease);
            let claimed = match inner.jobs.shared.catalogue.limits_of(queue) {
                None => store::claim(db, queue, tasks, most, &inner.id, lease).await?,
                Some(limits) => limits::claim(db, queue, limits, tasks, most, &inner.id, lease).await?,
            };
            let count = claimed.len();
            inner.pulse.count_claimed(count);
            claimed.into_iter().for_each(|job| self.start(queue, job, ends));
            sum += count;
            if count < most {
                return Ok(sum);
            }
        }
    }

    /// Runs a job beside the others.
    fn start(&self, queue: &str, job: Claimed, ends: &Ends) {
        let inner = &*self.0;
        let slot = inner.slots.take(queue).expect("no more are claimed than there are slots");
        let task = inner.tasks.get(&job.task).expect("only jobs of known tasks are claimed");
        let (signal, signals) = watch::channel(Signal::Work);
        let held = Held { fence: job.fence, since: Instant::now(), signal };
        inner.held.lock().expect(UNPOISONED).insert(job.id.clone(), held);
        let run = Run::new(&job, Arc::clone(&task.name), &inner.jobs.db, &inner.id, signals);
        let (handler, options, ends) = (Arc::clone(&task.handler), task.known.options.clone(), ends.clone());
        let (shared, name) = (Arc::clone(&inner.jobs.shared), Arc::clone(&task.name));
        tokio::spawn(async move {
            let (span, running, began) = (span_of(&shared.tracer, &job), shared.tally.running.hold(), Instant::now());
            let Claimed { id, fence, payload, .. } = job;
            let current = span.as_ref().map(Span::as_current);
            let next = trace::within(current, Box::pin(execute(handler, payload, run, options))).await;
            shared.tally.ended(&name, &next, began.elapsed());
            drop(running);
            end_span(span, &next);
            let finished = Finished { outcome: Outcome { id, fence, next }, slot };
            // Nobody listens where the worker was given up: then the lease ends, and the job is run again.
            drop(ends.send(finished));
        });
    }
}

/// The span of a try, below the one that enqueued the job.
fn span_of(tracer: &Tracer, job: &Claimed) -> Option<Span> {
    let parent = job.traceparent.as_deref().and_then(|parent| TraceContext::parse(parent, None));
    let mut span = tracer.begin(format!("process {}", job.task), SpanKind::Consumer, parent.as_ref())?;
    span.set("messaging.system", "app_kernel");
    span.set("messaging.operation.type", "process");
    span.set("messaging.operation.name", "process");
    span.set("messaging.destination.name", job.queue.clone());
    span.set("messaging.message.id", job.id.clone());
    span.set("app_kernel.job.task", job.task.clone());
    span.set("app_kernel.job.attempt", i64::from(job.attempt));
    Some(span)
}

fn end_span(span: Option<Span>, next: &Next) {
    let Some(mut span) = span else { return };
    span.set("app_kernel.job.end", word_of(next));
    if matches!(next, Next::Again { .. } | Next::Failed { .. }) {
        span.fail();
    }
}

async fn until(closed: &mut watch::Receiver<bool>) {
    // A sender that is gone has closed too.
    let _ = closed.wait_for(|closed| *closed).await;
}

impl Inner {
    /// Whether nothing is under way.
    #[cfg(feature = "testing")]
    fn is_idle(&self) -> bool {
        self.slots.are_empty()
    }

    fn serves(&self, queue: &str) -> bool {
        self.options.queues.as_ref().is_none_or(|wanted| wanted.iter().any(|name| name == queue))
    }

    /// Waits until all that was begun is done and written; hands back what takes longer than the drain time.
    async fn drain(&self) {
        if tokio::time::timeout(self.options.drain, self.slots.empty()).await.is_ok() {
            return;
        }
        let signals: Vec<_> = self.held.lock().expect(UNPOISONED).values().map(|held| held.signal.clone()).collect();
        tracing::info!(jobs = signals.len(), "jobs that did not finish in time are handed back");
        for signal in signals {
            signal.send_replace(Signal::HandBack);
        }
        self.slots.empty().await;
    }
}
