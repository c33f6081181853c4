//! Rows as they come from a driver ([`RowRef`], borrowed, typed reads) and as they travel without a struct ([`Row`]).

use std::borrow::Cow;
use std::ops::Index;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeMap, Serializer};

pub use super::driver::RowRef;
use super::entity::ID;
use super::value::Value;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, Result};

/// A column that holds what the reader can't take: the table was changed by somebody else, or the struct was.
#[derive(Debug, Clone, thiserror::Error)]
#[error("column `{column}` {problem}")]
pub struct DecodeError {
    /// The column's name.
    pub column: String,
    /// What is wrong with it.
    pub problem: Cow<'static, str>,
}

/// An entity with what the store knows about it. In JSON, its fields lie beside the entity's own.
#[derive(Debug, Clone, PartialEq, serde::Serialize, Deserialize, schemars::JsonSchema)]
pub struct Saved<T> {
    /// Its identifier: a UUIDv7, where it was not given.
    pub id: String,
    /// The entity itself.
    #[serde(flatten)]
    pub entity: T,
    /// When it was made.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub created_at: Timestamp,
    /// When it was last saved.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    pub updated_at: Timestamp,
    /// When it was softly deleted; absent while it lives.
    #[serde(with = "iso::option", skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<Timestamp>")]
    pub deleted_at: Option<Timestamp>,
    /// 1, and one more with each save.
    pub version: i64,
}

impl<T> std::ops::Deref for Saved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entity
    }
}

impl<T> std::ops::DerefMut for Saved<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.entity
    }
}

/// A row without a struct. In JSON it is an object, its columns in their order; columns that are not set are null.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Arc<[Cow<'static, str>]>,
    values: Vec<Value>,
}

impl Row {
    /// A row of these columns; rows of one answer share the list of names.
    #[must_use]
    pub fn new(columns: Arc<[Cow<'static, str>]>, values: Vec<Value>) -> Self {
        debug_assert_eq!(columns.len(), values.len());
        Row { columns, values }
    }

    /// The value of a column, where the row has it.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.values.get(index)
    }

    /// The row's identifier; empty for a row that has none.
    #[must_use]
    pub fn id(&self) -> &str {
        self.get(ID).and_then(Value::as_str).unwrap_or_default()
    }

    /// The names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.columns.iter().map(AsRef::as_ref).zip(&self.values)
    }

    /// The row as a JSON value.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The row as any type that serde knows.
    ///
    /// # Errors
    /// Where the columns don't fit the type.
    pub fn into_typed<T: DeserializeOwned>(self) -> Result<T> {
        serde_json::from_value(self.to_json())
            .map_err(|error| Error::internal("a stored row does not fit its type").cause(error))
    }
}

/// The value of a column; null where the row has none of that name.
impl Index<&str> for Row {
    type Output = Value;

    fn index(&self, column: &str) -> &Value {
        self.get(column).unwrap_or(&Value::Null)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.values.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl schemars::JsonSchema for Row {
    fn schema_name() -> Cow<'static, str> {
        "Row".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "An entity: its own fields beside id, created_at, updated_at, deleted_at and version.",
            "additionalProperties": true
        })
    }
}
