//! Saving and deleting. A save merges: what is given changes, the rest stays.

use std::sync::Arc;

use super::entry::{Entry, How, Stamp, insert_many};
use crate::base::clock::Timestamp;
use crate::base::error::Error;
use crate::base::id::new_id;
use crate::store::db::dialect::{Backend, Dialect, ddl::quoted};
use crate::store::db::driver::{Follows, Operation, Session};
use crate::store::db::entity::{DELETED_AT, IndexDef};
use crate::store::db::error::DbError;
use crate::store::db::history;
use crate::store::db::schema::constraint_name;
use crate::store::db::table::Table;
use crate::store::db::value::Value;
use crate::store::db::workspace::{Scope, no_such_row};

/// A row that needs no look before it is written: a new one, or one whose version is known. Answers whether it was as expected.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) table: Arc<Table>,
    pub(crate) entry: Entry,
}

impl Operation for Write {
    type Output = bool;

    fn leaves_changes(&self) -> bool {
        self.table.records_changes
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<bool, DbError> {
        self.entry.write(&self.table, session, Follows::Nothing).await
    }

    fn is_one_statement(&self, backend: Backend) -> bool {
        self.entry.is_one_statement(&self.table, backend)
    }
}

/// Which row a save is about.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A new one.
    New,
    /// The one of this id, or a new one with it.
    Id(String),
    /// The living one that has the same values in these own columns (by position), or a new one.
    MatchBy(Vec<usize>),
}

/// A save of a row that may be there already.
#[derive(Debug, Clone)]
pub(crate) struct Save {
    pub(crate) table: Arc<Table>,
    pub(crate) target: Target,
    /// The own columns that are given, in the table's order; checked already.
    pub(crate) given: Vec<Option<Value>>,
    /// The version that was read and when the row was made, where all columns are given and the row lived.
    pub(crate) living: Option<(i64, Timestamp)>,
    pub(crate) if_version: Option<i64>,
    /// The workspace that the row must be in; what is given says it already.
    pub(crate) scope: Option<Scope>,
    pub(crate) stamp: Stamp,
}

impl Save {
    /// The whole new row, where nothing of it is there yet.
    fn new_row(&self, given: Vec<Option<Value>>) -> Result<Vec<Value>, Error> {
        let id = match &self.target {
            Target::Id(id) => id.clone(),
            Target::New | Target::MatchBy(_) => new_id(),
        };
        let mut missing = Vec::new();
        let mut row = Vec::with_capacity(given.len() + 5);
        row.push(Value::Text(id));
        for (column, given) in self.table.def.columns.iter().zip(given) {
            match (given, &column.default) {
                (Some(value), _) => row.push(value),
                (None, Some(value)) => row.push(value.clone()),
                (None, None) if column.nullable => row.push(Value::Null),
                (None, None) => missing.push(&column.name),
            }
        }
        if !missing.is_empty() {
            let error = Error::invalid("a required field is missing");
            return Err(missing.iter().fold(error, |error, name| error.field(format!("/{name}"), "is required")));
        }
        let now = Value::Timestamp(self.stamp.at);
        row.extend([now.clone(), now, Value::Null, Value::Int(1)]);
        Ok(row)
    }

    /// The whole row as it will be, where that is known without looking: a new one, or one whose last version was read.
    /// A new one takes the values with it, for it can't turn out to be another.
    pub(crate) fn row_without_a_look(&mut self) -> Result<Option<(How, Vec<Value>)>, Error> {
        match (&self.target, self.living) {
            (Target::New, _) if self.if_version.is_none() => {
                let given = std::mem::take(&mut self.given);
                self.new_row(given).map(|row| Some((How::Insert, row)))
            }
            // Whose row it is, only a look can tell.
            (Target::Id(id), Some((version, created_at)))
                if self.scope.is_none() && self.if_version.is_none_or(|wanted| wanted == version) =>
            {
                let own = self.given.iter().flatten().cloned();
                let now = Value::Timestamp(self.stamp.at);
                let after = [Value::Timestamp(created_at), now, Value::Null, Value::Int(version + 1)];
                Ok(Some((How::Update, [Value::from(id)].into_iter().chain(own).chain(after).collect())))
            }
            _ => Ok(None),
        }
    }

    /// The row as it will be, from the row as it is.
    fn merge(&self, mut row: Vec<Value>) -> Result<Vec<Value>, Error> {
        let last = row.len() - 1;
        let version = row[last].as_int().unwrap_or(0);
        if !row[last - 1].is_null() {
            return Err(Error::conflict("it was deleted").code("deleted"));
        }
        check_version(self.if_version, version)?;
        take_given(&mut row, &self.given);
        row[last - 2] = Value::Timestamp(self.stamp.at);
        row[last] = Value::Int(version + 1);
        Ok(row)
    }

    async fn find_and_lock(&self, session: &mut Session<'_>) -> Result<Option<Vec<Value>>, DbError> {
        let table = &self.table;
        match &self.target {
            Target::New => Ok(None),
            Target::Id(id) => lock(table, id, session).await,
            Target::MatchBy(columns) => {
                let (sql, params) = (self.matching_sql(columns, session.dialect()), self.matching_values(columns)?);
                Ok(session.query(&sql, &params, |row| table.read_values(row)).await?.into_iter().next())
            }
        }
    }

    fn matching_sql(&self, columns: &[usize], dialect: &dyn Dialect) -> String {
        let mut sql = format!("{} WHERE {} IS NULL", self.table.sql.select, quoted(DELETED_AT, dialect));
        for (number, column) in columns.iter().enumerate() {
            sql.extend([" AND ", &quoted(&self.table.def.columns[*column].name, dialect), " = "]);
            dialect.placeholder(number + 1, &mut sql);
        }
        if dialect.backend() != Backend::Sqlite {
            sql.push_str(" FOR UPDATE");
        }
        sql
    }

    fn matching_values(&self, columns: &[usize]) -> Result<Vec<Value>, Error> {
        let value = |column: &usize| match &self.given[*column] {
            Some(value) if !value.is_null() => Ok(value.clone()),
            _ => Err(Error::invalid("a row can only be matched by values that are given")
                .field(format!("/{}", self.table.def.columns[*column].name), "is required")),
        };
        columns.iter().map(value).collect()
    }

    /// Whether the database refused the row because somebody else made the same one meanwhile: then it can be updated instead.
    fn was_made_meanwhile(&self, constraint: &str) -> bool {
        let table = &self.table.def.table;
        match &self.target {
            Target::New => false,
            // The key of the row, or of its first version: PostgreSQL may write that one first.
            Target::Id(_) => ["", "_history"]
                .iter()
                .any(|suffix| constraint == "id" || constraint.starts_with(&format!("{table}{suffix}.id"))),
            Target::MatchBy(columns) => {
                let names: Vec<&str> =
                    columns.iter().map(|column| self.table.def.columns[*column].name.as_ref()).collect();
                constraint.ends_with(&constraint_name("uq", table, &names.join("+")))
            }
        }
    }

    async fn save(&self, session: &mut Session<'_>, follows: Follows) -> Result<Vec<Value>, DbError> {
        let backend = session.dialect().backend();
        let found = self.find_and_lock(session).await?;
        check_scope(self.scope.as_ref(), found.as_deref())?;
        let is_new = found.is_none();
        let (how, operation, row) = match found {
            Some(row) => (How::Update, history::Operation::Updated, self.merge(row)?),
            None if self.if_version.is_some() => return Err(no_such_row().into()),
            None => (How::Insert, history::Operation::Created, self.new_row(self.given.clone())?),
        };
        let stamp = Stamp { operation, ..self.stamp.clone() };
        let entry = Entry::new(&self.table, backend, how, row.clone(), &stamp);
        match entry.write(&self.table, session, follows).await {
            Err(DbError::Duplicate { constraint }) if is_new && self.was_made_meanwhile(&constraint) => {
                Err(DbError::TryAgain(format!("{constraint} was taken meanwhile").into()))
            }
            // It is locked, so only another way into the table can have changed it.
            Ok(false) => Err(DbError::TryAgain("the row changed while it was locked".into())),
            Ok(true) => Ok(row),
            Err(error) => Err(error),
        }
    }
}

impl Operation for Save {
    type Output = Vec<Value>;

    fn leaves_changes(&self) -> bool {
        self.table.records_changes
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<Value>, DbError> {
        self.save(session, Follows::Nothing).await
    }
}

/// Several saves, all or none.
#[derive(Debug)]
pub(crate) struct SaveMany(pub(crate) Vec<Save>);

impl Operation for SaveMany {
    type Output = Vec<Vec<Value>>;

    fn leaves_changes(&self) -> bool {
        self.0.iter().any(|save| save.table.records_changes)
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<Vec<Value>>, DbError> {
        let is_new = |save: &Save| matches!(save.target, Target::New) && save.if_version.is_none();
        if let [first, ..] = self.0.as_slice()
            && session.dialect().backend() != Backend::Sqlite
            && self.0.iter().all(is_new)
        {
            let rows: Vec<_> = self.0.iter().map(|save| save.new_row(save.given.clone())).collect::<Result<_, _>>()?;
            let stamp = Stamp { operation: history::Operation::Created, ..first.stamp.clone() };
            insert_many(&first.table, session, rows.clone(), &stamp).await?;
            return Ok(rows);
        }
        let mut rows = Vec::with_capacity(self.0.len());
        for save in &self.0 {
            rows.push(save.save(session, Follows::More).await?);
        }
        Ok(rows)
    }
}

/// A deletion: soft, or for good.
#[derive(Debug, Clone)]
pub(crate) struct Delete {
    pub(crate) table: Arc<Table>,
    pub(crate) ids: Vec<String>,
    pub(crate) permanent: bool,
    pub(crate) if_version: Option<i64>,
    /// The workspace that the rows must be in.
    pub(crate) scope: Option<Scope>,
    pub(crate) stamp: Stamp,
}

impl Delete {
    async fn delete(&self, id: &str, session: &mut Session<'_>) -> Result<bool, DbError> {
        let table = &self.table;
        let is_ours = |row: &Vec<Value>| self.scope.as_ref().is_none_or(|scope| scope.holds(row));
        let Some(mut row) = lock(table, id, session).await?.filter(is_ours) else { return Ok(false) };
        let last = row.len() - 1;
        let version = row[last].as_int().unwrap_or(0);
        let is_deleted = !row[last - 1].is_null();
        if is_deleted && !self.permanent {
            return Ok(false);
        }
        check_version(self.if_version, version)?;
        row[last] = Value::Int(version + 1);
        let now = Value::Timestamp(self.stamp.at);
        row[last - 2] = now.clone();
        row[last - 1] = now;
        let how = if self.permanent { How::Delete } else { How::Update };
        let entry = Entry::new(table, session.dialect().backend(), how, row, &self.stamp);
        entry.write(table, session, Follows::More).await
    }
}

impl Operation for Delete {
    type Output = u64;

    fn leaves_changes(&self) -> bool {
        self.table.records_changes
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<u64, DbError> {
        let mut deleted = 0;
        for id in &self.ids {
            deleted += u64::from(self.delete(id, session).await?);
        }
        Ok(deleted)
    }
}

/// A version of the past as the next one: its content, whether the row lives or was softly deleted.
#[derive(Debug, Clone)]
pub(crate) struct Revive {
    pub(crate) table: Arc<Table>,
    pub(crate) id: String,
    /// The own columns as they were, in the table's order; what the history does not tell stays as it is.
    pub(crate) given: Vec<Option<Value>>,
    /// The workspace that the row must be in.
    pub(crate) scope: Option<Scope>,
    pub(crate) stamp: Stamp,
}

impl Operation for Revive {
    type Output = Vec<Value>;

    fn leaves_changes(&self) -> bool {
        self.table.records_changes
    }

    async fn run(&self, session: &mut Session<'_>) -> Result<Vec<Value>, DbError> {
        let table = &self.table;
        let gone = || Error::not_found("it was deleted for good; only its history is left");
        let mut row = lock(table, &self.id, session).await?.ok_or_else(gone)?;
        check_scope(self.scope.as_ref(), Some(&row))?;
        let last = row.len() - 1;
        take_given(&mut row, &self.given);
        row[last - 2] = Value::Timestamp(self.stamp.at);
        row[last - 1] = Value::Null;
        row[last] = Value::Int(row[last].as_int().unwrap_or(0) + 1);
        let entry = Entry::new(table, session.dialect().backend(), How::Update, row.clone(), &self.stamp);
        // The row is locked, so it is as it was read.
        if entry.write(table, session, Follows::Nothing).await? { Ok(row) } else { Err(gone().into()) }
    }
}

/// The row of this id, which nobody else may change until the transaction ends.
async fn lock(table: &Table, id: &str, session: &mut Session<'_>) -> Result<Option<Vec<Value>>, DbError> {
    let rows = session.query(&table.sql.lock, &[Value::from(id)], |row| table.read_values(row)).await?;
    Ok(rows.into_iter().next())
}

/// Writes what is given into the own columns of a row.
fn take_given(row: &mut [Value], given: &[Option<Value>]) {
    for (slot, given) in row[1..].iter_mut().zip(given) {
        if let Some(value) = given {
            slot.clone_from(value);
        }
    }
}

/// A row of another workspace is as good as none, but its id can't be had.
fn check_scope(scope: Option<&Scope>, row: Option<&[Value]>) -> Result<(), Error> {
    match (scope, row) {
        (Some(scope), Some(row)) if !scope.holds(row) => Err(no_such_row()),
        _ => Ok(()),
    }
}

fn check_version(wanted: Option<i64>, found: i64) -> Result<(), Error> {
    match wanted {
        Some(wanted) if wanted != found => Err(Error::conflict(format!(
            "it was changed meanwhile: its version is {found}, not {wanted}; read it again and repeat the change"
        ))
        .code("version_conflict")),
        _ => Ok(()),
    }
}

/// Finds the unique index over exactly these columns, which matching needs to be safe in parallel. `within` is a column that must be among
/// them, and need not be named.
pub(crate) fn match_columns(table: &Table, within: Option<&str>, names: &[&str]) -> Result<Vec<usize>, Error> {
    let unnamed = within.filter(|within| !names.contains(within));
    let is_over_the_others = |index: &&IndexDef| {
        let others = index.columns.iter().map(AsRef::as_ref).filter(|column| Some(*column) != unnamed);
        index.unique && index.columns.len() > names.len() && others.eq(names.iter().copied())
    };
    if let Some(within) = unnamed {
        let Some(index) = table.def.indexes.iter().find(is_over_the_others) else {
            return Err(Error::invalid(format!(
                "matching `{}` by {} in a workspace needs a unique index over {within} and these columns",
                table.def.table,
                names.join(", ")
            )));
        };
        let names: Vec<&str> = index.columns.iter().map(AsRef::as_ref).collect();
        return match_columns(table, None, &names);
    }
    let position = |name: &&str| {
        table
            .def
            .columns
            .iter()
            .position(|column| column.name == *name)
            .ok_or_else(|| Error::invalid(format!("`{}` has no column `{name}` to match by", table.def.table)))
    };
    let columns: Vec<usize> = names.iter().map(position).collect::<Result<_, _>>()?;
    let is_over = |index: &IndexDef| index.unique && index.columns.iter().map(AsRef::as_ref).eq(names.iter().copied());
    let is_unique = match columns[..] {
        [only] => table.def.columns[only].unique || table.def.indexes.iter().any(is_over),
        _ => table.def.indexes.iter().any(is_over),
    };
    if !is_unique {
        return Err(Error::invalid(format!(
            "matching `{}` by {} needs a unique index over exactly these columns, in this order",
            table.def.table,
            names.join(", ")
        )));
    }
    Ok(columns)
}
