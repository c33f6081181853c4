//! The found schema: what the database's own catalogue says is there. A constant number of queries, however many tables there are.

use std::collections::{BTreeMap, BTreeSet};

use super::DbResult;
use super::dialect::Backend;
use super::driver::{RowRef, Session};
use super::table_text::{Definition, Kind, definitions};
use super::value::Value;

/// Tables by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) tables: BTreeMap<String, FoundTable>,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FoundTable {
    /// In their order.
    pub(crate) columns: Vec<FoundColumn>,
    pub(crate) primary_key: Vec<String>,
    /// By name, unique ones too; without the primary key.
    pub(crate) indexes: BTreeMap<String, FoundIndex>,
    /// The names of checks.
    pub(crate) checks: BTreeSet<String>,
    /// By name.
    pub(crate) foreign_keys: BTreeMap<String, FoundKey>,
    /// How many rows there are, as the database guesses; SQLite does not.
    pub(crate) rows: Option<u64>,
    /// SQLite: the definitions in the table's own text.
    pub(crate) definitions: Vec<Definition>,
    /// SQLite: the statements that made its triggers.
    pub(crate) triggers: Vec<String>,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundColumn {
    pub(crate) name: String,
    /// In the database's own words, in lower case; on MySQL with its comment.
    pub(crate) sql_type: String,
    pub(crate) nullable: bool,
    /// In the database's own words, which are not those it was given.
    pub(crate) default: Option<String>,
    /// Worked out from other columns.
    pub(crate) generated: bool,
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundIndex {
    /// In their order; an expression has no name.
    pub(crate) columns: Vec<String>,
    pub(crate) unique: bool,
    /// Over some of the rows only.
    pub(crate) partial: bool,
    pub(crate) state: IndexState,
    /// SQLite: the statement that made it.
    pub(crate) sql: Option<String>,
}

/// PostgreSQL makes indexes while others write; one whose making was cut off stays, and is good for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexState {
    Ready,
    /// Somebody is making it.
    Building,
    Broken,
}

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundKey {
    pub(crate) column: String,
    /// The table that it points to.
    pub(crate) target: String,
}

impl FoundTable {
    pub(crate) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Reads the catalogue: of one table, or of all.
pub(crate) async fn inspect(session: &mut Session<'_>, only: Option<&str>) -> DbResult<Found> {
    let backend = session.dialect().backend();
    let only = Value::from(only.unwrap_or_default());
    let mut found = Found::default();
    for question in questions(backend) {
        // MySQL's places have no numbers, so the name is told once for each.
        let places = if backend == Backend::MySql { question.sql.matches('?').count() } else { 1 };
        let params = vec![only.clone(); places];
        match question.about {
            About::Columns => {
                for (table, column, key) in session.query(question.sql, &params, read_column).await? {
                    let table = found.tables.entry(table).or_default();
                    if key {
                        table.primary_key.push(column.name.clone());
                    }
                    table.columns.push(column);
                }
            }
            // A table that came to be between two questions is not there yet.
            About::Indexes => {
                for (table, name, index, is_key) in session.query(question.sql, &params, read_index).await? {
                    let Some(table) = found.tables.get_mut(&table) else { continue };
                    if is_key {
                        table.primary_key.extend(index.columns.into_iter().filter(|_| backend != Backend::Sqlite));
                    } else if let Some(known) = table.indexes.get_mut(&name) {
                        known.columns.extend(index.columns);
                    } else {
                        table.indexes.insert(name, index);
                    }
                }
            }
            About::Constraints => {
                for (table, name, key) in session.query(question.sql, &params, read_constraint).await? {
                    let Some(table) = found.tables.get_mut(&table) else { continue };
                    match key {
                        Some(key) => drop(table.foreign_keys.insert(name, key)),
                        None => drop(table.checks.insert(name)),
                    }
                }
            }
            About::Rows => {
                let read = |row: &RowRef<'_>| Ok((row.text(0)?.to_owned(), row.int(1)?));
                for (table, rows) in session.query(question.sql, &params, read).await? {
                    let Some(table) = found.tables.get_mut(&table) else { continue };
                    table.rows = u64::try_from(rows).ok();
                }
            }
            About::Texts => {
                let text = |row: &RowRef<'_>, index| row.text(index).map(str::to_owned);
                let read = |row: &RowRef<'_>| Ok((text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?));
                for (table, ty, name, sql) in session.query(question.sql, &params, read).await? {
                    let Some(table) = found.tables.get_mut(&table) else { continue };
                    table.take_text(&ty, &name, sql);
                }
            }
        }
    }
    Ok(found)
}

impl FoundTable {
    fn take_text(&mut self, ty: &str, name: &str, sql: String) {
        match ty {
            "table" => {
                self.definitions = definitions(&sql);
                for definition in self.definitions.iter().filter(|definition| !definition.name.is_empty()) {
                    match &definition.kind {
                        Kind::Check => drop(self.checks.insert(definition.name.clone())),
                        Kind::ForeignKey { column, target } => {
                            let key = FoundKey { column: column.clone(), target: target.clone() };
                            self.foreign_keys.insert(definition.name.clone(), key);
                        }
                        Kind::Column | Kind::PrimaryKey | Kind::Other => {}
                    }
                }
            }
            "index" => {
                if let Some(index) = self.indexes.get_mut(name) {
                    index.sql = Some(sql);
                }
            }
            _ => self.triggers.push(sql),
        }
    }
}

type Decoded<T> = Result<T, super::row::DecodeError>;

fn read_column(row: &RowRef<'_>) -> Decoded<(String, FoundColumn, bool)> {
    let column = FoundColumn {
        name: row.text(1)?.to_owned(),
        sql_type: row.text(2)?.to_lowercase(),
        nullable: row.int(3)? != 0,
        default: if row.is_null(4)? { None } else { Some(row.text(4)?.to_owned()) },
        generated: row.int(5)? != 0,
    };
    Ok((row.text(0)?.to_owned(), column, row.int(6)? != 0))
}

fn read_index(row: &RowRef<'_>) -> Decoded<(String, String, FoundIndex, bool)> {
    let index = FoundIndex {
        unique: row.int(2)? != 0,
        partial: row.int(3)? != 0,
        state: match row.int(4)? {
            0 => IndexState::Ready,
            1 => IndexState::Building,
            _ => IndexState::Broken,
        },
        columns: vec![row.text(6)?.to_owned()],
        sql: None,
    };
    Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), index, row.int(5)? != 0))
}

fn read_constraint(row: &RowRef<'_>) -> Decoded<(String, String, Option<FoundKey>)> {
    let key = FoundKey { column: row.text(3)?.to_owned(), target: row.text(4)?.to_owned() };
    Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned(), (row.text(2)? == "f").then_some(key)))
}

/// What a question is about, and so what its rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// Table, column, type, nullable, default, generated, part of the primary key.
    Columns,
    /// Table, index, unique, partial, state, primary key, column; a row for each column.
    Indexes,
    /// Table, name, `c` or `f`, column, target.
    Constraints,
    /// Table, rows.
    Rows,
    /// SQLite: table, type, name, text.
    Texts,
}

struct Question {
    about: About,
    sql: &'static str,
}

/// The questions in their order. The parameter is a table's name, or "" for all.
fn questions(backend: Backend) -> &'static [Question] {
    match backend {
        Backend::Sqlite => SQLITE,
        Backend::Postgres => POSTGRES,
        Backend::MySql => MYSQL,
    }
}

const SQLITE: &[Question] = &[
    Question {
        about: About::Columns,
        sql: "SELECT m.name, c.name, c.type, c.\"notnull\" = 0, c.dflt_value, c.hidden > 0, c.pk > 0 \
              FROM sqlite_schema m JOIN pragma_table_xinfo(m.name) c \
              WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND (?1 = '' OR m.name = ?1) ORDER BY m.name, c.cid",
    },
    Question {
        about: About::Indexes,
        sql: "SELECT m.name, l.name, l.\"unique\", l.partial, 0, l.origin = 'pk', COALESCE(i.name, '') \
              FROM sqlite_schema m JOIN pragma_index_list(m.name) l JOIN pragma_index_info(l.name) i \
              WHERE m.type = 'table' AND (?1 = '' OR m.name = ?1) ORDER BY m.name, l.name, i.seqno",
    },
    Question {
        about: About::Texts,
        sql: "SELECT tbl_name, type, name, sql FROM sqlite_schema \
              WHERE type IN ('table', 'index', 'trigger') AND sql IS NOT NULL AND (?1 = '' OR tbl_name = ?1) ORDER BY rowid",
    },
];

const POSTGRES: &[Question] = &[
    Question {
        about: About::Columns,
        sql: "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 0 ELSE 1 END, \
                     CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END, CASE WHEN a.attgenerated = '' THEN 0 ELSE 1 END, 0 \
              FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
              WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped \
                AND ($1::text = '' OR c.relname = $1::text) ORDER BY c.relname, a.attnum",
    },
    Question {
        about: About::Indexes,
        sql: "SELECT t.relname::text, i.relname::text, CASE WHEN x.indisunique THEN 1 ELSE 0 END, CASE WHEN x.indpred IS NULL THEN 0 ELSE 1 END, \
                     CASE WHEN x.indisvalid THEN 0 WHEN EXISTS (SELECT 1 FROM pg_stat_progress_create_index p WHERE p.index_relid = x.indexrelid) \
                          THEN 1 ELSE 2 END, \
                     CASE WHEN x.indisprimary THEN 1 ELSE 0 END, COALESCE(a.attname::text, '') \
              FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid \
              CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY k(attnum, n) \
              LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum AND k.attnum > 0 \
              WHERE t.relnamespace = current_schema()::regnamespace AND ($1::text = '' OR t.relname = $1::text) \
              ORDER BY t.relname, i.relname, k.n",
    },
    Question {
        about: About::Constraints,
        sql: "SELECT t.relname::text, k.conname::text, k.contype::text, \
                     COALESCE((SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum = k.conkey[1]), ''), \
                     COALESCE(f.relname::text, '') \
              FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid LEFT JOIN pg_class f ON f.oid = k.confrelid \
              WHERE k.contype IN ('c', 'f') AND t.relnamespace = current_schema()::regnamespace AND ($1::text = '' OR t.relname = $1::text)",
    },
    Question {
        about: About::Rows,
        sql: "SELECT relname::text, reltuples::bigint FROM pg_class \
              WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND ($1::text = '' OR relname = $1::text)",
    },
];

const MYSQL: &[Question] = &[
    Question {
        about: About::Columns,
        // MariaDB says 'NULL' of a column that may be null and has no default.
        sql: "SELECT table_name, column_name, CAST(CONCAT(column_type, IF(column_comment = '', '', CONCAT(' comment ', column_comment))) AS CHAR), \
                     CAST(is_nullable = 'YES' AS SIGNED), CAST(NULLIF(column_default, 'NULL') AS CHAR), \
                     CAST(COALESCE(generation_expression, '') <> '' AS SIGNED), 0 \
              FROM information_schema.columns WHERE table_schema = DATABASE() AND (? = '' OR table_name = ?) ORDER BY table_name, ordinal_position",
    },
    Question {
        about: About::Indexes,
        sql: "SELECT table_name, index_name, CAST(non_unique = 0 AS SIGNED), 0, 0, CAST(index_name = 'PRIMARY' AS SIGNED), COALESCE(column_name, '') \
              FROM information_schema.statistics WHERE table_schema = DATABASE() AND (? = '' OR table_name = ?) \
              ORDER BY table_name, index_name, seq_in_index",
    },
    Question {
        about: About::Constraints,
        sql: "SELECT table_name, constraint_name, 'c', '', '' FROM information_schema.table_constraints \
              WHERE table_schema = DATABASE() AND constraint_type = 'CHECK' AND (? = '' OR table_name = ?) \
              UNION ALL SELECT table_name, constraint_name, 'f', column_name, referenced_table_name FROM information_schema.key_column_usage \
              WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL AND ordinal_position = 1 AND (? = '' OR table_name = ?)",
    },
    Question {
        about: About::Rows,
        sql: "SELECT table_name, CAST(COALESCE(table_rows, -1) AS SIGNED) FROM information_schema.tables \
              WHERE table_schema = DATABASE() AND (? = '' OR table_name = ?)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_asked_a_few_questions_however_many_tables_there_are() {
        for backend in [Backend::Sqlite, Backend::Postgres, Backend::MySql] {
            assert!(questions(backend).len() <= 4, "{backend:?}");
            assert_eq!(questions(backend)[0].about, About::Columns, "the tables are known first");
        }
    }
}
