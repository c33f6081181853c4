//! What auth does beside the requests: sweeping out what is over. Any number of processes may do it at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;

use super::{Auth, mailed, store};
use crate::base::clock::Timestamp;
use crate::base::error::Result;

/// How often is swept.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3600);
/// Rows that are looked up at once; between batches, others get their turn.
const BATCH: u32 = 500;

/// Works until it is told to stop.
pub(crate) struct Worker {
    auth: Arc<Auth>,
}

impl Worker {
    pub(super) fn new(auth: Arc<Auth>) -> Self {
        Worker { auth }
    }

    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        self.auth.keep_tidy(stop).await;
    }
}

impl Auth {
    /// Brings seals up to date; then sweeps at once, and each hour.
    async fn keep_tidy(&self, mut stop: watch::Receiver<bool>) {
        match self.seal_anew().await {
            Ok(0) => {}
            Ok(sealed) => tracing::info!(sealed, "second factors are sealed under the present JWT_SECRET"),
            Err(error) => {
                tracing::warn!("second factors could not be sealed anew, the next start tries again: {error:?}")
            }
        }
        loop {
            match self.sweep(&stop).await {
                Ok(0) => {}
                Ok(swept) => tracing::info!(swept, "sessions, links and attempts that were over are swept out"),
                Err(error) => {
                    tracing::warn!("what is over could not be swept out, the next hour tries again: {error:?}")
                }
            }
            tokio::select! {
                _told = stop.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(BETWEEN_SWEEPS) => {}
            }
        }
    }

    /// Deletes sessions, links and what others have that nothing can bring back; answers how many.
    async fn sweep(&self, stop: &watch::Receiver<bool>) -> Result<usize> {
        let now = self.clock.now();
        // An access token may outlive the right to exchange its refresh token.
        let over_by = now - SignedDuration::from_secs(self.keys.access_secs());
        let mut swept = 0;
        loop {
            let mut most = store::sweep_sessions(&self.db, over_by, BATCH).await?;
            let mut batch = most;
            for swept in [mailed::sweep(&self.db, now, BATCH).await?, self.sweep_others(now).await?] {
                (most, batch) = (most.max(swept), batch + swept);
            }
            swept += batch;
            if most < BATCH as usize || *stop.borrow() {
                return Ok(swept);
            }
        }
    }

    /// What others have that is over; answers how many.
    async fn sweep_others(&self, now: Timestamp) -> Result<usize> {
        let mut swept = 0;
        for sweep in &self.hooks.sweeps {
            swept += sweep(self.db.clone(), now, BATCH).await?;
        }
        Ok(swept)
    }
}
