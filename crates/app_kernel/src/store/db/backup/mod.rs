//! Backups: whole, verified, restorable; or not there at all.
//!
//! A backup is one consistent snapshot of every table of ours, in two forms: `csv_<stamp>_<schema>/`, which any of the three databases
//! reads, and `native_<stamp>_<schema>.backup`, which the database's own tools read. It is called a backup only after it was read back.
//! A restore makes a safety copy first, and is all or nothing: the database is as it was in the backup, byte for byte, or as it was before.

pub(super) mod bulk;
mod catalogue;
mod copy;
mod csv;
mod dump;
mod export;
mod fingerprint;
pub(super) mod folder;
mod load;
mod load_table;
mod make;
mod manifest;
mod native;
mod prune;
mod remote;
mod restore;
mod snapshot;
mod text;
mod unfinished;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

pub use make::{BackedUp, Made};
pub use manifest::{Form, Manifest, Reason, TableManifest};
pub use remote::{Remote, RemoteFile};
pub use restore::{Restored, Step, rollback_to_date};
pub(super) use unfinished::finish as finish_restore;
pub use verify::{Listed, list_in, verify_in};

pub(super) use catalogue::is_ours;
pub(super) use folder::{make_folder, sync_folder};
pub(super) use snapshot::Snapshot;

use super::Db;
use super::driver::Driver;
use super::entity::EntityDef;
use super::url::DatabaseUrl;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use folder::Folder;

/// Where a service keeps its backups.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Whose they are: backups of other services in the same folder are left alone.
    pub service: String,
    /// The folder.
    pub folder: PathBuf,
    /// How many moments are kept; older ones go.
    pub keep: usize,
}

impl BackupOptions {
    /// What the configuration says for the service of this name.
    #[must_use]
    pub fn from_config(service: &str, config: &ServiceConfig) -> Self {
        BackupOptions { service: service.to_owned(), folder: config.effective_backup_dir(), keep: config.backup_keep }
    }
}

/// The backups of a database; see [`Db::backups`].
#[derive(Debug, Clone)]
pub struct Backups {
    db: Db,
    options: BackupOptions,
    progress: Progress,
}

/// Hears how far a backup or a restore is: a table's name, and how many of its rows are done.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<Hear>>);

type Hear = dyn Fn(&str, u64) + Send + Sync;

impl Progress {
    /// Calls `hear` now and then.
    pub fn new(hear: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        Progress(Some(Arc::new(hear)))
    }

    fn tell(&self, table: &str, rows: u64) {
        if let Some(hear) = &self.0 {
            hear(table, rows);
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

impl Db {
    /// The backups of this database.
    ///
    /// # Errors
    /// Where it was opened without a place for them.
    pub fn backups(&self) -> Result<Backups> {
        let options = self.shared.backups.clone().ok_or_else(|| {
            Error::invalid("this database was opened without a place for backups; set `backups` in DbOptions")
        })?;
        Ok(Backups { db: self.clone(), options, progress: Progress::default() })
    }
}

impl Backups {
    /// Tells somebody how far it is.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Whose they are.
    pub(super) fn service(&self) -> &str {
        &self.options.service
    }

    fn folder(&self) -> Folder {
        Folder(self.options.folder.clone())
    }

    fn url(&self) -> &DatabaseUrl {
        &self.db.shared.url
    }

    fn declared(&self) -> Arc<[EntityDef]> {
        self.db.shared.tables.declared().into()
    }

    async fn connect_apart(&self) -> Result<Driver> {
        Ok(Driver::connect_apart(self.url()).await?)
    }
}
