//! How the workers of a process are: what each tells of itself while it works, and whether it is well. In memory, so that health checks and
//! metrics may ask as often as they like.
//!
//! A worker is well while it works, or has been told to stop. It is not when three tries in a row have failed, when it has had no answer for
//! a minute beyond its time, or when it has ended though nobody told it to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::clock::{Clock, Timestamp, format_timestamp};
use crate::base::error::Error;
use crate::base::metrics::Samples;

/// So many failures in a row are no accident.
const TOO_MANY_FAILURES: u32 = 3;
/// After how long without an answer, beyond the time to the next look, a worker is not well.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// One worker of this process, in numbers. Counts begin with the process.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Which one: `jobs`, `mail`, `audit`, `audit_purge`, `usage` or `admin_worker`.
    #[serde(skip)]
    pub name: &'static str,
    /// `ok`, or `degraded` where it is not well.
    pub status: &'static str,
    /// Since when it works (RFC 3339, UTC).
    pub alive_since: String,
    /// How old the oldest record is that waits for it, in seconds, as far as it knows; 0 where none waits.
    pub lag_secs: f64,
    /// How many records wait for it, where it knows. 10,000 stand for more, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// How many records it has taken up. One that is tried three times counts three times.
    pub claimed: u64,
    /// How many it has brought to their end.
    pub processed: u64,
    /// How many tries have failed, of records or of whole rounds.
    pub failed: u64,
    /// The last failure, also where it goes on since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<WorkerFailure>,
}

/// A worker's failure, without words that could tell of the inside: the log has those.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct WorkerFailure {
    /// What kind, as in `code` of an error's answer.
    pub code: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

impl WorkerReport {
    /// Whether it is well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.status == "ok"
    }
}

/// The workers of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pulses {
    clock: Clock,
    all: Arc<Mutex<Vec<Pulse>>>,
}

impl Pulses {
    pub(crate) fn new(clock: Clock) -> Self {
        Pulses { clock, all: Arc::default() }
    }

    /// The worker of this name; the first to ask makes it.
    pub(crate) fn of(&self, name: &'static str) -> Pulse {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().find(|pulse| pulse.name() == name) {
            return known.clone();
        }
        let pulse = Pulse::new(name, self.clock.clone());
        all.push(pulse.clone());
        pulse
    }

    /// Those that work, or have ended though nobody told them to, in the order in which they were made.
    pub(crate) fn reports(&self) -> Vec<WorkerReport> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).clone();
        all.iter().filter_map(Pulse::report).collect()
    }

    /// Tells of the same. What waits is told by queue, where jobs tell of it.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        for worker in self.reports() {
            let labels = [("worker", worker.name)];
            let about =
                "1 where a worker of this process is not well: it fails again and again, is silent, or has ended.";
            let is_degraded = if worker.is_well() { 0.0 } else { 1.0 };
            samples.gauge("app_kernel_worker_degraded", about, &labels, is_degraded);
            let about = "Age of the oldest record that waits for a worker, as far as it knows; 0 where none does.";
            samples.gauge("app_kernel_worker_lag_seconds", about, &labels, worker.lag_secs);
            let about = "Records that a worker of this process has taken up, each time that it is tried.";
            samples.counter("app_kernel_worker_claimed_total", about, &labels, worker.claimed);
            let about = "Records that a worker of this process has brought to their end.";
            samples.counter("app_kernel_worker_processed_total", about, &labels, worker.processed);
            let about = "Tries of a worker of this process that failed, of records or of whole rounds.";
            samples.counter("app_kernel_worker_failed_total", about, &labels, worker.failed);
        }
    }
}

/// What one worker tells of itself. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    clock: Clock,
    claimed: AtomicU64,
    processed: AtomicU64,
    failed: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    life: Option<Life>,
    failures_in_a_row: u32,
    last_error: Option<WorkerFailure>,
    oldest_waiting: Option<Timestamp>,
    waiting: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Life {
    since: Timestamp,
    answered_at: Instant,
    longest_silence: Duration,
    has_ended: bool,
}

/// As long as this lives, the worker works.
#[derive(Debug)]
pub(crate) struct Alive {
    pulse: Pulse,
    is_told_to_stop: bool,
}

impl Alive {
    /// It ends because it was told to.
    pub(crate) fn end(mut self) {
        self.is_told_to_stop = true;
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let mut state = self.pulse.state();
        match &mut state.life {
            Some(life) if !self.is_told_to_stop => life.has_ended = true,
            _ => state.life = None,
        }
    }
}

impl Pulse {
    pub(crate) fn new(name: &'static str, clock: Clock) -> Self {
        let (claimed, processed, failed) = Default::default();
        Pulse(Arc::new(Inner { name, clock, claimed, processed, failed, state: Mutex::default() }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.0.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker begins. So long may pass at most between two looks.
    pub(crate) fn begin(&self, seldom: Duration) -> Alive {
        let longest_silence = LONGEST_SILENCE.saturating_add(seldom);
        let (since, answered_at) = (self.0.clock.now(), Instant::now());
        let life = Life { since, answered_at, longest_silence, has_ended: false };
        self.state().life = Some(life);
        Alive { pulse: self.clone(), is_told_to_stop: false }
    }

    /// What it works with has answered.
    pub(crate) fn was_answered(&self) {
        if let Some(life) = &mut self.state().life {
            life.answered_at = Instant::now();
        }
    }

    /// A round went well.
    pub(crate) fn went_well(&self) {
        self.was_answered();
        self.state().failures_in_a_row = 0;
    }

    /// A round has failed.
    pub(crate) fn went_wrong(&self, error: &Error) {
        self.count_failed(1);
        let at = format_timestamp(self.0.clock.now());
        let mut state = self.state();
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        state.last_error = Some(WorkerFailure { code: error.error_code().to_owned(), at });
    }

    pub(crate) fn count_claimed(&self, records: usize) {
        self.0.claimed.fetch_add(records as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_processed(&self, records: usize) {
        self.0.processed.fetch_add(records as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_failed(&self, records: usize) {
        self.0.failed.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// The oldest record that waits is of this time.
    pub(crate) fn waits_since(&self, oldest: Timestamp) {
        self.state().oldest_waiting = Some(oldest);
    }

    /// As [`Pulse::waits_since`], where none was known to wait before: the oldest is of this time at the earliest.
    pub(crate) fn waits_since_at_most(&self, oldest: Timestamp) {
        self.state().oldest_waiting.get_or_insert(oldest);
    }

    /// How old the oldest record is that waits, as far as it knows.
    pub(crate) fn lag(&self) -> Duration {
        let oldest = self.state().oldest_waiting;
        oldest.map_or(Duration::ZERO, |oldest| {
            Duration::try_from(self.0.clock.now().duration_since(oldest)).unwrap_or_default()
        })
    }

    /// So many records wait; where it can't tell how many, it never calls this.
    pub(crate) fn has_waiting(&self, count: u64) {
        self.state().waiting = Some(count);
    }

    /// No record waits.
    pub(crate) fn has_none_waiting(&self) {
        let mut state = self.state();
        state.oldest_waiting = None;
        state.waiting = state.waiting.map(|_| 0);
    }

    /// None before it has begun, and after it has ended as it was told to.
    pub(crate) fn report(&self) -> Option<WorkerReport> {
        let state = self.state();
        let life = state.life?;
        let is_well = !life.has_ended
            && state.failures_in_a_row < TOO_MANY_FAILURES
            && life.answered_at.elapsed() < life.longest_silence;
        let lag = state.oldest_waiting.map(|oldest| self.0.clock.now().duration_since(oldest).as_secs_f64());
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Some(WorkerReport {
            name: self.0.name,
            status: if is_well { "ok" } else { "degraded" },
            alive_since: format_timestamp(life.since),
            lag_secs: lag.unwrap_or(0.0).max(0.0),
            waiting: state.waiting,
            claimed: counted(&self.0.claimed),
            processed: counted(&self.0.processed),
            failed: counted(&self.0.failed),
            last_error: state.last_error.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse() -> (Clock, Pulses, Pulse) {
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
        let pulses = Pulses::new(clock.clone());
        let pulse = pulses.of("jobs");
        (clock, pulses, pulse)
    }

    #[test]
    fn only_workers_that_work_are_told_of() {
        let (_, pulses, pulse) = pulse();
        assert_eq!(pulses.reports(), []);
        let alive = pulse.begin(Duration::ZERO);
        assert_eq!(pulses.reports().len(), 1);
        assert_eq!(pulses.of("jobs").report(), pulse.report(), "one name, one worker");
        alive.end();
        assert_eq!(pulses.reports(), [], "it was told to stop");
    }

    #[test]
    fn a_worker_that_ends_by_itself_is_not_well() {
        let (_, _, pulse) = pulse();
        drop(pulse.begin(Duration::ZERO));
        assert_eq!(pulse.report().map(|report| report.status), Some("degraded"));
    }

    #[test]
    fn three_failures_in_a_row_are_too_many_and_one_success_is_enough() {
        let (_, _, pulse) = pulse();
        let _alive = pulse.begin(Duration::ZERO);
        let error = Error::unavailable("the server db.internal is away");
        let status = || pulse.report().expect("it works").status;
        for expected in ["ok", "ok", "degraded"] {
            pulse.went_wrong(&error);
            assert_eq!(status(), expected);
        }
        pulse.went_well();
        let report = pulse.report().expect("it works");
        assert_eq!((report.status, report.failed), ("ok", 3));
        let last = WorkerFailure { code: "unavailable".to_owned(), at: "2026-01-01T00:00:00.000000Z".to_owned() };
        assert_eq!(report.last_error, Some(last));
        assert!(!serde_json::to_string(&report).expect("JSON").contains("internal"), "{report:?}");
    }

    #[test]
    fn the_lag_grows_until_nothing_waits() {
        let (clock, _, pulse) = pulse();
        let _alive = pulse.begin(Duration::ZERO);
        let lag = || pulse.report().expect("it works").lag_secs;
        pulse.waits_since(clock.now());
        clock.advance(Duration::from_secs(90));
        pulse.waits_since_at_most(clock.now());
        assert!((lag() - 90.0).abs() < f64::EPSILON, "{}", lag());
        pulse.has_none_waiting();
        assert!(lag() == 0.0 && pulse.report().expect("it works").waiting.is_none());
    }
}
