//! Filling a table on PostgreSQL by `COPY`, which reads the CSV of a backup as it is. Only bytes are written in another way there.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Progress;
use super::bulk::column_list;
use super::csv::write_field;
use super::export::Hashing;
use super::manifest::{TableManifest, hex};
use super::text;
use super::verify::{TableReader, damaged};
use crate::base::error::Result;
use crate::store::db::DbResult;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::Session;
use crate::store::db::error::DbError;
use crate::store::db::value::ColumnType;

/// What is sent at once, in bytes.
const PIECE: usize = 256 << 10;

/// Inserts every row of a table's file.
pub(super) async fn fill(
    session: &mut Session<'_>,
    folder: &Path,
    table: &TableManifest,
    name: &str,
    progress: &Progress,
) -> DbResult<()> {
    let dialect = session.dialect();
    let sql = format!("COPY {} ({}) FROM STDIN (FORMAT csv)", quoted(name, dialect), column_list(table, dialect));
    let mut rows = Rows::open(folder, table)?;
    let mut sent = 0_u64;
    let mut next = || {
        let piece = rows.next_piece()?;
        sent += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        // The server counts rows, we count bytes; a table's rows are alike enough for a word about the progress.
        let total = table.file.as_ref().map_or(1, |file| file.bytes.max(1));
        progress.tell(&table.name, table.rows.min((table.rows as f64 * (sent as f64 / total as f64)) as u64));
        Ok(piece)
    };
    let copied = session.copy_in(&sql, &mut next).await.map_err(|error| match error {
        // Checked before it was sent, so this is the server's own opinion of a value.
        DbError::Unfit(cause) => damaged(table, folder, format_args!("PostgreSQL refuses a value: {cause}")).into(),
        other => other,
    })?;
    progress.tell(&table.name, table.rows);
    if copied == table.rows {
        return Ok(());
    }
    Err(damaged(table, folder, format_args!("{copied} rows were copied of {}", table.rows)).into())
}

/// The rows of a table's file, as PostgreSQL reads them.
enum Rows<'a> {
    /// As they are.
    Raw { file: BufReader<Hashing<File>>, table: &'a TableManifest, folder: &'a Path },
    /// With the bytes of some columns written as PostgreSQL writes them.
    Recoded(Option<TableReader<'a>>),
}

impl<'a> Rows<'a> {
    fn open(folder: &'a Path, table: &'a TableManifest) -> Result<Self> {
        // Either way, the first line must name the columns of the manifest.
        let reader = TableReader::open(folder, table)?;
        if table.columns.iter().any(|column| column.ty == ColumnType::Bytes) {
            return Ok(Rows::Recoded(Some(reader)));
        }
        Ok(Rows::Raw { file: reader.into_file(), table, folder })
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>> {
        match self {
            Rows::Raw { file, table, folder } => {
                let mut piece = BytesMut::zeroed(PIECE);
                let read = read_full(file, &mut piece)
                    .map_err(|cause| damaged(table, folder, format_args!("it can't be read: {cause}")))?;
                piece.truncate(read);
                if read > 0 {
                    return Ok(Some(piece.freeze()));
                }
                // Before the server hears that this was the end, so that nothing but the whole is ever taken.
                if table.file.as_ref() == Some(&file.get_ref().sum()) {
                    return Ok(None);
                }
                Err(damaged(table, folder, "its checksum is not that of the manifest"))
            }
            Rows::Recoded(reader) => {
                let Some(rows) = reader else { return Ok(None) };
                let mut piece = BytesMut::with_capacity(PIECE).writer();
                while piece.get_ref().len() < PIECE {
                    let Some(row) = rows.next_record()? else {
                        reader.take().map_or(Ok(()), TableReader::finish)?;
                        break;
                    };
                    write_row(&mut piece, &row, rows.types()).expect("memory can be written");
                }
                let piece = piece.into_inner().freeze();
                Ok(Some(piece).filter(|piece| !piece.is_empty()))
            }
        }
    }
}

fn write_row(out: &mut impl Write, row: &[Option<String>], types: &[ColumnType]) -> io::Result<()> {
    for (i, (field, ty)) in row.iter().zip(types).enumerate() {
        let recoded = match (field, ty) {
            (Some(field), ColumnType::Bytes) => text::bytes(field).map(|bytes| format!("\\x{}", hex(&bytes))),
            _ => None,
        };
        write_field(out, i == 0, recoded.as_deref().or(field.as_deref()))?;
    }
    out.write_all(b"\n")
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(length)
}
