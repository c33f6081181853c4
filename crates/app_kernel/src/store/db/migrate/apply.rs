//! Locks, looks, takes over, plans, asks, applies and records: all of it one transaction, but on MySQL.

use std::sync::Arc;
use std::time::Instant;

use super::Migration;
use super::lock::{lock, unlock};
use super::look::{Task, ask, with_collation};
use crate::base::error::Error;
use crate::store::db::DbResult;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::inspect::{Found, inspect};
use crate::store::db::migration_files::describe::{describe, is_bookkeeping};
use crate::store::db::migration_files::objects::objects_of;
use crate::store::db::migration_files::records::{self, NewRecord, Record, Texts};
use crate::store::db::migration_files::shelf::{self, Shelf, TakenOver};
use crate::store::db::plan::finding::{Finding, MigrationPlan};
use crate::store::db::plan::{Plan, Step};
use crate::store::db::register;
use crate::store::db::schema::DECLARED;
use crate::store::db::value::Value;

/// What was applied, and what comes after the transaction.
pub(super) struct Applied {
    pub(super) migration: Migration,
    pub(super) later: Vec<(String, String)>,
    pub(super) awaited: Vec<String>,
    /// Of the files that tell of it.
    pub(super) texts: Vec<Texts>,
}

/// The work of one migration.
pub(super) struct Apply {
    pub(super) task: Arc<Task>,
    pub(super) shelf: Option<Shelf>,
}

impl Operation for Apply {
    type Output = Applied;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Applied> {
        lock(session).await?;
        // Where this fails, the lock goes with the transaction.
        let applied = self.apply(session).await?;
        unlock(session).await?;
        Ok(applied)
    }
}

impl Apply {
    /// With the lock held: another process may have done it all.
    async fn apply(&self, session: &mut Session<'_>) -> DbResult<Applied> {
        let mut found = inspect(session, None).await?;
        self.task.check_case(&found)?;
        let records = records::read(session, &found).await?;
        let started = Instant::now();
        let mut taken = TakenOver::default();
        if let Some(shelf) = &self.shelf {
            let tell = |number: usize, statement: Option<&str>| self.task.tell(number, statement);
            taken = shelf.take_over(session, &found, &records, &self.task.wanted, &tell).await?;
            if !taken.statements.is_empty() {
                found = inspect(session, None).await?;
            }
        }
        let register = register::read(session, &found).await?;
        let Plan { steps, mut findings, questions, rebuilt, awaited } = self.task.plan(&found, &register, session);
        findings.extend(ask(session, &questions).await?);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let steps = with_collation(session, steps).await?;
        let plan = MigrationPlan { findings, ..MigrationPlan::default() };
        if let Some(refusal) = plan.refusal() {
            return Err(refusal.into());
        }
        let planned_at = Instant::now();
        let (mut statements, mut later) = (std::mem::take(&mut taken.statements), std::mem::take(&mut taken.later));
        let mut rows_touched = 0;
        for step in &steps {
            self.task.tell(statements.len(), Some(&step.sql))?;
            match &step.later {
                Some(index) => later.push((index.clone(), step.sql.clone())),
                None => rows_touched += run_statement(session, &step.sql).await?,
            }
            statements.push(step.sql.clone());
        }
        self.task.tell(statements.len(), None)?;
        for table in &rebuilt {
            check_references(session, table).await?;
        }
        taken.record(session, self.task.at).await?;
        let done = Done { before: &found, steps: &steps, findings: &plan.findings, rows_touched, since: planned_at };
        let texts = self.record(session, &records, done).await?;
        let (replayed, duration) = (taken.names(), started.elapsed());
        let migration = Migration { statements, findings: plan.findings, replayed, files: Vec::new(), duration };
        Ok(Applied { migration, later, awaited, texts: texts.into_iter().collect() })
    }

    /// Records what was planned and done, and gives the texts of its files.
    async fn record(&self, session: &mut Session<'_>, records: &[Record], done: Done<'_>) -> DbResult<Option<Texts>> {
        if done.steps.is_empty() {
            return Ok(None);
        }
        let (at, (reason, dynamic_table)) = (self.task.at, self.task.reason());
        let Some(shelf) = &self.shelf else {
            let statements = done.steps.iter().map(|step| format!("{};\n", step.sql)).collect();
            let (name, checksum, metadata) = (None, None, None);
            let record = NewRecord { at, reason, dynamic_table, statements, name, checksum, metadata };
            record.write(session).await?;
            return Ok(None);
        };
        let after = inspect(session, None).await?;
        let dialect = session.dialect();
        let [objects, objects_after] = [done.before, &after].map(|found| objects_of(found, dialect));
        let steps = describe(done.steps, dialect, &objects, Some(&objects_after));
        if steps.iter().all(is_bookkeeping) {
            // No schema shows it, so nobody else has to hear of it.
            return Ok(None);
        }
        let document = shelf.document(
            records,
            shelf::Applied {
                at,
                reason,
                backend: dialect.backend().as_str(),
                wanted: &self.task.wanted,
                before: done.before,
                after: &after,
                steps,
                findings: done.findings,
                duration: done.since.elapsed(),
                rows_touched: done.rows_touched,
            },
        );
        let texts = Texts { name: document.name.clone(), sql: document.sql(), json: document.json() };
        let record = NewRecord {
            at,
            reason,
            dynamic_table,
            statements: texts.sql.clone(),
            name: Some(&document.name),
            checksum: Some(&document.checksum),
            metadata: Some(texts.json.clone()),
        };
        record.write(session).await?;
        Ok(Some(texts))
    }
}

/// What was done beyond the files.
struct Done<'a> {
    before: &'a Found,
    steps: &'a [Step],
    findings: &'a [Finding],
    rows_touched: u64,
    since: Instant,
}

/// Runs one statement and tells how many rows it changed, where it is about rows.
async fn run_statement(session: &mut Session<'_>, statement: &str) -> DbResult<u64> {
    let is_about_rows =
        statement.starts_with("UPDATE ") || statement.starts_with("INSERT ") && !statement.contains(DECLARED);
    if is_about_rows { session.execute(statement, &[]).await } else { session.batch(statement).await.map(|()| 0) }
}

/// SQLite looks at no reference while foreign keys are off.
pub(in crate::store::db) async fn check_references(session: &mut Session<'_>, table: &str) -> DbResult<()> {
    let count = "SELECT COUNT(*) FROM pragma_foreign_key_check(?1)";
    let orphans = session.query(count, &[Value::from(table)], |row| row.int(0)).await?;
    match orphans.first() {
        Some(rows @ 1..) => Err(Error::invalid(format!(
            "`{table}` has rows ({rows}) that refer to nothing, so it was not changed; change or delete those rows first"
        ))
        .into()),
        _ => Ok(()),
    }
}
