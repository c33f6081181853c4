//! The database of a service: opened, brought up, and what is told of it.

use std::sync::Arc;

use super::Service;
use super::facts::Fact;
use super::features::{Feature, admin_entities, features};
use super::progress;
use crate::base::clock::{Clock, Timestamp};
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::engine::s3::S3;
use crate::store::db::backup::{BackedUp, BackupOptions, Remote};
use crate::store::db::entity::EntityDef;
use crate::store::db::moves::Moves;
use crate::store::db::start::{BringUp, BroughtUp, StartBackup};
use crate::store::db::url::DatabaseUrl;
use crate::store::db::{Db, DbOptions, MigrationFiles, MigrationOptions, Options, Severity};

/// The database of a service, with the tables of its features and its own. Nothing is looked at yet.
pub(super) async fn open(
    name: &str,
    config: &ServiceConfig,
    clock: &Clock,
    features: &[Feature],
    entities: &[&'static EntityDef],
) -> Result<Option<Db>> {
    open_with(name, config, clock, features, entities, Options::default()).await
}

pub(super) async fn open_with(
    name: &str,
    config: &ServiceConfig,
    clock: &Clock,
    features: &[Feature],
    entities: &[&'static EntityDef],
    driver: Options,
) -> Result<Option<Db>> {
    let Some(url) = config.effective_database_url() else { return Ok(None) };
    let all: Vec<&EntityDef> = features.iter().flat_map(|feature| &feature.entities).chain(entities).copied().collect();
    let driver = Options { pool_size: config.database_pool_size, sqlite_full_sync: config.sqlite_full_sync, ..driver };
    let backups = Some(BackupOptions::from_config(name, config));
    let remote = config.backup_s3.as_ref().map(S3::new).transpose()?.map(|s3| Arc::new(s3) as Arc<dyn Remote>);
    let migrations = MigrationOptions {
        allow_column_deletion: config.allow_column_deletion,
        allow_table_deletion: config.allow_table_deletion,
        service: Some(name.to_owned()),
        service_renamed_from: config.service_renamed_from.clone(),
        files: Some(MigrationFiles::from_config(name, config)),
        ..MigrationOptions::default()
    };
    let (schema_strict, unaudited) = (config.schema_strict, !config.audit_enabled);
    let options = DbOptions { driver, schema_strict, unaudited, clock: clock.clone(), backups, remote, migrations };
    Db::open(&url, &all, options).await.map(Some)
}

/// The admin database, where it is another than the app's, brought up. Several services may share it, so none of them claims its tables.
pub(super) async fn open_admin(config: &ServiceConfig, clock: &Clock) -> Result<Option<Db>> {
    let (Some(url), Some(_)) = (config.separate_admin_db_url(), config.effective_database_url()) else {
        return Ok(None);
    };
    open_admin_at(&url, config, clock).await.map(Some).map_err(of_the_admin)
}

/// An error of the admin database, by its own variable.
pub(super) fn of_the_admin(error: Error) -> Error {
    let message = error.message().replace("DATABASE_URL", "ADMIN_DB_URL");
    let message = if message.contains("ADMIN_DB_URL") { message } else { format!("ADMIN_DB_URL: {message}") };
    Error::new(error.kind(), message).cause(error)
}

/// The admin database that the command line works on, as it is.
pub(super) async fn open_admin_for_command(service: &Service, read_only: bool) -> Result<Db> {
    let driver = Options { read_only, ..Options::default() };
    match service.config.admin_db_url.as_ref() {
        Some(url) => {
            let options = DbOptions { driver, clock: service.clock.clone(), ..DbOptions::default() };
            Db::open(url, &admin_entities(), options).await
        }
        None => open_as(service, driver).await,
    }
}

pub(super) async fn open_admin_at(url: &Secret, config: &ServiceConfig, clock: &Clock) -> Result<Db> {
    let driver = Options { sqlite_full_sync: config.sqlite_full_sync, ..Options::default() };
    let folder = config.effective_backup_dir().join("admin");
    let backups = BackupOptions { service: "admin".to_owned(), folder, keep: config.backup_keep };
    let options = DbOptions { driver, clock: clock.clone(), backups: Some(backups), ..DbOptions::default() };
    let db = Db::open(url, &admin_entities(), options).await?;
    let backup = if config.backup_enabled { StartBackup::BeforeMigration } else { StartBackup::Never };
    let how = BringUp { backup, migrate: config.migration_enabled, ..BringUp::default() };
    if let Err(error) = db.bring_up(&how).await {
        db.close().await;
        return Err(error);
    }
    Ok(db)
}

/// The database that the command line works on, without serving.
pub(super) async fn open_for_command(service: &Service) -> Result<Db> {
    open_as(service, Options::default()).await
}

/// The same for a command that writes nothing, not even an empty file.
pub(super) async fn open_to_look(service: &Service) -> Result<Db> {
    open_as(service, Options { read_only: true, ..Options::default() }).await
}

async fn open_as(service: &Service, driver: Options) -> Result<Db> {
    let Service { name, config, clock, entities, .. } = service;
    let db = open_with(name, config, clock, &features(config), entities, driver).await?;
    db.ok_or_else(|| Error::invalid("DATABASE_URL is not set; this command needs it. Example: sqlite:///./data/app.db"))
}

/// Makes it ready to be served, and tells what that took.
pub(super) async fn bring_up(db: &Db, config: &ServiceConfig, clock: &Clock) -> Result<Fact> {
    let brought_up = db.bring_up(&how(config, StartBackup::WhenChanged)).await;
    progress::clear();
    let BroughtUp { backup, migration, .. } = brought_up?;
    for finding in &migration.findings {
        match finding.severity {
            Severity::Note => tracing::info!(target: "app_kernel::migration", "{finding}"),
            Severity::Warning | Severity::Refused => tracing::warn!(target: "app_kernel::migration", "{finding}"),
        }
    }
    for name in &migration.replayed {
        tracing::info!(target: "app_kernel::migration", "schema: took over {name}");
    }
    for statement in &migration.statements {
        // The first line says it all; the rest is in the recorded migration.
        let summary = statement.lines().next().unwrap_or_default().trim_end_matches(" (");
        tracing::info!(target: "app_kernel::migration", "schema: {summary}");
    }
    for file in migration.files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "sql")) {
        let file = file.display();
        tracing::info!(target: "app_kernel::migration", "schema: wrote {file} and its .json; commit both, and other databases go the same way");
    }
    if let BackedUp::Failed(error) = &backup {
        tracing::warn!(target: "app_kernel::backup", cause = ?error, "serving without a new backup: {error}");
    }
    let next = config.backup_cron()?.and_then(|cron| cron.next_after(clock.now()));
    let place = config.backup_s3.as_ref().and_then(|_| db.backups().ok()?.remote_place());
    Ok(backup_fact(&backup, next, place))
}

/// What [`Db::bring_up`] does by this configuration.
pub(super) fn how(config: &ServiceConfig, backup: StartBackup) -> BringUp {
    let backup = if config.backup_enabled { backup } else { StartBackup::Never };
    BringUp {
        backup,
        migrate: config.migration_enabled,
        progress: progress::on_a_terminal(),
        moves: Some(Moves::from_config(config)),
    }
}

/// What is told about backups; `next` is when the schedule makes one, `place` where copies go.
fn backup_fact(backup: &BackedUp, next: Option<Timestamp>, place: Option<String>) -> Fact {
    let next = next.map(|next| format!("; the next one at {next:.0}, by BACKUP_SCHEDULE")).unwrap_or_default();
    let place = place.map(|place| format!("; copied to {place}")).unwrap_or_default();
    let detail = |text: String| format!("{text}{next}{place}");
    match backup {
        BackedUp::Made(_) | BackedUp::Unchanged(_) => Fact::on("backups", detail(backup.to_string())),
        BackedUp::NothingThere => {
            Fact::on("backups", detail("the next start makes the first one: there was nothing yet".to_owned()))
        }
        BackedUp::NotAskedFor if !next.is_empty() => {
            Fact::on("backups", detail("none at start: BACKUP_ENABLED is false".to_owned()))
        }
        BackedUp::NotAskedFor => Fact::off("backups", "BACKUP_ENABLED is false"),
        BackedUp::Failed(error) => Fact::off("backups", detail(format!("the one of this start failed: {error}"))),
    }
}

pub(super) fn fact(config: &ServiceConfig) -> Result<Fact> {
    let Some(url) = config.effective_database_url() else {
        return Ok(Fact::off("database", "DATABASE_URL is not set. Example: sqlite:///./data/app.db"));
    };
    let parsed = DatabaseUrl::parse(&url)?;
    Ok(Fact::on("database", parsed.without_credentials()))
}
