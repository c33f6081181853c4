//! A backup in the portable form alone, for a move to another database.

use std::path::PathBuf;

use super::folder::Entry;
use super::manifest::{Form, Manifest, Reason};
use super::{Backups, prune, verify};
use crate::base::error::Result;

/// A backup that every database reads, verified.
#[derive(Debug)]
pub(in crate::store::db) struct Snapshot {
    /// Where its files lie.
    pub(in crate::store::db) folder: PathBuf,
    pub(in crate::store::db) manifest: Manifest,
}

impl Backups {
    /// Makes one of the database as it is now. Where `may_be_there`, the last one will do if nothing was committed since.
    pub(in crate::store::db) async fn snapshot(&self, reason: Reason, may_be_there: bool) -> Result<Snapshot> {
        let folder = self.folder();
        let _lock = folder.lock().await?;
        if may_be_there
            && let Some(fingerprint) = self.fingerprint().await
            && let Ok(Some((manifest, entry))) = self.newest_portable(self.db.backend().as_str())
            && manifest.fingerprint == Some(fingerprint)
        {
            return verified(entry).await;
        }
        let (manifest, entry) = self.make_csv(reason, None).await?;
        prune::prune(&folder, &self.options.service, self.options.keep, &[entry.point()])?;
        Ok(Snapshot { folder: entry.path(), manifest })
    }

    /// The newest one of this service and a kind of database, read as a whole. None where there is none.
    pub(in crate::store::db) async fn newest_of(&self, backend: &str) -> Result<Option<Snapshot>> {
        match self.newest_portable(backend)? {
            Some((_, entry)) => verified(entry).await.map(Some),
            None => Ok(None),
        }
    }

    fn newest_portable(&self, backend: &str) -> Result<Option<(Manifest, Entry)>> {
        for entry in self.folder().entries()?.into_iter().rev().filter(|entry| entry.form == Form::Csv) {
            // One that can't be read may be ours: taking an older one in silence would lose data.
            let manifest = entry.manifest()?;
            if manifest.service == self.options.service && manifest.backend == backend {
                return Ok(Some((manifest, entry)));
            }
        }
        Ok(None)
    }
}

async fn verified(entry: Entry) -> Result<Snapshot> {
    let manifest = verify::entry(&entry).await?;
    Ok(Snapshot { folder: entry.path(), manifest })
}
