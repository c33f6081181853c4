//! From the change records of the app's database to the audit log of the admin database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use serde::{Deserialize, Serialize};

use super::feed::AuditFeed;
use super::model::Event;
use super::store;
use crate::base::error::Result;
use crate::engine::courier::{Courier, Destination};
use crate::engine::pulse::Pulse;
use crate::engine::relay::{self, AtTheEnd, Carried, Rhythm};
use crate::store::db::changes::Change;
use crate::store::db::{Backend, Db};

/// What a worker reads it by.
pub(crate) const AUDIT: &str = "audit";
/// Changes that are carried at once.
const BATCH: u32 = 256;
/// While requests write, carrying takes one part in so many of the time.
const GIVES_WAY: u32 = 50;
/// How old a change may become meanwhile; from then on carrying goes at its full pace.
const LONGEST_LAG: Duration = Duration::from_secs(10);
/// How long it gives way at once, at most.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// Nobody writes if nobody has for so long.
const QUIET: Duration = Duration::from_millis(10);
/// How soon to look whether another relay has done its part.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const RHYTHM: Rhythm = Rhythm {
    soon: Duration::from_secs(1),
    seldom: Duration::from_secs(1),
    gather: Duration::from_millis(200),
    at_the_end: AtTheEnd::CarryTheRest,
};

/// Carries the changes of one app's database.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    app: Arc<str>,
    source: Db,
    to: Destination,
    /// Whom to tell that the audit has more.
    feed: Arc<AuditFeed>,
    pulse: Pulse,
}

impl Relay {
    pub(crate) fn new(
        app: impl Into<Arc<str>>,
        source: Db,
        to: Destination,
        feed: Arc<AuditFeed>,
        pulse: Pulse,
    ) -> Self {
        Relay { app: app.into(), source, to, feed, pulse }
    }

    /// Carries until it is told to stop, then what is left.
    ///
    /// Carrying a change costs as much as making it. So it gives way to a burst of writes, and carries on once that is over.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        let carry = async || {
            let began = Instant::now();
            let carried = self.carry().await?;
            if carried == Carried::More {
                let mut told_to_stop = stop.clone();
                tokio::select! {
                    _told = told_to_stop.wait_for(|stopped| *stopped) => {}
                    () = self.give_way(began.elapsed()) => {}
                }
            }
            Ok(carried)
        };
        relay::run(&self.pulse, RHYTHM, stop.clone(), || self.source.changed(), carry).await;
    }

    /// Rests after a batch that took so long, while this process goes on committing changes and none has waited too long.
    async fn give_way(&self, took: Duration) {
        let until = Instant::now() + rest_after(took, self.pulse.lag());
        while Instant::now() < until {
            if tokio::time::timeout(QUIET, self.source.changed()).await.is_err() {
                return;
            }
            tokio::time::sleep(QUIET).await;
        }
    }

    /// Carries what was committed before this call, and answers once the admin database has it, whoever carried it.
    pub(super) async fn carry_all(&self) -> Result<()> {
        let Some((_, newest)) = self.source.pending_range().await? else { return Ok(()) };
        loop {
            let carried = self.carry().await?;
            match self.source.pending_range().await? {
                Some((oldest, _)) if oldest <= newest => {}
                _ => return Ok(()),
            }
            if carried == Carried::All {
                // Another relay holds them.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Carries one batch. A record is deleted only after its event is in the admin database; where both are one, in the same transaction.
    pub(super) async fn carry(&self) -> Result<Carried> {
        if self.source.pending_range().await?.is_none() {
            self.pulse.has_none_waiting();
            return Ok(Carried::All);
        }
        let carried = match &self.to {
            Destination::Database(admin) => self.carry_to(admin).await?,
            Destination::Worker(courier) => {
                // Another process may deliver the same meanwhile; that does no harm.
                let batch = self.read(&self.source).await?;
                batch.send(&self.source, courier).await?
            }
        };
        self.pulse.count_processed(carried);
        if carried > 0 {
            self.feed.has_grown();
        }
        if carried < BATCH as usize {
            self.pulse.has_none_waiting();
            return Ok(Carried::All);
        }
        Ok(Carried::More)
    }
}

impl Relay {
    /// The oldest changes; what is left of them if the rest goes wrong is known by its age.
    async fn read(&self, source: &Db) -> Result<Batch> {
        let changes = source.pending_changes(BATCH).await?;
        if let Some(oldest) = changes.first() {
            self.pulse.waits_since(oldest.changed_at);
            self.pulse.count_claimed(changes.len());
        }
        Ok(Batch::of(changes, &self.app))
    }

    async fn carry_to(&self, admin: &Db) -> Result<usize> {
        let is_one = admin.is_same_as(&self.source);
        if self.source.backend() == Backend::Sqlite {
            // Read beside the writer, which others wait for. Another process may have carried the same meanwhile; that does no harm.
            let batch = self.read(&self.source).await?;
            if !is_one {
                return batch.settle(&self.source, admin).await;
            }
            return self.source.transaction(async |tx| batch.settle(&tx, &tx).await).await;
        }
        let carry = async |tx: Db| {
            let batch = self.read(&tx).await?;
            batch.settle(&tx, if is_one { &tx } else { admin }).await
        };
        self.source.transaction(carry).await
    }
}

/// How long to rest after a batch that took so long, where the oldest change is so old.
fn rest_after(took: Duration, lag: Duration) -> Duration {
    if lag > LONGEST_LAG { Duration::ZERO } else { (took * (GIVES_WAY - 1)).min(LONGEST_REST) }
}

/// What a worker is told.
#[derive(Serialize, Deserialize)]
struct Told<'a> {
    app: std::borrow::Cow<'a, str>,
    events: std::borrow::Cow<'a, [Event]>,
}

/// Puts events that were told to a worker into its admin database. None where they can't be read.
pub(crate) async fn receive(admin: &Db, told: &str) -> Result<Option<String>> {
    let Ok(Told { app, events }) = serde_json::from_str::<Told<'_>>(told) else { return Ok(None) };
    if events.iter().any(|event| *event.app != *app) {
        return Ok(None);
    }
    store::append(admin, &app, &events).await?;
    Ok(Some(format!("{} events", events.len())))
}

/// Changes on their way.
struct Batch {
    app: Arc<str>,
    seqs: Vec<i64>,
    events: Vec<Event>,
}

impl Batch {
    fn of(changes: Vec<Change>, app: &Arc<str>) -> Self {
        let seqs = changes.iter().map(|change| change.seq).collect();
        let events = changes.into_iter().map(|change| Event::of(app, change)).collect();
        Batch { app: Arc::clone(app), seqs, events }
    }

    /// Has a worker put the events into its database, then deletes the records here. Answers how many there were.
    async fn send(&self, source: &Db, courier: &Courier) -> Result<usize> {
        if !self.events.is_empty() {
            let told = Told { app: (*self.app).into(), events: self.events.as_slice().into() };
            let told = serde_json::to_string(&told).expect("events are always JSON");
            courier.deliver(AUDIT, &told).await?;
            source.forget_changes(&self.seqs).await?;
        }
        Ok(self.seqs.len())
    }

    /// Puts the events there, then deletes the records here. Answers how many there were.
    async fn settle(&self, source: &Db, admin: &Db) -> Result<usize> {
        if !self.events.is_empty() {
            store::append(admin, &self.app, &self.events).await?;
            source.forget_changes(&self.seqs).await?;
        }
        Ok(self.seqs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carrying_gives_way_until_a_change_has_waited_too_long() {
        let short = Duration::from_millis(10);
        assert_eq!(rest_after(short, Duration::from_secs(2)), short * 49);
        assert_eq!(rest_after(Duration::from_secs(1), LONGEST_LAG), LONGEST_REST);
        assert_eq!(rest_after(short, LONGEST_LAG + short), Duration::ZERO);
    }
}
