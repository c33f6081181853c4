//! Every version of every entity. A version is the whole row as JSON, written in the transaction that made it.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::driver::RowRef;
use super::row::DecodeError;
use super::table::Table;
use super::value::Value;
use crate::base::clock::{Timestamp, iso};

/// What made a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The first save.
    Created,
    /// A later save.
    Updated,
    /// A deletion that can be undone: the row stays, hidden.
    SoftDeleted,
    /// A permanent deletion: only the history is left.
    Deleted,
}

impl Operation {
    /// The word in the history and in change records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Created => "created",
            Operation::Updated => "updated",
            Operation::SoftDeleted => "soft_deleted",
            Operation::Deleted => "deleted",
        }
    }

    /// The operation of a word.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Operation::Created, Operation::Updated, Operation::SoftDeleted, Operation::Deleted]
            .into_iter()
            .find(|operation| operation.as_str() == word)
    }
}

/// One version of an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// The entity's id.
    pub id: String,
    /// 1 for the first, and so on.
    pub version: i64,
    /// What made it.
    pub operation: Operation,
    /// When.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub recorded_at: Timestamp,
    /// Who, where it was a user.
    pub user_id: Option<String>,
    /// In which request, where it was one.
    pub request_id: Option<String>,
    /// The whole row as it was, secrets left out.
    pub data: serde_json::Value,
}

/// Reads a row of a history table.
pub(crate) fn read_version(row: &RowRef<'_>) -> Result<Version, DecodeError> {
    let optional =
        |index| if row.is_null(index)? { Ok(None) } else { row.text(index).map(|text| Some(text.to_owned())) };
    Ok(Version {
        id: row.text(0)?.to_owned(),
        version: row.int(1)?,
        operation: Operation::parse(row.text(2)?).ok_or_else(|| row.unfit(2, "is no operation"))?,
        recorded_at: row.timestamp(3)?,
        user_id: optional(4)?,
        request_id: optional(5)?,
        data: serde_json::from_str(row.text(6)?).map_err(|_| row.unfit(6, "is not JSON"))?,
    })
}

/// What stands for a secret in the history.
const REDACTED: &str = "\"[redacted]\"";
/// The same as a text.
pub(crate) const REDACTED_TEXT: &str = "[redacted]";

/// The row as the history keeps it, with all columns in the table's order.
pub(crate) fn row_as_json(table: &Table, values: &[Value]) -> String {
    let mut json = String::with_capacity(64 * values.len());
    json.push('{');
    let own = 1..=table.def.columns.len();
    for (i, (name, value)) in table.columns.iter().zip(values).enumerate() {
        if i > 0 {
            json.push(',');
        }
        // Names hold nothing that JSON would escape.
        json.push('"');
        json.push_str(name);
        json.push_str("\":");
        let is_secret = own.contains(&i) && table.def.columns[i - 1].secret;
        if is_secret && !value.is_null() {
            json.push_str(REDACTED);
        } else {
            push_json(&mut json, value);
        }
    }
    json.push('}');
    json
}

fn push_json(json: &mut String, value: &Value) {
    match value {
        Value::Null => json.push_str("null"),
        Value::Bool(b) => json.push_str(if *b { "true" } else { "false" }),
        Value::Int(n) => {
            let _ = write!(json, "{n}");
        }
        Value::Text(text) if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') => {
            json.push('"');
            json.push_str(text);
            json.push('"');
        }
        Value::Timestamp(time) => {
            json.push('"');
            crate::base::clock::push_timestamp(json, *time);
            json.push('"');
        }
        other => json.push_str(&serde_json::to_string(other).expect("a value is always JSON")),
    }
}
