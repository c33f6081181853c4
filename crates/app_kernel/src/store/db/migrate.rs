//! Brings the database to the wanted schema: lock, look, plan, apply, record. Safe in any number of processes at once.

use std::collections::BTreeSet;

use super::dialect::Backend;
use super::dialect::ddl::{create_table, quoted};
use super::driver::{Operation, Session};
use super::entity::EntityDef;
use super::inspect::{Found, inspect};
use super::plan::{Plan, Present, plan};
use super::schema::{MIGRATIONS, TableDef, kernel_tables, tables_of};
use super::value::Value;
use super::{Db, DbResult};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};

/// What PostgreSQL and MySQL call the lock that only one process holds while it migrates.
const LOCK: i64 = 0x61_70_70_5f_6b_65_72_6e; // "app_kern"
const LOCK_NAME: &str = "app_kernel.migration";
/// How long MySQL waits at once for another process to finish its migration, in seconds: less than a statement may take.
const LOCK_WAIT_SECS: i64 = 15;
/// How often it waits.
const LOCK_WAITS: u32 = 40;

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The statements that ran, in order; none where nothing was missing.
    pub statements: Vec<String>,
    /// Differences that were left alone, one sentence each.
    pub notes: Vec<String>,
}

/// Why the schema changes.
#[derive(Debug, Clone)]
pub(crate) enum Reason {
    /// The service starts.
    Start,
    /// An undeclared entity was saved.
    FirstSave(String),
}

/// Makes what the entities and the kernel lack.
pub(crate) async fn run(db: &Db, entities: &[EntityDef], reason: Reason) -> Result<Migration> {
    let wanted = wanted(db, entities)?;
    let migrate = Migrate { wanted, reason, at: db.shared.clock.now(), dry_run: false };
    // The lock waits for other processes, so a conflict here is rare, but MySQL's DDL can still meet a deadlock.
    Db { transaction: None, ..db.clone() }.write(migrate).await
}

/// What [`run`] would do.
pub(crate) async fn plan_only(db: &Db, entities: &[EntityDef]) -> Result<Vec<String>> {
    let migrate =
        Migrate { wanted: wanted(db, entities)?, reason: Reason::Start, at: db.shared.clock.now(), dry_run: true };
    Ok(db.read(migrate).await?.statements)
}

fn wanted(db: &Db, entities: &[EntityDef]) -> Result<Vec<TableDef>> {
    let dialect = db.shared.driver.dialect();
    let mut wanted = kernel_tables();
    for entity in entities {
        wanted.extend(tables_of(entity, dialect)?);
    }
    Ok(wanted)
}

struct Migrate {
    wanted: Vec<TableDef>,
    reason: Reason,
    at: Timestamp,
    dry_run: bool,
}

impl Operation for Migrate {
    type Output = Migration;

    async fn run(&self, session: &mut Session<'_>) -> DbResult<Migration> {
        if self.dry_run {
            let found = inspect(session, None).await?;
            let (plan, statements) = self.plan(session, &found).await?;
            return Ok(Migration { statements, notes: plan.notes });
        }
        // A look without the lock first: most starts find nothing to do, and need not wait for each other.
        let found = inspect(session, None).await?;
        if plan(&self.wanted, &found, session.dialect()).steps.is_empty() {
            return Ok(Migration {
                statements: Vec::new(),
                notes: plan(&self.wanted, &found, session.dialect()).notes,
            });
        }
        lock(session).await?;
        // Where this fails, the lock goes with the transaction.
        let migration = self.migrate(session).await?;
        unlock(session).await?;
        Ok(migration)
    }
}

impl Migrate {
    /// With the lock held: another process may have done it all.
    async fn migrate(&self, session: &mut Session<'_>) -> DbResult<Migration> {
        let found = inspect(session, None).await?;
        let (plan, statements) = self.plan(session, &found).await?;
        for statement in &statements {
            session.batch(statement).await?;
        }
        if !statements.is_empty() {
            self.record(session, &statements).await?;
        }
        Ok(Migration { statements, notes: plan.notes })
    }

    async fn plan(&self, session: &mut Session<'_>, found: &Found) -> DbResult<(Plan, Vec<String>)> {
        self.check_case(found)?;
        let dialect = session.dialect();
        let plan = plan(&self.wanted, found, dialect);
        let collation = binary_collation(session).await?;
        let mut statements = Vec::new();
        for step in &plan.steps {
            if let Some(obstacle) = step.obstacle(found, dialect) {
                let counts = session.query(&obstacle.query, &[], |row| row.int(0)).await?;
                if let Some(count @ 1..) = counts.first() {
                    return Err(Error::invalid((obstacle.refusal)(*count)).into());
                }
            }
        }
        // An empty table that is made anew needs none of its other steps.
        let anew: BTreeSet<&str> = plan
            .steps
            .iter()
            .filter(|step| step.makes_table_anew(dialect))
            .map(|step| step.table().name.as_str())
            .collect();
        for table in self.wanted.iter().filter(|table| anew.contains(table.name.as_str())) {
            if let Some(present) = Present::of(table, found) {
                statements.push(format!("DROP TABLE {}", quoted(present.name, dialect)));
            }
            statements.extend(create_table(table, dialect));
        }
        let others = plan.steps.iter().filter(|step| !anew.contains(step.table().name.as_str()));
        statements.extend(others.flat_map(|step| step.sql(dialect)));
        for statement in &mut statements {
            *statement = statement.replace("{binary}", collation);
        }
        Ok((plan, statements))
    }

    /// SQLite takes `Notes` and `notes` for one table, the others for two: so there are no such two.
    fn check_case(&self, found: &Found) -> DbResult<()> {
        let Reason::FirstSave(name) = &self.reason else { return Ok(()) };
        let twin = found.tables.keys().find(|other| *other != name && other.eq_ignore_ascii_case(name));
        twin.map_or(Ok(()), |other| {
            let message = format!("`{name}` can't be an entity: it differs from `{other}` only in case");
            Err(Error::invalid(message).code("bad_entity_name").into())
        })
    }

    async fn record(&self, session: &mut Session<'_>, statements: &[String]) -> DbResult<()> {
        let dialect = session.dialect();
        let (reason, dynamic_table) = match &self.reason {
            Reason::Start => ("start", Value::Null),
            Reason::FirstSave(table) => ("first_save", Value::from(table)),
        };
        let names = ["applied_at", "reason", "dynamic_table", "statements", "kernel_version"];
        let columns: Vec<String> = names.iter().map(|name| quoted(name, dialect)).collect();
        let mut places = String::new();
        for number in 1..=names.len() {
            places.push_str(if number > 1 { ", " } else { "" });
            dialect.placeholder(number, &mut places);
        }
        let sql = format!("INSERT INTO {} ({}) VALUES ({places})", quoted(MIGRATIONS, dialect), columns.join(", "));
        let text = statements.join(";\n") + ";";
        let values = [
            Value::Timestamp(self.at),
            Value::from(reason),
            dynamic_table,
            Value::Text(text),
            Value::from(env!("CARGO_PKG_VERSION")),
        ];
        session.execute(&sql, &values).await.map(drop)
    }
}

/// MySQL and MariaDB each have their own name for the collation that compares bytes and does not pad.
pub(super) async fn binary_collation(session: &mut Session<'_>) -> DbResult<&'static str> {
    if session.dialect().backend() != Backend::MySql {
        return Ok("");
    }
    let version = session.query("SELECT VERSION()", &[], |row| row.text(0).map(str::to_owned)).await?;
    let is_mariadb = version.iter().any(|version| version.contains("MariaDB"));
    Ok(if is_mariadb { "utf8mb4_nopad_bin" } else { "utf8mb4_0900_bin" })
}

async fn lock(session: &mut Session<'_>) -> DbResult<()> {
    match session.dialect().backend() {
        // The transaction holds SQLite's only write lock already.
        Backend::Sqlite => Ok(()),
        // A long migration of another process is no reason to give up, and neither is a long one of ours.
        Backend::Postgres => {
            let patient = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0";
            session.batch(&format!("{patient}; SELECT pg_advisory_xact_lock({LOCK})")).await
        }
        Backend::MySql => {
            let params = [Value::from(LOCK_NAME), Value::Int(LOCK_WAIT_SECS)];
            for _ in 0..LOCK_WAITS {
                let got =
                    session.query("SELECT GET_LOCK(CONCAT(?, '.', DATABASE()), ?)", &params, |row| row.int(0)).await?;
                if got == [1] {
                    return Ok(());
                }
            }
            Err(Error::unavailable("another process has been migrating for too long").into())
        }
    }
}

async fn unlock(session: &mut Session<'_>) -> DbResult<()> {
    match session.dialect().backend() {
        // It goes with the transaction.
        Backend::Sqlite | Backend::Postgres => Ok(()),
        Backend::MySql => {
            let name = [Value::from(LOCK_NAME)];
            session.query("SELECT RELEASE_LOCK(CONCAT(?, '.', DATABASE()))", &name, |_| Ok(())).await.map(drop)
        }
    }
}
