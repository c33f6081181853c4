//! How far a move is, in a small table of the database that it fills: whose data it is, and which tables are there and verified.
//! Not part of any backup.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::backup::bulk::create_bare;
use crate::store::db::dialect::Backend;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::Session;
use crate::store::db::inspect::inspect;
use crate::store::db::schema::{MOVE, moves_table};
use crate::store::db::value::Value;

/// The row of the move itself.
const RECORD: &str = "move";

/// A move into this database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) service: String,
    /// Where the data comes from.
    pub(super) from: Place,
    /// When the first table of the data was made; see [`super::marker::Marker::born_at`].
    #[serde(with = "iso::option")]
    pub(super) born_at: Option<Timestamp>,
    #[serde(with = "iso")]
    pub(super) began_at: Timestamp,
    /// When all tables were there and verified.
    #[serde(with = "iso::option")]
    pub(super) imported_at: Option<Timestamp>,
    /// When the service was about to serve from here.
    #[serde(with = "iso::option")]
    pub(super) finished_at: Option<Timestamp>,
}

/// The move, and what is known of each table: its seal.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) record: Option<Record>,
    pub(super) seals: BTreeMap<String, String>,
}

/// Reads the state; an empty one where there never was a move.
pub(super) async fn read(session: &mut Session<'_>) -> DbResult<State> {
    if !inspect(session, Some(MOVE)).await?.tables.contains_key(MOVE) {
        return Ok(State::default());
    }
    let dialect = session.dialect();
    let sql =
        format!("SELECT {}, {} FROM {}", quoted("name", dialect), quoted("value", dialect), quoted(MOVE, dialect));
    let rows = session.query(&sql, &[], |row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).await?;
    let mut state = State::default();
    for (name, value) in rows {
        if name == RECORD {
            let record = serde_json::from_str(&value).map_err(|cause| {
                Error::invalid(format!(
                    "the table `{MOVE}` of this database is damaged: {cause}; drop it if no move is under way"
                ))
            })?;
            state.record = Some(record);
        } else if let Some(table) = name.strip_prefix("table:") {
            state.seals.insert(table.to_owned(), value);
        }
    }
    Ok(state)
}

/// Makes the table where it is missing, and notes the move.
pub(super) async fn begin(session: &mut Session<'_>, record: &Record) -> DbResult<()> {
    if !inspect(session, Some(MOVE)).await?.tables.contains_key(MOVE) {
        create_bare(session, &moves_table()).await?;
    }
    note(session, record).await
}

/// Notes how far the move is.
pub(super) async fn note(session: &mut Session<'_>, record: &Record) -> DbResult<()> {
    let text = serde_json::to_string(record).expect("a record is always JSON");
    put(session, RECORD, &text).await
}

/// A table is there and verified.
pub(super) async fn seal(session: &mut Session<'_>, table: &str, seal: &str) -> DbResult<()> {
    put(session, &format!("table:{table}"), seal).await
}

/// A table is not, or no more.
pub(super) async fn unseal(session: &mut Session<'_>, table: &str) -> DbResult<()> {
    let dialect = session.dialect();
    let mut sql = format!("DELETE FROM {} WHERE {} = ", quoted(MOVE, dialect), quoted("name", dialect));
    dialect.placeholder(1, &mut sql);
    session.execute(&sql, &[Value::Text(format!("table:{table}"))]).await.map(drop)
}

async fn put(session: &mut Session<'_>, name: &str, value: &str) -> DbResult<()> {
    let dialect = session.dialect();
    let (verb, end) = match dialect.backend() {
        Backend::Sqlite | Backend::Postgres => {
            ("INSERT", " ON CONFLICT (\"name\") DO UPDATE SET \"value\" = excluded.\"value\"")
        }
        Backend::MySql => ("REPLACE", ""),
    };
    let mut sql = format!(
        "{verb} INTO {} ({}, {}) VALUES (",
        quoted(MOVE, dialect),
        quoted("name", dialect),
        quoted("value", dialect)
    );
    dialect.placeholder(1, &mut sql);
    sql.push_str(", ");
    dialect.placeholder(2, &mut sql);
    sql.push(')');
    sql.push_str(end);
    session.execute(&sql, &[Value::from(name), Value::from(value)]).await.map(drop)
}
