//! Our tables as CSV files, from one consistent snapshot. Rows go from the driver to the file one by one: memory does not grow with the data.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::digest;

use super::bulk::select_all;
use super::catalogue::our_tables;
use super::csv::write_field;
use super::folder::make_file;
use super::manifest::{FileSum, TableManifest, hex};
use super::{Progress, native, text};
use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::{Operation, RowRef, Session};
use crate::store::db::entity::EntityDef;
use crate::store::db::error::DbError;
use crate::store::db::url::DatabaseUrl;

/// How many rows pass between two words about the progress.
const ROWS_BETWEEN_WORDS: u64 = 10_000;

/// Writes every table of ours into a folder and answers what it wrote.
pub(super) struct Export {
    pub(super) folder: PathBuf,
    /// Where the native form of the same snapshot goes, and the database's address for its tools.
    pub(super) native: Option<(PathBuf, DatabaseUrl)>,
    pub(super) declared: Arc<[EntityDef]>,
    pub(super) progress: Progress,
}

impl Operation for Export {
    type Output = Vec<TableManifest>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Vec<TableManifest>> {
        begin_snapshot(session).await?;
        let exported = self.export(session).await;
        let exported = match (exported, &self.native) {
            (Ok(tables), Some((path, url))) => native::dump(session, url, &tables, path).await.map(|()| tables),
            (exported, _) => exported,
        };
        // The connection is closed after this, so its transaction ends whatever happens here.
        let ended = session.batch("ROLLBACK").await;
        let exported = exported?;
        ended.map(|()| exported)
    }
}

impl Export {
    async fn export(&self, session: &mut Session<'_>) -> DbResult<Vec<TableManifest>> {
        let mut tables = our_tables(session, &self.declared).await?;
        for table in &mut tables {
            let path = self.folder.join(table.file_name());
            let file = make_file(&path).map_err(|cause| cant_write(&path, cause))?;
            let mut out = Hashing::new(BufWriter::with_capacity(1 << 16, file));
            table.rows = write_table(session, table, &table.name, &mut out, &self.progress).await?;
            let (out, sum) = out.finish();
            let synced = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
            synced.map_err(|cause| cant_write(&path, cause))?;
            table.file = Some(sum);
        }
        Ok(tables)
    }
}

/// Opens a transaction that sees the database as it is now until its end.
pub(super) async fn begin_snapshot(session: &mut Session<'_>) -> DbResult<()> {
    match session.dialect().backend() {
        // Its first read, of the catalogue, fixes what it sees.
        Backend::Sqlite => session.batch("BEGIN").await,
        Backend::Postgres => session.batch("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await,
        Backend::MySql => {
            session.batch("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
            session.batch("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await
        }
    }
}

/// Writes one table in the canonical form, in the order of its key. `name` is where its rows lie now.
pub(super) async fn write_table(
    session: &mut Session<'_>,
    table: &TableManifest,
    name: &str,
    out: &mut (impl Write + Send),
    progress: &Progress,
) -> DbResult<u64> {
    let columns = table.csv_columns();
    let sql = select_all(table, name, session.dialect());
    let mut failed = write_header(out, &columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>()).err();
    let mut rows = 0_u64;
    let write_row = |row: &RowRef<'_>| {
        if failed.is_some() {
            return Ok(());
        }
        for (i, column) in columns.iter().enumerate() {
            let field = text::of_column(row, i, column.ty)?;
            if let Err(cause) = write_field(out, i == 0, field.as_deref()) {
                failed.get_or_insert(cause);
            }
        }
        if let Err(cause) = out.write_all(b"\n") {
            failed.get_or_insert(cause);
        }
        rows += 1;
        if rows.is_multiple_of(ROWS_BETWEEN_WORDS) {
            progress.tell(&table.name, rows);
        }
        Ok(())
    };
    session.query(&sql, &[], write_row).await.map_err(|error| match error {
        DbError::Decode(problem) => Error::invalid(format!("`{}` can't be backed up: {problem}", table.name)).into(),
        other => other,
    })?;
    progress.tell(&table.name, rows);
    match failed {
        None => Ok(rows),
        Some(cause) => Err(cant_write(Path::new(&table.file_name()), cause).into()),
    }
}

fn write_header(out: &mut impl Write, names: &[&str]) -> io::Result<()> {
    for (i, name) in names.iter().enumerate() {
        write_field(out, i == 0, Some(name))?;
    }
    out.write_all(b"\n")
}

pub(super) fn cant_write(path: &Path, cause: io::Error) -> Error {
    let text =
        format!("the backup can't be written: {}: {cause}; is there room, and may this user write?", path.display());
    match cause.kind() {
        io::ErrorKind::StorageFull => Error::unavailable(text).code("disk_full").status(507).cause(cause),
        _ => Error::unavailable(text).cause(cause),
    }
}

/// Passes bytes on and keeps their count and checksum.
pub(super) struct Hashing<W> {
    out: W,
    context: digest::Context,
    bytes: u64,
}

impl<W> Hashing<W> {
    pub(super) fn new(out: W) -> Self {
        Hashing { out, context: digest::Context::new(&digest::SHA256), bytes: 0 }
    }

    /// Of what has passed until now.
    pub(super) fn sum(&self) -> FileSum {
        FileSum { bytes: self.bytes, sha256: hex(self.context.clone().finish().as_ref()) }
    }

    pub(super) fn finish(self) -> (W, FileSum) {
        let sum = self.sum();
        (self.out, sum)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.context.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<R: io::Read> io::Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.out.read(bytes)?;
        self.context.update(&bytes[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
