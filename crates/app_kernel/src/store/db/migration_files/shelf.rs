//! The files at hand while a database is migrated: what is taken over from them, and the file that tells of the rest.

use std::time::Duration;

use super::MigrationFiles;
use super::document::{Document, FORMAT, Replayed, StepDocument};
use super::objects::{changed_tables, schema_hash};
use super::records::{NewRecord, Record};
use super::replay::{Imagined, Replay, Verdict, decide, failure};
use crate::base::clock::Timestamp;
use crate::store::db::DbResult;
use crate::store::db::backup::folder::point_after;
use crate::store::db::collation::{BINARY_COLLATIONS, binary_collation};
use crate::store::db::dialect::ddl::quoted;
use crate::store::db::driver::Session;
use crate::store::db::error::DbError;
use crate::store::db::inspect::{Found, inspect};
use crate::store::db::migrate::check_references;
use crate::store::db::plan::finding::Finding;
use crate::store::db::plan::rebuild::SCRATCH;
use crate::store::db::schema::TableDef;

/// Files, and what they say.
pub(crate) struct Shelf {
    pub(crate) files: MigrationFiles,
    pub(crate) documents: Vec<Document>,
}

/// What was taken over.
#[derive(Default)]
pub(crate) struct TakenOver<'a> {
    pub(crate) replays: Vec<Replay<'a>>,
    pub(crate) statements: Vec<String>,
    /// PostgreSQL: indexes that are made after the transaction.
    pub(crate) later: Vec<(String, String)>,
}

/// What was done beyond the files.
pub(crate) struct Applied<'a> {
    pub(crate) at: Timestamp,
    pub(crate) reason: &'a str,
    pub(crate) backend: &'static str,
    pub(crate) wanted: &'a [TableDef],
    pub(crate) before: &'a Found,
    pub(crate) after: &'a Found,
    pub(crate) steps: Vec<StepDocument>,
    pub(crate) findings: &'a [Finding],
    pub(crate) duration: Duration,
    pub(crate) rows_touched: u64,
}

impl Shelf {
    /// Takes over what the files say and this database lacks. `tell` hears of each statement before it runs.
    pub(crate) async fn take_over(
        &self,
        session: &mut Session<'_>,
        found: &Found,
        records: &[Record],
        wanted: &[TableDef],
        tell: &(dyn Fn(usize, Option<&str>) -> DbResult<()> + Sync),
    ) -> DbResult<TakenOver<'_>> {
        let Shelf { files, documents } = self;
        let pending = files.pending(documents, records)?;
        if pending.is_empty() {
            return Ok(TakenOver::default());
        }
        let dialect = session.dialect();
        let mut imagined = Imagined::of(found, dialect);
        let present = schema_hash(found, wanted);
        let replays = decide(&pending, documents, &mut imagined, &present, dialect.backend().as_str(), files)?;
        let collation = binary_collation(session).await?;
        let mut taken = TakenOver::default();
        for replay in &replays {
            for step in &replay.steps {
                if step.replayed == Replayed::WhereEmpty && has_rows(session, &step.table).await? {
                    continue;
                }
                for statement in &step.statements {
                    let statement = with_collation(statement, collation);
                    tell(taken.statements.len(), Some(&statement))?;
                    match &step.later {
                        Some(index) => taken.later.push((index.clone(), statement.clone())),
                        None => self.run(session, replay.document, step, &statement).await?,
                    }
                    taken.statements.push(statement);
                }
                if step.statements.iter().any(|statement| statement.contains(SCRATCH)) {
                    check_references(session, &step.table).await?;
                }
            }
        }
        taken.replays = replays;
        Ok(taken)
    }

    async fn run(
        &self,
        session: &mut Session<'_>,
        document: &Document,
        step: &StepDocument,
        statement: &str,
    ) -> DbResult<()> {
        match session.batch(statement).await {
            Err(error) if !error.is_worth_a_retry() => {
                let failure = failure(document, step, statement, &innermost(&error), &self.documents, &self.files);
                Err(failure.cause(error).into())
            }
            done => done,
        }
    }

    /// What the files of a migration say that was planned and done here.
    pub(crate) fn document(&self, records: &[Record], applied: Applied<'_>) -> Document {
        let Applied { at, reason, backend, wanted, before, after, steps, findings, duration, rows_touched } = applied;
        let schema_after = schema_hash(after, wanted);
        let known = records.iter().filter_map(|record| record.name.as_deref());
        let newest = self.documents.iter().map(|document| document.name.as_str()).chain(known).max();
        let (_, name) = point_after(newest, at, &schema_after[..8]);
        let document = Document {
            format: FORMAT,
            name,
            service: self.files.service.clone(),
            backend: backend.to_owned(),
            reason: reason.to_owned(),
            kernel_version: env!("CARGO_PKG_VERSION").to_owned(),
            applied_at: at,
            duration_ms: duration.as_millis().try_into().unwrap_or(u64::MAX),
            rows_touched,
            schema_before: schema_hash(before, wanted),
            schema_after,
            tables: changed_tables(before, after),
            steps,
            findings: findings.to_vec(),
            checksum: String::new(),
        };
        document.sealed()
    }
}

impl TakenOver<'_> {
    /// The names of those that ran.
    pub(crate) fn names(&self) -> Vec<String> {
        let ran = self.replays.iter().filter(|replay| replay.verdict == Verdict::Replayed);
        ran.map(|replay| replay.document.name.clone()).collect()
    }

    /// Notes in the database what became of each file.
    pub(crate) async fn record(&self, session: &mut Session<'_>, at: Timestamp) -> DbResult<()> {
        for Replay { document, verdict, steps } in &self.replays {
            let statements = steps.iter().flat_map(|step| &step.statements).map(|statement| format!("{statement};\n"));
            let record = NewRecord {
                at,
                reason: verdict.as_str(),
                dynamic_table: None,
                statements: statements.collect(),
                name: Some(&document.name),
                checksum: Some(&document.checksum),
                metadata: None,
            };
            record.write(session).await?;
        }
        Ok(())
    }
}

/// MySQL and MariaDB each have a name of their own for the collation; a file may come from either.
fn with_collation(statement: &str, collation: &str) -> String {
    if collation.is_empty() {
        return statement.to_owned();
    }
    BINARY_COLLATIONS.iter().fold(statement.to_owned(), |statement, name| statement.replace(name, collation))
}

/// Whether a table that may be there has rows.
async fn has_rows(session: &mut Session<'_>, table: &str) -> DbResult<bool> {
    if !inspect(session, Some(table)).await?.tables.contains_key(table) {
        return Ok(false);
    }
    let sql = format!("SELECT 1 FROM {} LIMIT 1", quoted(table, session.dialect()));
    Ok(!session.query(&sql, &[], |row| row.int(0)).await?.is_empty())
}

/// What the database itself says.
fn innermost(error: &DbError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
