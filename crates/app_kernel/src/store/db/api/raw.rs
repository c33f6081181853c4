//! Raw SQL, the way out of the store's own language: the same values, the same transaction. `[name]` becomes a quoted name and `?` a parameter;
//! the rest is the database's own dialect. `??` is a question mark. A handle of one workspace refuses it.

use std::borrow::Cow;
use std::future::IntoFuture;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::params::Params;
use crate::base::error::{Error, Result};
use crate::store::db::Db;
use crate::store::db::dialect::{Backend, Dialect};
use crate::store::db::driver::RowRef;
use crate::store::db::entity::is_valid_name;
use crate::store::db::ops::read;
use crate::store::db::row::{DecodeError, Row};
use crate::store::db::value::Value;

impl Db {
    /// Runs a raw statement that changes something and answers how many rows it touched. No version and no change record is written for them.
    pub fn execute(&self, sql: impl AsRef<str>, params: impl Params) -> Execute {
        Execute { db: self.clone(), sql: self.translated(sql.as_ref()), params: params.into_values() }
    }

    /// Runs a raw query. Columns are what the database says they are: on SQLite, times and truth values are texts and numbers.
    pub fn query(&self, sql: impl AsRef<str>, params: impl Params) -> Query {
        Query { db: self.clone(), sql: self.translated(sql.as_ref()), params: params.into_values(), writes: false }
    }

    /// Runs one raw statement that changes something and answers rows: `INSERT`, `UPDATE` or `DELETE` with `RETURNING`, which MySQL has not.
    pub(crate) fn query_changing(&self, sql: impl AsRef<str>, params: impl Params) -> Query {
        Query { writes: true, ..self.query(sql, params) }
    }

    fn translated(&self, sql: &str) -> Arc<str> {
        translate(sql, self.shared.driver.dialect()).into()
    }
}

/// A raw statement; see [`Db::execute`].
#[derive(Debug)]
#[must_use = "nothing is done until it is awaited"]
pub struct Execute {
    db: Db,
    sql: Arc<str>,
    params: Vec<Value>,
}

impl IntoFuture for Execute {
    type Output = Result<u64>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.db.refuse_in_workspace("raw SQL")?;
            check_statement(&self.sql, self.db.backend())?;
            self.db.write(read::Execute { sql: self.sql, params: self.params }).await
        })
    }
}

/// A raw query; see [`Db::query`].
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct Query {
    db: Db,
    sql: Arc<str>,
    params: Vec<Value>,
    writes: bool,
}

impl IntoFuture for Query {
    type Output = Result<Vec<Row>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.db.refuse_in_workspace("raw SQL")?;
            check_statement(&self.sql, self.db.backend())?;
            let select = read::Select { sql: self.sql, params: self.params, read: read_any };
            let rows = if self.writes { self.db.write(select).await? } else { self.db.read(select).await? };
            let columns: Arc<[Cow<'static, str>]> =
                rows.first().map(|(names, _)| names.clone()).unwrap_or_default().into();
            Ok(rows.into_iter().map(|(_, values)| Row::new(Arc::clone(&columns), values)).collect())
        })
    }
}

/// The names of the columns, and what they hold.
fn read_any(row: &RowRef<'_>) -> Result<(Vec<Cow<'static, str>>, Vec<Value>), DecodeError> {
    let names = (0..row.len()).map(|i| Cow::Owned(row.name(i).to_owned())).collect();
    let values = (0..row.len()).map(|i| row.any(i)).collect::<Result<_, _>>()?;
    Ok((names, values))
}

/// Refuses what would begin or end a transaction behind the store's back.
fn check_statement(sql: &str, backend: Backend) -> Result<()> {
    const CONTROL: [&str; 8] = ["begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"];
    let mut rest = sql.trim_start();
    while rest.starts_with("--") || rest.starts_with("/*") {
        rest = rest[opaque_length(rest, backend)..].trim_start();
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    if CONTROL.iter().any(|control| control.eq_ignore_ascii_case(&word)) {
        return Err(Error::internal(format!("raw SQL must not {}; use db.transaction(..)", word.to_uppercase())));
    }
    Ok(())
}

/// Writes `[name]` and `?` as the database wants them, outside of literals, quoted names and comments.
fn translate(sql: &str, dialect: &dyn Dialect) -> String {
    let mut text = String::with_capacity(sql.len() + 16);
    let mut number = 0;
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let opaque = opaque_length(rest, dialect.backend());
        if opaque > 0 {
            text.push_str(&rest[..opaque]);
            rest = &rest[opaque..];
        } else if let Some(after) = rest.strip_prefix("??") {
            text.push('?');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('?') {
            number += 1;
            dialect.placeholder(number, &mut text);
            rest = after;
        } else if let Some((name, after)) = bracketed(rest) {
            dialect.quote(name, &mut text);
            rest = after;
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    text
}

fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.strip_prefix('[')?.split_once(']')?;
    is_valid_name(name).then_some((name, after))
}

/// How many bytes from here are a literal, a quoted name or a comment; 0 for none.
fn opaque_length(text: &str, backend: Backend) -> usize {
    let until = |end: &str, from: usize| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    match text.as_bytes() {
        [quote @ (b'\'' | b'"' | b'`'), ..] => {
            let escapes = backend == Backend::MySql;
            let mut bytes = text.bytes().enumerate().skip(1);
            while let Some((at, byte)) = bytes.next() {
                if byte == b'\\' && escapes {
                    bytes.next();
                } else if byte == *quote {
                    return at + 1;
                }
            }
            text.len()
        }
        [b'-', b'-', ..] => until("\n", 2),
        [b'/', b'*', ..] => until("*/", 2),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::dialect::{MySql, Postgres, Sqlite};

    #[test]
    fn names_and_parameters_are_translated_outside_of_literals_only() {
        let sql = "SELECT [name], '[x] ?''', \"[y]?\" -- [z] ?\nFROM [widgets] WHERE [size] > ? AND tags ?? 'a' AND a[1] = ? /* ? */";
        assert_eq!(
            translate(sql, &Postgres),
            "SELECT \"name\", '[x] ?''', \"[y]?\" -- [z] ?\nFROM \"widgets\" WHERE \"size\" > $1 AND tags ? 'a' AND a[1] = $2 /* ? */"
        );
        assert_eq!(
            translate("[a] = ? AND [b] = 'it\\'s ?' AND [c] = ?", &MySql),
            "`a` = ? AND `b` = 'it\\'s ?' AND `c` = ?"
        );
        assert_eq!(translate("[a] = '\\' AND [b] = ?", &Sqlite), "\"a\" = '\\' AND \"b\" = ?1");
    }

    #[test]
    fn transactions_are_not_begun_or_ended_by_raw_sql() {
        for sql in ["BEGIN", " commit;", "-- x\n ROLLBACK", "/* */ savepoint a", "START TRANSACTION"] {
            assert!(check_statement(sql, Backend::Postgres).is_err(), "{sql}");
        }
        for sql in ["SELECT 1", "UPDATE x SET begin = 1", "beginning", "(SELECT 1)"] {
            assert!(check_statement(sql, Backend::Postgres).is_ok(), "{sql}");
        }
    }
}
