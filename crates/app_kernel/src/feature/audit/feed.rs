//! The audit as the log that changes are followed by: it has what the feed of the store needs, positions without gaps that are seen in their
//! order.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use super::store::{AuditLog, chain};
use crate::base::error::{OrInternal as _, Result};
use crate::engine::calls::Calls;
use crate::store::db::Db;
use crate::store::db::feed::{ChangeLog, Extent, Logged};
use crate::store::db::history::Operation;
use crate::store::db::row::Saved;
use crate::store::redis::Redis;

/// What the conversation of our processes is called.
const CHANNEL: &str = "app_kernel_changes";

/// The audit of one app.
#[derive(Debug)]
pub(crate) struct AuditFeed {
    app: Arc<str>,
    /// The admin database, where it is not the app's own.
    elsewhere: Option<Db>,
    redis: Option<Redis>,
    grown: Arc<Notify>,
    calls: Calls,
}

impl AuditFeed {
    /// Has the changes of `db` followed by what the audit has of them in `admin`.
    pub(crate) fn install(app: impl Into<Arc<str>>, db: &Db, admin: &Db, redis: Option<&Redis>) -> Arc<Self> {
        let elsewhere = (!admin.is_same_as(db)).then(|| admin.clone());
        let (redis, grown, calls) = (redis.cloned(), Arc::default(), Calls::new(CHANNEL));
        let feed = Arc::new(AuditFeed { app: app.into(), elsewhere, redis, grown, calls });
        db.follow_changes_by(feed.clone());
        feed
    }

    /// The audit has more: here and in other processes, whoever follows it looks.
    pub(super) fn has_grown(&self) {
        self.grown.notify_one();
        self.calls.call();
    }

    /// Calls other processes until it is told to stop.
    pub(crate) async fn tell_others(&self, db: &Db, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            _told = stop.wait_for(|stopped| *stopped) => {}
            () = self.calls.tell(db, self.redis.as_ref()) => {}
        }
    }

    fn admin<'a>(&'a self, db: &'a Db) -> &'a Db {
        self.elsewhere.as_ref().unwrap_or(db)
    }

    async fn read(&self, db: &Db, position: i64, most: u16) -> Result<Vec<Logged>> {
        let last = position.saturating_add(i64::from(most));
        let params = (&*self.app, position, last);
        // Both ends are named, since positions have no gaps: the rest of the log is not sorted.
        let find = db.find::<AuditLog>("[app] = ? AND [position] > ? AND [position] <= ?", params);
        let entries = find.order_by("[position]").limit(u32::from(most)).await?;
        entries.into_iter().map(logged).collect()
    }
}

fn logged(entry: Saved<AuditLog>) -> Result<Logged> {
    let log = entry.entity;
    let operation = Operation::parse(&log.action);
    let operation = operation.ok_or("it names no operation").or_internal("reading an entry of the audit")?;
    Ok(Logged {
        position: log.position,
        entity: log.entity,
        entity_id: log.entity_id,
        entity_version: log.entity_version,
        operation,
        changed_at: log.changed_at,
        user_id: log.user_id,
        workspace_id: log.workspace_id,
        request_id: log.request_id,
    })
}

impl ChangeLog for AuditFeed {
    fn extent<'a>(&'a self, db: &'a Db) -> BoxFuture<'a, Result<Extent>> {
        Box::pin(async move {
            let chain = chain(&self.admin(db).without_workspace(), &self.app).await?;
            let (purged, end) = chain.map_or((0, 0), |chain| (chain.purged, chain.length));
            Ok(Extent { purged, end })
        })
    }

    fn after<'a>(&'a self, db: &'a Db, position: i64, most: u16) -> BoxFuture<'a, Result<Vec<Logged>>> {
        Box::pin(async move { self.read(&self.admin(db).without_workspace(), position, most).await })
    }

    fn grown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.grown.notified())
    }

    fn listen<'a>(&'a self, db: &'a Db) -> BoxFuture<'a, ()> {
        let grown = Arc::clone(&self.grown);
        let heard: Arc<dyn Fn() + Send + Sync> = Arc::new(move || grown.notify_one());
        Box::pin(async move { self.calls.listen(db, self.redis.as_ref(), heard).await })
    }
}
