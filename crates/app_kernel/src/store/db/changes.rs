//! Change records on their way onward: read together with the versions they speak of, and deleted once somebody else has them.
//! A record is there exactly where its change was committed, because it was written in the same transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::dialect::Backend;
use super::dialect::ddl::{quoted, quoted_list};
use super::driver::{Operation, RowRef, Session};
use super::entity::{ID, VERSION};
use super::history;
use super::ops::read::Select;
use super::places::{list_of, padded, padded_length};
use super::row::DecodeError;
use super::schema::CHANGES;
use super::table::Table;
use super::value::Value;
use super::{Db, DbResult, dynamic};
use crate::base::clock::Timestamp;
use crate::base::error::Result;

/// Versions or records that one statement speaks of at most.
const AT_ONCE: usize = 64;

const COLUMNS: [&str; 10] = [
    "seq",
    "entity",
    "entity_id",
    "entity_version",
    "operation",
    "changed_at",
    "caller",
    "user_id",
    "workspace_id",
    "request_id",
];

/// One committed change of one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// Its place among the records of this database.
    pub(crate) seq: i64,
    pub(crate) entity: String,
    pub(crate) entity_id: String,
    pub(crate) entity_version: i64,
    /// A word of [`Operation`](history::Operation).
    pub(crate) operation: String,
    pub(crate) changed_at: Timestamp,
    /// How the caller proved who they are.
    pub(crate) caller: String,
    pub(crate) user_id: Option<String>,
    pub(crate) workspace_id: Option<String>,
    pub(crate) request_id: Option<String>,
    /// The row in the version before, without secrets. None where there was none, or its history was purged.
    pub(crate) before: Option<Map<String, Json>>,
    /// The same in this version.
    pub(crate) after: Option<Map<String, Json>>,
}

impl Db {
    /// The oldest change records, with what changed. Within a transaction on a server they are held: others who ask are given the next ones.
    pub(crate) async fn pending_changes(&self, most: u32) -> Result<Vec<Change>> {
        let held = self.transaction.is_some() && self.backend() != Backend::Sqlite;
        let mut changes = self.read(Pending { most, held }).await?;
        let mut by_entity: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, change) in changes.iter().enumerate() {
            by_entity.entry(change.entity.clone()).or_default().push(place);
        }
        for (entity, places) in by_entity {
            // The table may have been dropped since.
            let Some(table) = dynamic::table_of(self, &entity).await? else { continue };
            let wanted = places.iter().flat_map(|place| {
                let Change { entity_id, entity_version, .. } = &changes[*place];
                let is_first = *entity_version == 1;
                let versions = [Some(*entity_version), (!is_first).then_some(*entity_version - 1)];
                versions.into_iter().flatten().map(|version| (entity_id.clone(), version)).collect::<Vec<_>>()
            });
            let versions = Versions { table: Arc::clone(&table), wanted: wanted.collect() };
            let versions = self.read(versions).await?;
            for place in places {
                let change = &mut changes[place];
                let row = |version: i64| row_of(&table, versions.get(&(change.entity_id.clone(), version))?);
                (change.before, change.after) = (row(change.entity_version - 1), row(change.entity_version));
            }
        }
        Ok(changes)
    }

    /// The numbers of the oldest and the newest change record; none where all are carried onward. One cheap question.
    pub(crate) async fn pending_range(&self) -> Result<Option<(i64, i64)>> {
        let dialect = self.shared.driver.dialect();
        let (table, seq) = (quoted(CHANGES, dialect), quoted(COLUMNS[0], dialect));
        let sql = format!("SELECT MIN({seq}), MAX({seq}) FROM {table}").into();
        let read = |row: &RowRef<'_>| if row.is_null(0)? { Ok(None) } else { Ok(Some((row.int(0)?, row.int(1)?))) };
        Ok(self.read(Select { sql, params: Vec::new(), read }).await?.into_iter().next().flatten())
    }

    /// When the oldest change was made that nobody has carried onward; none where all are.
    pub(crate) async fn oldest_pending(&self) -> Result<Option<Timestamp>> {
        let rows = self.query(format!("SELECT [changed_at] FROM [{CHANGES}] ORDER BY [seq] LIMIT 1"), ()).await?;
        Ok(rows.first().and_then(|row| match &row["changed_at"] {
            Value::Timestamp(time) => Some(*time),
            Value::Text(text) => crate::base::clock::parse_timestamp(text),
            _ => None,
        }))
    }

    /// Deletes change records that somebody else has now.
    pub(crate) async fn forget_changes(&self, seqs: &[i64]) -> Result<()> {
        for chunk in seqs.chunks(AT_ONCE) {
            let seqs: Vec<Value> = padded(chunk).map(|seq| Value::Int(*seq)).collect();
            let sql = format!("DELETE FROM [{CHANGES}] WHERE [seq] IN ({})", list_of("?", seqs.len()));
            self.execute(sql, seqs).await?;
        }
        Ok(())
    }

    /// Waits until this process commits a change. What was committed since the last call counts.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Whether both are handles of one opened database.
    pub(crate) fn is_same_as(&self, other: &Db) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The time by this database's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}

/// A version's row without what is secret now: a column may have become so after the version was written.
pub(super) fn row_of(table: &Table, data: &str) -> Option<Map<String, Json>> {
    let mut row: Map<String, Json> = serde_json::from_str(data).ok()?;
    for column in table.def.columns.iter().filter(|column| column.secret) {
        if let Some(value) = row.get_mut(&*column.name).filter(|value| !value.is_null()) {
            *value = Json::from(history::REDACTED_TEXT);
        }
    }
    Some(row)
}

struct Pending {
    most: u32,
    held: bool,
}

impl Operation for Pending {
    type Output = Vec<Change>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Vec<Change>> {
        let dialect = session.dialect();
        let columns = quoted_list(COLUMNS, dialect);
        let (table, seq) = (quoted(CHANGES, dialect), quoted(COLUMNS[0], dialect));
        let held = if self.held { " FOR UPDATE SKIP LOCKED" } else { "" };
        let sql = format!("SELECT {columns} FROM {table} ORDER BY {seq} LIMIT {}{held}", self.most);
        session.query(&sql, &[], read_change).await
    }

    fn is_one_statement(&self, _: Backend) -> bool {
        true
    }
}

fn read_change(row: &RowRef<'_>) -> std::result::Result<Change, DecodeError> {
    let text = |index| row.text(index).map(str::to_owned);
    let optional = |index| if row.is_null(index)? { Ok(None) } else { text(index).map(Some) };
    Ok(Change {
        seq: row.int(0)?,
        entity: text(1)?,
        entity_id: text(2)?,
        entity_version: row.int(3)?,
        operation: text(4)?,
        changed_at: row.timestamp(5)?,
        caller: text(6)?,
        user_id: optional(7)?,
        workspace_id: optional(8)?,
        request_id: optional(9)?,
        before: None,
        after: None,
    })
}

/// Reads versions of rows of one entity as the history has them, by id and version.
pub(super) struct Versions {
    pub(super) table: Arc<Table>,
    pub(super) wanted: Vec<(String, i64)>,
}

impl Operation for Versions {
    type Output = HashMap<(String, i64), String>;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Self::Output> {
        let dialect = session.dialect();
        let [id, version, data] = [ID, VERSION, "data"].map(|name| quoted(name, dialect));
        let history = quoted(&self.table.def.history_table(), dialect);
        let values = if dialect.backend() == Backend::Sqlite { "VALUES " } else { "" };
        let mut found = HashMap::with_capacity(self.wanted.len());
        for chunk in self.wanted.chunks(AT_ONCE) {
            let mut sql = format!("SELECT {id}, {version}, {data} FROM {history} WHERE ({id}, {version}) IN ({values}");
            let mut params = Vec::with_capacity(padded_length(chunk) * 2);
            for (id, version) in padded(chunk) {
                sql.push_str(if params.is_empty() { "(" } else { ", (" });
                for value in [Value::from(id), Value::Int(*version)] {
                    sql.push_str(if params.len() % 2 == 1 { ", " } else { "" });
                    params.push(value);
                    dialect.placeholder(params.len(), &mut sql);
                }
                sql.push(')');
            }
            sql.push(')');
            let read = |row: &RowRef<'_>| Ok(((row.text(0)?.to_owned(), row.int(1)?), row.text(2)?.to_owned()));
            found.extend(session.query(&sql, &params, read).await?);
        }
        Ok(found)
    }
}
