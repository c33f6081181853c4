//! The entity store: typed and untyped entities with history on SQLite, PostgreSQL and MySQL.
//!
//! A save is one transaction of three rows: the entity's, its version in `{table}_history`, and a change record.
//! What is acknowledged is on the disk. Everything below [`Db`] means the same on all three databases.

mod api;
pub mod backup;
pub(crate) mod changes;
mod coerce;
mod collation;
mod cursor;
pub mod dialect;
pub(crate) mod driver;
mod dynamic;
pub mod entity;
#[cfg(test)]
mod entity_derive_tests;
pub(crate) mod error;
pub mod feed;
mod filter;
pub mod history;
mod inspect;
mod migrate;
mod migration_files;
pub mod moves;
mod ops;
pub(crate) mod places;
mod plan;
mod register;
pub mod row;
mod schema;
pub mod start;
mod table;
mod table_text;
mod transaction;
pub mod url;
pub mod value;
mod vitals;
pub mod workspace;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

pub use api::batch::{DeleteMany, GetMany, SaveMany};
pub use api::find::{Count, Find, Page};
pub use api::get::{Get, History};
pub use api::params::Params;
pub use api::raw::{Execute, Query};
pub use api::save::{Delete, Savable, Save, SaveRow};
pub use api::shape::{Shape, Typed, Untyped};
pub(crate) use api::sql::Sql;
pub use dialect::Backend;
pub use driver::Options;
pub use migrate::{Migration, MigrationOptions, StatementHook};
pub use migration_files::MigrationFiles;
pub use plan::finding::{Finding, MigrationPlan, ReplayPlan, Severity};

use api::find::FindCache;
use backup::{BackupOptions, Remote};
use driver::{Driver, Operation, Vitals, Watch, Watched};
use error::DbError;
use schema::check_declarations;
use table::Table;
use transaction::Held;
use url::DatabaseUrl;

use crate::base::backoff::Backoff;
use crate::base::caller::Caller;
use crate::base::clock::Clock;
use crate::base::error::Result;
use crate::base::metrics::Samples;
use crate::base::secret::Secret;
use dynamic::Tables;
use entity::EntityDef;

/// How often a transaction is tried before its conflict is the caller's. Where several fight over the same rows, every other try is lost:
/// ten losses in a row happen once in a thousand transactions, twenty in a million.
const TRIES: u32 = 20;
/// The wait between two tries.
const BETWEEN_TRIES: Backoff = Backoff { first: Duration::from_millis(4), most: Duration::from_millis(250) };

/// The wait before somebody listens again whose connection broke.
const BETWEEN_LISTENS: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(10) };

/// The database, on behalf of one caller. Cheap to clone. Inside [`Db::transaction`], the same type is the transaction;
/// after [`Db::in_workspace`], it sees one workspace only.
#[derive(Debug, Clone)]
pub struct Db {
    shared: Arc<Shared>,
    caller: Caller,
    transaction: Option<Arc<Held>>,
    workspace: Option<Arc<str>>,
}

#[derive(Debug)]
struct Shared {
    driver: Driver,
    vitals: Arc<Vitals>,
    tables: Tables,
    finds: FindCache,
    clock: Clock,
    /// Whether changes leave records, which the audit is made of.
    is_audited: bool,
    /// For backups, which have connections of their own.
    url: DatabaseUrl,
    backups: Option<BackupOptions>,
    migrations: MigrationOptions,
    remote: Option<Arc<dyn Remote>>,
    /// Told with each commit that leaves change records.
    changed: tokio::sync::Notify,
    /// What stands on this database, by its type.
    attached: Attached,
}

/// See [`Db::attach`].
#[derive(Default)]
struct Attached(RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl std::fmt::Debug for Attached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attached")
    }
}

/// What a database is opened with, beside its address.
#[derive(Debug, Clone, Default)]
pub struct DbOptions {
    /// Connections and time-outs.
    pub driver: Options,
    /// Refuses entities that were not declared.
    pub schema_strict: bool,
    /// Keeps no record of changes: what is saved here is not audited.
    pub unaudited: bool,
    /// The source of `created_at` and `updated_at`.
    pub clock: Clock,
    /// Where backups lie. Without it, none can be made.
    pub backups: Option<BackupOptions>,
    /// What a migration may do.
    pub migrations: MigrationOptions,
    /// Where copies of backups go. Without it, nowhere.
    pub remote: Option<Arc<dyn Remote>>,
}

impl Db {
    /// Opens a database for the given entities. Its tables are not looked at: see [`Db::migrate`].
    ///
    /// # Errors
    /// Where the address is wrong, the database can't be reached, or the declarations contradict each other. The message names the cure.
    pub async fn open(url: &Secret, entities: &[&EntityDef], options: DbOptions) -> Result<Db> {
        let url = DatabaseUrl::parse(url)?;
        check_declarations(entities)?;
        let driver = Driver::connect(&url, &options.driver).await?;
        let dialect = driver.dialect();
        let is_audited = !options.unaudited;
        let declared = entities.iter().map(|entity| Table::new((*entity).clone(), dialect, is_audited));
        let tables = Tables::new(declared, options.schema_strict);
        let DbOptions { clock, backups, remote, migrations, .. } = options;
        let shared = Shared {
            vitals: Vitals::new(dialect.backend()),
            driver,
            tables,
            finds: FindCache::default(),
            clock,
            is_audited,
            url,
            backups,
            remote,
            migrations,
            changed: tokio::sync::Notify::new(),
            attached: Attached::default(),
        };
        Ok(Db { shared: Arc::new(shared), caller: Caller::system(), transaction: None, workspace: None })
    }

    /// The same database on behalf of somebody else: recorded with every change.
    #[must_use]
    pub fn with_caller(&self, caller: Caller) -> Db {
        Db { caller, ..self.clone() }
    }

    /// On whose behalf this handle works.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What it takes the time of a save from.
    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Lets something that stands on this database be found by every handle to it, in place of another of its type. It must hold no handle
    /// itself: the two would keep each other.
    pub(crate) fn attach<T: Any + Send + Sync>(&self, what: Arc<T>) {
        let mut attached = self.shared.attached.0.write().expect("nothing panics while holding it");
        attached.insert(TypeId::of::<T>(), what);
    }

    /// What was attached of this type.
    pub(crate) fn attached<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let attached = self.shared.attached.0.read().expect("nothing panics while holding it");
        Arc::clone(attached.get(&TypeId::of::<T>())?).downcast().ok()
    }

    /// Which database this is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.shared.driver.dialect().backend()
    }

    /// Brings the schema to what the declared entities say, in one process at a time. No data is dropped without its flag in
    /// [`MigrationOptions`].
    ///
    /// # Errors
    /// Where something is in the way, such as rows that a new required column has no value for. The message names all of it, and nothing
    /// was changed.
    pub async fn migrate(&self) -> Result<Migration> {
        migrate::run(self, &self.shared.tables.declared(), migrate::Reason::Start).await
    }

    /// What [`Db::migrate`] would do, and what there is to say about it. Writes nothing.
    ///
    /// # Errors
    /// Where the schema can't be read.
    pub async fn plan_migration(&self) -> Result<MigrationPlan> {
        Ok(migrate::preview(self, &self.shared.tables.declared()).await?.plan)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `Unavailable` where it does not.
    pub async fn ping(&self) -> Result<()> {
        let ping =
            ops::read::Select { sql: "SELECT 1".into(), params: Vec::new(), read: |row: &row::RowRef<'_>| row.int(0) };
        self.read(ping).await.map(drop)
    }

    /// Calls `heard` whenever a process notifies this channel, and when it has begun to listen (again), since it may have missed some. Where the
    /// database can't tell, never: only PostgreSQL can, unless pgbouncer lends its sessions. Goes on until it is dropped.
    pub(crate) async fn listen(&self, channel: &str, heard: Arc<dyn Fn() + Send + Sync>) {
        let mut failures = 0;
        loop {
            match self.shared.driver.listen(channel, Arc::clone(&heard)).await {
                Ok(false) => std::future::pending().await,
                Ok(true) => failures = 0,
                Err(error) => tracing::debug!(%error, "can't listen to the database; trying again"),
            }
            failures += 1;
            tokio::time::sleep(BETWEEN_LISTENS.wait(failures)).await;
        }
    }

    /// Tells all processes that listen to this channel, where the database can.
    pub(crate) async fn notify(&self, channel: &str) -> Result<()> {
        match self.backend() {
            Backend::Postgres => self.query("SELECT pg_notify(?, '')", [channel]).await.map(drop),
            Backend::Sqlite | Backend::MySql => Ok(()),
        }
    }

    /// How long SQLite's write-ahead log is, in bytes; none on a server. It stays near 32 MiB; a read that never ends lets it grow.
    #[must_use]
    pub fn write_ahead_log_bytes(&self) -> Option<u64> {
        self.shared.driver.log_bytes()
    }

    /// Finishes what is under way and closes all connections.
    pub async fn close(&self) {
        self.shared.driver.close().await;
    }

    /// Tells how it is; `database` says which one it is, such as `app`.
    pub(crate) fn tell(&self, samples: &mut Samples, database: &str) {
        self.shared.vitals.tell(samples, database);
        vitals::tell(&self.shared.driver, samples, database);
    }

    fn watched<O: Operation>(&self, operation: O) -> Watched<O> {
        Watched { operation, watch: Watch::new(&self.shared.vitals) }
    }

    /// Runs a read: inside the transaction, where this is one.
    async fn read<O: Operation>(&self, operation: O) -> Result<O::Output> {
        Ok(match &self.transaction {
            Some(held) => held.run(self.watched(operation)).await?,
            None => self.shared.driver.read(self.watched(operation)).await?,
        })
    }

    /// Runs a write: inside the transaction, where this is one; else in one of its own, tried again on conflicts.
    async fn write<O: Operation>(&self, operation: O) -> Result<O::Output> {
        if let Some(held) = &self.transaction {
            held.note(operation.leaves_changes());
            return Ok(held.run(self.watched(operation)).await?);
        }
        let operation = Arc::new(self.watched(operation));
        let mut failures = 0;
        loop {
            match self.shared.driver.write(Arc::clone(&operation)).await {
                Err(error) if error.is_worth_a_retry() && failures + 1 < TRIES => {
                    failures += 1;
                    tokio::time::sleep(BETWEEN_TRIES.wait(failures)).await;
                }
                result => {
                    if operation.leaves_changes() {
                        self.shared.changed.notify_one();
                    }
                    return Ok(result?);
                }
            }
        }
    }
}

impl From<url::DatabaseUrl> for Secret {
    fn from(url: url::DatabaseUrl) -> Self {
        url.text
    }
}

/// Shorter to write where only the kind of failure matters.
type DbResult<T> = std::result::Result<T, DbError>;
