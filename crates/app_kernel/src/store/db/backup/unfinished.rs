//! A restore on MySQL that was killed. All tables take their places by one RENAME; checks and foreign keys, whose names belong to the
//! whole database, can be made only after it. So the RENAME also moves a list of them into place, and whoever comes next works it off.

use super::load::{add_constraints, drop_scratch};
use crate::base::error::Result;
use crate::store::db::dialect::Backend;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::schema::TableDef;
use crate::store::db::start::StartLock;
use crate::store::db::{Db, DbResult};

/// The list, once the tables have their places.
pub(super) const TO_DO: &str = "kernel_restore";

/// Finishes a restore that was killed after its tables had taken their places. Others are undone by themselves.
pub(in crate::store::db) async fn finish(db: &Db) -> Result<()> {
    if db.backend() != Backend::MySql || !db.read(IsUnfinished).await? {
        return Ok(());
    }
    let alone = StartLock::take(&db.shared.url).await?;
    let finished = finish_alone(db).await;
    alone.release().await;
    finished
}

/// The same with the lock held.
pub(super) async fn finish_alone(db: &Db) -> Result<()> {
    if db.backend() != Backend::MySql || !db.read(IsUnfinished).await? {
        return Ok(());
    }
    tracing::warn!(target: "app_kernel::backup", "a restore was killed before its end; its checks and foreign keys are made now");
    let driver = db.backups()?.connect_apart().await?;
    let finished = driver.read(Finish).await;
    driver.close().await;
    Ok(finished?)
}

/// Writes the list under another name, for the RENAME.
pub(super) async fn write_list(session: &mut Session<'_>, name: &str, definitions: &[TableDef]) -> DbResult<()> {
    let dialect = session.dialect();
    let create = format!(
        "CREATE TABLE `{name}` (n BIGINT PRIMARY KEY, in_table VARCHAR(64) NOT NULL, constraint_name VARCHAR(64) NOT NULL, \
         statement TEXT NOT NULL) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"
    );
    session.batch(&create).await?;
    let insert = format!("INSERT INTO `{name}` (n, in_table, constraint_name, statement) VALUES (?, ?, ?, ?)");
    let all = definitions.iter().flat_map(|definition| {
        let constraints = add_constraints(definition, dialect);
        constraints.into_iter().map(|(constraint, statement)| (definition.name.as_str(), constraint, statement))
    });
    for (n, (table, constraint, statement)) in (0_i64..).zip(all) {
        session.execute(&insert, &[n.into(), table.into(), constraint.into(), statement.into()]).await?;
    }
    Ok(())
}

/// Drops what was there before, makes what is on the list and not there yet, and forgets the list.
pub(super) async fn work_off(session: &mut Session<'_>) -> DbResult<()> {
    // The tables of before have constraints of the same names.
    session.batch("SET SESSION foreign_key_checks = 0").await?;
    drop_scratch(session).await?;
    session.batch("SET SESSION foreign_key_checks = 1, unique_checks = 1").await?;
    let list = format!(
        "SELECT t.statement FROM `{TO_DO}` t LEFT JOIN information_schema.table_constraints c ON c.table_schema = DATABASE() \
         AND c.table_name = t.in_table AND c.constraint_name = t.constraint_name WHERE c.constraint_name IS NULL ORDER BY t.n"
    );
    for statement in session.query(&list, &[], |row| row.text(0).map(str::to_owned)).await? {
        session.batch(&statement).await?;
    }
    session.batch(&format!("DROP TABLE `{TO_DO}`")).await
}

struct IsUnfinished;

impl Operation for IsUnfinished {
    type Output = bool;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<bool> {
        let sql = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
        Ok(session.query(sql, &[TO_DO.into()], |row| row.int(0)).await? != [0])
    }
}

struct Finish;

impl Operation for Finish {
    type Output = ();

    async fn run(&self, session: &mut Session<'_>) -> DbResult<()> {
        work_off(session).await
    }
}
