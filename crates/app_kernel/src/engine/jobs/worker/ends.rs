//! How tries ended, written down many at a time, however long the database is away.

use tokio::sync::mpsc;

use super::{BATCH, Inner, UNPOISONED};
use crate::base::error::{Error, ErrorKind, Result};
use crate::engine::jobs::model::Next;
use crate::engine::jobs::slots::Slot;
use crate::engine::jobs::store::{self, Outcome};
use crate::engine::relay;

/// A try that has ended. Its slot is free again once that is written.
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) slot: Slot,
}

/// Where they are told.
pub(super) type Ends = mpsc::UnboundedSender<Finished>;

impl Inner {
    /// Writes ends as they come, many at a time, until none come any more. What can't be written is tried again.
    pub(super) async fn write_ends(&self, mut ended: mpsc::UnboundedReceiver<Finished>) {
        let mut batch = Vec::new();
        while ended.recv_many(&mut batch, BATCH).await > 0 {
            let (outcomes, slots): (Vec<Outcome>, Vec<Slot>) =
                batch.drain(..).map(|Finished { outcome, slot }| (outcome, slot)).unzip();
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
}

/// Whether the same may work a little later: the database is away, full, or too busy.
fn is_passing(error: &Error) -> bool {
    error.kind() == ErrorKind::Unavailable || error.error_code() == "try_again"
}
