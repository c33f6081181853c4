//! Answers to writes, kept so that a write which is sent again is answered again and not done again.
//!
//! - Before a write begins it reserves its key: a row, under a number of the attempt's own. Of two that come at once one gets it.
//! - While it runs, its lease is renewed by the database's clock. When it has ended its answer is kept for a day, sealed, or the row goes, so
//!   that the write may be tried again.
//! - A row whose lease has ended without an answer is one whose process was killed: nobody knows whether the write took effect. It is never
//!   done again under that key; the client is told to look. So a write is done twice in no case, and not at all only where the client hears.
//! - The database alone gives no answer away: what seals it comes from the client's own key and from `JWT_SECRET`.

mod seal;
mod store;

use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;

use self::seal::Seal;
use crate::base::clock::Clock;
use crate::base::error::Result;
use crate::base::id::new_id;
use crate::base::secret::{Secret, token_hash};
use crate::store::db::Db;

pub(crate) use store::entities;

/// How long an answer is kept.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How long a running write is believed to run without a sign of life.
const LEASE: Duration = Duration::from_secs(30);
/// How long it waits between two sweeps.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3600);
/// How many rows are swept out in one go.
const BATCH: u32 = 500;

/// A write that must be done once: under which key, and what it is.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    id: String,
    fingerprint: String,
    key: Secret,
}

impl Write {
    /// `scope` is what the key belongs to: who asks, the method and the path. `content` is what must be the same when it is sent again.
    pub(crate) fn new(scope: &str, key: &str, content: &[&[u8]]) -> Self {
        let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
        for part in content {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let fingerprint = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        // No scope has a line break in it.
        Write { id: token_hash(&format!("{scope}\n{key}")), fingerprint, key: Secret::new(key) }
    }
}

/// What is known of a write.
#[derive(Debug)]
pub(crate) enum Known {
    /// Nothing: whoever asked does it now, and reports on this.
    New(Attempt),
    /// It was done, and answered so.
    Done(Answer),
    /// It was done, and its answer was too long to be kept.
    DoneWithout,
    /// Somebody is doing it.
    Running,
    /// Somebody was doing it when their process ended.
    Unknown,
    /// The key belongs to another one.
    Another,
}

/// A write under way.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    write: Write,
    holder: String,
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its headers, as far as they are kept.
    pub(crate) headers: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// The answers of one service.
#[derive(Debug)]
pub(crate) struct Answers {
    db: Db,
    clock: Clock,
    seal: Seal,
}

impl Answers {
    /// The first secret is the present one.
    pub(crate) fn new(db: Db, clock: Clock, secrets: &[&Secret]) -> Self {
        Answers { db, clock, seal: Seal::new(secrets) }
    }

    /// Begins a write, or tells what is known of it.
    ///
    /// # Errors
    /// Where the database does not answer: then nothing has begun.
    pub(crate) async fn begin(&self, write: &Write) -> Result<Known> {
        let attempt = Attempt { write: write.clone(), holder: new_id() };
        loop {
            if store::reserve(&self.db, &write.id, &write.fingerprint, &attempt.holder, LEASE).await? {
                return Ok(Known::New(attempt));
            }
            // One that has gone meanwhile leaves the key free.
            if let Some(known) = self.look(write).await? {
                return Ok(known);
            }
        }
    }

    /// What is known of a write; none where its key is free. Begins nothing.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub(crate) async fn look(&self, write: &Write) -> Result<Option<Known>> {
        let Some(row) = store::find(&self.db, &write.id).await? else { return Ok(None) };
        if !row.is_running && row.due_at <= self.clock.now() {
            store::remove(&self.db, &write.id, &row.holder).await?;
            return Ok(None);
        }
        Ok(Some(self.known(write, row)))
    }

    fn known(&self, write: &Write, row: store::Found) -> Known {
        if row.fingerprint != write.fingerprint {
            return Known::Another;
        }
        match (row.is_running, row.answer) {
            (true, _) if row.lease_is_over => Known::Unknown,
            (true, _) => Known::Running,
            // One that no present secret opens is as good as none.
            (false, Some(sealed)) => self.seal.open(write, &sealed).map_or(Known::DoneWithout, Known::Done),
            (false, None) => Known::DoneWithout,
        }
    }

    /// Keeps how a write was answered; `None` where the answer is too long to be kept.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub(crate) async fn keep(&self, attempt: &Attempt, answer: Option<&Answer>) -> Result<()> {
        let sealed = answer.map(|answer| self.seal.seal(&attempt.write, answer));
        let until = self.clock.now() + KEPT;
        store::keep(&self.db, &attempt.write.id, &attempt.holder, sealed, until).await
    }

    /// The write had no effect, or says so: its key is free again.
    ///
    /// # Errors
    /// Where the database does not answer.
    pub(crate) async fn forget(&self, attempt: &Attempt) -> Result<()> {
        store::remove(&self.db, &attempt.write.id, &attempt.holder).await
    }

    /// Keeps a write alive for as long as this is polled.
    pub(crate) async fn keep_alive(&self, attempt: &Attempt) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            if let Err(error) = store::renew(&self.db, &attempt.write.id, &attempt.holder, LEASE).await {
                tracing::warn!(cause = ?error, "the lease of an Idempotency-Key could not be renewed; tried again");
            }
        }
    }

    /// Sweeps at once, and each hour, until it is told to stop.
    pub(crate) async fn keep_tidy(&self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.sweep(&stop).await {
                tracing::warn!(
                    "answers that were kept long enough could not be swept out, the next hour tries again: {error:?}"
                );
            }
            tokio::select! {
                // A sender that is gone has stopped too.
                _told = stop.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(BETWEEN_SWEEPS) => {}
            }
        }
    }

    /// Deletes what nobody asks for any more.
    async fn sweep(&self, stop: &watch::Receiver<bool>) -> Result<()> {
        let now = self.clock.now();
        while store::sweep(&self.db, now, now - KEPT, BATCH).await? == BATCH as usize && !*stop.borrow() {}
        Ok(())
    }
}
