//! Making a backup: both forms, each verified before it has its name, then older ones go.

use std::fs;
use std::path::PathBuf;

use super::catalogue::our_tables;
use super::export::Export;
use super::fingerprint::{Fingerprint, of_files};
use super::folder::{Entry, Folder, MANIFEST, make_file, make_folder, name_of, write_synced};
use super::manifest::{Form, Manifest, Reason, TableManifest, schema_hash};
use super::{Backups, native, prune, verify};
use crate::base::clock::Clock;
use crate::base::error::{Error, Result};
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::entity::EntityDef;

/// A backup that was made and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// The CSV form, which every restore can be made from.
    pub csv: String,
    /// The native form, where the database or its tools could make one.
    pub native: Option<String>,
    /// How many tables it holds.
    pub tables: usize,
    /// How many rows.
    pub rows: u64,
    /// Older backups that went to make room.
    pub removed: Vec<String>,
}

impl Backups {
    /// Makes a backup in both forms.
    ///
    /// # Errors
    /// Where the database can't be read, the folder can't be written, or what was written can't be read back. Nothing is left behind then.
    pub async fn make(&self) -> Result<Made> {
        let _lock = self.folder().lock().await?;
        self.make_locked(Reason::Asked, &[]).await
    }

    /// Makes a backup unless there are no tables, or the last one still says it all.
    pub(super) async fn make_if_changed(&self, reason: Reason) -> Result<Option<Made>> {
        let driver = self.connect().await?;
        let tables = driver.read(OurTables(self.declared())).await;
        driver.close().await;
        if tables?.is_empty() {
            return Ok(None);
        }
        let folder = self.folder();
        let _lock = folder.lock().await?;
        let fingerprint = self.fingerprint().await;
        if fingerprint.is_some() && self.last(&folder)?.is_some_and(|last| last.fingerprint == fingerprint) {
            return Ok(None);
        }
        self.make_locked(reason, &[]).await.map(Some)
    }

    /// With the lock held. `spared` are not removed to make room.
    pub(super) async fn make_locked(&self, reason: Reason, spared: &[&str]) -> Result<Made> {
        let folder = self.folder();
        let fingerprint = self.fingerprint().await;
        let backend = self.db.backend().as_str();
        let temporary = Temporary(folder.temporary());
        make_folder(&temporary.0, false).map_err(|cause| super::export::cant_write(&temporary.0, cause))?;
        let driver = self.connect().await?;
        let export = Export { folder: temporary.0.clone(), declared: self.declared(), progress: self.progress.clone() };
        let tables = driver.read(export).await;
        driver.close().await;
        let tables = tables?;
        let (now, point) = folder.next_point(self.db.shared.clock.now(), &schema_hash(&tables))?;
        let service = &self.options.service;
        let manifest = Manifest::new(service, Form::Csv, backend, now, reason, fingerprint, tables, None);
        write_synced(&temporary.0.join(MANIFEST), &manifest.clone().sealed())?;
        verify::csv(&temporary.0, &Manifest::read(&temporary.0.join(MANIFEST))?)?;
        // Before the other form has its name: a moment without its CSV is none.
        let csv = name_of(Form::Csv, &point);
        folder.publish(&temporary.0, &csv)?;
        let native = self.make_native(&folder, &point, &manifest).await?;
        let removed = prune::prune(&folder, service, self.options.keep, &[&[point.as_str()], spared].concat())?;
        Ok(Made { csv, native, tables: manifest.tables.len(), rows: manifest.rows(), removed })
    }

    async fn make_native(&self, folder: &Folder, point: &str, csv: &Manifest) -> Result<Option<String>> {
        let temporary = Temporary(folder.temporary());
        make_file(&temporary.0).map_err(|cause| super::export::cant_write(&temporary.0, cause))?;
        let names = csv.tables.iter().map(|table| table.name.clone()).collect();
        let Some(()) = native::dump(&self.url()?, names, &temporary.0).await? else { return Ok(None) };
        let file = native::sum(&temporary.0)?;
        let tables: Vec<TableManifest> =
            csv.tables.iter().map(|table| TableManifest { file: None, ..table.clone() }).collect();
        let manifest = Manifest::new(
            &csv.service,
            Form::Native,
            &csv.backend,
            csv.created_at,
            csv.reason,
            csv.fingerprint.clone(),
            tables,
            Some(file),
        );
        native::verify(&temporary.0, &manifest).await?;
        let name = name_of(Form::Native, point);
        let entry = Entry::parse(&name, &folder.0).ok_or_else(|| Error::internal("a backup has no name"))?;
        folder.publish_file(&temporary.0, &entry, manifest)?;
        Ok(Some(name))
    }

    /// The newest backup of this service and this kind of database.
    fn last(&self, folder: &Folder) -> Result<Option<Manifest>> {
        let backend = self.db.backend().as_str();
        let is_ours = |manifest: &Manifest| manifest.service == self.options.service && manifest.backend == backend;
        let manifests = folder.entries()?.into_iter().filter(|entry| entry.form == Form::Csv);
        let ours = manifests.filter_map(|entry| entry.manifest().ok()).filter(is_ours);
        Ok(ours.max_by_key(|manifest| manifest.created_at))
    }

    /// Not knowing costs a backup, no more.
    async fn fingerprint(&self) -> Option<String> {
        let ask = async {
            let files = match self.db.backend() {
                Backend::Sqlite => {
                    self.url()?.sqlite_file().ok().and_then(|path| of_files(&path, Clock::system().now().into()))
                }
                Backend::Postgres | Backend::MySql => None,
            };
            let driver = self.connect().await?;
            let answer = driver.read(Fingerprint { files }).await;
            driver.close().await;
            Ok(answer?)
        };
        ask.await.unwrap_or_else(|error| {
            Fingerprint::unknown(&error);
            None
        })
    }
}

/// Goes when it goes out of scope, unless it was renamed. After a kill, the next run clears it.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _gone = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}

/// The names of our tables.
pub(super) struct OurTables(pub(super) std::sync::Arc<[EntityDef]>);

impl Operation for OurTables {
    type Output = Vec<TableManifest>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Vec<TableManifest>> {
        our_tables(session, &self.0).await
    }
}
