//! What a start does to a database before anything is served: bring the data of the last one along where it is another, lock, back up, plan, apply, record, unlock.
//!
//! Always true: no schema changes before there is a backup of what was there, unless backups are turned off. Any number of processes may
//! start at once: one works, the others wait, look again, and go on.

mod lock;

pub(super) use lock::StartLock;

use futures_util::future::BoxFuture;

use super::Db;
use super::backup::{BackedUp, Progress, Reason, finish_restore};
use super::migrate::{self, Migration, Preview};
use super::moves::{self, Moves};
use super::plan::finding::MigrationPlan;
use crate::base::error::{Error, Result};

/// What [`Db::bring_up`] is to do.
#[derive(Debug, Clone)]
pub struct BringUp {
    /// When it makes a backup.
    pub backup: StartBackup,
    /// Whether it brings the schema up to date.
    pub migrate: bool,
    /// Hears how far the backup is.
    pub progress: Progress,
    /// What it knows about the last database, whose data comes along; without it, nothing does.
    pub moves: Option<Moves>,
}

impl Default for BringUp {
    fn default() -> Self {
        BringUp { backup: StartBackup::default(), migrate: true, progress: Progress::default(), moves: None }
    }
}

/// When a start makes a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartBackup {
    /// Where anything has changed since the last one.
    #[default]
    WhenChanged,
    /// The same, but only before a migration.
    BeforeMigration,
    /// Never.
    Never,
}

/// What [`Db::bring_up`] did.
#[derive(Debug)]
pub struct BroughtUp {
    /// What became of the backup.
    pub backup: BackedUp,
    /// What was changed; nothing where migrations are turned off.
    pub migration: Migration,
    /// What was told of another database's data, line by line; none where there was nothing to tell.
    pub moved: Vec<String>,
}

impl Db {
    /// Makes the database ready to be served: a backup, then the migration, in one process at a time.
    ///
    /// # Errors
    /// Where the schema can't be brought up to date, or should be and the backup before it failed. Nothing was changed then.
    pub async fn bring_up(&self, how: &BringUp) -> Result<BroughtUp> {
        // Boxed: a backup is a deep future, and the compiler looks into all that a caller awaits.
        let in_turn: BoxFuture<'_, _> = Box::pin(self.arrive_and_bring_up(how));
        in_turn.await
    }

    /// Where the data of another database came along, a backup of it is made here before anything else changes.
    async fn arrive_and_bring_up(&self, how: &BringUp) -> Result<BroughtUp> {
        let Some(known) = &how.moves else { return self.bring_up_in_turn(how).await };
        let arrival = moves::at_start(self, known, how.migrate).await?;
        let has_moved = arrival.has_moved() && how.backup != StartBackup::Never;
        let backup = if has_moved { StartBackup::WhenChanged } else { how.backup };
        let done = self.bring_up_in_turn(&BringUp { backup, ..how.clone() }).await?;
        let moved = arrival.settle(&done.backup, &done.migration).await?;
        Ok(BroughtUp { moved, ..done })
    }

    async fn bring_up_in_turn(&self, how: &BringUp) -> Result<BroughtUp> {
        finish_restore(self).await?;
        if how.backup == StartBackup::Never {
            let migration = if how.migrate { self.migrate().await? } else { Migration::default() };
            return Ok(BroughtUp { backup: BackedUp::NotAskedFor, migration, moved: Vec::new() });
        }
        // A look without the lock first: most starts find nothing to do, and need not wait for each other.
        let backup = match how.backup {
            StartBackup::WhenChanged => self.backups()?.unchanged_since().await.map(BackedUp::Unchanged),
            StartBackup::BeforeMigration | StartBackup::Never => Some(BackedUp::NotAskedFor),
        };
        if let Some(backup) = backup
            && let Ok(pending) = self.pending(how).await
            && pending.is_settled
        {
            let migration = Migration { findings: pending.plan.findings, ..Migration::default() };
            return Ok(BroughtUp { backup, migration, moved: Vec::new() });
        }
        let newest = self.backups()?.newest();
        let lock = StartLock::take(&self.shared.url).await?;
        let done = self.bring_up_alone(how, newest).await;
        lock.release().await;
        done
    }

    /// With the lock held. `newest` was the newest backup before the wait for it.
    async fn bring_up_alone(&self, how: &BringUp, newest: Option<String>) -> Result<BroughtUp> {
        let backup = match self.back_up(how, newest).await {
            Ok(backup) => backup,
            Err(error) => {
                if !self.pending(how).await?.plan.is_empty() {
                    return Err(without_backup(error));
                }
                BackedUp::Failed(error)
            }
        };
        let migration = if how.migrate { self.migrate().await? } else { Migration::default() };
        Ok(BroughtUp { backup, migration, moved: Vec::new() })
    }

    async fn back_up(&self, how: &BringUp, newest: Option<String>) -> Result<BackedUp> {
        let backups = self.backups()?.with_progress(how.progress.clone());
        let newest_now = backups.newest();
        let was_made_meanwhile = newest_now.is_some() && newest_now != newest;
        if was_made_meanwhile || how.backup == StartBackup::BeforeMigration {
            let is_pending = self.pending(how).await.map_or(true, |pending| !pending.plan.is_empty());
            if !is_pending {
                return Ok(newest_now
                    .filter(|_| was_made_meanwhile)
                    .map_or(BackedUp::NotAskedFor, BackedUp::Unchanged));
            }
        }
        backups.make_if_changed(Reason::Start).await
    }

    /// What a migration would do now; nothing where it is turned off.
    async fn pending(&self, how: &BringUp) -> Result<Preview> {
        if !how.migrate {
            return Ok(Preview { plan: MigrationPlan::default(), is_settled: true });
        }
        migrate::preview(self, &self.shared.tables.declared()).await
    }
}

/// The refusal to change a schema without a copy of what was there.
fn without_backup(cause: Error) -> Error {
    let text = format!(
        "the schema must change, and the backup before it failed, so nothing was changed; BACKUP_ENABLED=false migrates without one: {cause}"
    );
    Error::new(cause.kind(), text).cause(cause)
}
