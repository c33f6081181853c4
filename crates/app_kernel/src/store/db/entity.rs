//! What an entity is: a table, its columns, and how a struct becomes a row and back.
//! `#[derive(Entity)]` writes [`Entity`] for a struct and [`EntityValue`] for an enum.

use std::borrow::Cow;

pub use app_kernel_macros::Entity;
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::row::{DecodeError, RowRef};
use super::schema::KERNEL_PREFIX;
use super::value::{ColumnType, Value};
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// The columns that every entity has, before and after its own.
pub const ID: &str = "id";
/// When the row was made.
pub const CREATED_AT: &str = "created_at";
/// When the row was last saved.
pub const UPDATED_AT: &str = "updated_at";
/// When the row was softly deleted; null while it lives.
pub const DELETED_AT: &str = "deleted_at";
/// 1, and one more with each save.
pub const VERSION: &str = "version";
/// The names of all automatic columns.
pub const AUTOMATIC: [&str; 5] = [ID, CREATED_AT, UPDATED_AT, DELETED_AT, VERSION];

/// The longest text, in characters, of a column with an index: what a key of any of the three databases can hold.
pub const LONGEST_INDEXED_TEXT: usize = 255;
/// The longest name of a table or column, in bytes: PostgreSQL cuts at 63, and we append up to nine.
pub const LONGEST_NAME: usize = 54;

/// One entity's table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EntityDef {
    /// The table's name.
    pub table: Cow<'static, str>,
    /// Its own columns, without the automatic ones.
    pub columns: Vec<ColumnDef>,
    /// Indexes over several columns; those over one are said at the column.
    pub indexes: Vec<IndexDef>,
    /// A former name, whose data moves here.
    pub renamed_from: Option<Cow<'static, str>>,
    /// Whether every version is kept. On for all that people declare.
    pub history: bool,
    /// Made on the first save of an undeclared name; may grow columns.
    pub dynamic: bool,
}

/// An index over several columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDef {
    /// The columns, the most selective first.
    pub columns: Vec<Cow<'static, str>>,
    /// Whether living rows must differ in them.
    pub unique: bool,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub ty: ColumnType,
    /// Whether it may be null.
    pub nullable: bool,
    /// What stands there where a save does not say.
    pub default: Option<Value>,
    /// Whether it has an index.
    pub index: bool,
    /// Whether living rows must differ in it.
    pub unique: bool,
    /// A condition on the row, in the language of where clauses without `?`.
    pub check: Option<Cow<'static, str>>,
    /// The row it points to.
    pub foreign_key: Option<ForeignKey>,
    /// A former name, whose data moves here.
    pub renamed_from: Option<Cow<'static, str>>,
    /// Kept out of history, audit and logs.
    pub secret: bool,
}

/// Where a foreign key points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The table.
    pub table: Cow<'static, str>,
    /// The column there: `id`.
    pub column: Cow<'static, str>,
}

impl EntityDef {
    /// A table of this name without columns of its own yet.
    #[must_use]
    pub fn new(table: impl Into<Cow<'static, str>>) -> Self {
        EntityDef { table: table.into(), history: true, ..EntityDef::default() }
    }

    /// Whether changes of its rows are recorded for the audit: all, but for those of the kernel's own short-lived rows, such as sessions.
    pub(crate) fn records_changes(&self) -> bool {
        self.history || !self.table.starts_with(KERNEL_PREFIX)
    }

    /// The column of this name, automatic or its own.
    #[must_use]
    pub fn column_type(&self, name: &str) -> Option<ColumnType> {
        match name {
            ID => Some(ColumnType::Text),
            CREATED_AT | UPDATED_AT | DELETED_AT => Some(ColumnType::Timestamp),
            VERSION => Some(ColumnType::Int),
            name => self.column(name).map(|column| column.ty),
        }
    }

    /// Its own column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&ColumnDef> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether the column has an index or is part of one, so that its text is bounded.
    #[must_use]
    pub fn is_indexed(&self, column: &ColumnDef) -> bool {
        column.index
            || column.unique
            || column.foreign_key.is_some()
            || self.indexes.iter().any(|index| index.columns.contains(&column.name))
    }

    /// All its indexes: those said at a column, then those over several.
    pub(crate) fn all_indexes(&self) -> impl Iterator<Item = IndexDef> {
        let is_single = |own: &&ColumnDef| own.index || own.unique || own.foreign_key.is_some();
        let over = |own: &ColumnDef| IndexDef { columns: vec![own.name.clone()], unique: own.unique };
        self.columns.iter().filter(is_single).map(over).chain(self.indexes.iter().cloned())
    }

    /// The name of the table that keeps the versions.
    #[must_use]
    pub fn history_table(&self) -> String {
        format!("{}_history", self.table)
    }
}

impl ColumnDef {
    /// A column that must be given.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, ty: ColumnType) -> Self {
        ColumnDef {
            name: name.into(),
            ty,
            nullable: false,
            default: None,
            index: false,
            unique: false,
            check: None,
            foreign_key: None,
            renamed_from: None,
            secret: false,
        }
    }
}

/// Whether a name can be a table or a column: `^[A-Za-z_][A-Za-z0-9_]{0,53}$`.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=LONGEST_NAME).contains(&bytes.len())
        && !bytes[0].is_ascii_digit()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// A struct that is stored as rows of one table. Derived, never written by hand.
///
/// ```
/// use app_kernel::store::db::entity::Entity;
///
/// #[derive(Entity)]
/// #[entity(index(owner_id, created_at))]
/// struct Parcel {
///     #[entity(unique)]
///     number: String,
///     #[entity(default = "on_its_way", check = "[status] <> 'lost' OR [note] IS NOT NULL")]
///     status: Status,
///     note: Option<String>,
///     owner_id: String,
///     stops: Vec<String>,
/// }
///
/// #[derive(Entity)]
/// enum Status {
///     OnItsWay,
///     #[entity(rename = "here")]
///     Delivered,
///     Lost,
/// }
///
/// let definition = Parcel::definition();
/// assert_eq!(definition.table, "parcels");
/// assert!(definition.column("note").is_some_and(|note| note.nullable));
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not an entity", note = "write #[derive(Entity)] at the struct")]
pub trait Entity: Sized + Send + Sync + 'static {
    /// The table and its columns.
    fn definition() -> &'static EntityDef;

    /// The values of its own columns, in the order of the definition.
    ///
    /// # Errors
    /// Where a value can't be stored; names the field.
    fn to_values(&self) -> Result<Vec<Value>>;

    /// Reads its own columns from a row, where they stand from position `first` on in the order of the definition.
    ///
    /// # Errors
    /// Where a column holds what the field can't.
    fn from_row(row: &RowRef<'_>, first: usize) -> Result<Self, DecodeError>;

    /// Sets its field `workspace_id`, where it has one; see [`Db::in_workspace`](super::Db::in_workspace).
    #[doc(hidden)]
    fn enter_workspace(&mut self, _id: &str) {}
}

/// A Rust type that one column can hold.
#[diagnostic::on_unimplemented(
    message = "no column can hold a `{Self}`",
    note = "write #[derive(Entity)] at an enum of plain names, or #[entity(json)] at the field for anything that serde knows"
)]
pub trait EntityValue: Sized {
    /// What the column holds.
    const TYPE: ColumnType;
    /// Whether the column may be null: true for `Option` only.
    const NULLABLE: bool = false;
    /// Whether the column is kept out of history, audit and logs.
    const SECRET: bool = false;
    /// The only texts that the column holds, for an enum; empty where it holds any.
    const NAMES: &'static [&'static str] = &[];

    /// The value to store.
    ///
    /// # Errors
    /// A sentence part where it can't be stored: `is larger than 2^63 - 1`.
    fn to_value(&self) -> Result<Value, Cow<'static, str>>;

    /// Reads the column at `index`.
    ///
    /// # Errors
    /// Where the column holds what this type can't.
    fn from_column(row: &RowRef<'_>, index: usize) -> Result<Self, DecodeError>;

    /// The value of a text, for those types that any text fits.
    #[doc(hidden)]
    fn from_text(_text: &str) -> Option<Self> {
        None
    }
}

impl<T: EntityValue> EntityValue for Option<T> {
    const TYPE: ColumnType = T::TYPE;
    const NULLABLE: bool = true;
    const SECRET: bool = T::SECRET;
    const NAMES: &'static [&'static str] = T::NAMES;

    fn to_value(&self) -> Result<Value, Cow<'static, str>> {
        self.as_ref().map_or(Ok(Value::Null), T::to_value)
    }

    fn from_column(row: &RowRef<'_>, index: usize) -> Result<Self, DecodeError> {
        if row.is_null(index)? { Ok(None) } else { T::from_column(row, index).map(Some) }
    }

    fn from_text(text: &str) -> Option<Self> {
        T::from_text(text).map(Some)
    }
}

impl EntityValue for String {
    const TYPE: ColumnType = ColumnType::Text;

    fn to_value(&self) -> Result<Value, Cow<'static, str>> {
        Ok(Value::Text(self.clone()))
    }

    fn from_column(row: &RowRef<'_>, index: usize) -> Result<Self, DecodeError> {
        Ok(row.text(index)?.to_owned())
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl EntityValue for $ty {
            const TYPE: ColumnType = ColumnType::Int;

            fn to_value(&self) -> Result<Value, Cow<'static, str>> {
                i64::try_from(*self).map(Value::Int).map_err(|_| Cow::from("is larger than 2^63 - 1"))
            }

            fn from_column(row: &RowRef<'_>, index: usize) -> Result<Self, DecodeError> {
                row.int(index)?.try_into().map_err(|_| row.unfit(index, concat!("does not fit into ", stringify!($ty))))
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

macro_rules! plain {
    ($($ty:ty: $column:ident, |$v:ident| $to:expr, |$row:ident, $i:ident| $from:expr;)*) => {$(
        impl EntityValue for $ty {
            const TYPE: ColumnType = ColumnType::$column;

            fn to_value(&self) -> Result<Value, Cow<'static, str>> {
                let $v = self;
                Ok($to)
            }

            fn from_column($row: &RowRef<'_>, $i: usize) -> Result<Self, DecodeError> {
                $from
            }
        }
    )*};
}

plain! {
    bool: Bool, |v| Value::Bool(*v), |row, i| row.bool(i);
    f64: Float, |v| Value::Float(*v), |row, i| row.float(i);
    f32: Float, |v| Value::Float(f64::from(*v)), |row, i| Ok(row.float(i)? as f32);
    Timestamp: Timestamp, |v| Value::Timestamp(*v), |row, i| row.timestamp(i);
    Date: Date, |v| Value::Date(*v), |row, i| row.date(i);
    Time: Time, |v| Value::Time(*v), |row, i| row.time(i);
    uuid::Uuid: Uuid, |v| Value::Text(v.to_string()),
        |row, i| row.text(i)?.parse().map_err(|_| row.unfit(i, "is not a UUID"));
    rust_decimal::Decimal: Decimal, |v| Value::Text(v.normalize().to_string()),
        |row, i| row.text(i)?.parse().map_err(|_| row.unfit(i, "is not a decimal number"));
    serde_json::Value: Json, |v| Value::Json(Box::new(v.clone())),
        |row, i| serde_json::from_str(row.text(i)?).map_err(|_| row.unfit(i, "is not JSON"));
}

/// Stored as it is, since the service must read it again; told nowhere else.
impl EntityValue for Secret {
    const TYPE: ColumnType = ColumnType::Text;
    const SECRET: bool = true;

    fn to_value(&self) -> Result<Value, Cow<'static, str>> {
        Ok(Value::Text(self.expose().to_owned()))
    }

    fn from_column(row: &RowRef<'_>, index: usize) -> Result<Self, DecodeError> {
        row.text(index).map(Secret::new)
    }
}

/// What `#[derive(Entity)]` calls for `Vec<u8>`, which is bytes and not a list of numbers.
#[doc(hidden)]
pub mod bytes {
    use super::{Cow, DecodeError, RowRef, Value};

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn to_value(bytes: &[u8]) -> Result<Value, Cow<'static, str>> {
        Ok(Value::Bytes(bytes.to_vec()))
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn from_column(row: &RowRef<'_>, index: usize) -> Result<Vec<u8>, DecodeError> {
        Ok(row.bytes(index)?.to_vec())
    }
}

/// What `#[derive(Entity)]` calls for lists, maps and fields marked `json`: any type that serde knows.
#[doc(hidden)]
pub mod json {
    use super::{Cow, DecodeError, DeserializeOwned, RowRef, Serialize, Value};

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn to_value(value: &impl Serialize) -> Result<Value, Cow<'static, str>> {
        serde_json::to_value(value)
            .map(|json| Value::Json(Box::new(json)))
            .map_err(|error| Cow::from(format!("can't be written as JSON: {error}")))
    }

    #[allow(missing_docs, clippy::missing_errors_doc)]
    pub fn from_column<T: DeserializeOwned>(row: &RowRef<'_>, index: usize) -> Result<T, DecodeError> {
        serde_json::from_str(row.text(index)?).map_err(|error| row.unfit(index, format!("does not fit: {error}")))
    }

    /// The default `[]` or `{}`.
    #[must_use]
    pub fn empty(list: bool) -> Value {
        Value::Json(Box::new(if list { serde_json::json!([]) } else { serde_json::json!({}) }))
    }
}

/// What `#[derive(Entity)]` calls for a default that has its field's type.
///
/// # Panics
/// Where the type refuses the value; the derive has made sure that none of ours does.
#[doc(hidden)]
pub fn default_value<T: EntityValue>(value: T) -> Value {
    value.to_value().expect("the derive checked the default")
}

/// What `#[derive(Entity)]` calls for a default that its field's type reads from text.
///
/// # Panics
/// Where the type can't read it; the derive has made sure that ours can.
#[doc(hidden)]
pub fn default_from_text<T: EntityValue + std::str::FromStr>(text: &str) -> Value {
    text.parse().ok().map(default_value::<T>).expect("the derive checked the default")
}

/// What `#[derive(Entity)]` asks while it is compiled: whether `name` is among `names`, where there are any.
#[doc(hidden)]
#[must_use]
pub const fn is_one_of(names: &[&str], name: &str) -> bool {
    let mut i = 0;
    while i < names.len() {
        if is_same(names[i].as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    names.is_empty()
}

/// As `==`, which a constant can't use yet.
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

/// What `#[derive(Entity)]` calls to name the field whose value can't be stored.
#[doc(hidden)]
pub fn field_error(name: &str, problem: &str) -> Error {
    Error::invalid("the entity can't be stored").field(format!("/{name}"), problem)
}
