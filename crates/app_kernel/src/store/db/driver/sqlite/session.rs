//! A connection for one operation, and its rows.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql};

use super::super::{DbError, DecodeError, Dialect, OnRow, Value};
use crate::base::clock::{format_timestamp, parse_timestamp};
use crate::store::db::dialect;

pub(crate) struct Session<'a>(&'a mut Connection);

impl<'a> Session<'a> {
    pub(super) fn new(connection: &'a mut Connection) -> Self {
        Session(connection)
    }

    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        &dialect::Sqlite
    }

    pub(crate) async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let touched = statement.execute(rusqlite::params_from_iter(params.iter().map(Bound)))?;
        Ok(touched as u64)
    }

    pub(crate) async fn query(&mut self, sql: &str, params: &[Value], on_row: &mut OnRow<'_>) -> Result<(), DbError> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(params.iter().map(Bound)))?;
        while let Some(row) = rows.next()? {
            on_row(&super::super::RowRef::Sqlite(RowRef(row)))?;
        }
        Ok(())
    }

    pub(crate) fn copy_out(&mut self, copy: &std::path::Path) -> Result<(), DbError> {
        super::copy::copy_out(self.0, copy)
    }

    pub(crate) async fn batch(&mut self, sql: &str) -> Result<(), DbError> {
        Ok(self.0.execute_batch(sql)?)
    }
}

/// A value on its way into a statement.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(b) => ToSqlOutput::Borrowed(ValueRef::Integer((*b).into())),
            Value::Int(n) => ToSqlOutput::Borrowed(ValueRef::Integer(*n)),
            Value::Float(x) => ToSqlOutput::Borrowed(ValueRef::Real(*x)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Value::Timestamp(time) => format_timestamp(*time).into(),
            Value::Date(date) => date.to_string().into(),
            Value::Time(time) => format!("{time:.6}").into(),
            Value::Json(json) => json.to_string().into(),
        })
    }
}

/// A row of SQLite. Dates and times are text here, in a form that sorts as they do.
pub struct RowRef<'a>(&'a rusqlite::Row<'a>);

impl RowRef<'_> {
    fn get(&self, index: usize) -> Result<ValueRef<'_>, DecodeError> {
        self.0.get_ref(index).map_err(|_| self.unfit(index, "is not there"))
    }

    fn unfit(&self, index: usize, problem: impl Into<Cow<'static, str>>) -> DecodeError {
        DecodeError { column: self.name(index).to_owned(), problem: problem.into() }
    }

    fn holds(&self, index: usize, found: ValueRef<'_>, wanted: &str) -> DecodeError {
        self.unfit(index, format!("holds {}, not {wanted}", found.data_type().to_string().to_lowercase()))
    }

    pub(crate) fn is_null(&self, index: usize) -> Result<bool, DecodeError> {
        Ok(matches!(self.get(index)?, ValueRef::Null))
    }

    pub(crate) fn text(&self, index: usize) -> Result<&str, DecodeError> {
        match self.get(index)? {
            ValueRef::Text(text) => std::str::from_utf8(text).map_err(|_| self.unfit(index, "is not UTF-8")),
            other => Err(self.holds(index, other, "text")),
        }
    }

    pub(crate) fn bool(&self, index: usize) -> Result<bool, DecodeError> {
        Ok(self.int(index)? != 0)
    }

    pub(crate) fn int(&self, index: usize) -> Result<i64, DecodeError> {
        match self.get(index)? {
            ValueRef::Integer(n) => Ok(n),
            other => Err(self.holds(index, other, "a whole number")),
        }
    }

    pub(crate) fn float(&self, index: usize) -> Result<f64, DecodeError> {
        match self.get(index)? {
            ValueRef::Real(x) => Ok(x),
            ValueRef::Integer(n) => Ok(n as f64),
            other => Err(self.holds(index, other, "a number")),
        }
    }

    pub(crate) fn timestamp(&self, index: usize) -> Result<Timestamp, DecodeError> {
        parse_timestamp(self.text(index)?).ok_or_else(|| self.unfit(index, "is not a time"))
    }

    pub(crate) fn date(&self, index: usize) -> Result<Date, DecodeError> {
        self.text(index)?.parse().map_err(|_| self.unfit(index, "is not a day"))
    }

    pub(crate) fn time(&self, index: usize) -> Result<Time, DecodeError> {
        self.text(index)?.parse().map_err(|_| self.unfit(index, "is not a time of day"))
    }

    pub(crate) fn bytes(&self, index: usize) -> Result<&[u8], DecodeError> {
        match self.get(index)? {
            ValueRef::Blob(bytes) => Ok(bytes),
            other => Err(self.holds(index, other, "bytes")),
        }
    }

    pub(crate) fn any(&self, index: usize) -> Result<Value, DecodeError> {
        Ok(match self.get(index)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(n) => Value::Int(n),
            ValueRef::Real(x) => Value::Float(x),
            ValueRef::Text(_) => Value::Text(self.text(index)?.to_owned()),
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().column_count()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        self.0.as_ref().column_name(index).unwrap_or("?")
    }
}
