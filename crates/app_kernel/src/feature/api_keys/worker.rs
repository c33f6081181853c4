//! Keeps when keys were used: once a minute for each, and never while a request waits. What is not yet written when the process is killed
//! is lost, and is written with the next use.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{mpsc, watch};

use super::store;
use crate::base::clock::{Clock, Timestamp};
use crate::engine::rate_limit::memory::{Limiter, Quota};
use crate::store::db::Db;

/// How exactly the last use is known.
const EVERY: Duration = Duration::from_secs(60);
/// Most uses that wait to be written.
const MOST_WAITING: usize = 1024;

/// One use of a key.
struct Use {
    key_id: String,
    at: Timestamp,
}

/// Where uses are told.
pub(super) struct Uses {
    told: Limiter,
    waiting: mpsc::Sender<Use>,
}

impl Uses {
    /// Tells that a key is used now, unless that is known to the minute. Costs no query.
    pub(super) fn note(&self, key_id: &str, last_used_at: Option<Timestamp>, now: Timestamp) {
        let is_known = last_used_at.is_some_and(|last| now < last + every());
        if is_known || self.told.take(&key_id).is_err() {
            return;
        }
        // Where more than a thousand wait, the database has other worries; the next minute tells it again.
        let _ = self.waiting.try_send(Use { key_id: key_id.to_owned(), at: now });
    }
}

/// Writes uses until it is told to stop.
pub(crate) struct Worker {
    db: Db,
    told: mpsc::Receiver<Use>,
}

impl Worker {
    pub(super) fn new(db: Db, clock: Clock) -> (Uses, Self) {
        let (waiting, told) = mpsc::channel(MOST_WAITING);
        let once_a_minute = Quota { burst: 1, period: EVERY };
        (Uses { told: Limiter::new(once_a_minute, clock), waiting }, Worker { db, told })
    }

    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut is_told_to_stop = false;
        loop {
            let next = tokio::select! {
                biased;
                next = self.told.recv() => next,
                // A sender that is gone has stopped too.
                _told = stop.wait_for(|stopped| *stopped), if !is_told_to_stop => {
                    // What waits is still written.
                    self.told.close();
                    is_told_to_stop = true;
                    continue;
                }
            };
            match next {
                Some(used) => self.write(used).await,
                None => return,
            }
        }
    }

    async fn write(&self, used: Use) {
        let Use { key_id, at } = used;
        if let Err(error) = store::note_use(&self.db, &key_id, at, at - every()).await {
            tracing::warn!(api_key_id = %key_id, error = %error, "the last use of an API key could not be written");
        }
    }
}

fn every() -> SignedDuration {
    SignedDuration::try_from(EVERY).expect("a minute fits")
}
