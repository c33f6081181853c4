//! What a worker holds stays its own while it runs: leases are renewed, and tries whose job is cancelled or lost are told.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Held, Inner, UNPOISONED, until};
use crate::base::error::Result;
use crate::engine::claims;
use crate::engine::jobs::run::Signal;
use crate::engine::jobs::store;
use crate::engine::jobs::table::TABLE;

/// How often it is asked whether a job that runs is cancelled; jobs that end sooner are never asked for.
const BETWEEN_LOOKS_FOR_CANCELLED: Duration = Duration::from_secs(1);

impl Inner {
    /// Renews the leases of all that is held, looks whether any of it was cancelled, and drops what was lost.
    pub(super) async fn keep_leases(&self, mut closed: watch::Receiver<bool>) {
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
        let kept = claims::renew(&self.jobs.db, TABLE, &self.id, &ids, self.options.lease).await?;
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
}
