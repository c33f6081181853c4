//! Migrations as files: what one database went through, others go through too, by way of version control.
//!
//! Each migration at a start is two files in `MIGRATIONS_DIR`, `<YYYYMMDD_HHMMSS>_<8 hex>.sql` and `.json`, and a row in
//! `kernel_migrations` that holds the same texts: a process that dies between the commit and the files leaves them to the next start.
//! A file that the database does not know is replayed before the rest is planned; one that was edited is refused before anything runs.

pub(super) mod describe;
pub(super) mod document;
pub(super) mod filing;
mod folder;
pub(super) mod objects;
pub(super) mod records;
pub(super) mod replay;
pub(super) mod shelf;

use std::path::PathBuf;

use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use document::Document;
use records::Record;

/// Where the migrations of a service lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationFiles {
    /// Whose they are: those of other services in the same folder are left alone.
    pub service: String,
    /// The folder.
    pub folder: PathBuf,
    /// The folder of all data of the service, which gets a `.gitignore` that keeps the migrations only.
    pub data_dir: PathBuf,
}

impl MigrationFiles {
    /// What the configuration says for the service of this name.
    #[must_use]
    pub fn from_config(service: &str, config: &ServiceConfig) -> Self {
        MigrationFiles {
            service: service.to_owned(),
            folder: config.effective_migrations_dir(),
            data_dir: config.data_dir.clone().into(),
        }
    }

    /// Does something with the folder where it may wait for the disk or for others.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&MigrationFiles) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let files = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&files)).await;
        done.map_err(|cause| Error::internal("working in the folder of migrations failed").cause(cause))?
    }

    /// The files that the database does not know yet.
    ///
    /// # Errors
    /// Where it knows one with another checksum.
    pub(super) fn pending<'a>(&self, documents: &'a [Document], records: &[Record]) -> Result<Vec<&'a Document>> {
        let mut pending = Vec::new();
        for document in documents {
            if document.service != self.service {
                continue;
            }
            match records.iter().find(|record| record.name.as_ref() == Some(&document.name)) {
                None => pending.push(document),
                Some(record) if record.checksum.as_ref() == Some(&document.checksum) => {}
                Some(_) => return Err(folder::edited(&self.path(&document.name, "sql"))),
            }
        }
        Ok(pending)
    }
}
