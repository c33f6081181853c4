//! Old backups make room for new ones. Those of other services stay, and so does what can't be read: somebody may still mend it.

use std::collections::BTreeMap;

use super::folder::{Entry, Folder};
use crate::base::error::{Error, Result};

/// Removes the oldest moments of this service beyond `keep`, both forms of each, but never those spared: the one just made is among them,
/// so a good one is always left. Answers the names that went.
pub(super) fn prune(folder: &Folder, service: &str, keep: usize, spared: &[&str]) -> Result<Vec<String>> {
    let mut moments: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for entry in folder.entries()? {
        if let Ok(manifest) = entry.manifest()
            && manifest.service == service
        {
            moments.entry((manifest.created_at, entry.point().to_owned())).or_default().push(entry);
        }
    }
    let too_many = moments.len().saturating_sub(keep.max(1));
    let old = moments.into_values().take(too_many).flatten();
    let mut removed = Vec::new();
    for entry in old.filter(|entry| !spared.contains(&entry.point())) {
        entry.remove().map_err(|cause| {
            Error::unavailable(format!("the old backup {} can't be removed: {cause}", entry.path().display()))
        })?;
        removed.push(entry.name);
    }
    Ok(removed)
}
