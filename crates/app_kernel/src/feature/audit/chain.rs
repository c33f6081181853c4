//! Whether the entries of an app are what was written.

use std::fmt;

use super::model::BEGINNING;
use super::store::{AuditLog, chain};
use crate::base::error::{Error, Result};
use crate::store::db::Db;

/// Entries that are read at once.
const PAGE: u32 = 1000;

/// Where a chain ends: note it somewhere else, and a later look can tell whether everything up to it is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainEnd {
    /// The number of the last entry.
    pub position: i64,
    /// Its hash; empty where there is none.
    pub hash: String,
}

impl fmt::Display for ChainEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position, self.hash)
    }
}

impl std::str::FromStr for ChainEnd {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once(':').and_then(|(number, hash)| Some((number.parse().ok()?, hash)));
        let (position, hash) = parts
            .filter(|(position, hash): &(i64, &str)| *position >= 0 && (hash.is_empty() == (*position == 0)))
            .ok_or_else(|| Error::invalid(format!("`{text}` is no end of a chain; it is told as NUMBER:HASH")))?;
        Ok(ChainEnd { position, hash: hash.to_owned() })
    }
}

/// A chain in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many entries are there.
    pub entries: i64,
    /// How many were purged before them.
    pub purged: i64,
    /// Where it ends.
    pub end: ChainEnd,
}

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tampering {
    /// No entry has this number: it was removed, or others were moved.
    Missing(i64),
    /// The entry of this number does not fit its hash and the entry before: one of them was edited, inserted or moved.
    Broken(i64),
    /// The chain says that it ends elsewhere than its last entry.
    End {
        /// Where it says.
        said: ChainEnd,
        /// Where it does.
        found: ChainEnd,
    },
    /// The end that was noted is not in the chain any more.
    NotedEnd(ChainEnd),
}

impl fmt::Display for Tampering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tampering::Missing(position) => write!(f, "entry {position} is missing"),
            Tampering::Broken(position) => {
                write!(
                    f,
                    "entry {position} does not fit its hash: it, or the one before, was edited, inserted or moved"
                )
            }
            Tampering::End { said, found } => {
                write!(f, "the chain should end at {said}, and ends at {found}: entries were cut off or added")
            }
            Tampering::NotedEnd(end) => write!(f, "the end {end} that was noted is not in the chain any more"),
        }
    }
}

/// Follows the chain of an app from its beginning to its end. `noted` is an end that an earlier look told: it must still be there, unless it was
/// purged by age.
///
/// # Errors
/// Those of the database.
pub async fn verify(
    admin: &Db,
    app: &str,
    noted: Option<&ChainEnd>,
) -> Result<std::result::Result<Verified, Tampering>> {
    let beginning = chain(admin, app).await?;
    let (purged, purged_hash) = beginning.map_or((0, BEGINNING.to_owned()), |chain| (chain.purged, chain.purged_hash));
    let mut end = ChainEnd { position: purged, hash: purged_hash };
    let mut is_noted_there =
        noted.is_none_or(|noted| noted.position < end.position || *noted == end || noted.position == 0);
    loop {
        // Read before the entries: what comes meanwhile lies behind it.
        let said = chain(admin, app).await?.map(|chain| ChainEnd { position: chain.length, hash: chain.hash });
        let page = admin.find::<AuditLog>("[app] = ? AND [position] > ?", (app, end.position));
        let page = page.order_by("[position]").limit(PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        for entry in page {
            let position = end.position + 1;
            if entry.position != position {
                return Ok(Err(Tampering::Missing(position)));
            }
            let hash = AuditLog::event(&entry).link(&end.hash, position);
            if hash != entry.hash {
                return Ok(Err(Tampering::Broken(position)));
            }
            end = ChainEnd { position, hash };
            is_noted_there |= noted == Some(&end);
            if said.as_ref().is_some_and(|said| said.position == position && said.hash != end.hash) {
                return Ok(Err(Tampering::Broken(position)));
            }
        }
        if !is_last {
            continue;
        }
        let said = said.unwrap_or(ChainEnd { position: 0, hash: BEGINNING.to_owned() });
        if said.position > end.position {
            return Ok(Err(Tampering::End { said, found: end }));
        }
        let now = chain(admin, app).await?.map_or(said, |chain| ChainEnd { position: chain.length, hash: chain.hash });
        if now != end {
            // Entries came meanwhile; or somebody added one that the chain does not know.
            if now.position <= end.position {
                return Ok(Err(Tampering::End { said: now, found: end }));
            }
            continue;
        }
        return Ok(match noted.filter(|_| !is_noted_there) {
            Some(noted) => Err(Tampering::NotedEnd(noted.clone())),
            None => Ok(Verified { entries: end.position - purged, purged, end }),
        });
    }
}
