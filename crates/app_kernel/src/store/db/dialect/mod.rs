//! How the three databases write the same thing. Text only: nothing here talks to a server.

pub(crate) mod ddl;
pub(crate) mod literal;
#[cfg(any(feature = "mysql", test))]
mod mysql;
#[cfg(any(feature = "postgres", test))]
mod postgres;
#[cfg(any(feature = "sqlite", test))]
mod sqlite;

#[cfg(any(feature = "mysql", test))]
pub(crate) use mysql::MySql;
#[cfg(any(feature = "postgres", test))]
pub(crate) use postgres::Postgres;
#[cfg(any(feature = "sqlite", test))]
pub(crate) use sqlite::Sqlite;

use super::value::ColumnType;

/// Which database a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// SQLite, in the process.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

impl Backend {
    /// Its name, as in URLs and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Sqlite => "sqlite",
            Backend::Postgres => "postgres",
            Backend::MySql => "mysql",
        }
    }
}

/// Pure functions from meaning to the text of one database.
pub(crate) trait Dialect: std::fmt::Debug + Send + Sync {
    /// Which database this is.
    fn backend(&self) -> Backend;

    /// Writes a name in quotes. Names hold letters, digits and underscores only, so nothing needs escaping.
    fn quote(&self, name: &str, sql: &mut String);

    /// Writes the place of parameter `number`, from 1.
    fn placeholder(&self, number: usize, sql: &mut String);

    /// The column type; `indexed` where the column is part of a key.
    fn column_type(&self, ty: ColumnType, indexed: bool) -> String;

    /// What a column of this type in the catalogue holds, where the kernel can hold it: the way back from [`Dialect::column_type`].
    fn meaning_of(&self, sql_type: &str) -> Option<ColumnType>;

    /// Writes a text as a literal, safely.
    fn text_literal(&self, text: &str, sql: &mut String);

    /// Writes true or false as a literal.
    fn bool_literal(&self, value: bool, sql: &mut String);

    /// What follows a LIKE pattern so that a backslash escapes.
    fn like_escape(&self) -> &'static str;

    /// Lower or upper case of the letters A to Z and no others, around an expression.
    fn ascii_case(&self, upper: bool, argument: &str) -> String;

    /// The number of characters of a text, around an expression.
    fn length(&self, argument: &str) -> String;

    /// The database's own time, fixed for the length of a statement, so that an index can be searched by it.
    fn now(&self) -> &'static str;

    /// The same, so many microseconds later: the place of a parameter stands as `?`.
    fn later(&self) -> &'static str;

    /// One term of ORDER BY over a quoted column, with nulls where they are wanted.
    fn order_term(&self, column: &str, descending: bool, nulls_first: bool) -> String;
}
