//! Makes the database what a CSV backup says. On SQLite and PostgreSQL that is one transaction, DDL included. MySQL commits at every DDL
//! statement, so there the tables are filled under other names and take their places by one RENAME, which is atomic.
//!
//! Before anything counts, each table is read back and must have the checksum of the backup: the same bytes on whatever database.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::catalogue::{SCRATCH, our_tables};
use super::export::{Hashing, write_table};
use super::manifest::{Manifest, TableManifest};
use super::unfinished::{TO_DO, work_off, write_list};
use super::verify::TableReader;
use super::{Progress, copy, dump};
use crate::base::error::{Error, Result};
use crate::store::db::DbResult;
use crate::store::db::collation::binary_collation;
use crate::store::db::dialect::ddl::{add_foreign_key, create_index, create_table, quoted};
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::driver::{Driver, Operation, Session};
use crate::store::db::entity::EntityDef;
use crate::store::db::inspect::inspect;
use crate::store::db::schema::TableDef;
use crate::store::db::value::Value;

/// Values that one statement binds at most: what SQLite allows by default, and half of what the others do.
const MOST_PARAMS: usize = 32_000;
/// Rows of one statement at most.
const MOST_ROWS: usize = 64;
/// Bytes of one statement at most, unless one row has more: far below what MySQL takes as one packet.
const MOST_BYTES: usize = 1 << 20;

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
        write_list(session, &list, &definitions, dialect).await?;
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
        let create = create_table(definition, session.dialect()).swap_remove(0);
        let create = create.replace("{binary}", binary_collation(session).await?);
        session.batch(&create).await?;
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
    let table = quoted(&definition.name, dialect);
    let check = |check: &crate::store::db::schema::TableCheck| {
        let name = quoted(&check.name, dialect);
        (check.name.clone(), format!("ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({})", check.condition))
    };
    let key =
        |key: &crate::store::db::schema::TableForeignKey| (key.name.clone(), add_foreign_key(definition, key, dialect));
    definition.checks.iter().map(check).chain(definition.foreign_keys.iter().map(key)).collect()
}

/// PostgreSQL's counters do not see what was inserted with its number.
pub(in crate::store::db) async fn count_on(session: &mut Session<'_>, table: &TableManifest) -> DbResult<()> {
    let dialect = session.dialect();
    for column in table.columns.iter().filter(|column| column.identity) {
        let (name, column_name) = (quoted(&table.name, dialect), quoted(&column.name, dialect));
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{name}', '{}'), (SELECT MAX({column_name}) FROM {name}))",
            column.name
        );
        session.query(&sql, &[], |_| Ok(())).await?;
    }
    Ok(())
}

/// Inserts every row of a table's file.
pub(in crate::store::db) async fn fill(
    session: &mut Session<'_>,
    folder: &std::path::Path,
    table: &TableManifest,
    name: &str,
    progress: &Progress,
) -> DbResult<()> {
    if session.dialect().backend() == Backend::Postgres {
        return copy::fill(session, folder, table, name, progress).await;
    }
    let mut reader = TableReader::open(folder, table)?;
    let into = insert_into(table, name, session.dialect());
    let width = table.columns.len().max(1);
    let most_rows = if session.dialect().backend() == Backend::Sqlite { 1 } else { MOST_ROWS };
    let most_rows = most_rows.min(MOST_PARAMS / width).max(1);
    let mut params: Vec<Value> = Vec::new();
    let mut bytes = 0;
    let mut rows = 0_u64;
    while let Some(row) = reader.next()? {
        bytes += row.iter().map(size).sum::<usize>();
        params.extend(row);
        if params.len() >= most_rows * width || bytes > MOST_BYTES {
            rows += (params.len() / width) as u64;
            insert(session, &into, &params, width).await?;
            progress.tell(&table.name, rows);
            params.clear();
            bytes = 0;
        }
    }
    // A few lengths only, so that few statements are prepared.
    let mut rest = params.as_slice();
    while !rest.is_empty() {
        let count = 1 << (rest.len() / width).ilog2();
        let (now, later) = rest.split_at(count * width);
        insert(session, &into, now, width).await?;
        rest = later;
    }
    progress.tell(&table.name, table.rows);
    Ok(reader.finish()?)
}

fn insert_into(table: &TableManifest, name: &str, dialect: &dyn Dialect) -> String {
    let columns: Vec<String> = table.csv_columns().iter().map(|column| quoted(&column.name, dialect)).collect();
    format!("INSERT INTO {} ({}) VALUES ", quoted(name, dialect), columns.join(", "))
}

async fn insert(session: &mut Session<'_>, into: &str, params: &[Value], width: usize) -> DbResult<()> {
    let dialect = session.dialect();
    let mut sql = into.to_owned();
    for number in 1..=params.len() {
        sql.push_str(match (number - 1) % width {
            0 if number == 1 => "(",
            0 => "), (",
            _ => ", ",
        });
        dialect.placeholder(number, &mut sql);
    }
    sql.push(')');
    session.execute(&sql, params).await.map(drop)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 16,
    }
}

/// Reads a table back in the canonical form: it must be the file, byte for byte.
pub(in crate::store::db) async fn compare(
    session: &mut Session<'_>,
    table: &TableManifest,
    name: &str,
) -> DbResult<()> {
    let mut out = Hashing::new(io::sink());
    write_table(session, table, name, &mut out, &Progress::default()).await?;
    let (_, sum) = out.finish();
    if table.file.as_ref() == Some(&sum) {
        return Ok(());
    }
    Err(Error::internal(format!(
        "`{}` was filled and is not what the backup says, so nothing was changed; please report this",
        table.name
    ))
    .into())
}
