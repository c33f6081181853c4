//! Purging by age, where `AUDIT_KEEP_DAYS` says so: at the start, and each hour. Any number of processes may do it at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::watch;

use super::api::purge_audit_logs;
use super::store;
use crate::base::error::Result;
use crate::engine::pulse::Pulse;
use crate::engine::relay::{self, AtTheEnd, Carried, Rhythm};
use crate::store::db::Db;

const HOUR: Duration = Duration::from_secs(3600);
const RHYTHM: Rhythm = Rhythm { soon: HOUR, seldom: HOUR, gather: Duration::ZERO, at_the_end: AtTheEnd::Leave };

/// Purges what is older than so many days.
#[derive(Debug)]
pub(crate) struct Keeper {
    admin: Db,
    app: Option<Arc<str>>,
    keep: SignedDuration,
    pulse: Pulse,
}

impl Keeper {
    /// For the entries of one app, or of all whose audit lies there.
    pub(crate) fn new(admin: Db, app: Option<&str>, keep_days: u32, pulse: Pulse) -> Self {
        let keep = SignedDuration::from_hours(24 * i64::from(keep_days));
        Keeper { admin, app: app.map(Arc::from), keep, pulse }
    }

    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        relay::run(&self.pulse, RHYTHM, stop, std::future::pending, || self.purge()).await;
    }

    async fn purge(&self) -> Result<Carried> {
        // Before the beginning of time there is nothing.
        let Ok(before) = self.admin.now().checked_sub(self.keep) else { return Ok(Carried::All) };
        let apps = match &self.app {
            Some(app) => vec![app.to_string()],
            None => store::apps(&self.admin).await?,
        };
        for app in apps {
            let purged = purge_audit_logs(&self.admin, &app, before).await?;
            if purged > 0 {
                self.pulse.count_processed(usize::try_from(purged).unwrap_or(usize::MAX));
                tracing::info!(
                    purged,
                    "entries of the audit of `{app}` from before {before} are purged by AUDIT_KEEP_DAYS"
                );
            }
        }
        Ok(Carried::All)
    }
}
