//! What was the last database of a service: a file in DATA_DIR, for its owner's eyes only, changed whole or not at all.
//! An address with a password is not kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, Result};
use crate::store::db::backup::{make_folder, sync_folder};

/// The version of the form that is written here, and the only one that is read.
const FORMAT: u32 = 1;
/// What a name of a file keeps of a service's name as it is.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// The last database of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    format: u32,
    pub(super) service: String,
    pub(super) place: Place,
    /// Its address, where there is nothing secret in it.
    pub(super) url: Option<String>,
    /// When its first table was made, by which its data is known elsewhere.
    #[serde(with = "iso::option")]
    pub(super) born_at: Option<Timestamp>,
    /// When the service last started with it.
    #[serde(with = "iso")]
    pub(super) used_at: Timestamp,
}

impl Marker {
    pub(super) fn new(
        service: &str,
        place: Place,
        url: Option<String>,
        born_at: Option<Timestamp>,
        used_at: Timestamp,
    ) -> Self {
        Marker { format: FORMAT, service: service.to_owned(), place, url, born_at, used_at }
    }
}

/// Where the marker of a service lies.
#[derive(Debug, Clone)]
pub(super) struct MarkerFile {
    folder: PathBuf,
    name: String,
}

impl MarkerFile {
    pub(super) fn of(service: &str, data_dir: &Path) -> Self {
        let name = format!("last_database_{}", utf8_percent_encode(service, KEPT));
        MarkerFile { folder: data_dir.to_owned(), name }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    /// None where the service never started here.
    pub(super) fn read(&self) -> Result<Option<Marker>> {
        let path = self.path();
        let damaged = |problem: String| {
            Error::invalid(format!(
                "{} is damaged: {problem}; it says which database was the last one. Remove it to take the one that DATABASE_URL names as it is",
                path.display()
            ))
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::InvalidData => return Err(damaged(cause.to_string())),
            Err(cause) => return Err(self.unusable(cause)),
        };
        let marker: Marker = serde_json::from_str(&text).map_err(|cause| damaged(cause.to_string()))?;
        if marker.format != FORMAT {
            return Err(damaged(format!("its format is {}, not {FORMAT}", marker.format)));
        }
        Ok(Some(marker))
    }

    /// In one stroke.
    pub(super) fn write(&self, marker: &Marker) -> Result<()> {
        let mut text = serde_json::to_string_pretty(marker).expect("a marker is always JSON");
        text.push('\n');
        let hidden = |end: &str| self.folder.join(format!(".{}.{end}", self.name));
        let write = || {
            if !self.folder.is_dir() {
                make_folder(&self.folder, true)?;
            }
            // Others who write it now wait for a moment. Unlocks when it closes.
            let lock = private(OpenOptions::new().create(true).write(true).truncate(false)).open(hidden("lock"))?;
            lock.lock()?;
            // What a killed process left may be there still.
            let mut file = private(OpenOptions::new().create(true).write(true).truncate(true)).open(hidden("new"))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(hidden("new"), self.path())?;
            sync_folder(&self.folder)
        };
        write().map_err(|cause| self.unusable(cause))
    }

    fn unusable(&self, cause: io::Error) -> Error {
        Error::unavailable(format!(
            "DATA_DIR: {} can't be used: {cause}; let this user write there, or give another folder",
            self.path().display()
        ))
        .cause(cause)
    }
}

/// For its owner only.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(address: &str) -> Marker {
        let place = Place { backend: "postgres".to_owned(), address: address.to_owned() };
        let at = "2026-01-30T12:00:00Z".parse().expect("a time");
        Marker::new("shop", place, None, Some(at), at)
    }

    #[test]
    fn a_marker_is_read_as_it_was_written_by_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = MarkerFile::of("a shop/1", &folder.path().join("deeper"));
        assert_eq!(file.read().expect("nothing yet"), None);
        for address in ["h:5432/a", "h:5432/b"] {
            file.write(&marker(address)).expect("a write");
            assert_eq!(file.read().expect("a marker"), Some(marker(address)));
        }
        assert!(file.path().ends_with("last_database_a%20shop%2F1.json"));
        #[cfg(unix)]
        {
            let mode =
                std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file.path()).expect("a file").permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_marker_that_was_bent_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = MarkerFile::of("shop", folder.path());
        let good = serde_json::to_string(&marker("h:5432/a")).expect("JSON");
        for bad in ["", "{", &good[..good.len() / 2], &good.replace("\"format\":1", "\"format\":2")] {
            fs::write(file.path(), bad).expect("a write");
            let message = file.read().expect_err("a refusal").to_string();
            assert!(message.contains("is damaged: ") && message.contains("Remove it"), "{message}");
        }
    }
}
