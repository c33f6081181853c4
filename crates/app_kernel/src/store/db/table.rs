//! An entity's table as the store works with it: its definition, and its statements written once for the database at hand.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use super::dialect::ddl::{quoted, quoted_list};
use super::dialect::{Backend, Dialect};
use super::driver::RowRef;
use super::entity::{CREATED_AT, DELETED_AT, Entity, EntityDef, ID, UPDATED_AT, VERSION};
use super::row::{DecodeError, Row, Saved};
use super::schema::CHANGES;
use super::value::{ColumnType, Value};

/// A table of the schema, ready for use. The columns always stand in this order:
/// `id`, its own, `created_at`, `updated_at`, `deleted_at`, `version`.
#[derive(Debug)]
pub struct Table {
    pub(crate) def: EntityDef,
    pub(crate) columns: Arc<[Cow<'static, str>]>,
    pub(crate) types: Vec<ColumnType>,
    pub(crate) sql: Statements,
    /// Whether changes of its rows are recorded for the audit.
    pub(crate) records_changes: bool,
}

/// The statements that every save, read and deletion uses.
#[derive(Debug)]
pub(crate) struct Statements {
    /// `SELECT all columns FROM table`, for a condition to follow.
    pub(crate) select: String,
    /// By id, whether it lives or not.
    pub(crate) get: Arc<str>,
    /// By id, only where it lives.
    pub(crate) get_living: Arc<str>,
    /// By id, and nobody else may change it until the transaction ends.
    pub(crate) lock: Arc<str>,
    /// One row: all columns in order.
    pub(crate) insert: String,
    /// `INSERT INTO table (columns)`, for the values of several rows to follow; the same for versions and changes.
    pub(crate) insert_into: [String; 3],
    /// All own columns, `updated_at`, `deleted_at`, `version`, then the id and the version that the row still has to have.
    pub(crate) update: String,
    /// By id.
    pub(crate) delete: String,
    /// A version: id, version, operation, recorded_at, user_id, request_id, data.
    pub(crate) insert_history: String,
    /// A change: entity, entity_id, entity_version, operation, changed_at, caller, user_id, workspace_id, request_id.
    pub(crate) insert_change: String,
    /// PostgreSQL: row, version and change in one statement; the parameters of `insert`, then [`Statements::TRAIL`].
    pub(crate) insert_all: Option<String>,
    /// PostgreSQL: the same for an update.
    pub(crate) update_all: Option<String>,
    /// The versions of one id.
    pub(crate) history: Arc<str>,
    /// One version of one id.
    pub(crate) get_version: Arc<str>,
}

/// What a version's row is read as.
pub(crate) const HISTORY_COLUMNS: [&str; 7] =
    [ID, VERSION, "operation", "recorded_at", "user_id", "request_id", "data"];
const CHANGE_COLUMNS: [&str; 9] = [
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

impl Table {
    /// Where the database is audited, changes of rows leave records.
    pub(crate) fn new(def: EntityDef, dialect: &dyn Dialect, is_audited: bool) -> Self {
        let own = def.columns.iter().map(|column| (column.name.clone(), column.ty));
        let after = [
            (CREATED_AT, ColumnType::Timestamp),
            (UPDATED_AT, ColumnType::Timestamp),
            (DELETED_AT, ColumnType::Timestamp),
            (VERSION, ColumnType::Int),
        ];
        let all: Vec<(Cow<'static, str>, ColumnType)> = [(ID.into(), ColumnType::Text)]
            .into_iter()
            .chain(own)
            .chain(after.map(|(name, ty)| (name.into(), ty)))
            .collect();
        let columns: Arc<[Cow<'static, str>]> = all.iter().map(|(name, _)| name.clone()).collect();
        let records_changes = is_audited && def.records_changes();
        let sql = Statements::new(&def, &columns, dialect, records_changes);
        Table { columns, types: all.iter().map(|(_, ty)| *ty).collect(), sql, def, records_changes }
    }

    /// The text that reads the rows of so many ids, their own in the first column.
    pub(crate) fn get_several(&self, ids: usize, include_deleted: bool, dialect: &dyn Dialect) -> String {
        let mut sql = format!("{} WHERE {} IN (", self.sql.select, quoted(ID, dialect));
        for number in 1..=ids {
            sql.push_str(if number > 1 { ", " } else { "" });
            dialect.placeholder(number, &mut sql);
        }
        sql.push(')');
        if !include_deleted {
            sql.extend([" AND ", &quoted(DELETED_AT, dialect), " IS NULL"]);
        }
        sql
    }

    /// Reads a row whose columns stand in the table's order.
    pub(crate) fn read_row(&self, row: &RowRef<'_>) -> Result<Row, DecodeError> {
        Ok(Row::new(Arc::clone(&self.columns), self.read_values(row)?))
    }

    /// The same without the names.
    pub(crate) fn read_values(&self, row: &RowRef<'_>) -> Result<Vec<Value>, DecodeError> {
        self.types.iter().enumerate().map(|(i, ty)| row.value(i, *ty)).collect()
    }
}

/// Reads a row whose columns stand in the table's order into its struct, with nothing in between.
pub(crate) fn read_saved<T: Entity>(row: &RowRef<'_>) -> Result<Saved<T>, DecodeError> {
    let after = 1 + T::definition().columns.len();
    Ok(Saved {
        id: row.text(0)?.to_owned(),
        entity: T::from_row(row, 1)?,
        created_at: row.timestamp(after)?,
        updated_at: row.timestamp(after + 1)?,
        deleted_at: if row.is_null(after + 2)? { None } else { Some(row.timestamp(after + 2)?) },
        version: row.int(after + 3)?,
    })
}

impl Statements {
    /// What `insert_all` and `update_all` take after the row's own parameters:
    /// operation, time, user_id, request_id, data; caller and workspace_id too, where changes are recorded.
    pub(crate) const TRAIL: usize = 7;

    fn new(def: &EntityDef, columns: &[Cow<'static, str>], dialect: &dyn Dialect, records_changes: bool) -> Self {
        let table = quoted(&def.table, dialect);
        let history = quoted(&def.history_table(), dialect);
        let changes = quoted(CHANGES, dialect);
        let id = quoted(ID, dialect);
        let place = |number: usize| {
            let mut text = String::new();
            dialect.placeholder(number, &mut text);
            text
        };
        let places = |from: usize, count: usize| (from..from + count).map(place).collect::<Vec<_>>().join(", ");
        let list = |names: &[&str]| quoted_list(names.iter().copied(), dialect);
        let names: Vec<&str> = columns.iter().map(AsRef::as_ref).collect();

        let select = format!("SELECT {} FROM {table}", list(&names));
        let get = format!("{select} WHERE {id} = {}", place(1));
        let lock = if dialect.backend() == Backend::Sqlite { get.clone() } else { format!("{get} FOR UPDATE") };
        let rows_into = format!("INSERT INTO {table} ({})", list(&names));
        let insert = format!("{rows_into} VALUES ({})", places(1, names.len()));
        // All but the id and created_at, which never change.
        let changing: Vec<&str> = names.iter().copied().filter(|name| *name != ID && *name != CREATED_AT).collect();
        let mut set = String::new();
        for (i, name) in changing.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let _ = write!(set, "{comma}{} = {}", quoted(name, dialect), place(i + 1));
        }
        let id_at = changing.len() + 1;
        let version = quoted(VERSION, dialect);
        let update =
            format!("UPDATE {table} SET {set} WHERE {id} = {} AND {version} = {}", place(id_at), place(id_at + 1));
        let history_into = format!("INSERT INTO {history} ({})", list(&HISTORY_COLUMNS));
        let changes_into = format!("INSERT INTO {changes} ({})", list(&CHANGE_COLUMNS));

        // PostgreSQL: the row's statement, and with it the version and the change, where the row was written.
        // Parameters that are told twice are bound once; behind a SELECT they have no type of their own.
        let with_trail = |row: &str, id_at: usize, version_at: usize, first: usize| {
            let typed = |number: usize, ty: &str| format!("CAST({} AS {ty})", place(number));
            let [id, version] = [typed(id_at, "TEXT"), typed(version_at, "BIGINT")];
            let [operation, time] = [typed(first, "TEXT"), typed(first + 1, "TIMESTAMPTZ")];
            let [user, request, data] = [typed(first + 2, "TEXT"), typed(first + 3, "TEXT"), typed(first + 4, "JSON")];
            let versioned =
                format!("{history_into} SELECT {id}, {version}, {operation}, {time}, {user}, {request}, {data} FROM r");
            if !records_changes {
                return format!("WITH r AS ({row} RETURNING 1) {versioned}");
            }
            let [caller, workspace] = [typed(first + 5, "TEXT"), typed(first + 6, "TEXT")];
            let mut entity = String::new();
            dialect.text_literal(&def.table, &mut entity);
            format!(
                "WITH r AS ({row} RETURNING 1), \
                 h AS ({versioned}) \
                 {changes_into} SELECT {entity}, {id}, {version}, {operation}, {time}, {caller}, {user}, {workspace}, {request} FROM r"
            )
        };
        let is_postgres = dialect.backend() == Backend::Postgres && def.history;
        let history_list = list(&HISTORY_COLUMNS);
        Statements {
            get_living: format!("{get} AND {} IS NULL", quoted(DELETED_AT, dialect)).into(),
            get: get.into(),
            lock: lock.into(),
            insert_all: is_postgres.then(|| with_trail(&insert, 1, names.len(), names.len() + 1)),
            update_all: is_postgres.then(|| with_trail(&update, id_at, changing.len(), id_at + 2)),
            insert,
            update,
            delete: format!("DELETE FROM {table} WHERE {id} = {}", place(1)),
            insert_history: format!("{history_into} VALUES ({})", places(1, HISTORY_COLUMNS.len())),
            insert_change: format!("{changes_into} VALUES ({})", places(1, CHANGE_COLUMNS.len())),
            insert_into: [rows_into, history_into, changes_into],
            history: format!(
                "SELECT {history_list} FROM {history} WHERE {id} = {} ORDER BY {} DESC LIMIT {} OFFSET {}",
                place(1),
                quoted(VERSION, dialect),
                place(2),
                place(3)
            )
            .into(),
            get_version: format!(
                "SELECT {history_list} FROM {history} WHERE {id} = {} AND {} = {}",
                place(1),
                quoted(VERSION, dialect),
                place(2)
            )
            .into(),
            select,
        }
    }
}
