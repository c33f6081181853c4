//! Making a backup: both forms, each verified before it has its name, then older ones go.

use std::fs;
use std::path::{Path, PathBuf};

use super::catalogue::our_tables;
use super::export::Export;
use super::fingerprint::{Fingerprint, RESOLUTION, of_files};
use super::folder::{Entry, Folder, MANIFEST, make_file, make_folder, name_of, write_synced};
use super::manifest::{Form, Manifest, Reason, TableManifest, schema_hash};
use super::{Backups, dump, native, prune, verify};
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::{Error, Result};
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::entity::EntityDef;
use crate::store::db::start::StartLock;

/// A backup that was made and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The CSV form, which every restore can be made from.
    pub csv: String,
    /// The native form, of the same snapshot.
    pub native: String,
    /// How many tables it holds.
    pub tables: usize,
    /// How many rows.
    pub rows: u64,
    /// Older backups that went to make room.
    pub removed: Vec<String>,
}

/// What became of a backup that is made only where it is needed.
#[derive(Debug)]
pub enum BackedUp {
    /// It was made.
    Made(Made),
    /// Nothing has changed since this one, or another process has just made it.
    Unchanged(String),
    /// There are no tables yet.
    NothingThere,
    /// None was asked for, or none but before a migration, and there was none to do.
    NotAskedFor,
    /// It could not be made. There was no migration to do, so nothing stands in the way of serving.
    Failed(Error),
}

impl std::fmt::Display for BackedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BackedUp::Made(made) => write!(f, "{}: {} tables, {} rows", made.csv, made.tables, made.rows),
            BackedUp::Unchanged(last) => write!(f, "nothing has changed since {last}"),
            BackedUp::NothingThere => f.write_str("there are no tables yet"),
            BackedUp::NotAskedFor => f.write_str("none was asked for"),
            BackedUp::Failed(error) => write!(f, "it failed: {error}"),
        }
    }
}

impl Backups {
    /// Makes a backup in both forms.
    ///
    /// # Errors
    /// Where the database can't be read, the folder can't be written, or what was written can't be read back. Nothing is left behind then.
    pub async fn make(&self) -> Result<Made> {
        // The schema must not change meanwhile, and a migration would wait for the backup's read locks in vain.
        let alone = StartLock::take(self.url()).await?;
        let made = self.make_alone().await;
        alone.release().await;
        made
    }

    async fn make_alone(&self) -> Result<Made> {
        let _lock = self.folder().lock().await?;
        self.make_locked(Reason::Asked, &[]).await
    }

    /// Makes a backup unless one was made at this moment or later, as one of several processes with the same schedule does;
    /// or there is nothing to back up, or nothing has changed.
    ///
    /// # Errors
    /// As [`Backups::make`].
    pub async fn make_scheduled(&self, due: Timestamp) -> Result<BackedUp> {
        let alone = StartLock::take(self.url()).await?;
        let made = match self.last() {
            Some((last, manifest)) if manifest.created_at >= due => Ok(BackedUp::Unchanged(last.name)),
            _ => self.make_if_changed(Reason::Schedule).await,
        };
        alone.release().await;
        made
    }

    /// Makes a backup unless there are no tables, or the last one still says it all.
    pub(in crate::store::db) async fn make_if_changed(&self, reason: Reason) -> Result<BackedUp> {
        if self.db.read(OurTables(self.declared())).await?.is_empty() {
            return Ok(BackedUp::NothingThere);
        }
        let _lock = self.folder().lock().await?;
        if let Some(last) = self.unchanged_since().await {
            return Ok(BackedUp::Unchanged(last));
        }
        self.make_locked(reason, &[]).await.map(BackedUp::Made)
    }

    /// The last backup, where nothing has changed since.
    pub(in crate::store::db) async fn unchanged_since(&self) -> Option<String> {
        let (last, manifest) = self.last()?;
        let fingerprint = manifest.fingerprint?;
        (self.fingerprint().await? == fingerprint).then_some(last.name)
    }

    /// The newest backup of this service and this kind of database.
    pub(in crate::store::db) fn newest(&self) -> Option<String> {
        self.last().map(|(last, _)| last.name)
    }

    /// With the lock held. `spared` are not removed to make room.
    pub(super) async fn make_locked(&self, reason: Reason, spared: &[&str]) -> Result<Made> {
        let folder = self.folder();
        let native = Temporary(folder.temporary());
        make_file(&native.0).map_err(|cause| super::export::cant_write(&native.0, cause))?;
        let (manifest, entry) = self.make_csv(reason, Some(&native.0)).await?;
        let native = publish_native(&folder, entry.point(), &manifest, &native.0).await?;
        let spared = [&[entry.point()], spared].concat();
        let removed = prune::prune(&folder, &self.options.service, self.options.keep, &spared)?;
        Ok(Made { csv: entry.name, native, tables: manifest.tables.len(), rows: manifest.rows(), removed })
    }

    /// The form that every database reads, which has its name first: a moment without it is none. The other one is written meanwhile,
    /// where it is wanted.
    pub(super) async fn make_csv(&self, reason: Reason, native: Option<&Path>) -> Result<(Manifest, Entry)> {
        let folder = self.folder();
        let fingerprint = self.fingerprint().await;
        let backend = self.db.backend().as_str();
        let temporary = Temporary(folder.temporary());
        make_folder(&temporary.0, false).map_err(|cause| super::export::cant_write(&temporary.0, cause))?;
        let native = native.map(|path| (path.to_owned(), self.url().clone()));
        let (declared, progress) = (self.declared(), self.progress.clone());
        let driver = self.connect_apart().await?;
        let tables = driver.read(Export { folder: temporary.0.clone(), native, declared, progress }).await;
        driver.close().await;
        let tables = tables?;
        let (now, point) = folder.next_point(self.db.shared.clock.now(), &schema_hash(&tables))?;
        let service = &self.options.service;
        let manifest = Manifest::new(service, Form::Csv, backend, now, reason, fingerprint, tables, None);
        write_synced(&temporary.0.join(MANIFEST), &manifest.clone().sealed())?;
        verify::csv(temporary.0.clone(), Manifest::read(&temporary.0.join(MANIFEST))?).await?;
        let name = name_of(Form::Csv, &point);
        folder.publish(&temporary.0, &name)?;
        let entry = Entry::parse(&name, &folder.0).ok_or_else(|| Error::internal("a backup has no name"))?;
        Ok((manifest, entry))
    }

    /// What can't be read is passed over: not knowing costs a backup, no more.
    fn last(&self) -> Option<(Entry, Manifest)> {
        let backend = self.db.backend().as_str();
        let is_ours = |manifest: &Manifest| manifest.service == self.options.service && manifest.backend == backend;
        let entries = self.folder().entries().ok()?.into_iter().rev().filter(|entry| entry.form == Form::Csv);
        let mut ours = entries.filter_map(|entry| Some((entry.manifest().ok().filter(is_ours)?, entry)));
        ours.next().map(|(manifest, entry)| (entry, manifest))
    }

    /// Not knowing costs a backup, no more.
    pub(super) async fn fingerprint(&self) -> Option<String> {
        let ask = async {
            let files = match self.db.backend() {
                Backend::Sqlite => {
                    let path = self.url().sqlite_file()?;
                    let files = || of_files(&path, Clock::system().now().into());
                    match files() {
                        // Changed this moment: a restart is quick. A next change would show after a short wait.
                        None => {
                            tokio::time::sleep(RESOLUTION).await;
                            files()
                        }
                        files => files,
                    }
                }
                Backend::Postgres | Backend::MySql => None,
            };
            self.db.read(Fingerprint { files }).await
        };
        ask.await.unwrap_or_else(|error| {
            Fingerprint::unknown(&error);
            None
        })
    }
}

/// Verifies the native form and gives it its name.
async fn publish_native(folder: &Folder, point: &str, csv: &Manifest, path: &Path) -> Result<String> {
    // A dump is restored table by table, and each is compared with the CSV's checksum; an archive is the business of its tool.
    let keeps_sums = dump::is_dump(path);
    let table =
        |table: &TableManifest| TableManifest { file: table.file.clone().filter(|_| keeps_sums), ..table.clone() };
    let written = path.to_owned();
    let file = native::blocking(move || native::sum(&written)).await?;
    let manifest = Manifest::new(
        &csv.service,
        Form::Native,
        &csv.backend,
        csv.created_at,
        csv.reason,
        csv.fingerprint.clone(),
        csv.tables.iter().map(table).collect(),
        Some(file),
    );
    native::verify(path, &manifest).await?;
    let name = name_of(Form::Native, point);
    let entry = Entry::parse(&name, &folder.0).ok_or_else(|| Error::internal("a backup has no name"))?;
    folder.publish_file(path, &entry, manifest)?;
    Ok(name)
}

/// Goes when it goes out of scope, unless it was renamed. After a kill, the next run clears it.
pub(super) struct Temporary(pub(super) PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _gone = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}

/// Our tables, as the database has them; their rows are not counted.
pub(super) struct OurTables(pub(super) std::sync::Arc<[EntityDef]>);

impl Operation for OurTables {
    type Output = Vec<TableManifest>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Vec<TableManifest>> {
        our_tables(session, &self.0).await
    }
}
