//! The worker: claims jobs that are due, runs them side by side, keeps their leases, and writes down what became of them.
//!
//! What is claimed is started at once: a job that a worker takes down with it has had its try. Ends are written many at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[cfg(feature = "testing")]
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::catalogue::Known;
use super::model::Next;
use super::run::{Handler, Run, Signal, execute};
use super::slots::{Slot, Slots};
use super::store::{self, Claimed, Outcome};
use super::tally::word_of;
use super::{Jobs, limits};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::id::new_id;
use crate::base::trace::{self, Span, SpanKind, TraceContext, Tracer};
use crate::engine::claims;
use crate::engine::pulse::Pulse;
use crate::engine::relay::{self, AtTheEnd, Carried, Rhythm};

/// Which part of the longest wait between two looks the first one is.
const FIRST_WAIT: u32 = 20;
/// How often it is asked whether a job that runs is cancelled; jobs that end sooner are never asked for.
const BETWEEN_LOOKS_FOR_CANCELLED: Duration = Duration::from_secs(1);
/// How often old jobs are swept out.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);
/// How long whoever drives a worker waits for an end at most, before it looks itself.
#[cfg(feature = "testing")]
const LOOK: Duration = Duration::from_millis(100);
/// How often it is measured what waits.
const BETWEEN_MEASURES: Duration = Duration::from_secs(10);
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

/// A try that has ended. Its slot is free again once that is written.
struct Finished {
    outcome: Outcome,
    _slot: Slot,
}

type Ends = mpsc::UnboundedSender<Finished>;

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
            let finished = Finished { outcome: Outcome { id, fence, next }, _slot: slot };
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

/// Whether the same may work a little later: the database is away, full, or too busy.
fn is_passing(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable || error.error_code() == "try_again"
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

    /// Writes ends as they come, many at a time, until none come any more. What can't be written is tried again.
    async fn write_ends(&self, mut ended: mpsc::UnboundedReceiver<Finished>) {
        let mut batch = Vec::new();
        while ended.recv_many(&mut batch, BATCH).await > 0 {
            let (outcomes, slots): (Vec<Outcome>, Vec<Slot>) =
                batch.drain(..).map(|Finished { outcome, _slot }| (outcome, _slot)).unzip();
            self.write(&outcomes).await;
            let failed = outcomes.iter().filter(|outcome| outcome.next.is_failure()).count();
            self.pulse.count_failed(failed);
            self.pulse.count_processed(outcomes.iter().filter(|outcome| outcome.next.is_end()).count());
            let mut held = self.held.lock().expect(UNPOISONED);
            for outcome in &outcomes {
                if held.get(&outcome.id).is_some_and(|held| held.fence == outcome.fence) {
                    held.remove(&outcome.id);
                }
            }
            drop(held);
            drop(slots);
            self.written.notify_one();
            if self.jobs.shared.catalogue.has_limits() {
                // A queue may have room again.
                self.jobs.shared.wake.wake();
            }
        }
    }

    /// Writes ends, however long the database is away. One that it refuses, though it is there, does not keep the others from being written.
    async fn write(&self, outcomes: &[Outcome]) {
        let Err(refusal) = self.write_while_away(outcomes).await else { return };
        for outcome in outcomes {
            if outcomes.len() > 1 && self.write_while_away(std::slice::from_ref(outcome)).await.is_ok() {
                continue;
            }
            let job_id = &outcome.id;
            tracing::error!(%job_id, cause = ?refusal, "the end of a job can't be written: {refusal}");
            let error = format!("its end could not be written: {refusal}");
            let failed = Outcome { id: outcome.id.clone(), fence: outcome.fence, next: Next::Failed { error } };
            if let Err(error) = self.write_while_away(&[failed]).await {
                tracing::error!(%job_id, cause = ?error, "nor that it has failed; its lease will end");
            }
        }
    }

    async fn write_while_away(&self, outcomes: &[Outcome]) -> Result<()> {
        let ours = outcomes.iter().filter(|outcome| outcome.next != Next::NotOurs).count() as u64;
        let mut failures = 0;
        loop {
            let (jobs, now) = (&self.jobs, self.jobs.now());
            match store::record(&jobs.db, &self.id, outcomes, now, jobs.shared.keep).await {
                Ok(had) => {
                    // After a failure, what was not there to be written may have been written by the try that failed.
                    if had < ours && failures == 0 {
                        tracing::warn!(jobs = ours - had, "the ends of jobs came too late: their leases were over");
                    }
                    return Ok(());
                }
                Err(error) if is_passing(&error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(cause = ?error, jobs = outcomes.len(), "the ends of jobs can't be written; trying again: {error}");
                    }
                    tokio::time::sleep(relay::after(failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Renews the leases of all that is held, looks whether any of it was cancelled, and drops what was lost.
    async fn keep_leases(&self, mut closed: watch::Receiver<bool>) {
        let mut renewals = interval(self.options.lease / 3);
        let mut looks = interval(BETWEEN_LOOKS_FOR_CANCELLED);
        for ticks in [&mut renewals, &mut looks] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let result = tokio::select! {
                () = until(&mut closed) => return,
                _ = renewals.tick() => self.renew().await,
                _ = looks.tick() => self.look_for_cancelled().await,
            };
            if let Err(error) = result {
                tracing::warn!(cause = ?error, "the leases of jobs can't be renewed; trying again: {error}");
            }
        }
    }

    async fn renew(&self) -> Result<()> {
        let held: Vec<(String, i64)> =
            self.held.lock().expect(UNPOISONED).iter().map(|(id, held)| (id.clone(), held.fence)).collect();
        let ids: Vec<String> = held.iter().map(|(id, _)| id.clone()).collect();
        let kept = claims::renew(&self.jobs.db, store::TABLE, &self.id, &ids, self.options.lease).await?;
        let kept: BTreeSet<(String, i64)> = kept.into_iter().collect();
        let now = self.held.lock().expect(UNPOISONED);
        for (id, fence) in held.into_iter().filter(|held| !kept.contains(held)) {
            // Unless its end was written meanwhile.
            if let Some(held) = now.get(&id).filter(|held| held.fence == fence) {
                tracing::warn!(job_id = %id, "the lease of a job is lost; its try is given up");
                held.signal.send_replace(Signal::Lost);
            }
        }
        Ok(())
    }

    async fn look_for_cancelled(&self) -> Result<()> {
        let is_long =
            |held: &&Held| held.since.elapsed() >= BETWEEN_LOOKS_FOR_CANCELLED && *held.signal.borrow() == Signal::Work;
        let ids: Vec<String> = {
            let held = self.held.lock().expect(UNPOISONED);
            held.iter().filter(|(_, held)| is_long(held)).map(|(id, _)| id.clone()).collect()
        };
        let cancelled = store::to_be_cancelled(&self.jobs.db, &self.id, &ids).await?;
        let held = self.held.lock().expect(UNPOISONED);
        for held in cancelled.iter().filter_map(|id| held.get(id)) {
            held.signal.send_if_modified(|signal| {
                let is_news = *signal == Signal::Work;
                *signal = if is_news { Signal::Cancel } else { *signal };
                is_news
            });
        }
        Ok(())
    }

    /// Rescues jobs of its queues whose workers went silent, and sweeps out old ones.
    async fn keep_tidy(&self, mut closed: watch::Receiver<bool>) {
        let mut rescues = interval(self.options.lease / 3);
        let mut sweeps = interval(BETWEEN_SWEEPS);
        let mut measures = interval(BETWEEN_MEASURES);
        for ticks in [&mut rescues, &mut sweeps, &mut measures] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let result = tokio::select! {
                () = until(&mut closed) => return,
                _ = rescues.tick() => self.rescue().await,
                _ = sweeps.tick() => self.sweep().await,
                _ = measures.tick() => self.measure().await,
            };
            if let Err(error) = result {
                tracing::debug!(cause = ?error, "jobs can't be rescued or swept out; the next round tries again");
            }
        }
    }

    async fn rescue(&self) -> Result<()> {
        let (queues, now) = (self.options.queues.as_deref(), self.jobs.now());
        let rescued = store::rescue(&self.jobs.db, queues, now, self.jobs.shared.keep).await?;
        if rescued > 0 {
            tracing::warn!(jobs = rescued, "jobs are taken back from workers that went silent");
            self.jobs.shared.wake.wake();
        }
        Ok(())
    }

    async fn measure(&self) -> Result<()> {
        let (count, oldest) = store::waiting(&self.jobs.db).await?;
        // Where all slots are taken by long jobs, nothing else asks the database for a while.
        self.pulse.was_answered();
        self.pulse.has_waiting(count);
        match oldest {
            Some(oldest) => self.pulse.waits_since(oldest),
            None => self.pulse.has_none_waiting(),
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<()> {
        while store::sweep(&self.jobs.db, self.jobs.now()).await? == store::BATCH {}
        Ok(())
    }
}
