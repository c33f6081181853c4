//! The folder that migrations lie in, two files each. They appear whole or not at all, and one process at a time writes them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::MigrationFiles;
use super::document::{Document, FORMAT, checksum};
use crate::base::error::{Error, Result};
use crate::store::db::backup::folder::{is_point, sync_folder};

const TEMPORARY: &str = ".unfinished_";
/// What version control is to keep of the data folder.
const GITIGNORE: &str = "# The data of a service is nobody else's; its migrations are everybody's.\n/*\n!/.gitignore\n";

/// Held while files are written; goes with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Unlocks when it closes.
    _folder: Option<File>,
}

impl MigrationFiles {
    /// All migrations, the oldest first, each read and checked. None where there is no folder.
    pub(crate) fn read_all(&self) -> Result<Vec<Document>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(cause) if matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(cause) => return Err(self.unusable(&cause, "let this user read it")),
        };
        let mut pairs: BTreeMap<String, [bool; 2]> = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(|cause| self.unusable(&cause, "let this user read it"))?;
            let file = entry.file_name().to_string_lossy().into_owned();
            for (place, ending) in [".sql", ".json"].into_iter().enumerate() {
                if let Some(name) = file.strip_suffix(ending).filter(|name| is_point(name)) {
                    pairs.entry(name.to_owned()).or_default()[place] = true;
                }
            }
        }
        let mut documents = Vec::new();
        for (name, [has_sql, has_json]) in pairs {
            for (is_there, twin, ending) in [(has_sql, "json", "sql"), (has_json, "sql", "json")] {
                if !is_there {
                    let (file, twin) = (self.path(&name, ending), self.path(&name, twin));
                    return Err(refusal(
                        &twin,
                        &format!(
                            "its other half {} is missing; bring it back from version control, or delete both and the difference is planned anew",
                            file.display()
                        ),
                    ));
                }
            }
            documents.push(self.read(&name)?);
        }
        Ok(documents)
    }

    fn read(&self, name: &str) -> Result<Document> {
        let text = |ending: &str| {
            let path = self.path(name, ending);
            let text = fs::read(&path).map_err(|cause| refusal(&path, &format!("it can't be read: {cause}")))?;
            String::from_utf8(text).map_err(|_| refusal(&path, &format!("it is damaged; {}", take_back(&path))))
        };
        let (sql, json) = (text("sql")?, text("json")?);
        let path = self.path(name, "json");
        let damaged =
            |cause: serde_json::Error| refusal(&path, &format!("it is damaged: {cause}; {}", take_back(&path)));
        let value: serde_json::Value = serde_json::from_str(&json).map_err(damaged)?;
        if value["format"].as_u64().is_some_and(|format| format > FORMAT.into()) {
            return Err(refusal(&path, "a later version of app_kernel wrote it; update this service"));
        }
        let document: Document = serde_json::from_value(value).map_err(damaged)?;
        if document.name != name {
            let problem = format!("it is the migration {}; give both of its files this name again", document.name);
            return Err(refusal(&path, &problem));
        }
        let path = self.path(name, "sql");
        if checksum(&sql) != document.checksum || checksum(&document.sql()) != document.checksum {
            return Err(edited(&path));
        }
        Ok(document)
    }

    /// Waits until no other process writes here, and clears what a killed one left.
    pub(crate) fn lock(&self) -> Result<Lock> {
        if !cfg!(unix) || !self.folder.is_dir() {
            // There, a folder can't be locked. Names are chosen under the database's lock, so this one only tidies.
            return Ok(Lock { _folder: None });
        }
        let lock = || {
            let folder = File::open(&self.folder)?;
            folder.lock()?;
            Ok(folder)
        };
        let folder = lock().map_err(|cause: io::Error| self.unusable(&cause, "let this user read it"))?;
        if let Ok(entries) = fs::read_dir(&self.folder) {
            for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
                // Where it can't be removed, it does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Lock { _folder: Some(folder) })
    }

    /// Makes sure that files can be written, before anything changes that they would have to tell.
    pub(crate) fn prepare(&self) -> Result<()> {
        let probe = || {
            fs::create_dir_all(&self.folder)?;
            let probe = self.temporary();
            OpenOptions::new().write(true).create_new(true).open(&probe)?;
            fs::remove_file(&probe)
        };
        probe().map_err(|cause: io::Error| {
            self.unusable(
                &cause,
                "let this user write there, or set MIGRATIONS_DIR to another folder; nothing was migrated",
            )
        })?;
        // Nothing depends on it.
        let _ = self.keep_data_out_of_version_control();
        Ok(())
    }

    /// Writes both files of a migration. They are on the disk when this returns.
    pub(crate) fn publish(&self, name: &str, sql: &str, json: &str) -> Result<Vec<PathBuf>> {
        let write = || {
            let mut written = Vec::new();
            for (ending, text) in [("json", json), ("sql", sql)] {
                let temporary = self.temporary();
                let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
                written.push((temporary, self.path(name, ending)));
            }
            for (temporary, path) in &written {
                fs::rename(temporary, path)?;
            }
            sync_folder(&self.folder)?;
            Ok(written.into_iter().rev().map(|(_, path)| path).collect())
        };
        write().map_err(|cause: io::Error| self.unusable(&cause, "let this user write there"))
    }

    /// Only the migrations of a data folder are for others to see. A folder that has rules already keeps them.
    fn keep_data_out_of_version_control(&self) -> io::Result<()> {
        let data = self.data_dir.canonicalize()?;
        // The data may lie among the sources, whose rules are not ours to make.
        if std::env::current_dir()?.canonicalize()?.starts_with(&data) || data.join(".git").exists() {
            return Ok(());
        }
        let mut rules = GITIGNORE.to_owned();
        if let Ok(below) = self.folder.canonicalize()?.strip_prefix(&data)
            && let Some(first) = below.components().next()
        {
            let first = first.as_os_str().to_string_lossy();
            rules.push_str(&format!("!/{first}/\n.unfinished_*\n"));
        }
        let file = OpenOptions::new().write(true).create_new(true).open(data.join(".gitignore"));
        match file {
            Ok(mut file) => file.write_all(rules.as_bytes()),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(cause) => Err(cause),
        }
    }

    /// Where a file of a migration lies.
    pub(crate) fn path(&self, name: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{name}.{ending}"))
    }

    fn temporary(&self) -> PathBuf {
        self.folder.join(format!("{TEMPORARY}{}", crate::base::id::new_id()))
    }

    fn unusable(&self, cause: &io::Error, cure: &str) -> Error {
        Error::unavailable(format!(
            "MIGRATIONS_DIR: the folder {} can't be used: {cause}; {cure}",
            self.folder.display()
        ))
    }
}

fn refusal(path: &Path, problem: &str) -> Error {
    Error::invalid(format!("MIGRATIONS_DIR: {} can't be taken over: {problem}", path.display()))
}

fn take_back(path: &Path) -> String {
    format!("take it back as it was (git checkout -- {})", path.display())
}

/// A file that is not as it was written, or not as it was applied here.
pub(crate) fn edited(path: &Path) -> Error {
    refusal(
        path,
        &format!(
            "it was edited after it was applied; {}. What it should have done besides, the next change does: \
         a field with `renamed_from` or another default, or code that moves data before the service serves",
            take_back(path)
        ),
    )
}
