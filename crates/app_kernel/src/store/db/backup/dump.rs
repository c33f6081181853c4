//! A database as SQL text, for where its own tools can't share the snapshot of the portable form: into an empty database it is read by
//! `mariadb`, `mysql` or `psql`. A restore reads the rows only, and makes the tables from the manifest.
//!
//! Each INSERT is one line, whatever its rows hold, and nothing but a line's first words is looked at.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use super::Progress;
use super::bulk::{counters, insert_into, select_all};
use super::export::cant_write;
use super::manifest::TableManifest;
use crate::base::error::{Error, Result};
use crate::store::db::DbResult;
use crate::store::db::collation::binary_collation;
use crate::store::db::dialect::ddl::{add_foreign_key, create_index, create_table_as};
use crate::store::db::dialect::literal::push_literal;
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::driver::{RowRef, Session};
use crate::store::db::row::DecodeError;
use crate::store::db::schema::TableDef;
use crate::store::db::value::ColumnType;

/// What the file starts with.
const FIRST_WORDS: &[u8] = b"-- Made by app_kernel";
/// What stands before the rows of a table.
const ROWS_OF: &str = "-- Rows of ";
/// Bytes of one statement at most, unless one row has more: far below what MySQL takes as one packet.
const MOST_BYTES: usize = 1 << 19;

/// Whether a native backup is one of these, rather than an archive of the database's own tool.
pub(super) fn is_dump(path: &Path) -> bool {
    let mut start = [0; FIRST_WORDS.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == FIRST_WORDS
}

/// Writes our tables as the transaction of this session sees them. It is on the disk when this returns.
pub(super) async fn write(session: &mut Session<'_>, tables: &[TableManifest], path: &Path) -> DbResult<()> {
    let dialect = session.dialect();
    let collation = binary_collation(session).await?;
    let mut definitions = Vec::new();
    for table in tables {
        definitions.push(table.definition(dialect)?);
    }
    let failed = |cause| cant_write(path, cause);
    let mut out = BufWriter::with_capacity(1 << 16, File::create(path).map_err(failed)?);
    out.write_all(head(&definitions, collation, dialect).as_bytes()).map_err(failed)?;
    for table in tables {
        write_rows(session, table, &mut out).await?.map_err(failed)?;
    }
    out.write_all(tail(tables, &definitions, dialect).as_bytes()).map_err(failed)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error).map_err(failed)?;
    Ok(file.sync_all().map_err(failed)?)
}

/// The tables, without what slows filling them down.
fn head(definitions: &[TableDef], collation: &str, dialect: &dyn Dialect) -> String {
    let mut text = String::from_utf8_lossy(FIRST_WORDS).into_owned();
    text.push_str(", to be read into an empty database.\n\n");
    if dialect.backend() == Backend::MySql {
        text.push_str("SET NAMES utf8mb4;\nSET time_zone = '+00:00', foreign_key_checks = 0, unique_checks = 0;\n\n");
    }
    for definition in definitions {
        let create = create_table_as(&definition.name, definition, &[], dialect);
        text.push_str(&create.replace("{binary}", collation));
        text.push_str(";\n\n");
    }
    text
}

/// Indexes, keys and counters.
fn tail(tables: &[TableManifest], definitions: &[TableDef], dialect: &dyn Dialect) -> String {
    let mut statements = Vec::new();
    for definition in definitions {
        statements.extend(definition.indexes.iter().map(|index| create_index(definition, index, dialect)));
    }
    for definition in definitions {
        statements.extend(definition.foreign_keys.iter().map(|key| add_foreign_key(definition, key, dialect)));
    }
    if dialect.backend() == Backend::Postgres {
        for table in tables {
            statements.extend(counters(table, dialect));
        }
    }
    statements.iter().map(|statement| format!("{statement};\n")).collect()
}

async fn write_rows(
    session: &mut Session<'_>,
    table: &TableManifest,
    out: &mut (impl Write + Send),
) -> DbResult<io::Result<()>> {
    let dialect = session.dialect();
    let columns = table.csv_columns();
    let sql = select_all(table, &table.name, dialect);
    let insert = insert_into(table, &table.name, dialect);
    let mut written = writeln!(out, "{ROWS_OF}{}", table.name);
    let mut statement = String::new();
    let end = |statement: &mut String, out: &mut (dyn Write + Send)| {
        let ended = if statement.is_empty() { Ok(()) } else { writeln!(out, "{statement};") };
        statement.clear();
        ended
    };
    let add_row = |row: &RowRef<'_>| {
        statement.push_str(if statement.is_empty() { &insert } else { ", " });
        for (i, column) in columns.iter().enumerate() {
            statement.push_str(if i == 0 { "(" } else { ", " });
            push_column(row, i, column.ty, dialect, &mut statement)?;
        }
        statement.push(')');
        if statement.len() > MOST_BYTES && written.is_ok() {
            written = end(&mut statement, out);
        }
        Ok(())
    };
    session.query(&sql, &[], add_row).await?;
    Ok(written.and_then(|()| end(&mut statement, out)).and_then(|()| out.write_all(b"\n")))
}

fn push_column(
    row: &RowRef<'_>,
    index: usize,
    ty: ColumnType,
    dialect: &dyn Dialect,
    sql: &mut String,
) -> Result<(), DecodeError> {
    match ty {
        _ if row.is_null(index)? => sql.push_str("NULL"),
        // JSON as it was written.
        ColumnType::Text | ColumnType::Decimal | ColumnType::Uuid | ColumnType::Json => {
            push_line(row.text(index)?, dialect.backend(), sql);
        }
        _ => push_literal(&row.value(index, ty)?, dialect, sql),
    }
    Ok(())
}

/// A text as a literal in one line.
fn push_line(text: &str, backend: Backend, sql: &mut String) {
    let needs_escapes = text.contains(['\\', '\n', '\r']);
    sql.push_str(if needs_escapes && backend == Backend::Postgres { "E'" } else { "'" });
    for c in text.chars() {
        match c {
            '\'' => sql.push_str("''"),
            '\\' => sql.push_str("\\\\"),
            '\n' => sql.push_str("\\n"),
            '\r' => sql.push_str("\\r"),
            c => sql.push(c),
        }
    }
    sql.push('\'');
}

/// Reads the rows back, table by table, in the order of the manifest.
pub(super) struct Reader {
    path: PathBuf,
    lines: BufReader<File>,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)
            .map_err(|cause| Error::invalid(format!("{} can't be read: {cause}", path.display())).cause(cause))?;
        Ok(Reader { path: path.to_owned(), lines: BufReader::with_capacity(1 << 16, file) })
    }

    /// Inserts the rows of a table into one that may have another name.
    pub(super) async fn fill(
        &mut self,
        session: &mut Session<'_>,
        table: &TableManifest,
        name: &str,
        progress: &Progress,
    ) -> DbResult<()> {
        let (written, wanted) =
            (insert_into(table, &table.name, session.dialect()), insert_into(table, name, session.dialect()));
        let start = format!("{ROWS_OF}{}\n", table.name);
        while self.line()? != start {}
        loop {
            let line = self.line()?;
            let Some(rows) = line.strip_prefix(&written) else { break };
            session.batch(&format!("{wanted}{rows}")).await?;
        }
        progress.tell(&table.name, table.rows);
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let damaged = |problem: &dyn std::fmt::Display| {
            let text = format!("{} is damaged: {problem}; nothing was changed", self.path.display());
            Error::invalid(text).code("damaged_backup")
        };
        match self.lines.read_line(&mut line) {
            Ok(0) => Err(damaged(&"it ends before the rows of all tables")),
            Ok(_) => Ok(line),
            Err(cause) => Err(damaged(&cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_and_escapes_what_could_end_it() {
        let literal = |text: &str, backend| {
            let mut sql = String::new();
            push_line(text, backend, &mut sql);
            sql
        };
        let text = "it's\na \\ line\r";
        assert_eq!(literal(text, Backend::MySql), r"'it''s\na \\ line\r'");
        assert_eq!(literal(text, Backend::Postgres), r"E'it''s\na \\ line\r'");
        assert_eq!(literal("it's", Backend::Postgres), "'it''s'");
    }

    #[test]
    fn a_dump_is_known_by_its_first_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        for (text, wanted) in [("-- Made by app_kernel, to", true), ("PGDMP\u{1}\u{e}", false), ("", false)] {
            std::fs::write(&path, text).expect("a file");
            assert_eq!(is_dump(&path), wanted, "{text}");
        }
    }
}
