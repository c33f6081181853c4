//! Brings the database to the wanted schema: lock, look, plan, ask the data, apply, record. Safe in any number of processes at once.
//!
//! On SQLite and PostgreSQL all of it is one transaction. MySQL commits at every DDL statement: a migration that was cut off is gone on
//! with at the next start, which looks again and plans the rest. PostgreSQL's indexes on large tables come after the transaction, and
//! those that were cut off are made anew too.

mod apply;
mod later;
mod lock;
mod look;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::apply::check_references;
use self::apply::{Applied, Apply};
use self::later::LaterIndexes;
use self::look::{Looked, Task};
use super::dialect::Backend;
use super::driver::Driver;
use super::entity::EntityDef;
use super::migration_files::MigrationFiles;
use super::migration_files::filing::Filing;
use super::migration_files::shelf::Shelf;
use super::plan::finding::{Finding, MigrationPlan};
use super::{BETWEEN_TRIES, Db, TRIES};
use crate::base::error::Result;

/// From how many rows on a table counts as large, where nothing else is said.
const LARGE_TABLE_ROWS: u64 = 100_000;

/// What a migration may do, and how.
#[derive(Debug, Clone)]
pub struct MigrationOptions {
    /// Columns that were declared once and are no more are dropped with all they hold (`ALLOW_COLUMN_DELETION`).
    pub allow_column_deletion: bool,
    /// The same for tables (`ALLOW_TABLE_DELETION`).
    pub allow_table_deletion: bool,
    /// From how many rows on a table is large: PostgreSQL then makes its indexes while others write, and slow statements are told beforehand.
    pub large_table_rows: u64,
    /// Called before each statement and after the last.
    pub on_statement: Option<StatementHook>,
    /// The service whose entities these are. A database in which another one declared some is refused.
    pub service: Option<String>,
    /// What it was called before (`SERVICE_RENAMED_FROM`).
    pub service_renamed_from: Option<String>,
    /// Where migrations lie as files: each is written there, and those of others are replayed. Without it, neither is done.
    pub files: Option<MigrationFiles>,
}

impl Default for MigrationOptions {
    fn default() -> Self {
        MigrationOptions {
            allow_column_deletion: false,
            allow_table_deletion: false,
            large_table_rows: LARGE_TABLE_ROWS,
            on_statement: None,
            service: None,
            service_renamed_from: None,
            files: None,
        }
    }
}

type Hook = dyn Fn(usize, Option<&str>) -> Result<()> + Send + Sync;

/// Called with the number of a statement, from 0, and the statement; after the last one with how many there were and nothing.
/// An error ends the migration there. It runs while the schema is locked, so it should be quick.
#[derive(Clone)]
pub struct StatementHook(Arc<Hook>);

impl StatementHook {
    /// From a function.
    pub fn new(hook: impl Fn(usize, Option<&str>) -> Result<()> + Send + Sync + 'static) -> Self {
        StatementHook(Arc::new(hook))
    }
}

impl std::fmt::Debug for StatementHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StatementHook")
    }
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Migration {
    /// The statements that ran, in order; none where nothing was missing.
    pub statements: Vec<String>,
    /// What there is to say about them, and about differences that were left alone.
    pub findings: Vec<Finding>,
    /// The migrations of others that were taken over from files, by name.
    pub replayed: Vec<String>,
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// How long the statements took.
    pub duration: Duration,
}

/// Why the schema changes.
#[derive(Debug, Clone)]
pub(crate) enum Reason {
    /// The service starts.
    Start,
    /// An undeclared entity was saved.
    FirstSave(String),
}

/// Brings the schema to what the entities and the kernel want.
pub(crate) async fn run(db: &Db, entities: &[EntityDef], reason: Reason) -> Result<Migration> {
    let task = Arc::new(Task::new(db, entities, reason)?);
    // A look without the lock first: most starts find nothing to do, and need not wait for each other.
    let look = task.look(db, false).await?;
    let Some(files) = task.files().cloned() else {
        if look.is_idle() {
            return Ok(look.nothing_done());
        }
        return Ok(apply(db, task, None).await?.migration);
    };
    let mut filing = Filing::default();
    if look.has_unfiled() {
        let _lock = files.blocking(MigrationFiles::lock).await?;
        // Another process may have written them meanwhile.
        filing.write(db, &files, task.look(db, false).await?.unfiled()).await;
    }
    let documents = files.blocking(MigrationFiles::read_all).await?;
    let coming = look.coming(&documents, &files)?;
    if look.is_idle() && coming.replays.is_empty() {
        return Ok(filing.into_migration(look.nothing_done()));
    }
    if coming.writes_file() {
        files.blocking(MigrationFiles::prepare).await?;
    }
    let _lock = files.blocking(MigrationFiles::lock).await?;
    let documents = files.blocking(MigrationFiles::read_all).await?;
    let shelf = Shelf { files: files.clone(), documents };
    let Applied { migration, texts, .. } = apply(db, task, Some(shelf)).await?;
    filing.write(db, &files, texts).await;
    Ok(filing.into_migration(migration))
}

/// Changes the schema, and makes what comes after the transaction.
async fn apply(db: &Db, task: Arc<Task>, shelf: Option<Shelf>) -> Result<Applied> {
    let mut applied = apply_in_turn(db, &Arc::new(Apply { task, shelf })).await?;
    let (made, awaited) = (std::mem::take(&mut applied.later), std::mem::take(&mut applied.awaited));
    if !(made.is_empty() && awaited.is_empty()) {
        db.shared.driver.read(LaterIndexes { made, awaited }).await?;
    }
    Ok(applied)
}

/// On a server, a start has a connection of its own for it, without the time limit of those that serve.
async fn apply_in_turn(db: &Db, apply: &Arc<Apply>) -> Result<Applied> {
    let serving = &db.shared.driver;
    if serving.dialect().backend() == Backend::Sqlite || !apply.task.is_start() {
        return apply_on(serving, apply).await;
    }
    let driver = Driver::connect_apart(&db.shared.url).await?;
    let applied = apply_on(&driver, apply).await;
    driver.close().await;
    serving.forget_statements();
    applied
}

/// The lock waits for other processes, so a conflict is rare, but MySQL's DDL can still meet a deadlock.
async fn apply_on(driver: &Driver, apply: &Arc<Apply>) -> Result<Applied> {
    let mut failures = 0;
    loop {
        match driver.change_schema(Arc::clone(apply)).await {
            Err(error) if error.is_worth_a_retry() && failures + 1 < TRIES => {
                failures += 1;
                tokio::time::sleep(BETWEEN_TRIES.wait(failures)).await;
            }
            result => return Ok(result?),
        }
    }
}

/// What [`run`] would do.
pub(crate) struct Preview {
    pub(crate) plan: MigrationPlan,
    /// Whether there is nothing to write either: no file of an earlier migration, no note of one that is there.
    pub(crate) is_settled: bool,
}

/// Looks what [`run`] would do. Writes nothing.
pub(crate) async fn preview(db: &Db, entities: &[EntityDef]) -> Result<Preview> {
    let task = Arc::new(Task::new(db, entities, Reason::Start)?);
    let Some(files) = task.files() else {
        let Looked { steps, findings, .. } = task.look(db, true).await?;
        let statements = steps.into_iter().map(|step| step.sql).collect();
        let plan = MigrationPlan { replays: Vec::new(), statements, findings };
        return Ok(Preview { is_settled: plan.is_empty(), plan });
    };
    let documents = files.blocking(MigrationFiles::read_all).await?;
    let look = task.look(db, false).await?;
    let coming = look.coming(&documents, files)?;
    let replays = coming.replayed();
    let mut statements: Vec<String> = coming.remaining.iter().flat_map(|step| step.statements.clone()).collect();
    statements.extend(task.columns(&coming.lacking, db.shared.driver.dialect()));
    // What files do first may settle what the data has against the rest.
    let findings = if replays.is_empty() { task.look(db, true).await?.findings } else { look.findings.clone() };
    let plan = MigrationPlan { replays, statements, findings };
    Ok(Preview { is_settled: plan.is_empty() && coming.replays.is_empty() && !look.has_unfiled(), plan })
}
