//! Makes the database what a CSV backup says. On SQLite and PostgreSQL that is one transaction, DDL included. MySQL commits at every DDL
//! statement, so there the tables are filled under other names and take their places by one RENAME, which is atomic.
//!
//! Before anything counts, each table is read back and must have the checksum of the backup: the same bytes on whatever database.

use std::path::PathBuf;
use std::sync::Arc;

use super::bulk::{compare, count_on, create_bare, fill};
use super::catalogue::{SCRATCH, our_tables};
use super::manifest::{Manifest, TableManifest};
use super::unfinished::{TO_DO, work_off, write_list};
use super::{Progress, dump};
use crate::base::error::Result;
use crate::store::db::DbResult;
use crate::store::db::dialect::ddl::{add_check, add_foreign_key, create_index, quoted};
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::driver::{Driver, Operation, Session};
use crate::store::db::entity::EntityDef;
use crate::store::db::inspect::inspect;
use crate::store::db::schema::{TableCheck, TableDef, TableForeignKey};

/// Replaces all our tables by those of a backup.
pub(super) struct Load {
    /// The folder of a CSV backup, or the file of a dump.
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) declared: Arc<[EntityDef]>,
    pub(super) progress: Progress,
}

impl Load {
    /// All or nothing.
    pub(super) async fn run_on(self, driver: &Driver) -> Result<()> {
        match driver.dialect().backend() {
            Backend::Sqlite | Backend::Postgres => driver.write(Arc::new(self)).await?,
            // It holds its transactions itself.
            Backend::MySql => driver.read(self).await?,
        }
        Ok(())
    }
}

impl Operation for Load {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> DbResult<()> {
        match session.dialect().backend() {
            Backend::Sqlite => self.replace_in_transaction(session, "PRAGMA defer_foreign_keys = ON").await,
            Backend::Postgres => self.replace_in_transaction(session, "SET LOCAL lock_timeout = '60s'").await,
            Backend::MySql => self.replace_by_rename(session).await,
        }
    }
}

impl Load {
    async fn replace_in_transaction(&self, session: &mut Session<'_>, first: &str) -> DbResult<()> {
        let dialect = session.dialect();
        session.batch(first).await?;
        let names: Vec<String> =
            our_tables(session, &self.declared).await?.into_iter().map(|table| quoted(&table.name, dialect)).collect();
        for statement in drop_statements(&names, dialect.backend()) {
            session.batch(&statement).await?;
        }
        let mut definitions = Vec::new();
        for table in &self.manifest.tables {
            definitions.push(table.definition(dialect)?);
        }
        let mut dump = self.dump()?;
        for (table, definition) in self.manifest.tables.iter().zip(&definitions) {
            self.fill_new(session, dump.as_mut(), table, definition, &table.name).await?;
        }
        for (table, definition) in self.manifest.tables.iter().zip(&definitions) {
            for index in &definition.indexes {
                session.batch(&create_index(definition, index, dialect)).await?;
            }
            if dialect.backend() == Backend::Postgres {
                for key in &definition.foreign_keys {
                    session.batch(&add_foreign_key(definition, key, dialect)).await?;
                }
                count_on(session, table).await?;
            }
        }
        Ok(())
    }

    async fn replace_by_rename(&self, session: &mut Session<'_>) -> DbResult<()> {
        let dialect = session.dialect();
        session.batch("SET SESSION foreign_key_checks = 0, unique_checks = 0, lock_wait_timeout = 60").await?;
        drop_scratch(session).await?;
        let [new, old] = SCRATCH;
        let mut definitions = Vec::new();
        let mut dump = self.dump()?;
        for (i, table) in self.manifest.tables.iter().enumerate() {
            let definition = table.definition(dialect)?;
            let scratch = format!("{new}{i}");
            // Names of constraints belong to the whole database; the old tables have them still.
            let bare =
                TableDef { name: scratch.clone(), foreign_keys: Vec::new(), checks: Vec::new(), ..definition.clone() };
            let filled = self.fill_scratch(session, dump.as_mut(), table, &bare, &scratch).await;
            if filled.is_err() {
                let _leftovers_are_dropped_next_time = session.batch("ROLLBACK").await;
                let _dropped = drop_scratch(session).await;
            }
            filled?;
            definitions.push(definition);
        }
        let before = our_tables(session, &self.declared).await?;
        let away = before.iter().enumerate().map(|(i, table)| (table.name.clone(), format!("{old}{i}")));
        let here = self.manifest.tables.iter().enumerate().map(|(i, table)| (format!("{new}{i}"), table.name.clone()));
        let list = format!("{new}list");
        write_list(session, &list, &definitions).await?;
        let moves: Vec<String> = away
            .chain(here)
            .chain([(list, TO_DO.to_owned())])
            .map(|(from, to)| format!("{} TO {}", quoted(&from, dialect), quoted(&to, dialect)))
            .collect();
        session.batch(&format!("RENAME TABLE {}", moves.join(", "))).await?;
        work_off(session).await
    }

    /// The rows, where the backup is a dump.
    fn dump(&self) -> Result<Option<dump::Reader>> {
        (!self.folder.is_dir()).then(|| dump::Reader::open(&self.folder)).transpose()
    }

    async fn fill_scratch(
        &self,
        session: &mut Session<'_>,
        dump: Option<&mut dump::Reader>,
        table: &TableManifest,
        bare: &TableDef,
        scratch: &str,
    ) -> DbResult<()> {
        self.fill_new(session, dump, table, bare, scratch).await?;
        for index in &bare.indexes {
            session.batch(&create_index(bare, index, session.dialect())).await?;
        }
        Ok(())
    }

    /// Makes a table without its indexes, fills it and compares it with the backup.
    async fn fill_new(
        &self,
        session: &mut Session<'_>,
        dump: Option<&mut dump::Reader>,
        table: &TableManifest,
        definition: &TableDef,
        name: &str,
    ) -> DbResult<()> {
        let backend = session.dialect().backend();
        create_bare(session, definition).await?;
        if backend == Backend::MySql {
            session.batch("START TRANSACTION").await?;
        }
        match dump {
            Some(dump) => dump.fill(session, table, name, &self.progress).await?,
            None => fill(session, &self.folder, table, name, &self.progress).await?,
        }
        if backend == Backend::MySql {
            session.batch("COMMIT").await?;
        }
        compare(session, table, name).await
    }
}

/// Drops what a restore on MySQL has, or an earlier one that was killed has left, under names of its own.
pub(super) async fn drop_scratch(session: &mut Session<'_>) -> DbResult<()> {
    let dialect = session.dialect();
    let found = inspect(session, None).await?.tables;
    let is_scratch = |name: &&String| SCRATCH.iter().any(|prefix| name.starts_with(prefix));
    let names: Vec<String> = found.keys().filter(is_scratch).map(|name| quoted(name, dialect)).collect();
    for statement in drop_statements(&names, dialect.backend()) {
        session.batch(&statement).await?;
    }
    Ok(())
}

/// PostgreSQL and MySQL drop tables that refer to each other together; SQLite one by one, and looks at the references at the end.
fn drop_statements(quoted_names: &[String], backend: Backend) -> Vec<String> {
    match backend {
        _ if quoted_names.is_empty() => Vec::new(),
        Backend::Sqlite => quoted_names.iter().map(|name| format!("DROP TABLE {name}")).collect(),
        Backend::Postgres | Backend::MySql => vec![format!("DROP TABLE {}", quoted_names.join(", "))],
    }
}

/// What a table on MySQL gets once it has its name: names of constraints, and the statements.
pub(super) fn add_constraints(definition: &TableDef, dialect: &dyn Dialect) -> Vec<(String, String)> {
    let check = |check: &TableCheck| (check.name.clone(), add_check(definition, check, dialect));
    let key = |key: &TableForeignKey| (key.name.clone(), add_foreign_key(definition, key, dialect));
    definition.checks.iter().map(check).chain(definition.foreign_keys.iter().map(key)).collect()
}
