//! Copies of backups elsewhere. What is copied is what the folder has under its name, its manifest last, so what has one there is whole.
//! A copy that failed is no loss: the next one copies whatever is missing.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::BoxFuture;

use super::folder::{Entry, Folder, make_file, make_folder};
use super::make::Temporary;
use super::manifest::{Form, Manifest};
use super::{Backups, native, verify};
use crate::base::error::{Error, Result};
use crate::store::db::entity::is_valid_name;

/// A place that keeps files under names, such as a bucket of S3.
pub trait Remote: std::fmt::Debug + Send + Sync {
    /// Where that is, for people.
    fn place(&self) -> String;

    /// The files whose names start so.
    fn list<'a>(&'a self, start: &'a str) -> BoxFuture<'a, Result<Vec<RemoteFile>>>;

    /// Copies a file there. Whole or not at all.
    fn put<'a>(&'a self, name: &'a str, file: &'a Path) -> BoxFuture<'a, Result<()>>;

    /// Copies a file from there into an empty one.
    fn get<'a>(&'a self, name: &'a str, file: &'a Path) -> BoxFuture<'a, Result<()>>;

    /// Removes a file; one that is not there is no error.
    fn delete<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// A file elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteFile {
    /// Its name, with slashes.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What there is of one service.
struct There {
    /// What all names start with: the service and a slash.
    start: String,
    files: Vec<RemoteFile>,
}

impl There {
    /// The backups that have their manifests, the oldest first.
    fn entries(&self, folder: &Path) -> Vec<Entry> {
        let names = self.files.iter().filter_map(|file| file.name.strip_prefix(&self.start));
        let entry = |name: &str| {
            let name = name.strip_suffix("/manifest.json").or_else(|| name.strip_suffix(".json"))?;
            Entry::parse(name, folder)
        };
        let mut entries: Vec<Entry> = names.filter_map(entry).collect();
        entries.sort_by(|a, b| (a.point(), a.form).cmp(&(b.point(), b.form)));
        entries
    }

    fn has(&self, name: &str, bytes: u64) -> bool {
        self.files.iter().any(|file| file.bytes == bytes && file.name.strip_prefix(&self.start) == Some(name))
    }
}

impl Backups {
    /// Copies the backups that are only here, then removes those elsewhere that are too many. Answers the names of what was copied;
    /// none where no place elsewhere is configured.
    ///
    /// # Errors
    /// Where the place can't be reached or refuses, or something there is not as it was sent.
    pub async fn copy_away(&self) -> Result<Vec<String>> {
        let Some(remote) = &self.db.shared.remote else { return Ok(Vec::new()) };
        let folder = self.folder();
        // Copies take long, and must not keep backups from being made.
        let _lock = folder.lock_copies().await?;
        let there = self.there(remote.as_ref()).await?;
        let whole: BTreeSet<String> = there.entries(&folder.0).into_iter().map(|entry| entry.name).collect();
        let here: Vec<Entry> = folder.entries()?.into_iter().filter(|entry| self.is_ours(entry)).collect();
        let points = there.entries(&folder.0).into_iter().chain(here.iter().cloned());
        let points: BTreeSet<String> = points.map(|entry| entry.point().to_owned()).collect();
        let kept: BTreeSet<&String> = points.iter().rev().take(self.options.keep.max(1)).collect();
        let mut copied = Vec::new();
        for entry in here {
            if whole.contains(&entry.name) || !kept.contains(&entry.point().to_owned()) {
                continue;
            }
            match self.copy(remote.as_ref(), &there, &entry).await {
                Ok(()) => copied.push(entry.name),
                // It made room for another one meanwhile.
                Err(_) if !entry.manifest_path().exists() => {}
                Err(error) => return Err(error),
            }
        }
        let there = self.there(remote.as_ref()).await?;
        self.check_sizes(&there, &copied, &remote.place())?;
        for file in &there.files {
            let name = file.name.strip_prefix(&there.start).unwrap_or_default();
            let top = name.split('/').next().unwrap_or_default();
            let entry = Entry::parse(top.strip_suffix(".json").unwrap_or(top), &folder.0);
            // What is unfinished and older goes too.
            if entry.is_some_and(|entry| kept.first().is_some_and(|oldest| entry.point() < oldest.as_str())) {
                remote.delete(&file.name).await?;
            }
        }
        Ok(copied)
    }

    /// The backups of this service that are only elsewhere, the oldest first.
    ///
    /// # Errors
    /// Where the place can't be reached or refuses.
    pub async fn list_remote(&self) -> Result<Vec<String>> {
        let Some(remote) = &self.db.shared.remote else { return Ok(Vec::new()) };
        let there = self.there(remote.as_ref()).await?;
        let here: BTreeSet<String> = self.folder().entries()?.into_iter().map(|entry| entry.name).collect();
        let names = there.entries(&self.options.folder).into_iter().map(|entry| entry.name);
        Ok(names.filter(|name| !here.contains(name)).collect())
    }

    /// Where copies go, for people. None where nowhere is configured.
    #[must_use]
    pub fn remote_place(&self) -> Option<String> {
        self.db.shared.remote.as_ref().map(|remote| remote.place())
    }

    /// Brings a backup here that is only elsewhere. What is fetched is verified before it has its name.
    pub(super) async fn fetch_if_missing(&self, name: &str) -> Result<()> {
        let folder = self.folder();
        let name = name.trim_end_matches('/');
        let (Some(remote), Some(entry)) = (&self.db.shared.remote, Entry::parse(name, &folder.0)) else {
            return Ok(());
        };
        if entry.manifest_path().exists() || !self.list_remote().await?.iter().any(|there| there == name) {
            return Ok(());
        }
        tracing::info!(target: "app_kernel::backup", "fetching {name} from {}", remote.place());
        let _lock = folder.lock().await?;
        let start = self.start();
        let cant_write = super::export::cant_write;
        let temporary = Temporary(folder.temporary());
        match entry.form {
            Form::Csv => {
                make_folder(&temporary.0, false).map_err(|cause| cant_write(&temporary.0, cause))?;
                let fetch = async |file: &str| {
                    let path = temporary.0.join(file);
                    make_file(&path).map_err(|cause| cant_write(&path, cause))?;
                    remote.get(&format!("{start}{name}/{file}"), &path).await
                };
                fetch(super::folder::MANIFEST).await?;
                let manifest = Manifest::read(&temporary.0.join(super::folder::MANIFEST))?;
                for table in &manifest.tables {
                    if !is_valid_name(&table.name) {
                        return Err(Error::invalid(format!(
                            "{name} is damaged: `{}` is no name of a table",
                            table.name
                        )));
                    }
                    fetch(&table.file_name()).await?;
                }
                verify::csv(temporary.0.clone(), manifest).await?;
                folder.publish(&temporary.0, name)
            }
            Form::Native => {
                let sidecar = Temporary(folder.temporary());
                for (path, file) in [(&sidecar.0, format!("{name}.json")), (&temporary.0, name.to_owned())] {
                    make_file(path).map_err(|cause| cant_write(path, cause))?;
                    remote.get(&format!("{start}{file}"), path).await?;
                }
                let manifest = Manifest::read(&sidecar.0)?;
                native::verify(&temporary.0, &manifest).await?;
                folder.publish_file(&temporary.0, &entry, manifest)
            }
        }
    }

    /// What names elsewhere start with: services may share a place.
    fn start(&self) -> String {
        format!("{}/", self.options.service)
    }

    async fn there(&self, remote: &dyn Remote) -> Result<There> {
        let start = self.start();
        let files = remote.list(&start).await?;
        Ok(There { start, files })
    }

    fn is_ours(&self, entry: &Entry) -> bool {
        entry.manifest().is_ok_and(|manifest| manifest.service == self.options.service)
    }

    async fn copy(&self, remote: &dyn Remote, there: &There, entry: &Entry) -> Result<()> {
        for (name, path) in files_of(entry)? {
            let bytes =
                std::fs::metadata(&path).map(|metadata| metadata.len()).map_err(|cause| cant_read(&path, cause))?;
            // The manifest counts as missing as long as it was not the last.
            if !there.has(&name, bytes) {
                remote.put(&format!("{}{name}", there.start), &path).await?;
            }
        }
        Ok(())
    }

    fn check_sizes(&self, there: &There, copied: &[String], place: &str) -> Result<()> {
        let folder = Folder(self.options.folder.clone());
        for entry in copied.iter().filter_map(|name| Entry::parse(name, &folder.0)) {
            for (name, path) in files_of(&entry)? {
                let bytes = std::fs::metadata(&path).map(|metadata| metadata.len());
                if bytes.is_ok_and(|bytes| !there.has(&name, bytes)) {
                    return Err(Error::unavailable(format!(
                        "{name} was copied to {place} and is not there as it was sent"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// The files of a backup with their names elsewhere, the manifest last.
fn files_of(entry: &Entry) -> Result<Vec<(String, std::path::PathBuf)>> {
    let manifest = entry.manifest()?;
    let name = &entry.name;
    Ok(match entry.form {
        Form::Csv => {
            let tables = manifest.tables.iter().map(|table| table.file_name());
            let files = tables.chain([super::folder::MANIFEST.to_owned()]);
            files.map(|file| (format!("{name}/{file}"), entry.path().join(file))).collect()
        }
        Form::Native => vec![(name.clone(), entry.path()), (format!("{name}.json"), entry.manifest_path())],
    })
}

fn cant_read(path: &Path, cause: std::io::Error) -> Error {
    Error::unavailable(format!("{} can't be read: {cause}", path.display())).cause(cause)
}
