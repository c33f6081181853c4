//! The table of flags, and the questions asked of it.

use super::model::{Change, Variant};
use crate::base::error::{ErrorKind, Result};
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;

/// The most flags that are read.
const MOST: u32 = 10_000;
/// How often a change is tried that others come before.
const TRIES: usize = 10;

/// A feature flag.
#[derive(Debug, Clone, PartialEq, Entity)]
#[entity(kernel, table = "kernel_flags")]
pub struct Flag {
    /// What it is called: letters, digits and `._-`.
    #[entity(unique)]
    pub name: String,
    /// Whether anybody has it.
    pub enabled: bool,
    /// How many have it beside those that are listed: 0 to 100.
    pub rollout_percent: f64,
    /// Users who have it.
    pub users: Vec<String>,
    /// Workspaces that have it.
    pub workspaces: Vec<String>,
    /// Its values, where it is not just on or off.
    pub variants: Vec<Variant>,
    /// What everybody gets who has not the flag.
    pub default_variant: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// The tables that must exist.
#[must_use]
pub fn entities() -> Vec<&'static EntityDef> {
    vec![Flag::definition()]
}

/// All flags, by name.
pub(super) async fn all(db: &Db) -> Result<Vec<Saved<Flag>>> {
    db.find::<Flag>("", ()).order_by("[name]").limit(MOST).await
}

pub(super) async fn by_name(db: &Db, name: &str) -> Result<Option<Saved<Flag>>> {
    db.find::<Flag>("[name] = ?", [name]).first().await
}

/// Changes a flag, or makes it. Two changes at once both hold: the later one sees the earlier.
pub(super) async fn change(db: &Db, name: &str, change: &Change) -> Result<Saved<Flag>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let saved = match by_name(db, name).await? {
            Some(mut flag) => {
                let version = flag.version;
                flag.entity = change.apply(name, Some(flag.entity))?;
                db.save(flag).if_version(version).await
            }
            None => db.save(change.apply(name, None)?).await,
        };
        match saved {
            Err(error) if error.kind() == ErrorKind::Conflict && tries < TRIES => {}
            done => return done,
        }
    }
}
