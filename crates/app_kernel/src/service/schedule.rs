//! Backups while a service serves: one each time that `BACKUP_SCHEDULE` comes round, in one of the processes that share a folder of
//! backups; and the copies of backups elsewhere, which a start need not wait for.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::tasks::Task;
use crate::base::clock::{Clock, Timestamp, format_timestamp};
use crate::base::cron::Cron;
use crate::base::error::Result;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::backup::BackedUp;

/// How often it looks at the clock, which may be set, or stand still while the machine sleeps.
const LOOK: Duration = Duration::from_secs(1);

/// All that, where anything of it is configured. It ends when it is told to stop; a backup that is under way then is given up, and leaves
/// nothing.
pub(super) fn task(kernel: &Kernel) -> Result<Option<Task>> {
    let config = kernel.config();
    let cron = config.backup_cron()?;
    let (Ok(db), true) = (kernel.db(), cron.is_some() || config.backup_s3.is_some()) else { return Ok(None) };
    let clock = kernel.clock().clone();
    let task = move |mut stopped: watch::Receiver<bool>| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let told_to_stop = async move {
                // A sender that is gone has stopped too.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            tokio::select! {
                () = told_to_stop => {}
                () = keep(&db, &clock, cron.as_ref()) => {}
            }
        })
    };
    Ok(Some(Box::new(task)))
}

async fn keep(db: &Db, clock: &Clock, cron: Option<&Cron>) {
    copy_away(db).await;
    let Some(cron) = cron else { return };
    while let Some(due) = cron.next_after(clock.now()) {
        wait_until(due, clock).await;
        back_up(db, due).await;
        copy_away(db).await;
    }
    tracing::warn!(target: "app_kernel::backup", "BACKUP_SCHEDULE `{cron}` does not come round again");
}

async fn wait_until(due: Timestamp, clock: &Clock) {
    loop {
        let left = due.duration_since(clock.now());
        let Ok(left) = Duration::try_from(left) else { return };
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

async fn back_up(db: &Db, due: Timestamp) {
    let made = match db.backups() {
        Ok(backups) => backups.make_scheduled(due).await,
        Err(error) => Err(error),
    };
    let due = format_timestamp(due);
    match made {
        Ok(BackedUp::Made(made)) => {
            let (tables, rows) = (made.tables, made.rows);
            tracing::info!(target: "app_kernel::backup", name = %made.csv, tables, rows, "the backup of {due} is made: {}", made.csv);
        }
        Ok(other) => tracing::info!(target: "app_kernel::backup", "the backup of {due} is not needed: {other}"),
        Err(error) => {
            tracing::error!(target: "app_kernel::backup", cause = ?error, "the backup of {due} failed: {error}. The next one by BACKUP_SCHEDULE tries again");
        }
    }
}

/// Copies what is only here: what was made now, and what an earlier failure left.
async fn copy_away(db: &Db) {
    let copied = match db.backups() {
        Ok(backups) => backups.copy_away().await,
        Err(error) => Err(error),
    };
    match copied {
        Ok(names) => {
            for name in names {
                tracing::info!(target: "app_kernel::backup", "{name} is copied away");
            }
        }
        Err(error) => {
            tracing::error!(target: "app_kernel::backup", cause = ?error, "copying backups away failed: {error}. The next backup or start tries again");
        }
    }
}
