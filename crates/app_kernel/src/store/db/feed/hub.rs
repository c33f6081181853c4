//! One reader of the log for all streams of a process. It begins with the first stream and ends with the last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::{self, Receiver, Sender, WeakSender};

use super::Feed;
use super::batch::Batch;
use crate::base::backoff::Backoff;
use crate::base::error::Result;
use crate::store::db::Db;

/// Entries of one batch at most.
pub(super) const BATCH: u16 = 256;
/// Batches that wait for the slowest stream. One that is further behind reads the log by itself.
const WAITING: usize = 16;
/// How soon it looks where nobody tells it that the log has grown.
const LOOK: Duration = Duration::from_secs(1);
/// The wait after a failure.
const AFTER_FAILURE: Backoff = Backoff { first: Duration::from_millis(250), most: Duration::from_secs(5) };

/// Where streams hear of what is new in the log. Positions tell a stream what it has missed, so the hub need not promise to tell everything.
#[derive(Debug, Default)]
pub(super) struct Hub(Mutex<Option<WeakSender<Arc<Batch>>>>);

impl Hub {
    /// Hears of batches from now on; starts the reader where there is none. A receiver that is closed joins again.
    pub(super) fn join(feed: &Arc<Feed>, db: &Db) -> Receiver<Arc<Batch>> {
        let mut live = feed.hub.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = live.as_ref().and_then(WeakSender::upgrade) {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(WAITING);
        *live = Some(sender.downgrade());
        let (feed, db) = (Arc::clone(feed), db.without_workspace());
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = feed.log.listen(&db) => {}
                () = read(&feed, &db, &sender) => {}
            }
        });
        receiver
    }
}

/// Reads what is new, for ever.
async fn read(feed: &Feed, db: &Db, sender: &Sender<Arc<Batch>>) {
    let (mut position, mut failures) = (None, 0_u32);
    loop {
        match read_on(feed, db, sender, &mut position).await {
            Ok(()) => {
                failures = 0;
                let _woken_or_due = tokio::time::timeout(LOOK, feed.log.grown()).await;
            }
            Err(error) => {
                failures += 1;
                if failures.is_power_of_two() {
                    tracing::warn!(failures, "the log of changes can't be read, trying again: {error:?}");
                }
                tokio::time::sleep(AFTER_FAILURE.wait(failures)).await;
            }
        }
    }
}

/// Reads to the end of the log.
async fn read_on(feed: &Feed, db: &Db, sender: &Sender<Arc<Batch>>, position: &mut Option<i64>) -> Result<()> {
    let tell = |after, entries| {
        // Nobody hears it where the last stream has just gone.
        let _ = sender.send(Arc::new(Batch::new(after, entries)));
    };
    loop {
        let extent = feed.log.extent(db).await?;
        let from = match *position {
            Some(position) if (extent.purged..=extent.end).contains(&position) => position,
            // At the beginning, and where the log is not what it was: streams that have not come so far read by themselves.
            _ => {
                tell(extent.end, Vec::new());
                extent.end
            }
        };
        *position = Some(from);
        if from == extent.end {
            return Ok(());
        }
        let entries = feed.log.after(db, from, BATCH).await?;
        *position = Some(match entries.last() {
            Some(last) if entries[0].position == from + 1 => {
                let last = last.position;
                tell(from, entries);
                last
            }
            // Purged meanwhile, or cut out by somebody.
            _ => {
                tell(extent.end, Vec::new());
                extent.end
            }
        });
    }
}
