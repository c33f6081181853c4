//! The commands about backups: they say what they did in words, and how far they are where somebody looks at a terminal.

use std::path::Path;

use clap::Subcommand;

use super::super::{Service, database, progress};
use super::say;
use crate::base::clock::format_timestamp;
use crate::base::error::{Error, Result};
use crate::store::db::Db;
use crate::store::db::backup::{Backups, Listed, Manifest, Restored, list_in, verify_in};

/// What there is to do about backups, beside making one.
#[derive(Debug, Subcommand)]
pub(super) enum BackupAction {
    /// List all backups, the oldest first
    List,
    /// Read backups back: every checksum, row and value
    Verify {
        /// The backup; the newest of this service where none is named
        name: Option<String>,
        /// All of this service
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

pub(super) async fn backup(service: Service, action: Option<BackupAction>) -> Result<()> {
    let (db, backups) = open(&service).await?;
    let done = match action {
        None => make(&backups).await,
        Some(BackupAction::List) => list(&backups).await,
        Some(BackupAction::Verify { name, all }) => verify(&backups, &service.name, name, all).await,
    };
    db.close().await;
    done
}

pub(super) async fn restore(service: Service, name: &str, table: Option<&str>, plan_only: bool) -> Result<()> {
    let (db, backups) = open(&service).await?;
    let restored = match plan_only {
        true => backups.plan_restore(name, table).await,
        false => backups.restore(name, table).await,
    };
    db.close().await;
    tell(&restored?, !plan_only, "without --plan")
}

pub(super) async fn rollback(service: Service, date: &str, confirm: bool) -> Result<()> {
    let (db, backups) = open(&service).await?;
    let restored = backups.rollback(date, confirm).await;
    db.close().await;
    tell(&restored?, confirm, "with --confirm")
}

async fn open(service: &Service) -> Result<(Db, Backups)> {
    let db = database::open_for_command(service).await?;
    let backups = db.backups()?.with_progress(progress::on_a_terminal());
    Ok((db, backups))
}

async fn make(backups: &Backups) -> Result<()> {
    let made = backups.make().await;
    progress::clear();
    let made = made?;
    let native = format!("{}: the same, in the database's own form\n", made.native);
    let removed = made.removed.iter().map(|name| format!("{name}: removed to make room (BACKUP_KEEP)\n"));
    let copied = match backups.copy_away().await {
        Ok(names) => names
            .iter()
            .map(|name| format!("{name}: copied to {}\n", backups.remote_place().unwrap_or_default()))
            .collect(),
        Err(error) => {
            eprintln!("warning: the backup is made, but not copied away; the next one tries again: {error}");
            String::new()
        }
    };
    let first = format!("{}: {} tables, {} rows, verified\n", made.csv, made.tables, made.rows);
    say(&[first, native, copied].into_iter().chain(removed).collect::<String>())
}

async fn list(backups: &Backups) -> Result<()> {
    let listed = backups.list()?;
    let line = |Listed { name, manifest }: &Listed| match manifest {
        Ok(manifest) => format!("{name}: {}\n", described(manifest)),
        Err(error) => format!("{name}: {error}\n"),
    };
    let place = backups.remote_place().unwrap_or_default();
    let elsewhere = match backups.list_remote().await {
        Ok(names) => names.iter().map(|name| format!("{name}: only in {place}; `restore` fetches it\n")).collect(),
        Err(error) => {
            eprintln!("warning: what is elsewhere can't be listed: {error}");
            String::new()
        }
    };
    let all = elsewhere + &listed.iter().map(line).collect::<String>();
    if all.is_empty() { say("there are no backups yet; `backup` makes one\n") } else { say(&all) }
}

fn described(manifest: &Manifest) -> String {
    format!(
        "{} of {}, {}, {} tables, {} rows",
        format_timestamp(manifest.created_at),
        manifest.service,
        manifest.backend,
        manifest.tables.len(),
        manifest.rows()
    )
}

async fn verify(backups: &Backups, service: &str, name: Option<String>, all: bool) -> Result<()> {
    let is_ours = |listed: &Listed| listed.manifest.as_ref().map_or(true, |manifest| manifest.service == service);
    let mut names: Vec<String> = match name {
        Some(name) => vec![name],
        None => backups.list()?.into_iter().filter(is_ours).map(|listed| listed.name).collect(),
    };
    if !all {
        names = names.pop().into_iter().collect();
    }
    if names.is_empty() {
        return Err(Error::not_found("there is no backup to verify; `backup` makes one"));
    }
    verify_each(&names, async |name| backups.verify(name).await).await
}

/// Reads backups in a folder back and says of each how it is, without a database: one by its name, or all, of whichever services.
///
/// # Errors
/// Where one is damaged, there is none of the name, or there are none at all; names the folder.
pub async fn verify_backups(folder: &Path, name: Option<&str>) -> Result<()> {
    let names: Vec<String> = match name {
        Some(name) => vec![name.to_owned()],
        None => list_in(folder)?.into_iter().map(|listed| listed.name).collect(),
    };
    if names.is_empty() {
        let place = folder.display();
        return Err(Error::not_found(format!(
            "there are no backups in {place}; BACKUP_DIR or --folder says where they lie"
        )));
    }
    verify_each(&names, async |name| verify_in(folder, name).await).await
}

async fn verify_each(names: &[String], verify: impl AsyncFn(&str) -> Result<Manifest>) -> Result<()> {
    let mut damaged = 0;
    for name in names {
        match verify(name).await {
            Ok(manifest) => say(&format!("{name}: good: {}\n", described(&manifest)))?,
            Err(error) => {
                damaged += 1;
                say(&format!("{name}: {error}\n"))?;
            }
        }
    }
    if damaged > 0 {
        return Err(Error::invalid(format!("{damaged} of {} backups are damaged", names.len())));
    }
    Ok(())
}

fn tell(restored: &Restored, is_done: bool, how: &str) -> Result<()> {
    progress::clear();
    let Restored { name, created_at, safety_copy, steps } = restored;
    let steps: String = steps.iter().map(|step| format!("  {step}\n")).collect();
    let end = match safety_copy {
        _ if !is_done => format!("nothing was changed; {how}, this is what is done, after a safety copy"),
        Some(copy) => {
            format!("restored. The state before is in {copy}; restart the services that use this database")
        }
        None => "restored".to_owned(),
    };
    say(&format!("{name}, made {}\n{steps}{end}\n", format_timestamp(*created_at)))
}
