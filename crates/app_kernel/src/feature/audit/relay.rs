//! From the change records of the app's database to the audit log of the admin database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::model::Event;
use super::store;
use crate::base::error::Result;
use crate::engine::relay::{self, Carried, Rhythm};
use crate::store::db::{Backend, Db};

/// Changes that are carried at once.
const BATCH: u32 = 256;
/// How soon to look whether another relay has done its part.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const RHYTHM: Rhythm = Rhythm { poll: Duration::from_secs(1), gather: Duration::from_millis(20) };

/// Carries the changes of one app's database.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    app: Arc<str>,
    source: Db,
    admin: Db,
}

impl Relay {
    pub(crate) fn new(app: impl Into<Arc<str>>, source: Db, admin: Db) -> Self {
        Relay { app: app.into(), source, admin }
    }

    /// Carries until it is told to stop, then what is left.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        relay::run("the audit", RHYTHM, stop, || self.source.changed(), || self.carry()).await;
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
            return Ok(Carried::All);
        }
        let carried = if self.source.backend() == Backend::Sqlite {
            // Read beside the writer, which others wait for. Another process may have carried the same meanwhile; that does no harm.
            let batch = Batch::read(&self.source, &self.app).await?;
            if self.admin.is_same_as(&self.source) {
                self.source.transaction(async |tx| batch.settle(&tx, &tx).await).await?
            } else {
                batch.settle(&self.source, &self.admin).await?
            }
        } else {
            let carry = async |tx: Db| {
                let batch = Batch::read(&tx, &self.app).await?;
                let admin = if self.admin.is_same_as(&self.source) { &tx } else { &self.admin };
                batch.settle(&tx, admin).await
            };
            self.source.transaction(carry).await?
        };
        Ok(if carried < BATCH as usize { Carried::All } else { Carried::More })
    }
}

/// Changes on their way.
struct Batch {
    app: Arc<str>,
    seqs: Vec<i64>,
    events: Vec<Event>,
}

impl Batch {
    async fn read(source: &Db, app: &Arc<str>) -> Result<Self> {
        let changes = source.pending_changes(BATCH).await?;
        let seqs = changes.iter().map(|change| change.seq).collect();
        let events = changes.into_iter().map(|change| Event::of(app, change)).collect();
        Ok(Batch { app: Arc::clone(app), seqs, events })
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
