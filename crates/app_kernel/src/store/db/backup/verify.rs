//! Whether a backup is what it says: every byte, every row, every value of a type that a database would take.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::csv::Reader;
use super::export::Hashing;
use super::folder::{Entry, Folder};
use super::manifest::{Form, Manifest, TableManifest};
use super::{Backups, native, text};
use crate::base::error::{Error, Result};
use crate::store::db::value::{ColumnType, Value};

/// A backup in the folder.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it says of itself, or why it can't be read.
    pub manifest: Result<Manifest>,
}

/// All backups in a folder, the oldest first, of whichever services. Needs no database. None where there is no such folder.
///
/// # Errors
/// Where the folder can't be read.
pub fn list_in(folder: &Path) -> Result<Vec<Listed>> {
    let entries = Folder(folder.to_owned()).entries()?;
    Ok(entries.into_iter().map(|entry| Listed { manifest: entry.manifest(), name: entry.name }).collect())
}

/// Reads a backup in a folder back, as [`Backups::verify`] does. Needs no database.
///
/// # Errors
/// Where there is none of this name, or it is damaged; says where.
pub async fn verify_in(folder: &Path, name: &str) -> Result<Manifest> {
    entry(&Folder(folder.to_owned()).find(name)?).await
}

impl Backups {
    /// All backups in the folder, the oldest first; those of other services too.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        list_in(&self.options.folder)
    }

    /// Reads a backup back: its checksums, its rows, each value. Answers what it says of itself.
    ///
    /// # Errors
    /// Where there is none of this name, or it is damaged; says where.
    pub async fn verify(&self, name: &str) -> Result<Manifest> {
        verify_in(&self.options.folder, name).await
    }
}

/// Verifies a backup that has its name.
pub(super) async fn entry(entry: &Entry) -> Result<Manifest> {
    let manifest = entry.manifest()?;
    match entry.form {
        Form::Csv => csv(entry.path(), manifest.clone()).await?,
        Form::Native => native::verify(&entry.path(), &manifest).await?,
    }
    Ok(manifest)
}

/// Reads every table of a CSV backup: all of it, so not on a thread that serves requests.
pub(super) async fn csv(folder: PathBuf, manifest: Manifest) -> Result<()> {
    let read = move || {
        for table in &manifest.tables {
            let mut rows = TableReader::open(&folder, table)?;
            while rows.next()?.is_some() {}
            rows.finish()?;
        }
        Ok(())
    };
    native::blocking(read).await
}

/// The error for a table whose file is not as it was written.
pub(super) fn damaged(table: &TableManifest, folder: &Path, problem: impl std::fmt::Display) -> Error {
    damaged_file(&name_of(table, folder), problem)
}

fn damaged_file(name: &str, problem: impl std::fmt::Display) -> Error {
    Error::invalid(format!("{name} is damaged: {problem}; nothing was changed")).code("damaged_backup")
}

fn name_of(table: &TableManifest, folder: &Path) -> String {
    format!("{}/{}", folder.file_name().unwrap_or_default().to_string_lossy(), table.file_name())
}

/// The rows of one table's file, each value checked for its type; at the end the whole is compared with the manifest.
pub(super) struct TableReader<'a> {
    table: &'a TableManifest,
    types: Vec<ColumnType>,
    name: String,
    csv: Reader<BufReader<Hashing<File>>>,
    rows: u64,
}

impl<'a> TableReader<'a> {
    pub(super) fn open(folder: &Path, table: &'a TableManifest) -> Result<Self> {
        let path = folder.join(table.file_name());
        let name = name_of(table, folder);
        let file = File::open(&path)
            .map_err(|cause| Error::invalid(format!("{name} is damaged: it can't be read: {cause}")))?;
        let csv = Reader::new(BufReader::with_capacity(1 << 16, Hashing::new(file)));
        let columns = table.csv_columns();
        let types = columns.iter().map(|column| column.ty).collect();
        let mut reader = TableReader { table, types, name, csv, rows: 0 };
        let header = reader.record()?;
        let wanted: Vec<_> = columns.iter().map(|column| Some(column.name.clone())).collect();
        if header.as_ref() != Some(&wanted) {
            return Err(reader.damaged("its first line does not name the columns of the manifest"));
        }
        Ok(reader)
    }

    fn damaged(&self, problem: impl std::fmt::Display) -> Error {
        damaged_file(&self.name, problem)
    }

    fn record(&mut self) -> Result<Option<Vec<Option<String>>>> {
        let line = self.csv.line();
        let record = self.csv.record(self.types.len());
        record.map_err(|cause| self.damaged(format_args!("line {line} {cause}")))
    }

    /// The next row, in the order of the CSV's columns.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Value>>> {
        let line = self.csv.line();
        let Some(record) = self.next_record()? else { return Ok(None) };
        let mut values = Vec::with_capacity(record.len());
        for (field, ty) in record.into_iter().zip(&self.types) {
            let value = match field {
                None => Some(Value::Null),
                Some(text) => text::read(text, *ty),
            };
            let problem = || self.damaged(format_args!("line {line} has a value that is not {}", ty.described()));
            values.push(value.ok_or_else(problem)?);
        }
        Ok(Some(values))
    }

    /// The next row as it is written, its values not looked at.
    pub(super) fn next_record(&mut self) -> Result<Option<Vec<Option<String>>>> {
        let record = self.record()?;
        self.rows += u64::from(record.is_some());
        Ok(record)
    }

    /// The types of the CSV's columns.
    pub(super) fn types(&self) -> &[ColumnType] {
        &self.types
    }

    /// The file behind its first line.
    pub(super) fn into_file(self) -> BufReader<Hashing<File>> {
        self.csv.into_inner()
    }

    /// After the last row: size, checksum and count are those of the manifest.
    pub(super) fn finish(self) -> Result<()> {
        let TableReader { table, name, csv, rows, .. } = self;
        let damaged = |problem: &str| damaged_file(&name, problem);
        let mut rest = csv.into_inner();
        let mut buffer = [0];
        if rest.read(&mut buffer).is_ok_and(|read| read > 0) {
            return Err(damaged("it goes on behind its last row"));
        }
        let (_, sum) = rest.into_inner().finish();
        if table.file.as_ref() != Some(&sum) {
            return Err(damaged("its checksum is not that of the manifest"));
        }
        if rows != table.rows {
            return Err(damaged("it has another number of rows than the manifest says"));
        }
        Ok(())
    }
}
