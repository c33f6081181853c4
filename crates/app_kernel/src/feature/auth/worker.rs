//! What auth does beside the requests: sweeping out what is over. Any number of processes may do it at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;

use super::{Auth, mailed, store};
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
                Ok(swept) => tracing::info!(swept, "sessions and links that were over are swept out"),
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

    /// Deletes sessions and links that nothing can bring back; answers how many.
    async fn sweep(&self, stop: &watch::Receiver<bool>) -> Result<usize> {
        let now = self.clock.now();
        // An access token may outlive the right to exchange its refresh token.
        let over_by = now - SignedDuration::from_secs(self.keys.access_secs());
        let mut swept = 0;
        loop {
            let sessions = store::sweep_sessions(&self.db, over_by, BATCH).await?;
            let links = mailed::sweep(&self.db, now, BATCH).await?;
            swept += sessions + links;
            if sessions.max(links) < BATCH as usize || *stop.borrow() {
                return Ok(swept);
            }
        }
    }
}
