//! A stream of changes: by itself through the log up to its end, then with the hub.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::batch::Batch;
use super::hub::{BATCH, Hub};
use super::log::Logged;
use super::{ChangeEvent, Feed, RowChange, row};
use crate::base::error::Result;
use crate::store::db::Db;
use crate::store::db::api::shape::Shape;
use crate::store::db::history::Operation;

/// Changes as they happen; see [`Db::changes`]. It ends after an error, and never else: whoever wants more goes on from its
/// [position](ChangeStream::position).
pub struct ChangeStream<R> {
    events: BoxStream<'static, Result<ChangeEvent<R>>>,
    position: Arc<AtomicI64>,
}

impl<R: Send + 'static> ChangeStream<R> {
    pub(super) fn new<S: Shape<Item = R>>(tail: Tail<S>) -> Self {
        let position = Arc::clone(&tail.position);
        let events = stream::unfold(Some(tail), async |tail| {
            let mut tail = tail?;
            let event = tail.next().await;
            let is_over = event.is_err();
            Some((event, (!is_over).then_some(tail)))
        });
        ChangeStream { events: Box::pin(events), position }
    }
}

impl<R> ChangeStream<R> {
    /// Up to where everything was told that there was to tell.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.position.load(Ordering::Relaxed)
    }
}

impl<R> Stream for ChangeStream<R> {
    type Item = Result<ChangeEvent<R>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(cx)
    }
}

impl<R> std::fmt::Debug for ChangeStream<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeStream").field("position", &self.position()).finish_non_exhaustive()
    }
}

/// Which changes are told.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: String,
    pub(super) only: Option<BTreeSet<&'static str>>,
}

impl Filter {
    fn lets_through(&self, entry: &Logged) -> bool {
        entry.entity == self.name && self.only.as_ref().is_none_or(|only| only.contains(entry.operation.as_str()))
    }
}

/// What a stream knows.
pub(super) struct Tail<S> {
    feed: Arc<Feed>,
    db: Db,
    shape: S,
    filter: Filter,
    /// The last position that was told, or had nothing to tell.
    position: Arc<AtomicI64>,
    live: Receiver<Arc<Batch>>,
    /// Whether the hub can't tell what comes next.
    is_behind: bool,
    batch: Option<Arc<Batch>>,
}

impl<S: Shape> Tail<S> {
    /// Behind this position.
    pub(super) fn new(feed: Arc<Feed>, db: Db, shape: S, filter: Filter, position: i64) -> Self {
        // Joined before the log is read: what comes meanwhile waits.
        let live = Hub::join(&feed, &db);
        let position = Arc::new(AtomicI64::new(position));
        Tail { feed, db, shape, filter, position, live, is_behind: true, batch: None }
    }

    async fn next(&mut self) -> Result<ChangeEvent<S::Item>> {
        loop {
            if let Some(batch) = self.batch.clone() {
                if let Some(event) = self.take(&batch).await? {
                    return Ok(event);
                }
                self.batch = None;
            } else if self.is_behind {
                if let Some(event) = self.read_on().await? {
                    return Ok(event);
                }
            } else {
                self.hear().await;
            }
        }
    }

    fn position(&self) -> i64 {
        self.position.load(Ordering::Relaxed)
    }

    fn come_to(&self, position: i64) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Waits for the hub.
    async fn hear(&mut self) {
        match self.live.recv().await {
            Ok(batch) if batch.after <= self.position() => self.batch = Some(batch),
            // It has read on without us. What it told meanwhile is in the log.
            Ok(_) | Err(RecvError::Lagged(_)) => self.is_behind = true,
            Err(RecvError::Closed) => {
                self.live = Hub::join(&self.feed, &self.db);
                self.is_behind = true;
            }
        }
    }

    /// Reads the next piece of the log, or finds that there is none.
    async fn read_on(&mut self) -> Result<Option<ChangeEvent<S::Item>>> {
        let (log, position) = (&self.feed.log, self.position());
        let extent = log.extent(&self.db).await?;
        if position == extent.end {
            self.is_behind = false;
            return Ok(None);
        }
        if position < extent.purged || position > extent.end {
            return Ok(Some(self.reset(if position < extent.purged { extent.purged } else { extent.end })));
        }
        let entries = log.after(&self.db, position, BATCH).await?;
        match entries.first().map(|first| first.position) {
            Some(first) if first == position + 1 => {
                self.batch = Some(Arc::new(Batch::new(position, entries)));
                Ok(None)
            }
            // Purged meanwhile, or cut out by somebody.
            first => Ok(Some(self.reset(first.map_or(extent.end, |first| first - 1)))),
        }
    }

    fn reset(&mut self, position: i64) -> ChangeEvent<S::Item> {
        self.come_to(position);
        ChangeEvent::Reset { position }
    }

    /// The next change in a batch that is to be told.
    async fn take(&mut self, batch: &Batch) -> Result<Option<ChangeEvent<S::Item>>> {
        let from = self.position();
        for entry in batch.entries.iter().filter(|entry| entry.position > from) {
            let told = if self.filter.lets_through(entry) { self.read(batch, entry).await? } else { None };
            self.come_to(entry.position);
            if let Some(change) = told {
                return Ok(Some(ChangeEvent::Change(change)));
            }
        }
        Ok(None)
    }

    /// Whether the handle may know of this workspace.
    fn may_name(&self, workspace_id: &str) -> bool {
        self.db.workspace_id().is_none_or(|ours| ours == workspace_id)
    }

    /// The change of an entry; none where the handle may not see it.
    async fn read(&self, batch: &Batch, entry: &Logged) -> Result<Option<RowChange<S::Item>>> {
        let Some(table) = self.shape.table(&self.db).await? else { return Ok(None) };
        let scope = self.db.scope(&table)?;
        let rows = batch.rows(&self.db, &table).await?;
        let kept = rows.get(&(entry.entity_id.clone(), entry.entity_version));
        if scope.is_some_and(|scope| !kept.is_some_and(|kept| scope.held_kept(kept))) {
            return Ok(None);
        }
        let kept = kept.filter(|_| entry.operation != Operation::Deleted);
        let Logged { position, operation, changed_at, .. } = *entry;
        Ok(Some(RowChange {
            position,
            operation,
            id: entry.entity_id.clone(),
            version: entry.entity_version,
            row: kept.and_then(|kept| row::read::<S>(&table, kept)),
            changed_at,
            user_id: entry.user_id.clone(),
            workspace_id: entry.workspace_id.clone().filter(|id| self.may_name(id)),
            request_id: entry.request_id.clone(),
        }))
    }
}
