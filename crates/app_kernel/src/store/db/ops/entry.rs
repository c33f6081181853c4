//! A row with its version and its change: the three things that every save and deletion writes together.

use crate::base::caller::Caller;
use crate::base::clock::Timestamp;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::{Follows, Session, Statement};
use crate::store::db::error::DbError;
use crate::store::db::history::{Operation, row_as_json};
use crate::store::db::table::{Statements, Table};
use crate::store::db::value::Value;

/// Rows that one statement of [`insert_many`] writes at most: even 300 columns stay below the 65,535 parameters of a statement.
const ROWS_PER_STATEMENT: usize = 64;

/// How the row itself is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// It is new.
    Insert,
    /// It is there, in the version before.
    Update,
    /// It goes for good.
    Delete,
}

/// Who does it, when, and what it is.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) operation: Operation,
    pub(crate) caller: Caller,
    pub(crate) at: Timestamp,
}

/// Everything that is written for one change of one row, ready to be bound.
#[derive(Debug)]
pub(crate) struct Entry {
    how: How,
    row: Vec<Value>,
    /// Parameters of the version and the change, where there are any; where one statement writes all, they lie in `row` already.
    version: Vec<Value>,
    change: Vec<Value>,
}

impl Entry {
    /// Prepares the writing of `row`, all columns in the table's order.
    pub(crate) fn new(table: &Table, backend: Backend, how: How, row: Vec<Value>, stamp: &Stamp) -> Self {
        let mut entry = Entry { how, row: Vec::new(), version: Vec::new(), change: Vec::new() };
        let (id, version) = (row[0].clone(), row[row.len() - 1].clone());
        let data = if table.def.history { row_as_json(table, &row) } else { String::new() };
        entry.row = match how {
            How::Insert => row,
            How::Update => update_order(row),
            How::Delete => vec![id.clone()],
        };
        if !table.def.history && !table.records_changes {
            return entry;
        }
        let text = |text: Option<&str>| text.map_or(Value::Null, Value::from);
        let operation = Value::from(stamp.operation.as_str());
        let at = Value::Timestamp(stamp.at);
        let (user, request) = (text(stamp.caller.user_id()), text(stamp.caller.request_id()));
        let workspace = text(stamp.caller.workspace_id());
        let caller = Value::from(stamp.caller.kind().as_str());
        let data = Value::Text(data);
        if table.def.history && backend == Backend::Postgres && how != How::Delete {
            entry.row.reserve_exact(Statements::TRAIL);
            entry.row.extend([operation, at, user, request, data]);
            if table.records_changes {
                entry.row.extend([caller, workspace]);
            }
        } else {
            if table.records_changes {
                let entity = Value::from(table.def.table.as_ref());
                entry.change = vec![
                    entity,
                    id.clone(),
                    version.clone(),
                    operation.clone(),
                    at.clone(),
                    caller,
                    user.clone(),
                    workspace,
                    request.clone(),
                ];
            }
            if table.def.history {
                entry.version = vec![id, version, operation, at, user, request, data];
            }
        }
        entry
    }

    /// Whether it is one statement there.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql")),
        allow(dead_code, reason = "SQLite groups writes into transactions anyhow")
    )]
    pub(crate) fn is_one_statement(&self, table: &Table, backend: Backend) -> bool {
        match (table.def.history, table.records_changes) {
            (false, false) => true,
            (false, true) => false,
            (true, _) => backend == Backend::Postgres && self.how != How::Delete,
        }
    }

    /// Writes it. Answers whether the row was as expected; where not, nothing is written.
    pub(crate) async fn write(
        &self,
        table: &Table,
        session: &mut Session<'_>,
        follows: Follows,
    ) -> Result<bool, DbError> {
        let sql = &table.sql;
        let row = match (self.how, &sql.insert_all, &sql.update_all) {
            (How::Insert, Some(all), _) | (How::Update, _, Some(all)) => all,
            (How::Insert, ..) => &sql.insert,
            (How::Update, ..) => &sql.update,
            (How::Delete, ..) => &sql.delete,
        };
        let row = Statement { sql: row, params: &self.row };
        let version = Statement { sql: &sql.insert_history, params: &self.version };
        let change = Statement { sql: &sql.insert_change, params: &self.change };
        let (all, only_change) = ([row, version, change], [row, change]);
        let statements = match (self.version.is_empty(), self.change.is_empty()) {
            (false, false) => &all[..],
            (false, true) => &all[..2],
            (true, false) => &only_change[..],
            (true, true) => &all[..1],
        };
        let (row, version_and_change) = statements.split_at(1);
        if version_and_change.is_empty() {
            return Ok(session.execute_together(row, follows).await? > 0);
        }
        // A new row is written or refused; one that is there may have changed meanwhile.
        if self.how == How::Insert {
            return Ok(session.execute_together(statements, follows).await? > 0);
        }
        if session.execute_together(row, Follows::More).await? == 0 {
            return Ok(false);
        }
        session.execute_together(version_and_change, follows).await?;
        Ok(true)
    }
}

/// Writes new rows, several with each statement: for servers, where each statement is a journey.
pub(crate) async fn insert_many(
    table: &Table,
    session: &mut Session<'_>,
    rows: Vec<Vec<Value>>,
    stamp: &Stamp,
) -> Result<(), DbError> {
    // As for SQLite: the parameters of row, version and change apart from each other.
    let entry = |row| Entry::new(table, Backend::Sqlite, How::Insert, row, stamp);
    let mut entries = rows.into_iter().map(entry).peekable();
    while entries.peek().is_some() {
        let chunk: Vec<Entry> = entries.by_ref().take(ROWS_PER_STATEMENT).collect();
        // A few lengths only, so that few statements are prepared.
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 << rest.len().ilog2());
            rest = later;
            let [rows, versions, changes] = &table.sql.insert_into;
            insert_rows(session, rows, now.iter().map(|entry| &entry.row)).await?;
            if table.def.history {
                insert_rows(session, versions, now.iter().map(|entry| &entry.version)).await?;
            }
            if table.records_changes {
                insert_rows(session, changes, now.iter().map(|entry| &entry.change)).await?;
            }
        }
    }
    Ok(())
}

async fn insert_rows(
    session: &mut Session<'_>,
    into: &str,
    rows: impl Iterator<Item = &Vec<Value>>,
) -> Result<(), DbError> {
    let dialect = session.dialect();
    let mut sql = format!("{into} VALUES ");
    let mut params: Vec<Value> = Vec::new();
    for row in rows {
        sql.push_str(if params.is_empty() { "(" } else { ", (" });
        for (i, value) in row.iter().enumerate() {
            sql.push_str(if i > 0 { ", " } else { "" });
            params.push(value.clone());
            dialect.placeholder(params.len(), &mut sql);
        }
        sql.push(')');
    }
    session.execute(&sql, &params).await.map(drop)
}

/// From the table's order to that of the update: without `created_at`, then the id and the version before.
fn update_order(mut row: Vec<Value>) -> Vec<Value> {
    let before = row[row.len() - 1].as_int().unwrap_or(0) - 1;
    let created_at = row.len() - 4;
    row.remove(created_at);
    row.rotate_left(1);
    row.push(Value::Int(before));
    row
}
