//! The loop of whatever carries rows onward beside the requests: woken as soon as there is something, looking from time to time all the
//! same, since another process may have left it. What it carries is safe in any number of processes at once; this loop is only its rhythm.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use crate::base::backoff::Backoff;
use crate::base::error::Result;

/// The wait after a failure.
const AFTER_FAILURE: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(30) };

/// When a relay works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// How often it looks where nobody wakes it.
    pub(crate) poll: Duration,
    /// How long it waits once it is woken, so that more comes together.
    pub(crate) gather: Duration,
}

/// Whether there may be more to carry at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carried {
    /// All that there was.
    All,
    /// A full batch.
    More,
}

/// Carries until it is told to stop, then what is left. `wake` is ready when there is something; `carry` moves one batch.
pub(crate) async fn run<W, C>(
    what: &str,
    rhythm: Rhythm,
    mut stop: watch::Receiver<bool>,
    wake: impl Fn() -> W,
    carry: impl Fn() -> C,
) where
    W: Future<Output = ()>,
    C: Future<Output = Result<Carried>>,
{
    let mut failures: u32 = 0;
    loop {
        let is_stopping = *stop.borrow();
        match carry().await {
            Ok(carried) => {
                if failures > 0 {
                    tracing::info!(failures, "{what}: it goes on");
                    failures = 0;
                }
                if carried == Carried::More {
                    continue;
                }
            }
            Err(error) => {
                failures += 1;
                // The first, the second, the fourth …: a database that is away for an hour does not fill the log.
                if failures.is_power_of_two() {
                    tracing::warn!(failures, "{what}: it failed and is tried again, nothing is lost: {error:?}");
                }
            }
        }
        if is_stopping {
            return;
        }
        let woken = async {
            if failures > 0 {
                tokio::time::sleep(AFTER_FAILURE.wait(failures)).await;
            } else if tokio::time::timeout(rhythm.poll, wake()).await.is_ok() {
                tokio::time::sleep(rhythm.gather).await;
            }
        };
        tokio::select! {
            _told = stop.wait_for(|stopped| *stopped) => {}
            () = woken => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::base::error::Error;

    const RHYTHM: Rhythm = Rhythm { poll: Duration::from_secs(60), gather: Duration::from_millis(20) };

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_after_failures_and_carries_what_is_left_when_it_stops() {
        let (stop, stopped) = watch::channel(false);
        let (tries, left) = (AtomicU32::new(0), AtomicU32::new(3));
        let carry = async || {
            match tries.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => return Err(Error::unavailable("the database is away")),
                2 => stop.send(true).expect("it listens"),
                _ => {}
            }
            Ok(if left.fetch_sub(1, Ordering::Relaxed) > 1 { Carried::More } else { Carried::All })
        };
        run("a test", RHYTHM, stopped, std::future::pending, carry).await;
        assert_eq!(left.load(Ordering::Relaxed), 0, "all batches are carried");
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
        run("a test", RHYTHM, stopped, wake, carry).await;
        assert_eq!(started.elapsed(), RHYTHM.gather + RHYTHM.poll);
    }
}
