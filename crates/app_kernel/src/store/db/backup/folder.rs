//! The folder that backups lie in. A backup appears there whole or not at all: it is written under a temporary name, reaches the disk,
//! is read back, and only then gets its name. One process works here at a time; what a killed one left is cleared by the next.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::Offset;

use super::manifest::{Form, Manifest};
use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};

const TEMPORARY: &str = ".unfinished_";
const LOCK: &str = ".lock";
const LOCK_OF_COPIES: &str = ".copies.lock";
pub(super) const MANIFEST: &str = "manifest.json";
const NATIVE_SUFFIX: &str = ".backup";
/// The length of `20260130_120000`.
const STAMP: usize = 15;
const SIDECAR_SUFFIX: &str = ".json";

/// A folder of backups.
#[derive(Debug, Clone)]
pub(super) struct Folder(pub(super) PathBuf);

/// Held while backups are made, restored or cleared; goes with the process.
#[derive(Debug)]
pub(super) struct Lock {
    /// Unlocks when it closes.
    _file: File,
}

/// A backup that has its name; whether it is good is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) form: Form,
    pub(super) folder: PathBuf,
}

impl Entry {
    /// Understands `csv_20260130_120000_a1b2c3d4` and `native_20260130_120000_a1b2c3d4.backup`.
    pub(super) fn parse(name: &str, folder: &Path) -> Option<Self> {
        let form = if name.starts_with("csv_") { Form::Csv } else { Form::Native };
        let rest = match form {
            Form::Csv => name.strip_prefix("csv_")?,
            Form::Native => name.strip_prefix("native_")?.strip_suffix(NATIVE_SUFFIX)?,
        };
        is_point(rest).then(|| Entry { name: name.to_owned(), form, folder: folder.to_owned() })
    }

    /// What the two forms of the same moment have in common.
    pub(super) fn point(&self) -> &str {
        let rest = self.name.split_once('_').map_or("", |(_, rest)| rest);
        rest.strip_suffix(NATIVE_SUFFIX).unwrap_or(rest)
    }

    /// The file or folder itself.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub(super) fn manifest_path(&self) -> PathBuf {
        match self.form {
            Form::Csv => self.path().join(MANIFEST),
            Form::Native => self.folder.join(format!("{}{SIDECAR_SUFFIX}", self.name)),
        }
    }

    pub(super) fn manifest(&self) -> Result<Manifest> {
        let manifest = Manifest::read(&self.manifest_path())?;
        if manifest.form != self.form {
            return Err(Error::invalid(format!("{} is damaged: its manifest is of another form", self.name)));
        }
        Ok(manifest)
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match self.form {
            // Without its name first: half a folder must not look like a backup.
            Form::Csv => {
                let nameless = Folder(self.folder.clone()).temporary();
                fs::rename(self.path(), &nameless)?;
                fs::remove_dir_all(nameless)
            }
            Form::Native => {
                // The manifest first: without it, the rest is no backup.
                fs::remove_file(self.manifest_path())?;
                fs::remove_file(self.path())
            }
        }
    }
}

/// The name of a moment: `20260130_120000_a1b2c3d4`.
pub(super) fn point_name(at: Timestamp, schema: &str) -> String {
    let at = Offset::UTC.to_datetime(at);
    let (day, time) = (at.date(), at.time());
    format!(
        "{:04}{:02}{:02}_{:02}{:02}{:02}_{schema}",
        day.year(),
        day.month(),
        day.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// The moment and name of what is made now: later than the newest, also after the clock was set back or within one second.
pub(in crate::store::db) fn point_after(newest: Option<&str>, now: Timestamp, schema: &str) -> (Timestamp, String) {
    let newest = newest.map(|newest| &newest[..STAMP]);
    let mut at = now;
    while newest.is_some_and(|newest| newest >= &point_name(at, schema)[..STAMP]) {
        // In steps of a second, or at once where the newest is far ahead.
        let ahead = newest.and_then(moment_of).filter(|moment| *moment > at);
        at = ahead.unwrap_or(at) + jiff::SignedDuration::from_secs(1);
    }
    (at, point_name(at, schema))
}

/// Whether a text is the name of a moment, as [`point_after`] makes it.
pub(in crate::store::db) fn is_point(text: &str) -> bool {
    let shape = "dddddddd_dddddd_xxxxxxxx";
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
            other => byte == other,
        })
}

/// The moment that a name starts with, to the second.
fn moment_of(stamp: &str) -> Option<Timestamp> {
    let at = jiff::civil::DateTime::strptime("%Y%m%d_%H%M%S", stamp).ok()?;
    Offset::UTC.to_timestamp(at).ok()
}

pub(super) fn name_of(form: Form, point: &str) -> String {
    match form {
        Form::Csv => format!("csv_{point}"),
        Form::Native => format!("native_{point}{NATIVE_SUFFIX}"),
    }
}

impl Folder {
    /// Makes the folder where it is missing, and waits until no other process works in it. Clears what a killed one left.
    pub(super) async fn lock(&self) -> Result<Lock> {
        let folder = self.clone();
        let locked = tokio::task::spawn_blocking(move || folder.lock_now()).await;
        locked.map_err(|cause| Error::internal("waiting for the backup folder failed").cause(cause))?
    }

    /// Waits until no other process copies backups away. Others may make some meanwhile.
    pub(super) async fn lock_copies(&self) -> Result<Lock> {
        let folder = self.clone();
        let locked = tokio::task::spawn_blocking(move || folder.lock_file(LOCK_OF_COPIES)).await;
        locked.map_err(|cause| Error::internal("waiting for the backup folder failed").cause(cause))?
    }

    fn lock_now(&self) -> Result<Lock> {
        let lock = self.lock_file(LOCK)?;
        self.clear_leftovers()?;
        Ok(lock)
    }

    fn lock_file(&self, name: &str) -> Result<Lock> {
        self.make()?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(self.0.join(name));
        let file = file.map_err(|cause| self.unusable(cause))?;
        file.lock().map_err(|cause| self.unusable(cause))?;
        Ok(Lock { _file: file })
    }

    fn make(&self) -> Result<()> {
        if self.0.is_dir() {
            return Ok(());
        }
        make_folder(&self.0, true).map_err(|cause| self.unusable(cause))
    }

    fn unusable(&self, cause: io::Error) -> Error {
        if cause.kind() == io::ErrorKind::StorageFull {
            return super::export::cant_write(&self.0, cause);
        }
        let text = format!(
            "BACKUP_DIR: the folder {} can't be used: {cause}; let this user write there, or give another folder",
            self.0.display()
        );
        Error::unavailable(text).cause(cause)
    }

    /// With the lock held, nobody is writing what is unfinished.
    fn clear_leftovers(&self) -> Result<()> {
        for (name, path) in self.files()? {
            let is_unfinished = name.starts_with(TEMPORARY);
            // A native backup gets its manifest's name last, and loses it first.
            let lacks_manifest = name.starts_with("native_")
                && Entry::parse(&name, &self.0).is_some_and(|entry| !entry.manifest_path().exists());
            if is_unfinished || lacks_manifest {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(|cause| self.unusable(cause))?;
            }
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(self.unusable(cause)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|cause| self.unusable(cause))?;
            files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        Ok(files)
    }

    /// All that have the name of a backup, the oldest first.
    pub(super) fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> =
            self.files()?.into_iter().filter_map(|(name, _)| Entry::parse(&name, &self.0)).collect();
        entries.sort_by(|a, b| (a.point(), a.form).cmp(&(b.point(), b.form)));
        Ok(entries)
    }

    /// The one of this name.
    pub(super) fn find(&self, name: &str) -> Result<Entry> {
        let name = name.trim_end_matches('/');
        let entries = self.entries()?;
        entries.iter().find(|entry| entry.name == name).cloned().ok_or_else(|| {
            let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
            let there =
                if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
            Error::not_found(format!("there is no backup `{name}` in {}; {there}", self.0.display()))
        })
    }

    /// The moment and name of a backup that is made now: later than all that are there.
    pub(super) fn next_point(&self, now: Timestamp, schema: &str) -> Result<(Timestamp, String)> {
        let newest = self.entries()?.pop();
        Ok(point_after(newest.as_ref().map(Entry::point), now, schema))
    }

    /// A path for something that has no name yet.
    pub(super) fn temporary(&self) -> PathBuf {
        self.0.join(format!("{TEMPORARY}{}", crate::base::id::new_id()))
    }

    /// Gives a finished folder its name, for good.
    pub(super) fn publish(&self, temporary: &Path, name: &str) -> Result<()> {
        sync_folder(temporary).map_err(|cause| self.unusable(cause))?;
        fs::rename(temporary, self.0.join(name)).map_err(|cause| self.unusable(cause))?;
        sync_folder(&self.0).map_err(|cause| self.unusable(cause))
    }

    /// The same for a file and its manifest, which makes it a backup.
    pub(super) fn publish_file(&self, temporary: &Path, entry: &Entry, manifest: Manifest) -> Result<()> {
        let sealed = self.temporary();
        write_synced(&sealed, &manifest.sealed())?;
        fs::rename(temporary, entry.path()).map_err(|cause| self.unusable(cause))?;
        fs::rename(&sealed, entry.manifest_path()).map_err(|cause| self.unusable(cause))?;
        sync_folder(&self.0).map_err(|cause| self.unusable(cause))
    }
}

/// Makes a folder for its owner only: a backup holds everything.
pub(in crate::store::db) fn make_folder(path: &Path, with_parents: bool) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(with_parents);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes an empty file for its owner only.
pub(super) fn make_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes a text that is on the disk when this returns.
pub(super) fn write_synced(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file = make_file(path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|cause| super::export::cant_write(path, cause))
}

/// Makes what was renamed in it last. Where folders can't be opened, the system does it itself.
pub(in crate::store::db) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_later_than_all_that_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = Folder(folder.path().to_owned());
        let now = "2026-01-30T12:00:00.5Z".parse().expect("a time");
        let next = || folder.next_point(now, "a1b2c3d4").expect("a name");
        assert_eq!(next(), (now, "20260130_120000_a1b2c3d4".to_owned()));
        fs::create_dir(folder.0.join("csv_20260130_120000_ffffffff")).expect("a folder");
        assert_eq!(next().1, "20260130_120001_a1b2c3d4");
        fs::create_dir(folder.0.join("csv_20260301_000000_ffffffff")).expect("a folder");
        assert_eq!(next(), ("2026-03-01T00:00:01Z".parse().expect("a time"), "20260301_000001_a1b2c3d4".to_owned()));
    }

    /// Promise: D5
    #[test]
    fn a_backup_is_named_after_its_form_its_moment_and_its_schema() {
        let at = "2026-01-30T12:00:00.5Z".parse().expect("a time");
        let point = point_name(at, "a1b2c3d4");
        assert_eq!(name_of(Form::Csv, &point), "csv_20260130_120000_a1b2c3d4");
        assert_eq!(name_of(Form::Native, &point), "native_20260130_120000_a1b2c3d4.backup");
        for form in [Form::Csv, Form::Native] {
            let entry = Entry::parse(&name_of(form, &point), Path::new("x")).expect("a name");
            assert_eq!((entry.point(), entry.form), (point.as_str(), form));
        }
        for other in
            ["csv_20260130_120000_a1b2c3d", "csv_2026013x_120000_a1b2c3d4", "native_20260130_120000_a1b2c3d4", ".lock"]
        {
            assert_eq!(Entry::parse(other, Path::new("x")), None, "{other}");
        }
    }
}
