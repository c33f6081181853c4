//! Makes one entity and its history what a CSV backup says, in one transaction, with the tables as they are now. All else stays.

use std::path::PathBuf;

use super::Progress;
use super::bulk::{compare, fill};
use super::catalogue::our_tables;
use super::manifest::TableManifest;
use crate::base::error::{Error, Result};
use crate::store::db::DbResult;
use crate::store::db::dialect::Backend;
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::entity::EntityDef;

/// Replaces the rows of some tables by those of a backup.
pub(super) struct LoadTable {
    pub(super) folder: PathBuf,
    /// The entity's and its history's.
    pub(super) tables: Vec<TableManifest>,
    pub(super) declared: std::sync::Arc<[EntityDef]>,
    pub(super) progress: Progress,
}

impl Operation for LoadTable {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> DbResult<()> {
        let now = our_tables(session, &self.declared).await?;
        for table in &self.tables {
            check_columns(table, now.iter().find(|other| other.name == table.name))?;
        }
        let keys = self.suspend_keys(session).await?;
        for table in &self.tables {
            let name = quoted(&table.name, session.dialect());
            session.execute(&format!("DELETE FROM {name}"), &[]).await?;
            fill(session, &self.folder, table, &table.name, &self.progress).await?;
            compare(session, table, &table.name).await?;
        }
        self.check_keys(session, keys).await
    }
}

/// The backup's columns must be there and alike; a column that the backup lacks must do without a value.
fn check_columns(backup: &TableManifest, now: Option<&TableManifest>) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::conflict(format!("{problem}; nothing was changed. Restore the whole backup instead")))
    };
    let Some(now) = now else {
        return refuse(format!("`{}` is in the backup and not in the database", backup.name));
    };
    for column in &backup.columns {
        let same = now.columns.iter().any(|other| other.name == column.name && other.ty == column.ty);
        if !same {
            return refuse(format!(
                "`{}.{}` is in the backup and not in the database as it is now",
                backup.name, column.name
            ));
        }
    }
    let is_new = |name: &String| backup.columns.iter().all(|column| column.name != *name);
    match now.columns.iter().find(|column| is_new(&column.name) && !column.nullable && column.default.is_none()) {
        Some(column) => refuse(format!("`{}.{}` must have a value, and the backup has none", backup.name, column.name)),
        None => Ok(()),
    }
}

impl LoadTable {
    /// While the rows are away, what refers to them refers to nothing. Answers the statements that bring PostgreSQL's keys back.
    async fn suspend_keys(&self, session: &mut Session<'_>) -> DbResult<Vec<String>> {
        match session.dialect().backend() {
            Backend::Sqlite => session.batch("PRAGMA defer_foreign_keys = ON").await.map(|()| Vec::new()),
            Backend::MySql => session.batch("SET SESSION foreign_key_checks = 0").await.map(|()| Vec::new()),
            Backend::Postgres => {
                let mut restoring = Vec::new();
                for table in &self.tables {
                    let sql = "SELECT conname::text, conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint \
                               WHERE contype = 'f' AND confrelid = $1::text::regclass";
                    let name = [quoted(&table.name, session.dialect()).into()];
                    let read = |row: &crate::store::db::driver::RowRef<'_>| {
                        Ok([row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned()])
                    };
                    for [key, from, definition] in session.query(sql, &name, read).await? {
                        session.batch(&format!("ALTER TABLE {from} DROP CONSTRAINT \"{key}\"")).await?;
                        restoring.push(format!("ALTER TABLE {from} ADD CONSTRAINT \"{key}\" {definition}"));
                    }
                }
                Ok(restoring)
            }
        }
    }

    async fn check_keys(&self, session: &mut Session<'_>, restoring: Vec<String>) -> DbResult<()> {
        let dangling = match session.dialect().backend() {
            Backend::Sqlite => {
                session.query("PRAGMA foreign_key_check", &[], |row| row.text(0).map(str::to_owned)).await?
            }
            Backend::Postgres => {
                for statement in restoring {
                    session.batch(&statement).await.map_err(|error| match error {
                        crate::store::db::error::DbError::ForeignKey { constraint } => self.refuse(&constraint).into(),
                        other => other,
                    })?;
                }
                Vec::new()
            }
            Backend::MySql => self.dangling_on_mysql(session).await?,
        };
        dangling.first().map_or(Ok(()), |table| Err(self.refuse(table).into()))
    }

    async fn dangling_on_mysql(&self, session: &mut Session<'_>) -> DbResult<Vec<String>> {
        let sql = "SELECT table_name, column_name, referenced_table_name, referenced_column_name FROM information_schema.key_column_usage \
                   WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL AND (table_name = ? OR referenced_table_name = ?)";
        let mut dangling = Vec::new();
        for table in &self.tables {
            let name = [table.name.as_str().into(), table.name.as_str().into()];
            let read =
                |row: &crate::store::db::driver::RowRef<'_>| Ok([0, 1, 2, 3].map(|i| row.text(i).map(str::to_owned)));
            for key in session.query(sql, &name, read).await? {
                let [from, column, to, id] = key;
                let (from, column, to, id) = (from?, column?, to?, id?);
                let count = format!(
                    "SELECT COUNT(*) FROM `{from}` a LEFT JOIN `{to}` b ON a.`{column}` = b.`{id}` WHERE a.`{column}` IS NOT NULL AND b.`{id}` IS NULL"
                );
                if session.query(&count, &[], |row| row.int(0)).await? != [0] {
                    dangling.push(from);
                }
            }
        }
        Ok(dangling)
    }

    fn refuse(&self, what: &str) -> Error {
        let table = self.tables.first().map_or("", |table| table.name.as_str());
        Error::conflict(format!(
            "with the rows of `{table}` from the backup, `{what}` would refer to rows that are not there; nothing was changed. \
             Restore the whole backup instead"
        ))
    }
}
