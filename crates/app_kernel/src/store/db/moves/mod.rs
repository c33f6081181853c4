//! Moves between databases: where DATABASE_URL names another database than at the last start, the data comes along.
//!
//! What is always true: the old database is only read. The new one is filled only where it holds no row of ours; each table is there whole
//! and verified, or not at all; a move that was killed goes on at the next start. What the last database was is written last, in one
//! stroke, so that a move that did not end well is tried again, and one that did is never repeated.
//!
//! One start is one `Arrival`: `at_start`, a backup, the migration, `Arrival::settle`. [`Db::bring_up`] does all of it.

mod bring;
mod import;
mod marker;
mod place;
mod source;
mod state;
mod target;

use std::path::PathBuf;

use super::Db;
use super::backup::BackedUp;
use super::migrate::Migration;
use crate::base::clock::Timestamp;
use crate::base::config::ServiceConfig;
use crate::base::error::Result;
use crate::base::secret::Secret;
use marker::{Marker, MarkerFile};
use place::{Place, address_without_secret};
use state::Record;
use target::{BornAt, Finish};

/// Where the log has these lines.
const TARGET: &str = "app_kernel::moves";

/// What a start knows about moves.
#[derive(Debug, Clone)]
pub struct Moves {
    /// Where it is written down which database was the last one.
    pub data_dir: PathBuf,
    /// The address of the last database, where it has a password: that is not written down.
    pub previous_url: Option<Secret>,
}

impl Moves {
    /// What the configuration says.
    #[must_use]
    pub fn from_config(config: &ServiceConfig) -> Self {
        Moves { data_dir: PathBuf::from(&config.data_dir), previous_url: config.database_url_previous.clone() }
    }
}

/// A start on a database: its data is there, whether it was or came along. Ends with [`Arrival::settle`].
#[derive(Debug)]
#[must_use = "the next start must know which database was the last one: settle it"]
pub(super) struct Arrival {
    db: Db,
    service: String,
    marker: MarkerFile,
    previous_url: Option<Secret>,
    here: Place,
    /// When the data was born, where the last start was here too and wrote it down.
    born_at: Option<Timestamp>,
    /// The move that brought the data, where it is not finished.
    moved: Option<Record>,
    /// What was told.
    lines: Vec<String>,
}

/// Looks whether this is the database of the last start and, where it is another one that is empty, brings the data along.
/// Before the backup and the migration of a start. `may_fill` is whether the schema may be changed.
///
/// # Errors
/// Where the data can't be brought: the old database is in use or can't be read, its backup is damaged, the new one holds other data or can't
/// take this. The new database holds nothing that is served then, and the next start tries again.
pub(super) async fn at_start(db: &Db, moves: &Moves, may_fill: bool) -> Result<Arrival> {
    let service = db.backups()?.service().to_owned();
    let marker = MarkerFile::of(&service, &moves.data_dir);
    let here = Place::of(&db.shared.url)?;
    let last = marker.read()?;
    let born_at = last.as_ref().filter(|last| last.place == here).and_then(|last| last.born_at);
    let arrival = Arrival {
        db: db.clone(),
        service,
        marker,
        previous_url: moves.previous_url.clone(),
        here,
        born_at,
        moved: None,
        lines: Vec::new(),
    };
    match last {
        Some(last) if last.place == arrival.here => Ok(arrival),
        Some(_) => arrival.after_another(may_fill).await,
        None => arrival.first_of_all().await,
    }
}

impl Arrival {
    /// Whether data was brought along that was not here before.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.is_some()
    }

    /// Tells of the backup and the migration after a move. From now on this is the last database. Answers all that was told.
    ///
    /// # Errors
    /// After a move, where that can't be written down. Else it is only warned of.
    pub(super) async fn settle(mut self, backup: &BackedUp, migration: &Migration) -> Result<Vec<String>> {
        let Some(record) = self.moved.take() else {
            if let Err(error) = self.write_marker().await {
                tracing::warn!(target: TARGET, "a later change of DATABASE_URL will go unnoticed: {error}");
            }
            return Ok(self.lines);
        };
        self.tell(match backup {
            BackedUp::Made(made) => format!("✓ Automated backup completed: {}", made.csv),
            BackedUp::Unchanged(last) => format!("✓ Automated backup completed: {last}"),
            BackedUp::NothingThere => "✓ Automated backup completed: there are no tables".to_owned(),
            BackedUp::NotAskedFor => "  Automated backup left out: BACKUP_ENABLED is false".to_owned(),
            BackedUp::Failed(error) => format!("  Automated backup failed: {error}"),
        });
        self.tell(format!("✓ Schema migration completed: {} statements", migration.statements.len()));
        let record = Record { finished_at: Some(self.db.shared.clock.now()), ..record };
        self.db.write(Finish(record)).await?;
        self.write_marker().await?;
        Ok(self.lines)
    }

    /// A line of the start, in the order and the words of the specification.
    fn tell(&mut self, line: String) {
        tracing::info!(target: TARGET, "{line}");
        self.lines.push(line);
    }

    /// A line that should be looked at.
    fn warn(&mut self, line: String) {
        tracing::warn!(target: TARGET, "{line}");
        self.lines.push(line);
    }

    async fn write_marker(&self) -> Result<()> {
        let url = address_without_secret(&self.db.shared.url)?;
        let born_at = match self.born_at {
            Some(born_at) => Some(born_at),
            None => self.db.read(BornAt).await?,
        };
        let now = self.db.shared.clock.now();
        self.marker.write(&Marker::new(&self.service, self.here.clone(), url, born_at, now))
    }
}
