//! This machine: folders that must be written, room on their disks, the port, and how many files may be open.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::super::lifecycle::cannot_listen;
use super::{Finding, Verdict};
use crate::base::config::ServiceConfig;
use crate::store::db::Backend;
use crate::store::db::url::DatabaseUrl;

/// With less room than this, in bytes, a disk is about to be full.
const LITTLE_ROOM: u64 = 1 << 30;
/// With less than this, it is.
const NO_ROOM: u64 = 64 << 20;
/// Files that are open beside connections: the database's, logs, and the like.
const OTHER_FILES: u64 = 100;
/// What a person's machine should allow at least.
const FEWEST_FILES: u64 = 256;

/// Each place that a service writes to, with its variable; each folder once.
pub(super) fn files(config: &ServiceConfig) -> Vec<Finding> {
    let mut places = vec![("DATA_DIR", PathBuf::from(&config.data_dir))];
    places.extend(config.backup_dir.as_ref().map(|folder| ("BACKUP_DIR", PathBuf::from(folder))));
    places.extend(config.migrations_dir.as_ref().map(|folder| ("MIGRATIONS_DIR", PathBuf::from(folder))));
    let database = config.effective_database_url().and_then(|url| DatabaseUrl::parse(&url).ok());
    let file = database.filter(|url| url.backend == Backend::Sqlite).and_then(|url| url.sqlite_file().ok());
    let mut findings: Vec<Finding> = places.iter().map(|(variable, folder)| look_at(variable, folder)).collect();
    if let Some(file) = file {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut finding = look_at("DATABASE_URL", folder);
        if finding.verdict == Verdict::Ok && file.exists() && !may_write(&file) {
            finding = Finding::fail(
                "DATABASE_URL",
                format!("{} may not be written by this user", file.display()),
                "give the user the right, or give another path",
            );
        }
        findings.push(finding);
        findings.extend(open_to_all(config, &file));
    }
    findings
}

/// Whether a folder is there or can be made, may be written, and has room.
fn look_at(variable: &str, folder: &Path) -> Finding {
    let shown = folder.display();
    let nearest = folder.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let Some(nearest) = nearest.into_iter().find(|path| path.exists()) else {
        return Finding::fail(
            variable,
            format!("{shown} can't be made: nothing above it is there"),
            "give another path",
        );
    };
    if !nearest.is_dir() {
        return Finding::fail(
            variable,
            format!("{shown} can't be a folder: {} is a file", nearest.display()),
            "give another path",
        );
    }
    if !may_write(nearest) {
        let cure = "give the user of the service the right to write there, or give another path";
        return Finding::fail(variable, format!("{} may not be written by this user", nearest.display()), cure);
    }
    let Some(bytes) = room(nearest) else { return Finding::ok(variable, format!("{shown} can be written")) };
    let left = format!("{shown} has {} MiB of room left on its disk", bytes >> 20);
    let cure = "make room, or give a path on another disk";
    match bytes {
        0..NO_ROOM => Finding::fail(variable, left, cure),
        NO_ROOM..LITTLE_ROOM => Finding::warn(variable, left, cure),
        _ => Finding::ok(variable, format!("{shown} can be written; {} GiB of room", bytes >> 30)),
    }
}

/// A database that everybody on the machine can read, in production.
#[cfg(unix)]
fn open_to_all(config: &ServiceConfig, file: &Path) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).ok().filter(|_| config.production)?.permissions().mode();
    let cure = format!("chmod o= {}", file.display());
    (mode & 0o007 != 0)
        .then(|| Finding::warn("DATABASE_URL", format!("everybody on this machine can read {}", file.display()), cure))
}

#[cfg(not(unix))]
fn open_to_all(_: &ServiceConfig, _: &Path) -> Option<Finding> {
    None
}

#[cfg(unix)]
fn may_write(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn may_write(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| !data.permissions().readonly())
}

/// The bytes that this user may still write there.
#[cfg(unix)]
fn room(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn room(_: &Path) -> Option<u64> {
    None
}

/// The port, and how many files may be open.
pub(super) fn limits(config: &ServiceConfig) -> Vec<Finding> {
    [Some(port(config)), open_files(config)].into_iter().flatten().collect()
}

/// Takes it for a moment. The service itself may have it, so that is no failure.
fn port(config: &ServiceConfig) -> Finding {
    let address = SocketAddr::new(config.host, config.port);
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("port", format!("{address} is free")),
        Err(cause) if cause.kind() == std::io::ErrorKind::AddrInUse => Finding::warn(
            "port",
            format!("another program listens on {address}, perhaps this service"),
            "if it is not, stop it, or set PORT to a free port",
        ),
        Err(cause) => Finding::of("port", &cannot_listen(address, &cause)),
    }
}

/// Each connection is an open file.
#[cfg(unix)]
fn open_files(config: &ServiceConfig) -> Option<Finding> {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?; // none: as many as one likes
    let needed = if config.production { config.max_connections as u64 + OTHER_FILES } else { FEWEST_FILES };
    Some(if most >= needed {
        Finding::ok("open files", format!("{most} may be open"))
    } else {
        Finding::warn(
            "open files",
            format!("{most} may be open, and {} connections may come (MAX_CONNECTIONS)", config.max_connections),
            format!("raise the limit to {needed} (`ulimit -n`, LimitNOFILE= of systemd), or lower MAX_CONNECTIONS"),
        )
    })
}

#[cfg(not(unix))]
fn open_files(_: &ServiceConfig) -> Option<Finding> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn verdicts(config: &ServiceConfig) -> Vec<(String, Verdict)> {
        files(config).into_iter().map(|finding| (finding.subject, finding.verdict)).collect()
    }

    #[test]
    fn folders_that_are_still_to_come_are_fine_and_files_in_their_place_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = ServiceConfig {
            data_dir: path("new/data"),
            database_url: Some(Secret::new(format!("sqlite:///{}", path("new/app.db")))),
            ..ServiceConfig::default()
        };
        let [data, database] = ["DATA_DIR", "DATABASE_URL"].map(str::to_owned);
        assert_eq!(verdicts(&config), [(data.clone(), Verdict::Ok), (database.clone(), Verdict::Ok)]);
        assert!(!folder.path().join("new").exists(), "nothing is made");

        std::fs::write(folder.path().join("new"), "a file").expect("it can be written");
        assert_eq!(verdicts(&config), [(data, Verdict::Fail), (database, Verdict::Fail)]);
    }

    #[test]
    fn a_port_that_is_taken_is_a_warning_with_the_cure() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port_taken = taken.local_addr().expect("it has one").port();
        let finding = port(&ServiceConfig { port: port_taken, ..ServiceConfig::default() });
        assert_eq!(finding.verdict, Verdict::Warn);
        drop(taken);
        let nowhere =
            ServiceConfig { host: "192.0.2.1".parse().expect("an address"), port: 0, ..ServiceConfig::default() };
        assert_eq!(port(&nowhere).verdict, Verdict::Fail);
    }

    #[cfg(unix)]
    #[test]
    fn the_database_of_production_is_not_for_all_to_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.db");
        std::fs::write(&file, "").expect("it can be written");
        let config = ServiceConfig { production: true, ..ServiceConfig::default() };
        let set = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        set(0o644);
        assert_eq!(open_to_all(&config, &file).map(|finding| finding.verdict), Some(Verdict::Warn));
        assert_eq!(open_to_all(&ServiceConfig::default(), &file), None);
        set(0o640);
        assert_eq!(open_to_all(&config, &file), None);
    }
}
