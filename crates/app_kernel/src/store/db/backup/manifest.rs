//! What a backup says of itself: whose it is, when it was made, every table with its schema, and a checksum of each byte.
//!
//! A manifest is written last and holds a checksum of itself, so a backup that has a good one is whole, and no byte of it
//! can change unseen.

use std::path::Path;

use ring::digest;
use serde::{Deserialize, Serialize};

use super::text;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, Result};
use crate::store::db::dialect::Dialect;
use crate::store::db::entity::{ColumnDef, DELETED_AT, EntityDef, ForeignKey, ID, IndexDef, VERSION};
use crate::store::db::filter;
use crate::store::db::schema::{
    TableCheck, TableColumn, TableDef, TableForeignKey, TableIndex, constraint_name, index_of,
};
use crate::store::db::value::ColumnType;

/// The version of the form that is written here, and the only one that is read.
pub(super) const FORMAT: u32 = 1;

/// The two forms of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A folder of CSV files: every table on any of the three databases.
    Csv,
    /// One file in the database's own form: fast, and for the same kind of database only.
    Native,
}

impl Form {
    /// What names start with.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Csv => "csv",
            Form::Native => "native",
        }
    }
}

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody asked for it.
    Asked,
    /// The service started.
    Start,
    /// The time had come.
    Schedule,
    /// Something else was about to be restored.
    BeforeRestore,
    /// The data was about to be moved to another database.
    BeforeMove,
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this form.
    pub(super) format: u32,
    /// Whose data it is.
    pub service: String,
    /// CSV or native.
    pub form: Form,
    /// The kind of database it was made of: `sqlite`, `postgres`, `mysql`.
    pub backend: String,
    /// When.
    #[serde(with = "iso")]
    pub created_at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The kernel that made it.
    pub kernel_version: String,
    /// The first eight digits of the schema's hash, as in the name.
    pub schema: String,
    /// The state of the database before, where it could be told; the same again means that nothing has changed.
    pub(super) fingerprint: Option<String>,
    /// Every table, in order. A native backup counts their rows and has no files of them.
    pub tables: Vec<TableManifest>,
    /// The file of a native backup.
    pub(super) file: Option<FileSum>,
    /// The SHA-256 of this text with nothing here.
    checksum: String,
}

/// One table of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableManifest {
    /// Its name; its file is `<name>.csv`.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its file in the CSV form, which a restore of a dump is compared with too.
    pub(super) file: Option<FileSum>,
    pub(super) primary_key: Vec<String>,
    pub(super) columns: Vec<ColumnManifest>,
    pub(super) indexes: Vec<IndexManifest>,
}

/// A file's size and checksum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSum {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnManifest {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) ty: ColumnType,
    pub(super) nullable: bool,
    pub(super) identity: bool,
    /// As in the CSV.
    pub(super) default: Option<String>,
    /// In the language of where clauses.
    pub(super) check: Option<String>,
    /// The table whose id it holds.
    pub(super) references: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexManifest {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    pub(super) unique: bool,
}

impl Manifest {
    /// A manifest without its checksum, which [`Manifest::sealed`] adds.
    #[allow(clippy::too_many_arguments, reason = "each is one field")]
    pub(super) fn new(
        service: &str,
        form: Form,
        backend: &str,
        created_at: Timestamp,
        reason: Reason,
        fingerprint: Option<String>,
        tables: Vec<TableManifest>,
        file: Option<FileSum>,
    ) -> Self {
        Manifest {
            format: FORMAT,
            service: service.to_owned(),
            form,
            backend: backend.to_owned(),
            created_at,
            reason,
            kernel_version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: schema_hash(&tables),
            fingerprint,
            tables,
            file,
            checksum: String::new(),
        }
    }

    /// Reads a manifest and refuses one with a byte that is not as it was written.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let damaged = |problem: String| Error::invalid(format!("{} is damaged: {problem}", path.display()));
        let text = std::fs::read_to_string(path)
            .map_err(|cause| Error::invalid(format!("{} can't be read: {cause}", path.display())))?;
        let version = serde_json::from_str::<serde_json::Value>(&text)
            .map_err(|cause| damaged(cause.to_string()))?
            .get("format")
            .and_then(serde_json::Value::as_u64);
        if version != Some(FORMAT.into()) {
            return Err(damaged(format!("its format is not {FORMAT}; was it made by a later version?")));
        }
        let manifest: Manifest = serde_json::from_str(&text).map_err(|cause| damaged(cause.to_string()))?;
        if manifest.clone().sealed() != text {
            return Err(damaged("its checksum is not that of its text".to_owned()));
        }
        Ok(manifest)
    }

    /// The text to write: with its checksum, and the same for the same manifest.
    pub(super) fn sealed(mut self) -> String {
        self.checksum = String::new();
        let text = self.to_text();
        self.checksum = hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        self.to_text()
    }

    fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is always JSON");
        text.push('\n');
        text
    }

    /// How many rows it holds.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

impl TableManifest {
    /// The columns in the order of the CSV: the key first, then by name. The order in the database depends on its past.
    pub(super) fn csv_columns(&self) -> Vec<&ColumnManifest> {
        let key = self.primary_key.iter().filter_map(|name| self.columns.iter().find(|column| column.name == *name));
        let mut others: Vec<_> =
            self.columns.iter().filter(|column| !self.primary_key.contains(&column.name)).collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        key.chain(others).collect()
    }

    /// The same for the same rows in the same form of table, and for nothing else.
    pub(in crate::store::db) fn seal(&self) -> String {
        let text = serde_json::to_string(self).expect("a manifest is always JSON");
        hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}.csv", self.name)
    }

    /// The table as this database holds it.
    pub(in crate::store::db) fn definition(&self, dialect: &dyn Dialect) -> Result<TableDef> {
        let indexed = |name: &String| {
            self.primary_key.contains(name) || self.indexes.iter().any(|index| index.columns.contains(name))
        };
        let column = |column: &ColumnManifest| TableColumn {
            name: column.name.clone().into(),
            renamed_from: None,
            ty: column.ty,
            indexed: indexed(&column.name) || column.references.is_some(),
            nullable: column.nullable,
            default: column.default.clone().and_then(|default| text::read(default, column.ty)),
            identity: column.identity,
        };
        let index = |index: &IndexManifest| {
            let columns = index.columns.iter().map(|name| name.clone().into()).collect();
            let over = IndexDef { columns, unique: index.unique };
            TableIndex { name: index.name.clone(), ..index_of(&self.name, over, dialect.backend()) }
        };
        let key = |column: &ColumnManifest| {
            let table = column.references.clone()?.into();
            Some(TableForeignKey {
                name: constraint_name("fk", &self.name, &column.name),
                column: column.name.clone().into(),
                target: ForeignKey { table, column: ID.into() },
            })
        };
        let has_identity = self.columns.iter().any(|column| column.identity);
        Ok(TableDef {
            name: self.name.clone(),
            renamed_from: None,
            columns: self.columns.iter().map(column).collect(),
            // A column that counts up is the key by its own definition.
            primary_key: if has_identity {
                Vec::new()
            } else {
                self.primary_key.iter().map(|name| name.clone().into()).collect()
            },
            indexes: self.indexes.iter().map(index).collect(),
            checks: self.checks(dialect)?,
            foreign_keys: self.columns.iter().filter_map(key).collect(),
            soft_delete: self.columns.iter().any(|column| column.name == DELETED_AT),
            clustered: self.primary_key == [ID, VERSION],
        })
    }

    fn checks(&self, dialect: &dyn Dialect) -> Result<Vec<TableCheck>> {
        let columns = self.columns.iter().map(|column| ColumnDef::new(column.name.clone(), column.ty)).collect();
        let entity = EntityDef { columns, ..EntityDef::new(self.name.clone()) };
        let check = |column: &ColumnManifest| {
            let check = column.check.as_deref()?;
            let name = constraint_name("ck", &self.name, &column.name);
            let source = check.to_owned();
            Some(filter::render_check(check, &entity, dialect).map(|condition| TableCheck { name, condition, source }))
        };
        self.columns.iter().filter_map(check).collect()
    }
}

/// Eight hex digits that are the same for the same tables and columns, on whatever database.
pub(super) fn schema_hash(tables: &[TableManifest]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for table in tables {
        context.update(table.name.as_bytes());
        for column in table.csv_columns() {
            context.update(format!("\n {} {:?} {}", column.name, column.ty, column.nullable).as_bytes());
        }
        context.update(b"\n");
    }
    hex(context.finish().as_ref())[..8].to_owned()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
