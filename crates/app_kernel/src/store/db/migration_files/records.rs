//! The rows of `kernel_migrations`: every change of the schema of this database, and which of them are files.

use crate::base::clock::Timestamp;
use crate::store::db::DbResult;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::{Operation, RowRef, Session};
use crate::store::db::inspect::Found;
use crate::store::db::row::DecodeError;
use crate::store::db::schema::MIGRATIONS;
use crate::store::db::value::Value;

/// A migration that this database went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// As its files are called; none where it has none.
    pub(crate) name: Option<String>,
    pub(crate) checksum: Option<String>,
    pub(crate) kernel_version: String,
    /// Its files' texts, where they are not written yet.
    pub(crate) unfiled: Option<Texts>,
}

/// The texts of a migration's two files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts {
    pub(crate) name: String,
    pub(crate) sql: String,
    pub(crate) json: String,
}

/// Reads all records, the oldest first.
pub(crate) async fn read(session: &mut Session<'_>, found: &Found) -> DbResult<Vec<Record>> {
    let Some(table) = found.tables.get(MIGRATIONS) else { return Ok(Vec::new()) };
    let dialect = session.dialect();
    let quote = |name| quoted(name, dialect);
    let from = format!("FROM {} ORDER BY {}", quote(MIGRATIONS), quote("seq"));
    if !table.columns.iter().any(|column| column.name == "filed_at") {
        // An earlier kernel made it, which knew no files.
        let sql = format!("SELECT {} {from}", quote("kernel_version"));
        let read = |row: &RowRef<'_>| {
            Ok(Record { name: None, checksum: None, kernel_version: row.text(0)?.to_owned(), unfiled: None })
        };
        return session.query(&sql, &[], read).await;
    }
    let unfiled = |column| {
        let (column, filed_at, metadata) = (quote(column), quote("filed_at"), quote("metadata"));
        format!("CASE WHEN {filed_at} IS NULL AND {metadata} IS NOT NULL THEN {column} END")
    };
    let sql = format!(
        "SELECT {}, {}, {}, {}, {} {from}",
        quote("name"),
        quote("checksum"),
        quote("kernel_version"),
        unfiled("statements"),
        unfiled("metadata"),
    );
    session.query(&sql, &[], read_record).await
}

fn read_record(row: &RowRef<'_>) -> Result<Record, DecodeError> {
    let text = |index| -> Result<Option<String>, DecodeError> {
        Ok(if row.is_null(index)? { None } else { Some(row.text(index)?.to_owned()) })
    };
    let name = text(0)?;
    let texts = (name.clone(), text(3)?, text(4)?);
    let unfiled = match texts {
        (Some(name), Some(sql), Some(json)) => Some(Texts { name, sql, json }),
        _ => None,
    };
    Ok(Record { name, checksum: text(1)?, kernel_version: row.text(2)?.to_owned(), unfiled })
}

/// A record to be written.
pub(crate) struct NewRecord<'a> {
    pub(crate) at: Timestamp,
    pub(crate) reason: &'a str,
    /// The undeclared entity that was saved first.
    pub(crate) dynamic_table: Option<&'a str>,
    /// What ran; the text of the SQL file where there is one.
    pub(crate) statements: String,
    pub(crate) name: Option<&'a str>,
    pub(crate) checksum: Option<&'a str>,
    /// The text of the JSON file, where this process is to write one.
    pub(crate) metadata: Option<String>,
}

impl NewRecord<'_> {
    pub(crate) async fn write(self, session: &mut Session<'_>) -> DbResult<()> {
        let optional = |text: Option<&str>| text.map_or(Value::Null, Value::from);
        let fields = [
            ("applied_at", Value::Timestamp(self.at)),
            ("reason", Value::from(self.reason)),
            ("dynamic_table", optional(self.dynamic_table)),
            ("statements", Value::Text(self.statements)),
            ("kernel_version", Value::from(env!("CARGO_PKG_VERSION"))),
            ("name", optional(self.name)),
            ("checksum", optional(self.checksum)),
            ("metadata", self.metadata.map_or(Value::Null, Value::Text)),
        ];
        let dialect = session.dialect();
        let mut columns = String::new();
        let mut places = String::new();
        for (number, (name, _)) in fields.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            columns.push_str(&format!("{comma}{}", quoted(name, dialect)));
            places.push_str(comma);
            dialect.placeholder(number + 1, &mut places);
        }
        let sql = format!("INSERT INTO {} ({columns}) VALUES ({places})", quoted(MIGRATIONS, dialect));
        let values = fields.map(|(_, value)| value);
        session.execute(&sql, &values).await.map(drop)
    }
}

/// Notes that the files of a migration are on the disk.
pub(crate) struct Filed {
    pub(crate) name: String,
    pub(crate) at: Timestamp,
}

impl Operation for Filed {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> DbResult<()> {
        let dialect = session.dialect();
        let mut places = [String::new(), String::new()];
        for (number, place) in places.iter_mut().enumerate() {
            dialect.placeholder(number + 1, place);
        }
        let [at, name] = places;
        let sql = format!(
            "UPDATE {} SET {} = {at} WHERE {} = {name}",
            quoted(MIGRATIONS, dialect),
            quoted("filed_at", dialect),
            quoted("name", dialect)
        );
        let values = [Value::Timestamp(self.at), Value::from(&self.name)];
        session.execute(&sql, &values).await.map(drop)
    }
}
