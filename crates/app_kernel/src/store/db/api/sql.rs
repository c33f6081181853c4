//! Raw statements in the making: text and parameters side by side, in the language of [`Db::execute`], with the database's own time.

use std::time::Duration;

use super::raw::{Execute, Query};
use crate::base::clock::Timestamp;
use crate::store::db::Db;
use crate::store::db::dialect::Dialect;
use crate::store::db::value::Value;

/// A statement, or a part of one.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    dialect: &'static dyn Dialect,
    text: String,
    params: Vec<Value>,
}

impl Db {
    /// A statement that begins so.
    pub(crate) fn sql(&self, text: impl Into<String>) -> Sql {
        Sql { dialect: self.shared.driver.dialect(), text: text.into(), params: Vec::new() }
    }
}

impl Sql {
    /// More text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// A parameter.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.text.push('?');
        self.params.push(value.into());
        self
    }

    /// Another part.
    pub(crate) fn part(mut self, part: Sql) -> Self {
        self.text.push_str(&part.text);
        self.params.extend(part.params);
        self
    }

    /// The database's own time.
    pub(crate) fn now(self) -> Self {
        let now = self.dialect.now();
        self.text(now)
    }

    /// The database's own time, so much later.
    pub(crate) fn later(mut self, by: Duration) -> Self {
        self.text.push_str(self.dialect.later());
        self.params.push(Value::Int(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)));
        self
    }

    /// A time that is given, or the database's own.
    pub(crate) fn time(self, time: Option<Timestamp>) -> Self {
        match time {
            Some(time) => self.bind(time),
            None => self.now(),
        }
    }

    /// `(a, b, c)`, for IN. The last is repeated up to a power of two, so that there are few statements to prepare.
    pub(crate) fn list<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        let before = self.params.len();
        self.params.extend(values.into_iter().map(Into::into));
        let count = self.params.len() - before;
        if let Some(last) = self.params[before..].last().cloned() {
            self.params.extend(std::iter::repeat_n(last, count.next_power_of_two() - count));
        }
        self.text.push('(');
        self.text.push_str(&vec!["?"; self.params.len() - before].join(", "));
        self.text.push(')');
        self
    }

    /// Runs it and answers how many rows it touched.
    pub(crate) fn execute(self, db: &Db) -> Execute {
        db.execute(self.text, self.params)
    }

    /// Runs it and answers rows.
    pub(crate) fn query(self, db: &Db) -> Query {
        db.query(self.text, self.params)
    }

    /// The same for one that changes something.
    pub(crate) fn query_changing(self, db: &Db) -> Query {
        db.query_changing(self.text, self.params)
    }
}
