//! The commands about backups: they say what they did in words, and how far they are where somebody looks at a terminal.

use std::io::{IsTerminal as _, Write as _};

use clap::Subcommand;

use super::super::{Service, lifecycle};
use crate::base::clock::format_timestamp;
use crate::base::error::{Error, Result};
use crate::store::db::Db;
use crate::store::db::backup::{Backups, Listed, Manifest, Progress, Restored};

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
        Some(BackupAction::List) => list(&backups),
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
    tell(&restored?, !plan_only, "without --plan");
    Ok(())
}

pub(super) async fn rollback(service: Service, date: &str, confirm: bool) -> Result<()> {
    let (db, backups) = open(&service).await?;
    let restored = backups.rollback(date, confirm).await;
    db.close().await;
    tell(&restored?, confirm, "with --confirm");
    Ok(())
}

async fn open(service: &Service) -> Result<(Db, Backups)> {
    let db = lifecycle::open_for_command(service).await?;
    let mut backups = db.backups()?;
    if std::io::stderr().is_terminal() {
        backups = backups.with_progress(Progress::new(|table, rows| {
            let mut terminal = std::io::stderr();
            // A terminal that is gone is no reason to stop.
            let _ = write!(terminal, "\r\x1b[K{table}: {rows} rows").and_then(|()| terminal.flush());
        }));
    }
    Ok((db, backups))
}

fn clear_progress() {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        let _ = write!(terminal, "\r\x1b[K").and_then(|()| terminal.flush());
    }
}

async fn make(backups: &Backups) -> Result<()> {
    let made = backups.make().await;
    clear_progress();
    let made = made?;
    println!("{}: {} tables, {} rows, verified", made.csv, made.tables, made.rows);
    match &made.native {
        Some(native) => println!("{native}: the same, in the database's own form"),
        None => println!("no native form: this database or its tools can't make one here"),
    }
    for removed in &made.removed {
        println!("{removed}: removed to make room (BACKUP_KEEP)");
    }
    Ok(())
}

fn list(backups: &Backups) -> Result<()> {
    let listed = backups.list()?;
    for Listed { name, manifest } in &listed {
        match manifest {
            Ok(manifest) => println!("{name}: {}", described(manifest)),
            Err(error) => println!("{name}: {error}"),
        }
    }
    if listed.is_empty() {
        println!("there are no backups yet; `backup` makes one");
    }
    Ok(())
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
    let mut damaged = 0;
    for name in &names {
        match backups.verify(name).await {
            Ok(manifest) => println!("{name}: good: {}", described(&manifest)),
            Err(error) => {
                damaged += 1;
                println!("{name}: {error}");
            }
        }
    }
    if damaged > 0 {
        return Err(Error::invalid(format!("{damaged} of {} backups are damaged", names.len())));
    }
    Ok(())
}

fn tell(restored: &Restored, is_done: bool, how: &str) {
    clear_progress();
    let Restored { name, created_at, safety_copy, steps } = restored;
    println!("{name}, made {}", format_timestamp(*created_at));
    for step in steps {
        println!("  {step}");
    }
    if !is_done {
        println!("nothing was changed; {how}, this is what is done, after a safety copy");
    } else if let Some(copy) = safety_copy {
        println!("restored. The state before is in {copy}; restart the services that use this database");
    } else {
        println!("restored");
    }
}
