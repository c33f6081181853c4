//! The last look at values before they travel: exact types, lengths, required fields. All problems are told at once.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use crate::base::error::{Error, FieldError, Result};
use crate::store::db::coerce::coerce;
use crate::store::db::entity::{AUTOMATIC, ColumnDef, ID, LONGEST_INDEXED_TEXT};
use crate::store::db::table::Table;
use crate::store::db::value::{Value, from_json};

/// Checks one value for its column.
fn check(table: &Table, column: &ColumnDef, value: Value) -> Result<Value, Cow<'static, str>> {
    if value.is_null() {
        return if column.nullable { Ok(value) } else { Err("must not be null".into()) };
    }
    let value = coerce(value, column.ty)?;
    match &value {
        Value::Text(text) if text.len() > LONGEST_INDEXED_TEXT && table.def.is_indexed(column) => {
            if text.chars().count() > LONGEST_INDEXED_TEXT {
                return Err(
                    format!("must have at most {LONGEST_INDEXED_TEXT} characters, because it has an index").into()
                );
            }
            Ok(value)
        }
        _ => Ok(value),
    }
}

fn refuse(problems: Vec<FieldError>) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid("the entity can't be saved").fields(problems)) }
}

fn problem(name: &str, message: impl Into<String>) -> FieldError {
    let escaped = name.replace('~', "~0").replace('/', "~1");
    FieldError { pointer: format!("/{escaped}"), message: message.into() }
}

/// Checks the values of all own columns, in order.
pub(super) fn check_all(table: &Table, values: Vec<Value>) -> Result<Vec<Value>> {
    debug_assert_eq!(values.len(), table.def.columns.len());
    let mut problems = Vec::new();
    let mut checked = Vec::with_capacity(values.len());
    for (column, value) in table.def.columns.iter().zip(values) {
        match check(table, column, value) {
            Ok(value) => checked.push(value),
            Err(message) => problems.push(problem(&column.name, message)),
        }
    }
    refuse(problems)?;
    Ok(checked)
}

/// The given ones of the own columns, from a JSON object. Automatic fields are left out: a row that was read can be saved as it is.
pub(super) fn from_object(table: &Table, row: Map<String, Json>) -> Result<Vec<Option<Value>>> {
    let mut given = vec![None; table.def.columns.len()];
    let mut problems = Vec::new();
    for (name, json) in row {
        if AUTOMATIC.contains(&name.as_str()) {
            continue;
        }
        let Some(position) = table.def.columns.iter().position(|column| column.name == name) else {
            // A null makes no column in a dynamic table.
            if !(table.def.dynamic && json.is_null()) {
                problems.push(problem(&name, format!("is no field of `{}`", table.def.table)));
            }
            continue;
        };
        let column = &table.def.columns[position];
        let value = match (column.ty, json) {
            (_, Json::Null) => Value::Null,
            (crate::store::db::value::ColumnType::Json, json) => Value::Json(Box::new(json)),
            (_, json) => from_json(json),
        };
        match check(table, column, value) {
            Ok(value) => given[position] = Some(value),
            Err(message) => problems.push(problem(&name, message)),
        }
    }
    refuse(problems)?;
    Ok(given)
}

/// The id of a JSON object, where it has one.
pub(super) fn id_of(row: &Map<String, Json>) -> Result<Option<String>> {
    match row.get(ID) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(id)) => check_id(id).map(Some),
        Some(_) => Err(Error::invalid("the entity can't be saved").field("/id", "must be a text")),
    }
}

/// Refuses ids that no key could hold.
pub(super) fn check_id(id: &str) -> Result<String> {
    if is_possible_id(id) {
        return Ok(id.to_owned());
    }
    Err(Error::invalid("the entity can't be saved")
        .field("/id", format!("must have 1 to {LONGEST_INDEXED_TEXT} characters, none of them NUL")))
}

/// Whether a row could have this id at all.
pub(super) fn is_possible_id(id: &str) -> bool {
    !id.is_empty()
        && !id.contains('\0')
        && (id.len() <= LONGEST_INDEXED_TEXT || id.chars().count() <= LONGEST_INDEXED_TEXT)
}
