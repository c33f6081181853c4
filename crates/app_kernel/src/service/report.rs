//! How the workers of a process are that serves no requests, and so has no `/readyz`: a line in its log each minute.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::pulse::WorkerReport;

const BETWEEN_REPORTS: Duration = Duration::from_secs(60);

/// Tells it until told to stop.
pub(super) async fn each_minute(workers: impl Fn() -> Vec<WorkerReport>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            // A sender that is gone has stopped too.
            _told = stop.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(BETWEEN_REPORTS) => {}
        }
        for worker in workers() {
            let line = line(&worker);
            if worker.is_well() { tracing::info!("{line}") } else { tracing::warn!("{line}") }
        }
    }
}

fn line(worker: &WorkerReport) -> String {
    let WorkerReport { name, status, alive_since, lag_secs, claimed, processed, failed, .. } = worker;
    let mut line = format!(
        "the worker `{name}` is {status}: {claimed} taken up, {processed} done, {failed} failed since {alive_since}; lag {lag_secs:.0} s"
    );
    if let Some(waiting) = worker.waiting {
        let _ = write!(line, ", {waiting} waiting");
    }
    if let Some(failure) = &worker.last_error {
        let _ = write!(line, "; last failure `{}` at {}", failure.code, failure.at);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::error::Error;
    use crate::engine::pulse::Pulse;

    #[test]
    fn a_line_says_how_a_worker_is() {
        let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
        let pulse = Pulse::new("jobs", clock.clone());
        let _alive = pulse.begin(Duration::ZERO);
        pulse.count_claimed(3);
        pulse.count_processed(1);
        let told = || line(&pulse.report().expect("it works"));
        let since = "2026-01-01T00:00:00.000000Z";
        assert_eq!(told(), format!("the worker `jobs` is ok: 3 taken up, 1 done, 0 failed since {since}; lag 0 s"));
        pulse.has_waiting(2);
        pulse.waits_since(clock.now());
        clock.advance(Duration::from_secs(7));
        pulse.went_wrong(&Error::unavailable("away"));
        let expected = "lag 7 s, 2 waiting; last failure `unavailable` at 2026-01-01T00:00:07.000000Z";
        assert_eq!(told(), format!("the worker `jobs` is ok: 3 taken up, 1 done, 1 failed since {since}; {expected}"));
    }
}
