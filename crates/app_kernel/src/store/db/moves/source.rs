//! Where the data of a move comes from: the old database, where it can still be reached; else the newest backup of it.

use std::path::Path;

use super::marker::Marker;
use super::place::Place;
use crate::base::clock::{Timestamp, format_timestamp};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::secret::Secret;
use crate::store::db::backup::{Reason, Snapshot};
use crate::store::db::dialect::Backend;
use crate::store::db::url::DatabaseUrl;
use crate::store::db::{Db, DbOptions, driver};

/// What is moved.
#[derive(Debug)]
pub(super) enum Source {
    /// The old database as it is now.
    Now(Snapshot),
    /// A backup of it, and why the database itself could not be asked.
    Then(Snapshot, String),
    /// Neither; why.
    Nothing(String),
}

impl Source {
    /// Finds it, and reads it as a whole before anything is touched.
    pub(super) async fn find(target: &Db, previous: Option<&Secret>, last: &Marker) -> Result<Self> {
        let why = match old_url(previous, last)? {
            Err(why) => why,
            Ok(url) => match open(target, &url, last).await? {
                Err(why) => why,
                Ok(old) => {
                    // A backup of another database of the same kind could be taken for one of this.
                    let may_be_there = last.place.backend != target.backend().as_str();
                    let snapshot = old.backups()?.snapshot(Reason::BeforeMove, may_be_there).await;
                    old.close().await;
                    return snapshot.map(Source::Now).map_err(|error| {
                        Error::new(
                            error.kind(),
                            format!(
                                "the data of the old database ({}) can't be brought along: {error}",
                                last.place.address
                            ),
                        )
                        .cause(error)
                    });
                }
            },
        };
        match target.backups()?.newest_of(&last.place.backend).await? {
            Some(snapshot) => Ok(Source::Then(snapshot, why)),
            None => Ok(Source::Nothing(why)),
        }
    }
}

/// The address of the old database, or why nobody knows it.
fn old_url(previous: Option<&Secret>, last: &Marker) -> Result<std::result::Result<DatabaseUrl, String>> {
    if let Some(previous) = previous {
        let parsed = DatabaseUrl::parse(previous).ok();
        let place = parsed.as_ref().and_then(|url| Place::of(url).ok());
        return match parsed {
            Some(url) if place.as_ref() == Some(&last.place) => Ok(Ok(url)),
            _ => Err(Error::invalid(format!(
                "DATABASE_URL_PREVIOUS is not the address of the last database, which was {} at {}; give that one, or none",
                last.place.backend, last.place.address
            ))),
        };
    }
    let Some(url) = &last.url else {
        return Ok(Err("its address has a password, so it was not kept; DATABASE_URL_PREVIOUS gives it".to_owned()));
    };
    DatabaseUrl::parse(&Secret::new(url.clone())).map(Ok)
}

/// The old database, or why it can't be reached.
async fn open(target: &Db, url: &DatabaseUrl, last: &Marker) -> Result<std::result::Result<Db, String>> {
    if url.backend == Backend::Sqlite {
        let path = url.sqlite_file()?;
        if !path.exists() {
            return Ok(Err(format!("the file {} is gone", path.display())));
        }
        refuse_in_use(&path).await?;
    }
    let declared = target.shared.tables.declared();
    let options = DbOptions {
        driver: driver::Options { pool_size: Some(1), ..driver::Options::default() },
        clock: target.shared.clock.clone(),
        backups: target.shared.backups.clone(),
        ..DbOptions::default()
    };
    match Db::open(&url.text, &declared.iter().collect::<Vec<_>>(), options).await {
        Ok(old) => Ok(Ok(old)),
        // A server that is gone is what backups are for; one that says no may be asked better.
        Err(error) if error.kind() == ErrorKind::Unavailable && url.backend != Backend::Sqlite => {
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(Error::new(
            error.kind(),
            format!(
                "the old database ({} at {}) is there and can't be opened: {error}",
                last.place.backend, last.place.address
            ),
        )
        .cause(error)),
    }
}

/// What is written while it is read would be lost. A server has other users whom we can't tell apart; a file of SQLite has one process.
async fn refuse_in_use(path: &Path) -> Result<()> {
    let file = path.to_owned();
    let asked = tokio::task::spawn_blocking(move || driver::is_in_use(&file)).await;
    let is_in_use = asked.map_err(|cause| Error::internal("looking at the old database failed").cause(cause))?;
    if is_in_use? {
        return Err(Error::conflict(format!(
            "the old database {} is in use by another process, whose writes would be lost; stop it, then start again",
            path.display()
        )));
    }
    Ok(())
}

/// How old something is, for people.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let secs = now.duration_since(then).as_secs().max(0);
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// A time as the line about the backup has it.
pub(super) fn told(at: Timestamp) -> String {
    let text = format_timestamp(at);
    let seconds = text.split('.').next().unwrap_or(&text).trim_end_matches('Z').to_owned();
    seconds + "Z"
}
