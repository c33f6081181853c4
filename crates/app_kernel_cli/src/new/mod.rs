//! `new`: writes a service that compiles, passes its tests and runs. All of it or nothing: what failed half way is taken away again.

mod name;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use app_kernel::base::error::{Error, Result};

use self::name::ServiceName;
use self::template::TEMPLATES;

/// The version of the kernel that a service is made for, where none lies beside it.
const KERNEL_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes a service into a new folder below this one, and tells what to do next.
///
/// # Errors
/// Where the name can't be, the folder holds something, or nothing can be written; names the cure.
pub(crate) fn new(name: &str, kernel_path: Option<&Path>, here: &Path) -> Result<String> {
    let name = ServiceName::parse(name)?;
    let kernel = kernel(kernel_path, here)?;
    let folder = here.join(name.as_str());
    let was_there = is_empty_folder(&folder)?;
    if let Err(error) = write(&folder, &name, &kernel) {
        take_away(&folder, was_there);
        return Err(error);
    }
    let git = if start_history(&folder) { "  git add -A && git commit -m 'a new service'\n" } else { "" };
    Ok(format!(
        "{name} is there. Next:\n\n  cd {name}\n  cargo run             # serves on http://127.0.0.1:8000; try it at /docs\n  \
         cargo test            # real servers, each with a database of its own\n  cargo run -- doctor   # what is wrong with this environment\n{git}"
    ))
}

/// What stands in the service's `Cargo.toml` about the kernel.
fn kernel(path: Option<&Path>, here: &Path) -> Result<String> {
    let Some(path) = path else { return Ok(format!("version = \"{KERNEL_VERSION}\"")) };
    let refused = |what: &str| {
        Error::invalid(format!(
            "--kernel-path {}: {what}; give the folder of the crate app_kernel, such as ../app_kernel/crates/app_kernel",
            path.display()
        ))
    };
    let full = here.join(path).canonicalize().map_err(|_| refused("there is no such folder"))?;
    let manifest = fs::read_to_string(full.join("Cargo.toml")).map_err(|_| refused("there is no Cargo.toml in it"))?;
    if !manifest.lines().any(|line| line.trim() == "name = \"app_kernel\"") {
        return Err(refused("it is another crate"));
    }
    let text = full.to_str().ok_or_else(|| refused("its path is no text"))?;
    Ok(format!("path = {text:?}"))
}

/// Whether the folder is there already, with nothing in it.
fn is_empty_folder(folder: &Path) -> Result<bool> {
    let shown = folder.display();
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(true),
        Ok(false) => {
            Err(Error::invalid(format!("{shown} is there and holds something; give another name, or empty it first")))
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(Error::invalid(format!("{shown} can't be a new folder: {cause}; give another name"))),
    }
}

fn write(folder: &Path, name: &ServiceName, kernel: &str) -> Result<()> {
    for template in TEMPLATES {
        let path = folder.join(template.path(name));
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, template.filled(name, kernel))).map_err(|cause| {
            Error::invalid(format!(
                "{} can't be written: {cause}; look at the rights and the room there",
                path.display()
            ))
        })?;
    }
    Ok(())
}

/// Only what was made here: a folder that was there stays.
fn take_away(folder: &Path, was_there: bool) {
    // What can't be taken away is in sight, and the error says what happened.
    if !was_there {
        let _ = fs::remove_dir_all(folder);
        return;
    }
    let made = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in made.collect::<Vec<PathBuf>>() {
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

/// A repository of its own, where git is there and the folder is in none yet.
fn start_history(folder: &Path) -> bool {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    match git(&["rev-parse", "--is-inside-work-tree"]) {
        Ok(status) if !status.success() => git(&["init", "--quiet"]).is_ok_and(|status| status.success()),
        _ => false,
    }
}
