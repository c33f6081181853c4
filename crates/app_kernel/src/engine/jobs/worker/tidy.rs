//! What every worker does for all: takes back what silent ones had, sweeps out what is old, and measures what waits.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Inner, until};
use crate::base::error::Result;
use crate::engine::jobs::{counts, store};

/// How often old jobs are swept out.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(60);
/// How often it is measured what waits.
const BETWEEN_MEASURES: Duration = Duration::from_secs(10);

impl Inner {
    /// Rescues jobs of its queues whose workers went silent, and sweeps out old ones.
    pub(super) async fn keep_tidy(&self, mut closed: watch::Receiver<bool>) {
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

    pub(super) async fn rescue(&self) -> Result<()> {
        let (queues, now) = (self.options.queues.as_deref(), self.jobs.now());
        let rescued = store::rescue(&self.jobs.db, queues, now, self.jobs.shared.keep).await?;
        if rescued > 0 {
            tracing::warn!(jobs = rescued, "jobs are taken back from workers that went silent");
            self.jobs.shared.wake.wake();
        }
        Ok(())
    }

    async fn measure(&self) -> Result<()> {
        let (count, oldest) = counts::waiting(&self.jobs.db).await?;
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
