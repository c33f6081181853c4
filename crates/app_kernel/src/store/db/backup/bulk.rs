//! One table of a backup in the database: made, filled from its file, compared with it. Restores and moves stand on this, and the statements
//! that the forms of a backup have in common lie here too. `name` is the table's own or, while a restore is under way, another one.

use std::io;
use std::path::Path;

use super::export::{Hashing, write_table};
use super::manifest::{ColumnManifest, TableManifest};
use super::verify::TableReader;
use super::{Progress, copy};
use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::collation::binary_collation;
use crate::store::db::dialect::ddl::{create_table_as, quoted, quoted_list};
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::driver::Session;
use crate::store::db::schema::TableDef;
use crate::store::db::value::Value;

/// Values that one statement binds at most: what SQLite allows by default, and half of what the others do.
const MOST_PARAMS: usize = 32_000;
/// Rows of one statement at most.
const MOST_ROWS: usize = 64;
/// Bytes of one statement at most, unless one row has more: far below what MySQL takes as one packet.
const MOST_BYTES: usize = 1 << 20;

/// Makes a table without its indexes, which would slow filling it down.
pub(in crate::store::db) async fn create_bare(session: &mut Session<'_>, definition: &TableDef) -> DbResult<()> {
    let create = create_table_as(&definition.name, definition, &[], session.dialect());
    let create = create.replace("{binary}", binary_collation(session).await?);
    session.batch(&create).await
}

/// PostgreSQL's counters do not see what was inserted with its number.
pub(in crate::store::db) async fn count_on(session: &mut Session<'_>, table: &TableManifest) -> DbResult<()> {
    for statement in counters(table, session.dialect()) {
        session.query(&statement, &[], |_| Ok(())).await?;
    }
    Ok(())
}

/// The statements that let PostgreSQL's counters go on behind the largest number.
pub(super) fn counters(table: &TableManifest, dialect: &dyn Dialect) -> Vec<String> {
    let name = quoted(&table.name, dialect);
    let counter = |column: &ColumnManifest| {
        let (counts, counted) = (&column.name, quoted(&column.name, dialect));
        format!("SELECT setval(pg_get_serial_sequence('{name}', '{counts}'), (SELECT MAX({counted}) FROM {name}))")
    };
    table.columns.iter().filter(|column| column.identity).map(counter).collect()
}

/// Inserts every row of a table's file.
pub(in crate::store::db) async fn fill(
    session: &mut Session<'_>,
    folder: &Path,
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

/// The columns of a backup, in its order, as they are called here.
pub(super) fn column_list(table: &TableManifest, dialect: &dyn Dialect) -> String {
    quoted_list(table.csv_columns().iter().map(|column| column.name.as_str()), dialect)
}

/// The query for all rows in the order of their key. `name` is where they lie.
pub(super) fn select_all(table: &TableManifest, name: &str, dialect: &dyn Dialect) -> String {
    let key = quoted_list(table.primary_key.iter().map(String::as_str), dialect);
    format!("SELECT {} FROM {} ORDER BY {key}", column_list(table, dialect), quoted(name, dialect))
}

/// What stands before the values of rows. `name` is where they go.
pub(super) fn insert_into(table: &TableManifest, name: &str, dialect: &dyn Dialect) -> String {
    let counts = table.columns.iter().any(|column| column.identity) && dialect.backend() == Backend::Postgres;
    let overriding = if counts { " OVERRIDING SYSTEM VALUE" } else { "" };
    format!("INSERT INTO {} ({}){overriding} VALUES ", quoted(name, dialect), column_list(table, dialect))
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
