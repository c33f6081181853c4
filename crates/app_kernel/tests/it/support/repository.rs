//! The project's own files, seen as text. Paths are relative to the root, with `/`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two folders below the root")
        .to_owned()
}

/// The text of a file.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Puts a text in the place of another one, in a file.
pub(crate) fn replace(path: &str, old: &str, new: &str) {
    // One at a time: several tests may write parts of the same document at once.
    static WRITING: Mutex<()> = Mutex::new(());
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let updated = read(path).replacen(old, new, 1);
    std::fs::write(root().join(path), updated).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// Whether there is such a file or folder.
pub(crate) fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// All files below a folder (`""` is the root) whose name ends in `.extension`, sorted; never those that a build or a run made.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(&root(), folder, extension, &mut found);
    found.sort();
    found
}

fn collect(root: &Path, folder: &str, extension: &str, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let is_made = name.starts_with('.') || name == "target" || name == "node_modules" || path == "data";
        if is_folder && !is_made {
            collect(root, &path, extension, found);
        } else if !is_folder && Path::new(&name).extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}
