//! The audit of a database that was opened by hand, without a service around it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::feed::AuditFeed;
use super::relay::Relay;
use crate::base::error::Result;
use crate::engine::courier::Destination;
use crate::engine::pulse::Pulse;
use crate::store::db::Db;

/// The audit of a database at work. It ends when this is dropped; [`Auditing::stop`] lets it carry what is there first.
#[derive(Debug)]
pub struct Auditing {
    relay: Relay,
    stop: watch::Sender<bool>,
    work: JoinHandle<()>,
}

/// Audits a database that was opened by hand: from now on its changes are carried to `admin_db`, under the name of the app. Services need not
/// call it. Its changes can be followed from then on ([`Db::changes`]). The admin database may be the same handle; it was opened with [`entities`](super::entities) and migrated.
///
/// ```no_run
/// # use app_kernel::feature::audit::{self, enable_audit, get_audit_logs};
/// # use app_kernel::prelude::*;
/// # async fn example(db: Db, admin_db: Db) -> Result<()> {
/// let auditing = enable_audit(&db, &admin_db, "my_app");
/// db.save_entity("deployments", serde_json::json!({ "image": "web:7" })).await?;
/// auditing.carry_now().await?;
/// let logs = get_audit_logs(&admin_db).app("my_app").entity("deployments").since("2025-01-01").await?;
/// assert_eq!(logs.items[0].action, "created");
/// # Ok(()) }
/// ```
#[must_use = "the audit ends when this is dropped"]
pub fn enable_audit(db: &Db, admin_db: &Db, app: impl Into<Arc<str>>) -> Auditing {
    let (app, pulse) = (app.into(), Pulse::new("audit", db.clock().clone()));
    let feed = AuditFeed::install(Arc::clone(&app), db, admin_db, None);
    let relay = Relay::new(app, db.clone(), Destination::Database(admin_db.clone()), Arc::clone(&feed), pulse);
    let (stop, stopped) = watch::channel(false);
    let (carrier, source) = (relay.clone(), db.clone());
    let work = tokio::spawn(async move {
        tokio::join!(carrier.run(stopped.clone()), feed.tell_others(&source, stopped));
    });
    Auditing { relay, stop, work }
}

impl Auditing {
    /// Carries what was committed before this call, and answers when the admin database has it.
    ///
    /// # Errors
    /// Those of the databases. Nothing is lost: it is tried again.
    pub async fn carry_now(&self) -> Result<()> {
        self.relay.carry_all().await
    }

    /// Carries what is there, and ends.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Err(error) = (&mut self.work).await {
            tracing::error!(%error, "the audit ended badly");
        }
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        self.work.abort();
    }
}
