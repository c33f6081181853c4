//! Writes the files of migrations that are committed. What can't be written now is said, and left to the next start.

use std::path::PathBuf;

use super::MigrationFiles;
use super::records::{Filed, Texts};
use crate::base::error::Result;
use crate::store::db::Db;
use crate::store::db::migrate::Migration;
use crate::store::db::plan::finding::{Finding, Severity};
use crate::store::db::schema::MIGRATIONS;

/// The files that were written, and why some were not.
#[derive(Debug, Default)]
pub(crate) struct Filing {
    files: Vec<PathBuf>,
    failures: Vec<Finding>,
}

impl Filing {
    /// Writes two files for each, and notes it in the database.
    pub(crate) async fn write(&mut self, db: &Db, files: &MigrationFiles, texts: Vec<Texts>) {
        for texts in texts {
            let name = texts.name.clone();
            match write_one(db, files, texts).await {
                Ok(written) => self.files.extend(written),
                Err(error) => self.failures.push(Finding {
                    severity: Severity::Warning,
                    table: MIGRATIONS.to_owned(),
                    column: None,
                    what: format!("the files of the migration {name} are not written: {error}"),
                    cure: Some("the next start tries again".to_owned()),
                }),
            }
        }
    }

    pub(crate) fn into_migration(self, mut migration: Migration) -> Migration {
        migration.files = self.files;
        migration.findings.extend(self.failures);
        migration
    }
}

async fn write_one(db: &Db, files: &MigrationFiles, texts: Texts) -> Result<Vec<PathBuf>> {
    let name = texts.name.clone();
    let publish = move |files: &MigrationFiles| {
        files.prepare()?;
        files.publish(&texts.name, &texts.sql, &texts.json)
    };
    let written = files.blocking(publish).await?;
    db.write(Filed { name, at: db.shared.clock.now() }).await?;
    Ok(written)
}
