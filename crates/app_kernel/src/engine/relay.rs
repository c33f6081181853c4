//! The loop of every worker that looks for records beside the requests: woken as soon as there is something, looking from time to time all
//! the same, since another process may have left it, and waiting longer and longer while it fails. What it does with the records is safe
//! in any number of processes at once; this loop is its rhythm, and tells how it is.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::pulse::Pulse;
use crate::base::backoff::Backoff;
use crate::base::error::{Error, Result};

/// The wait after a failure, and the least of it.
const AFTER_FAILURE: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(5) };
const LEAST_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// When a relay works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// How soon it looks again where nobody wakes it, after it has found something.
    pub(crate) soon: Duration,
    /// How long that wait becomes at most: it doubles while nothing is found.
    pub(crate) seldom: Duration,
    /// How long it waits once it is woken, so that more comes together.
    pub(crate) gather: Duration,
    /// What is done about the rest when it is told to stop.
    pub(crate) at_the_end: AtTheEnd,
}

/// What a relay does when it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtTheEnd {
    /// It carries what is left.
    CarryTheRest,
    /// It begins nothing new.
    Leave,
}

/// Whether there may be more to carry at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// All that there was.
    All,
    /// A full batch.
    More,
}

/// How long to wait after so many failures in a row.
pub(crate) fn after(failures: u32) -> Duration {
    AFTER_FAILURE.wait(failures).max(LEAST_AFTER_FAILURE)
}

/// Carries until it is told to stop. `wake` is ready when there is something; `carry` moves one batch, and is never given up on the way.
pub(crate) async fn run<W, C>(
    pulse: &Pulse,
    rhythm: Rhythm,
    mut stop: watch::Receiver<bool>,
    wake: impl Fn() -> W,
    carry: impl Fn() -> C,
) where
    W: Future<Output = ()>,
    C: Future<Output = Result<Carried>> + Send,
{
    let alive = pulse.begin(rhythm.seldom);
    let what = pulse.name();
    let (mut failures, mut wait): (u32, Duration) = (0, rhythm.soon);
    loop {
        let is_stopping = *stop.borrow();
        if is_stopping && rhythm.at_the_end == AtTheEnd::Leave {
            break;
        }
        // Boxed: the compiler looks into all that a future waits for.
        let batch: BoxFuture<'_, Result<Carried>> = Box::pin(carry());
        // A batch that panics is no reason to carry no other ever again.
        let carried = AssertUnwindSafe(batch).catch_unwind().await;
        match carried.unwrap_or_else(|_| Err(Error::internal("a batch panicked"))) {
            Ok(carried) => {
                pulse.went_well();
                if failures > 0 {
                    tracing::info!(failures, "the worker `{what}` goes on");
                    failures = 0;
                }
                if carried == Carried::More {
                    wait = rhythm.soon;
                    continue;
                }
            }
            Err(error) => {
                pulse.went_wrong(&error);
                failures += 1;
                // The first, the second, the fourth …: a database that is away for an hour does not fill the log.
                if failures.is_power_of_two() {
                    tracing::warn!(failures, "the worker `{what}` failed and tries again, nothing is lost: {error:?}");
                }
            }
        }
        if is_stopping {
            break;
        }
        let pause = if failures > 0 { after(failures) } else { wait };
        let woken = async {
            if failures > 0 {
                tokio::time::sleep(pause).await;
            } else if tokio::time::timeout(pause, wake()).await.is_ok() {
                tokio::time::sleep(rhythm.gather).await;
                return true;
            }
            false
        };
        let is_woken = tokio::select! {
            _told = stop.wait_for(|stopped| *stopped) => false,
            is_woken = woken => is_woken,
        };
        wait = if is_woken { rhythm.soon } else { (wait * 2).min(rhythm.seldom) };
    }
    alive.end();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::base::clock::Clock;

    const MINUTE: Duration = Duration::from_secs(60);
    const RHYTHM: Rhythm =
        Rhythm { soon: MINUTE, seldom: MINUTE, gather: Duration::from_millis(20), at_the_end: AtTheEnd::CarryTheRest };

    fn pulse() -> Pulse {
        Pulse::new("a test", Clock::system())
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_after_failures_and_panics_and_carries_what_is_left_when_it_stops() {
        let (stop, stopped) = watch::channel(false);
        let (tries, left, pulse) = (AtomicU32::new(0), AtomicU32::new(3), pulse());
        let carry = async || {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0 => return Err(Error::unavailable("the database is away")),
                1 => panic!("out of cheese"),
                2 => {
                    assert_eq!(pulse.report().expect("it works").failed, 2);
                    stop.send(true).expect("it listens");
                }
                _ => {}
            }
            Ok(if left.fetch_sub(1, Ordering::Relaxed) > 1 { Carried::More } else { Carried::All })
        };
        run(&pulse, RHYTHM, stopped, std::future::pending, carry).await;
        assert_eq!(left.load(Ordering::Relaxed), 0, "all batches are carried");
        assert_eq!(pulse.report(), None, "it has ended as it was told to");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_woken_and_looks_from_time_to_time() {
        let (stop, stopped) = watch::channel(false);
        let looks = AtomicU32::new(0);
        let started = tokio::time::Instant::now();
        let wake = async || {
            if looks.load(Ordering::Relaxed) != 1 {
                std::future::pending::<()>().await;
            }
        };
        let carry = async || {
            if looks.fetch_add(1, Ordering::Relaxed) == 2 {
                stop.send(true).expect("it listens");
            }
            Ok(Carried::All)
        };
        run(&pulse(), RHYTHM, stopped, wake, carry).await;
        assert_eq!(started.elapsed(), RHYTHM.gather + RHYTHM.soon);
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_less_and_less_often_while_nothing_is_found_and_begins_nothing_once_it_is_told_to_leave() {
        let (stop, stopped) = watch::channel(false);
        let rhythm = Rhythm { soon: MINUTE, seldom: 3 * MINUTE, at_the_end: AtTheEnd::Leave, ..RHYTHM };
        let (started, looks) = (tokio::time::Instant::now(), std::sync::Mutex::new(Vec::new()));
        let carry = async || {
            let mut looks = looks.lock().expect("nothing panics");
            looks.push(started.elapsed().as_secs() / 60);
            if looks.len() == 6 {
                stop.send(true).expect("it listens");
            }
            Ok(if matches!(looks.len(), 4 | 6) { Carried::More } else { Carried::All })
        };
        run(&pulse(), rhythm, stopped, std::future::pending, carry).await;
        assert_eq!(*looks.lock().expect("nothing panics"), [0, 1, 3, 6, 6, 7]);
    }
}
