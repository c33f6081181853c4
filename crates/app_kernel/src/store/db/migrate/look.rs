//! Looks what there is, plans what is to be done, and writes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Migration, MigrationOptions, Reason};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::store::db::collation::binary_collation;
use crate::store::db::dialect::Dialect;
use crate::store::db::dialect::ddl::add_column;
use crate::store::db::driver::{Operation, Session};
use crate::store::db::entity::EntityDef;
use crate::store::db::inspect::{Found, inspect};
use crate::store::db::migration_files::MigrationFiles;
use crate::store::db::migration_files::describe::{describe, is_bookkeeping};
use crate::store::db::migration_files::document::{Document, StepDocument};
use crate::store::db::migration_files::objects::schema_hash;
use crate::store::db::migration_files::records::{self, Record, Texts};
use crate::store::db::migration_files::replay::{Imagined, Replay, Verdict, decide, remaining};
use crate::store::db::plan::finding::{Finding, ReplayPlan, Severity};
use crate::store::db::plan::{Plan, Question, Situation, Step, plan};
use crate::store::db::register::{self, Register};
use crate::store::db::schema::{MIGRATIONS, TableDef, kernel_tables, tables_of};
use crate::store::db::{Db, DbResult};

/// What is wanted, by whom and when.
pub(super) struct Task {
    pub(super) wanted: Vec<TableDef>,
    pub(super) reason: Reason,
    pub(super) at: Timestamp,
    pub(super) options: MigrationOptions,
}

impl Task {
    pub(super) fn new(db: &Db, entities: &[EntityDef], reason: Reason) -> Result<Self> {
        let dialect = db.shared.driver.dialect();
        let mut wanted = kernel_tables();
        for entity in entities {
            let mut tables = tables_of(entity, dialect)?;
            if matches!(reason, Reason::FirstSave(_)) {
                // MySQL commits each statement: others find the rows' table as soon as it is there, and must find its history beside it.
                tables.reverse();
            }
            wanted.extend(tables);
        }
        Ok(Task { wanted, reason, at: db.shared.clock.now(), options: db.shared.migrations.clone() })
    }

    /// What an undeclared entity gets is this database's own affair.
    pub(super) fn files(&self) -> Option<&MigrationFiles> {
        self.options.files.as_ref().filter(|_| self.is_start())
    }

    pub(super) async fn look(self: &Arc<Self>, db: &Db, asks: bool) -> Result<Looked> {
        Ok(db.shared.driver.read(Look { task: Arc::clone(self), asks }).await?)
    }

    /// The statements that add columns, which are told as `table.column`.
    pub(super) fn columns(&self, names: &[&str], dialect: &dyn Dialect) -> Vec<String> {
        let is_meant = |table: &TableDef, column: &str| names.contains(&format!("{}.{column}", table.name).as_str());
        let columns = |table: &TableDef| {
            let columns = table.columns.iter().filter(|column| is_meant(table, &column.name));
            columns.map(|column| add_column(table, column, dialect)).collect::<Vec<_>>()
        };
        self.wanted.iter().flat_map(columns).collect()
    }

    pub(super) fn plan(&self, found: &Found, register: &Register, session: &Session<'_>) -> Plan {
        let undeclared = match &self.reason {
            Reason::Start => None,
            Reason::FirstSave(table) => Some(table.as_str()),
        };
        let dialect = session.dialect();
        plan(Situation { wanted: &self.wanted, found, register, dialect, options: &self.options, undeclared })
    }

    /// SQLite takes `Notes` and `notes` for one table, the others for two: so there are no such two.
    pub(super) fn check_case(&self, found: &Found) -> DbResult<()> {
        let Reason::FirstSave(name) = &self.reason else { return Ok(()) };
        let twin = found.tables.keys().find(|other| *other != name && other.eq_ignore_ascii_case(name));
        twin.map_or(Ok(()), |other| {
            let message = format!("`{name}` can't be an entity: it differs from `{other}` only in case");
            Err(Error::invalid(message).code("bad_entity_name").into())
        })
    }

    pub(super) fn tell(&self, number: usize, statement: Option<&str>) -> DbResult<()> {
        self.options.on_statement.as_ref().map_or(Ok(()), |hook| Ok((hook.0)(number, statement)?))
    }

    /// Whether it is a start that wants it, not somebody's save.
    pub(super) fn is_start(&self) -> bool {
        matches!(self.reason, Reason::Start)
    }

    pub(super) fn reason(&self) -> (&'static str, Option<&str>) {
        match &self.reason {
            Reason::Start => ("start", None),
            Reason::FirstSave(table) => ("first_save", Some(table)),
        }
    }
}

/// What a plan says, and whether there is more to do than its statements.
pub(super) struct Looked {
    pub(super) steps: Vec<Step>,
    described: Vec<StepDocument>,
    pub(super) findings: Vec<Finding>,
    awaits: bool,
    records: Vec<Record>,
    imagined: Imagined,
    schema: String,
    backend: &'static str,
}

impl Looked {
    pub(super) fn is_idle(&self) -> bool {
        let is_refused = self.findings.iter().any(|finding| finding.severity == Severity::Refused);
        self.steps.is_empty() && !is_refused && !self.awaits
    }

    pub(super) fn nothing_done(self) -> Migration {
        Migration { findings: self.findings, ..Migration::default() }
    }

    pub(super) fn has_unfiled(&self) -> bool {
        self.records.iter().any(|record| record.unfiled.is_some())
    }

    pub(super) fn unfiled(self) -> Vec<Texts> {
        self.records.into_iter().filter_map(|record| record.unfiled).collect()
    }

    /// What is to be done with these files there.
    pub(super) fn coming<'a>(&'a self, documents: &'a [Document], files: &MigrationFiles) -> Result<Coming<'a>> {
        let pending = files.pending(documents, &self.records)?;
        let mut imagined = self.imagined.clone();
        let replays = decide(&pending, documents, &mut imagined, &self.schema, self.backend, files)?;
        let (remaining, lacking) = remaining(&self.described, &replays, &imagined);
        Ok(Coming { replays, remaining, lacking })
    }
}

/// What is to be done: what is taken over from files, and what is planned beyond it.
pub(super) struct Coming<'a> {
    pub(super) replays: Vec<Replay<'a>>,
    pub(super) remaining: Vec<&'a StepDocument>,
    /// Columns that tables of those files lack, as `table.column`.
    pub(super) lacking: Vec<&'a str>,
}

impl Coming<'_> {
    pub(super) fn writes_file(&self) -> bool {
        !self.lacking.is_empty() || !self.remaining.iter().all(|step| is_bookkeeping(step))
    }

    pub(super) fn replayed(&self) -> Vec<ReplayPlan> {
        let runs = self.replays.iter().filter(|replay| replay.verdict == Verdict::Replayed);
        let statements = |replay: &Replay<'_>| replay.steps.iter().flat_map(|step| step.statements.clone()).collect();
        runs.map(|replay| ReplayPlan { name: replay.document.name.clone(), statements: statements(replay) }).collect()
    }
}

/// Looks and plans. Writes nothing.
struct Look {
    task: Arc<Task>,
    /// Whether the data is asked too.
    asks: bool,
}

impl Operation for Look {
    type Output = Looked;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Looked> {
        let found = inspect(session, None).await?;
        let register = register::read(session, &found).await?;
        let records = records::read(session, &found).await?;
        let plan = self.task.plan(&found, &register, session);
        let mut findings = plan.findings;
        if self.asks {
            findings.extend(ask(session, &plan.questions).await?);
        }
        findings.extend(records.last().and_then(|newest| made_by_a_newer_kernel(&newest.kernel_version)));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let steps = with_collation(session, plan.steps).await?;
        let dialect = session.dialect();
        let imagined = Imagined::of(&found, dialect);
        Ok(Looked {
            described: describe(&steps, dialect, &imagined.objects, None),
            steps,
            findings,
            awaits: !plan.awaited.is_empty(),
            records,
            imagined,
            schema: schema_hash(&found, &self.task.wanted),
            backend: dialect.backend().as_str(),
        })
    }
}

fn made_by_a_newer_kernel(version: &str) -> Option<Finding> {
    let ours = env!("CARGO_PKG_VERSION");
    let release = |version: &str| -> Option<(u64, u64)> {
        let mut numbers = version.split('.').map(|number| number.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    (release(version)? > release(ours)?).then(|| Finding {
        severity: Severity::Warning,
        table: MIGRATIONS.to_owned(),
        column: None,
        what: format!("app_kernel {version} made the last migration of this database, and this is the older {ours}"),
        cure: Some("what only the later one knows is left alone".to_owned()),
    })
}

/// Asks the data. A table whose values can't be converted is asked no more.
pub(super) async fn ask(session: &mut Session<'_>, questions: &[Question]) -> DbResult<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut settled = BTreeSet::new();
    for is_first in [true, false] {
        for question in questions.iter().filter(|question| question.is_first == is_first) {
            if !is_first && settled.contains(&question.finding.table) {
                continue;
            }
            let counts = session.query(&question.query, &[], |row| row.int(0)).await?;
            if let Some(finding) = counts.first().and_then(|count| question.answered(*count)) {
                if is_first && finding.severity == Severity::Refused {
                    settled.insert(finding.table.clone());
                }
                findings.push(finding);
            }
        }
    }
    Ok(findings)
}

pub(super) async fn with_collation(session: &mut Session<'_>, mut steps: Vec<Step>) -> DbResult<Vec<Step>> {
    let collation = binary_collation(session).await?;
    for step in &mut steps {
        step.sql = step.sql.replace("{binary}", collation);
    }
    Ok(steps)
}
