//! Fills an empty database from a snapshot, table by table. Each table is there whole and verified, with a seal, or not at all, so a move
//! that was killed goes on where it was: a table whose seal is that of the snapshot is not moved again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::state::{self, Record};
use crate::base::clock::Clock;
use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::backup::{Manifest, Progress, TableManifest, bulk, is_ours};
use crate::store::db::dialect::Backend;
use crate::store::db::dialect::ddl::{add_foreign_key, create_index, quoted};
use crate::store::db::driver::{Operation, Session};
use crate::store::db::error::DbError;
use crate::store::db::inspect::{Found, inspect};
use crate::store::db::schema::TableDef;

/// Makes the database what the snapshot says.
pub(super) struct Import {
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) record: Record,
    pub(super) clock: Clock,
    pub(super) progress: Progress,
}

impl Operation for Import {
    /// The record as it is now, and how many tables were there already.
    type Output = (Record, usize);

    async fn run(&self, session: &mut Session<'_>) -> DbResult<(Record, usize)> {
        let imported = self.import(session).await;
        if imported.is_err() {
            let _nothing_may_be_open = session.batch("ROLLBACK").await;
        }
        imported
    }
}

impl Import {
    async fn import(&self, session: &mut Session<'_>) -> DbResult<(Record, usize)> {
        let dialect = session.dialect();
        set_up(session).await?;
        state::begin(session, &Record { imported_at: None, ..self.record.clone() }).await?;
        let found = inspect(session, None).await?;
        // A migration may have changed what was imported before.
        let seals = if self.record.imported_at.is_none() { state::read(session).await?.seals } else { BTreeMap::new() };
        let definitions: Vec<TableDef> =
            self.manifest.tables.iter().map(|table| table.definition(dialect)).collect::<Result<_, _>>()?;
        self.suspend_keys(session, &found).await?;
        let mut there = 0;
        for (table, definition) in self.manifest.tables.iter().zip(&definitions) {
            if found.tables.contains_key(&table.name) && is_sealed(table, &seals) {
                there += 1;
            } else {
                self.table(session, table, definition).await?;
            }
        }
        self.bring_keys(session, &definitions).await?;
        let record = Record { imported_at: Some(self.clock.now()), ..self.record.clone() };
        state::note(session, &record).await?;
        Ok((record, there))
    }

    /// One table: in a transaction where DDL may be in one; on MySQL its rows are, and the seal comes last.
    async fn table(&self, session: &mut Session<'_>, table: &TableManifest, definition: &TableDef) -> DbResult<()> {
        let dialect = session.dialect();
        let name = quoted(&table.name, dialect);
        let (begin, begin_rows, end_rows) = match dialect.backend() {
            Backend::Sqlite => ("BEGIN IMMEDIATE", "", ""),
            Backend::Postgres => ("BEGIN", "", ""),
            Backend::MySql => ("", "START TRANSACTION", "COMMIT"),
        };
        batch(session, begin).await?;
        state::unseal(session, &table.name).await?;
        session.batch(&format!("DROP TABLE IF EXISTS {name}")).await?;
        bulk::create_bare(session, definition).await?;
        batch(session, begin_rows).await?;
        bulk::fill(session, &self.folder, table, &table.name, &self.progress).await?;
        batch(session, end_rows).await?;
        bulk::compare(session, table, &table.name).await?;
        for index in &definition.indexes {
            session.batch(&create_index(definition, index, dialect)).await?;
        }
        if dialect.backend() == Backend::Postgres {
            bulk::count_on(session, table).await?;
        }
        state::seal(session, &table.name, &table.seal()).await?;
        batch(session, if begin.is_empty() { "" } else { "COMMIT" }).await?;
        tracing::debug!(target: super::TARGET, table = table.name, rows = table.rows, "a table is moved and verified");
        Ok(())
    }

    /// On PostgreSQL, a table that others refer to can't be dropped. Keys come back at the end, those of tables that this move does not bring
    /// by the migration.
    async fn suspend_keys(&self, session: &mut Session<'_>, found: &Found) -> DbResult<()> {
        let dialect = session.dialect();
        if dialect.backend() != Backend::Postgres {
            return Ok(());
        }
        for (name, table) in found.tables.iter().filter(|(name, _)| is_ours(name, &found.tables)) {
            for key in table.foreign_keys.keys() {
                let (name, key) = (quoted(name, dialect), quoted(key, dialect));
                session.batch(&format!("ALTER TABLE {name} DROP CONSTRAINT {key}")).await?;
            }
        }
        Ok(())
    }

    /// Foreign keys come once all rows are there. SQLite has them already, and is asked whether they hold.
    async fn bring_keys(&self, session: &mut Session<'_>, definitions: &[TableDef]) -> DbResult<()> {
        let dialect = session.dialect();
        if dialect.backend() == Backend::Sqlite {
            let dangling = session.query("PRAGMA foreign_key_check", &[], |row| row.text(0).map(str::to_owned)).await?;
            return dangling.first().map_or(Ok(()), |table| Err(dangles(table).into()));
        }
        if dialect.backend() == Backend::MySql {
            // Without it, a key would be believed.
            session.batch("SET SESSION foreign_key_checks = 1").await?;
        }
        let found = inspect(session, None).await?;
        for definition in definitions {
            let there = found.tables.get(&definition.name).map(|table| &table.foreign_keys);
            for key in &definition.foreign_keys {
                if there.is_some_and(|there| there.contains_key(&key.name)) {
                    continue;
                }
                session.batch(&add_foreign_key(definition, key, dialect)).await.map_err(|error| match error {
                    DbError::ForeignKey { .. } => dangles(&definition.name).into(),
                    other => other,
                })?;
            }
        }
        Ok(())
    }
}

fn dangles(table: &str) -> Error {
    Error::conflict(format!(
        "rows of `{table}` refer to rows that are not there, which this database does not allow; mend them in the old database, then start again"
    ))
}

fn is_sealed(table: &TableManifest, seals: &BTreeMap<String, String>) -> bool {
    seals.get(&table.name).is_some_and(|seal| *seal == table.seal())
}

/// The connection is for this alone and closed after it, so what is set here is in nobody's way.
async fn set_up(session: &mut Session<'_>) -> DbResult<()> {
    match session.dialect().backend() {
        Backend::Sqlite => session.batch("PRAGMA query_only = OFF; PRAGMA foreign_keys = OFF").await,
        Backend::Postgres => Ok(()),
        Backend::MySql => {
            session.batch("SET SESSION foreign_key_checks = 0, unique_checks = 0, lock_wait_timeout = 60").await
        }
    }
}

async fn batch(session: &mut Session<'_>, sql: &str) -> DbResult<()> {
    if sql.is_empty() { Ok(()) } else { session.batch(sql).await }
}
