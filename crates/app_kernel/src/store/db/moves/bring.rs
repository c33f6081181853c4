//! What is done where a start finds another database than the last one: nothing, a refusal, or the move.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::import::Import;
use super::marker::Marker;
use super::source::{Source, age, told};
use super::state::Record;
use super::target::{LastMove, Look, Target};
use super::{Arrival, TARGET};
use crate::base::error::{Error, Result};
use crate::store::db::backup::{Progress, Snapshot};
use crate::store::db::driver::Driver;
use crate::store::db::start::StartLock;

/// How often a long move says how far it is.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);

impl Arrival {
    /// Without a marker there is nothing to bring, but somebody else may be filling this database.
    pub(super) async fn first_of_all(mut self) -> Result<Arrival> {
        let is_under_way = |record: &Record| record.finished_at.is_none();
        if !self.db.read(LastMove).await?.as_ref().is_some_and(is_under_way) {
            return Ok(self);
        }
        let lock = StartLock::take(&self.db.shared.url).await?;
        let record = self.db.read(LastMove).await;
        lock.release().await;
        match record?.filter(is_under_way) {
            None => Ok(self),
            // All is there; it is ours to finish, so that nobody takes what is written from now on for part of the move.
            Some(record) if record.imported_at.is_some() => {
                self.moved = Some(record);
                Ok(self)
            }
            Some(record) => Err(Error::conflict(format!(
                "the data of the service `{}` was being moved into this database from {} at {} and is not complete; start it where that began \
                 (with its DATA_DIR), or empty this database",
                record.service, record.from.backend, record.from.address
            ))),
        }
    }

    /// The last start was on another database.
    pub(super) async fn after_another(self, may_fill: bool) -> Result<Arrival> {
        let lock = StartLock::take(&self.db.shared.url).await?;
        let arrived = self.after_another_alone(may_fill).await;
        lock.release().await;
        arrived
    }

    async fn after_another_alone(mut self, may_fill: bool) -> Result<Arrival> {
        // Whoever had the lock before may have done it all.
        let last = match self.marker.read()? {
            Some(last) if last.place != self.here => last,
            _ => return Ok(self),
        };
        let target = self.db.read(Look).await?;
        match self.earlier(&last, &target)? {
            Some(record) if record.finished_at.is_some() => {
                self.tell(format!("the data of {} came here already, by another process", last.place.backend));
                Ok(self)
            }
            Some(record) if record.imported_at.is_some_and(|at| at > last.used_at) => {
                self.tell_change(&last);
                self.tell(format!(
                    "✓ Data migrated successfully from {} to {} before; going on from there",
                    last.place.backend, self.here.backend
                ));
                self.moved = Some(record);
                Ok(self)
            }
            None if target.rows.is_some() => self.among_others(&last, &target),
            earlier if may_fill => self.bring(&last, &target, earlier).await,
            _ => Err(Error::invalid(format!(
                "DATABASE_URL names another database than at the last start, which was {} at {}, and MIGRATION_ENABLED=false forbids to fill it; \
                 set MIGRATION_ENABLED=true for one start, or {}",
                last.place.backend,
                last.place.address,
                self.or_take_it_as_it_is()
            ))),
        }
    }

    /// A move of the same data into this database, begun after the last start on the old one.
    fn earlier(&self, last: &Marker, target: &Target) -> Result<Option<Record>> {
        let Some(record) = &target.record else { return Ok(None) };
        let is_this = record.service == self.service
            && record.from == last.place
            && (record.born_at == last.born_at || last.born_at.is_none());
        match record.finished_at {
            Some(at) => Ok(Some(record.clone()).filter(|_| is_this && at > last.used_at)),
            None if is_this => Ok(Some(record.clone())),
            None => Err(Error::conflict(format!(
                "the data of the service `{}` at {} is being moved into this database already, and two can't share it; give DATABASE_URL an empty one",
                record.service, record.from.address
            ))),
        }
    }

    /// It holds rows that no move of ours put there.
    fn among_others(mut self, last: &Marker, target: &Target) -> Result<Arrival> {
        let (table, rows) = target.rows.clone().unwrap_or_default();
        if last.place.backend == self.here.backend {
            let what = match target.born_at {
                Some(born_at) if Some(born_at) == last.born_at => "this data or an earlier state of it",
                _ => "data of its own",
            };
            self.tell(format!(
                "DATABASE_URL names another {} than at the last start, with {what} ({rows} rows in `{table}`): it is taken as it is",
                self.here.backend
            ));
            return Ok(self);
        }
        Err(Error::conflict(format!(
            "DATABASE_URL names another database than at the last start, which was {} at {}. This one holds {rows} rows in `{table}`, so the data \
             can't be brought here; nothing was changed. Give an empty database, or {}",
            last.place.backend,
            last.place.address,
            self.or_take_it_as_it_is()
        )))
    }

    fn or_take_it_as_it_is(&self) -> String {
        format!("remove {} to take this one as it is", self.marker.path().display())
    }

    fn tell_change(&mut self, last: &Marker) {
        let (from, to) = (&last.place, &self.here);
        if from.backend == to.backend {
            self.tell(format!("🔄 DATABASE CHANGED: {} {} → {}", from.backend, from.address, to.address));
        } else {
            self.tell(format!("🔄 DATABASE BACKEND CHANGED: {} → {}", from.backend, to.backend));
        }
    }

    /// Finds the data, fills the database, and tells each step.
    async fn bring(mut self, last: &Marker, target: &Target, earlier: Option<Record>) -> Result<Arrival> {
        self.tell_change(last);
        let snapshot = match Source::find(&self.db, self.previous_url.as_ref(), last).await? {
            Source::Now(snapshot) => {
                self.tell(format!("✓ Found backup from {}, of the old database as it is now", described(&snapshot)));
                snapshot
            }
            Source::Then(snapshot, why) => {
                let age = age(snapshot.manifest.created_at, self.db.shared.clock.now());
                self.warn(format!(
                    "✓ Found backup from {}, {age} old. What was written since does not come along: {why}",
                    described(&snapshot)
                ));
                snapshot
            }
            Source::Nothing(why) if earlier.is_some() => {
                return Err(Error::unavailable(format!(
                    "a move into this database was begun and can't be finished: {why}, and there is no backup of it. Bring one of them back, or empty \
                     this database"
                )));
            }
            Source::Nothing(why) => {
                self.warn(format!(
                    "there is no backup of the old database ({} at {}), and {why}: starting with an EMPTY DATABASE on {}",
                    last.place.backend, last.place.address, self.here.backend
                ));
                return Ok(self);
            }
        };
        if let Some(table) = snapshot.manifest.tables.iter().find(|table| target.strangers.contains(&table.name)) {
            return Err(Error::conflict(format!(
                "this database has a table `{}` that is not of this kernel, and the data brings one of that name; nothing was changed. Rename it, or \
                 give an empty database",
                table.name
            )));
        }
        self.tell("  Auto-migrating data to new backend...".to_owned());
        self.moved = Some(self.import(last, snapshot, earlier).await?);
        Ok(self)
    }

    async fn import(&mut self, last: &Marker, snapshot: Snapshot, earlier: Option<Record>) -> Result<Record> {
        let started = Instant::now();
        let clock = self.db.shared.clock.clone();
        let record = earlier.unwrap_or_else(|| Record {
            service: self.service.clone(),
            from: last.place.clone(),
            born_at: last.born_at,
            began_at: clock.now(),
            imported_at: None,
            finished_at: None,
        });
        let (tables, rows) = (snapshot.manifest.tables.len(), snapshot.manifest.rows());
        let Snapshot { folder, manifest, .. } = snapshot;
        let import = Import { folder, manifest, record, clock, progress: words_now_and_then() };
        let driver = Driver::connect_apart(&self.db.shared.url).await?;
        let imported = driver.read(import).await;
        driver.close().await;
        let (record, there) = imported?;
        self.db.shared.tables.forget_undeclared();
        let before = if there > 0 { format!(", {there} of them moved before") } else { String::new() };
        self.tell(format!(
            "✓ Data migrated successfully from {} to {}: {tables} tables{before}, {rows} rows, verified, in {:.1} s",
            last.place.backend,
            self.here.backend,
            started.elapsed().as_secs_f64()
        ));
        Ok(record)
    }
}

fn described(snapshot: &Snapshot) -> String {
    let manifest = &snapshot.manifest;
    format!("{}: {} tables, {} rows", told(manifest.created_at), manifest.tables.len(), manifest.rows())
}

/// A long move says how far it is; a short one says nothing between its lines.
fn words_now_and_then() -> Progress {
    let last = Mutex::new(Instant::now());
    Progress::new(move |table, rows| {
        let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() > BETWEEN_WORDS {
            *last = Instant::now();
            tracing::info!(target: TARGET, "  {table}: {rows} rows");
        }
    })
}
