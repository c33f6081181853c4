//! Moves what the processes noted down to the admin database. Any number of processes may do it at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::model::{Cell, Sums, Tallied, Tally};
use super::store::{self, Stretch};
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{OrInternal as _, Result};
use crate::base::secret::token_hash;
use crate::engine::courier::Destination;
use crate::engine::pulse::Pulse;
use crate::engine::relay::{self, AtTheEnd, Carried, Rhythm};
use crate::engine::spool::{Part, Spool};
use crate::store::db::Db;

const RHYTHM: Rhythm = Rhythm {
    soon: Duration::from_secs(1),
    seldom: Duration::from_secs(1),
    gather: Duration::ZERO,
    at_the_end: AtTheEnd::CarryTheRest,
};
/// How often it looks for files whose process is gone.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);

/// Where a service's processes note down what is used.
pub(crate) fn spool_folder(config: &ServiceConfig, service: &str) -> PathBuf {
    let plain: String = service.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(40).collect();
    // Names that look alike when plain are told apart.
    PathBuf::from(&config.data_dir).join("usage").join(format!("{plain}_{}", &token_hash(service)[..6]))
}

/// Moves the usage of one service until it is told to stop.
pub(crate) struct Worker {
    app: Arc<str>,
    spool: Arc<Spool>,
    to: Destination,
    looked: Mutex<Option<Instant>>,
    pulse: Pulse,
    clock: Clock,
}

impl Worker {
    pub(crate) fn new(
        app: impl Into<Arc<str>>,
        spool: Arc<Spool>,
        to: Destination,
        (pulse, clock): (Pulse, Clock),
    ) -> Self {
        Worker { app: app.into(), spool, to, looked: Mutex::default(), pulse, clock }
    }

    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        relay::run(&self.pulse, RHYTHM, stop, std::future::pending, || self.carry()).await;
        // Nobody asks any more: the file is done with, and goes once it is applied.
        self.spool.finish_current();
        if let Err(error) = flush(&self.spool, &self.to, &self.app).await {
            tracing::warn!("the last usage stays in its file, the next start moves it: {error:?}");
        }
    }

    async fn carry(&self) -> Result<Carried> {
        // Should the rest go wrong: what waits is older than this by a round at most.
        self.pulse.waits_since_at_most(self.clock.now());
        self.pulse.count_processed(flush(&self.spool, &self.to, &self.app).await?);
        if self.is_time_to_look() {
            self.adopt().await?;
            *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.pulse.has_none_waiting();
        Ok(Carried::All)
    }

    fn is_time_to_look(&self) -> bool {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.is_none_or(|looked| looked.elapsed() >= BETWEEN_LOOKS)
    }

    /// Moves what processes left that were killed.
    async fn adopt(&self) -> Result<()> {
        for orphan in self.spool.orphans().or_internal("looking for usage that was left behind")? {
            let from = self.to.applied(&orphan.part.name).await?;
            let (_, records) = apply(&self.to, &self.app, &orphan.part, from).await?;
            self.pulse.count_processed(records);
            // The file goes first: its row alone does no harm, but without its row it would be applied again.
            self.spool.remove_orphan(&orphan).or_internal("removing usage that is applied")?;
            self.to.forget(&orphan.part.name).await?;
            tracing::info!("usage of a process that ended badly is counted");
        }
        Ok(())
    }
}

/// What a worker reads it by.
pub(crate) const USAGE: &str = "usage";

/// What a worker is told.
#[derive(Serialize, Deserialize)]
struct Told {
    app: String,
    stretch: Stretch,
    cells: Vec<(Cell, Sums)>,
}

/// Adds usage that was told to a worker to its admin database. Answers up to where the file is applied; none where it can't be read.
pub(crate) async fn receive(admin: &Db, told: &str) -> Result<Option<String>> {
    let Ok(Told { app, stretch, cells }) = serde_json::from_str::<Told>(told) else { return Ok(None) };
    apply_to(admin, &app, &stretch, &cells.into_iter().collect()).await.map(|place| Some(place.to_string()))
}

/// Another may have applied it already, or the database went back to an earlier state: it knows.
async fn apply_to(admin: &Db, app: &str, stretch: &Stretch, cells: &BTreeMap<Cell, Sums>) -> Result<u64> {
    if store::apply(admin, app, stretch, cells).await? {
        return Ok(stretch.to);
    }
    store::applied(admin, &stretch.spool).await
}

impl Destination {
    /// Up to where a file is applied, as far as can be told without asking a worker, who says it in its answer.
    async fn applied(&self, spool: &str) -> Result<u64> {
        match self {
            Destination::Database(admin) => store::applied(admin, spool).await,
            Destination::Worker(_) => Ok(0),
        }
    }

    /// Applies a stretch, unless that was done. Answers up to where the file is applied.
    async fn apply(&self, app: &str, stretch: Stretch, cells: BTreeMap<Cell, Sums>) -> Result<u64> {
        match self {
            Destination::Database(admin) => apply_to(admin, app, &stretch, &cells).await,
            Destination::Worker(courier) => {
                let told = Told { app: app.to_owned(), stretch, cells: cells.into_iter().collect() };
                let told = serde_json::to_string(&told).expect("sums are always JSON");
                courier.deliver(USAGE, &told).await?.parse().or_internal("reading the answer of the admin worker")
            }
        }
    }

    /// Forgets a file that is gone. What a worker knows stays: a message that was lost and sent again may still be on its way there.
    async fn forget(&self, spool: &str) -> Result<()> {
        match self {
            Destination::Database(admin) => store::forget(admin, spool).await,
            Destination::Worker(_) => Ok(()),
        }
    }
}

/// Moves what this process has noted down until now. Answers how many records that was.
pub(super) async fn flush(spool: &Spool, to: &Destination, app: &str) -> Result<usize> {
    let mut moved = 0;
    let mut places = spool.applied.lock().await;
    for part in spool.parts() {
        let from = match places.get(&part.name) {
            Some(place) => *place,
            None => to.applied(&part.name).await?,
        };
        if from < part.length {
            let (place, records) = apply(to, app, &part, from).await?;
            moved += records;
            places.insert(part.name.clone(), place);
        }
        if !part.is_current {
            spool.remove_finished(&part.name).or_internal("removing usage that is applied")?;
            to.forget(&part.name).await?;
            places.remove(&part.name);
        }
    }
    Ok(moved)
}

/// Applies a file from a place to its end; answers where that is, and how many records lie between.
async fn apply(to: &Destination, app: &str, part: &Part, from: u64) -> Result<(u64, usize)> {
    let (mut place, mut moved) = (from, 0);
    while place < part.length {
        let (end, Tallied { cells, records, .. }) = added_up(part.clone(), place).await?;
        if end == place {
            break;
        }
        let stretch = Stretch { spool: part.name.clone(), from: place, to: end };
        place = to.apply(app, stretch, cells).await?;
        moved += records;
    }
    Ok((place, moved))
}

/// What the next records behind a place add up to, and where they end.
async fn added_up(part: Part, from: u64) -> Result<(u64, Tallied)> {
    let read = tokio::task::spawn_blocking(move || {
        let records = part.read(from)?;
        let mut tally = Tally::default();
        records.texts().for_each(|text| tally.add(text));
        let tallied = tally.end();
        let unreadable = tallied.unreadable + u64::from(records.is_torn);
        if unreadable > 0 {
            let file = part.path.display();
            tracing::warn!(unreadable, "{file}: {unreadable} records of usage can't be read and are not counted");
        }
        Ok::<_, std::io::Error>((records.end, tallied))
    });
    read.await.or_internal("reading usage")?.or_internal("reading usage")
}
