//! Backups and restores, on every database.

mod making;
mod native;
pub(crate) mod portable;
mod refusals;
mod remote;
mod restoring;
mod schedule;
mod starting;
mod undo;

use std::path::Path;

use app_kernel::base::clock::Clock;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::backup::{BackupOptions, Backups};
use app_kernel::store::db::entity::EntityDef;
use app_kernel::store::db::{Db, DbOptions};
use app_kernel::testing::TestDatabase;

/// A database with these entities, its backups, and the folder that they lie in.
pub(crate) struct Place {
    pub(crate) db: Db,
    pub(crate) backups: Backups,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Clock,
    pub(crate) url: Secret,
}

impl Place {
    pub(crate) async fn new(database: &TestDatabase, entities: &[&EntityDef]) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let clock = Clock::manual("2026-01-30T12:00:00Z".parse().expect("a time"));
        let options = options(folder.path(), &clock);
        let db = crate::db::open_with(database, entities, options).await;
        let backups = db.backups().expect("a place for backups");
        Place { db, backups, folder, clock, url: database.url().clone() }
    }

    /// The names of everything in the folder of backups, hidden things apart.
    pub(crate) fn names(&self) -> Vec<String> {
        names(self.folder.path())
    }
}

pub(crate) fn options(folder: &Path, clock: &Clock) -> DbOptions {
    let backups = BackupOptions { service: "shop".to_owned(), folder: folder.to_owned(), keep: 14 };
    DbOptions { backups: Some(backups), clock: clock.clone(), ..DbOptions::default() }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.ends_with(".lock"));
    names.sort();
    names
}

/// Every file of a CSV backup but its manifest, by name.
pub(crate) fn files(backup: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = std::fs::read(backup.join(&name)).expect("a file of the backup");
        (name, bytes)
    };
    names(backup).into_iter().filter(|name| name != "manifest.json").map(read).collect()
}
