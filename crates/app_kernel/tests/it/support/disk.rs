//! Small disks for tests of faults: one whose power can be cut, one that can be full. They are mounted, which takes root on Linux;
//! where that is not to be had, the test says on stderr that it was deselected, and why.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// What the names of all mount points start with; the id of the process that made it follows.
const PREFIX: &str = "app_kernel_disk_";
/// What takes the space that is to be missing.
const BALLAST: &str = ".ballast";
/// How long a disk may be busy with processes that are just ending.
const PATIENCE: Duration = Duration::from_secs(20);

/// ext4's `EXT4_IOC_SHUTDOWN` without a flush, once it is told to: nothing that is not on the disk by then will ever be.
const CUT: &str = "import fcntl, os, struct, sys\n\
                   disk = os.open(sys.argv[1], os.O_RDONLY)\n\
                   print('ready', flush=True)\n\
                   sys.stdin.readline()\n\
                   fcntl.ioctl(disk, 0x8004587D, struct.pack('I', 2))";

/// What a disk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In memory.
    Tmpfs,
    /// ext4 in a file, by a loop device.
    Ext4,
}

/// A disk, mounted in a folder of its own. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    kind: Kind,
    mib: usize,
    folder: tempfile::TempDir,
}

impl Disk {
    /// A disk in memory; none where this machine does not allow it.
    pub(crate) fn tmpfs(promise: &str, mib: usize) -> Option<Self> {
        Self::new(Kind::Tmpfs, promise, mib)
    }

    /// A disk whose power can be cut; none where this machine does not allow it.
    pub(crate) fn ext4(promise: &str, mib: usize) -> Option<Self> {
        Self::new(Kind::Ext4, promise, mib)
    }

    fn new(kind: Kind, promise: &str, mib: usize) -> Option<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(unmount_leftovers);
        let prefix = format!("{PREFIX}{}_", std::process::id());
        // A short path: Unix sockets have short names.
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in("/tmp").expect("/tmp can be written");
        open_to_all(folder.path());
        let disk = Disk { kind, mib, folder };
        std::fs::create_dir(disk.path()).expect("a folder");
        match disk.format().and_then(|()| disk.mount()) {
            Ok(()) => Some(disk),
            Err(cause) => {
                // Not by a macro, whose text is shown for tests that fail only.
                let line = format!("{promise} deselected: it takes a disk that can be mounted here ({cause})\n");
                let _ = std::io::stderr().write_all(line.as_bytes());
                None
            }
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn format(&self) -> Result<(), String> {
        if self.kind == Kind::Tmpfs {
            return Ok(());
        }
        let image = File::create(self.image()).expect("a file");
        image.set_len((self.mib << 20) as u64).expect("a file with a hole");
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-J", "size=4"]).arg(self.image()))
    }

    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        match self.kind {
            Kind::Tmpfs => mount.args(["-t", "tmpfs", "-o", &format!("size={}m", self.mib), "tmpfs"]),
            Kind::Ext4 => mount.args(["-o", "loop"]).arg(self.image()),
        };
        run(mount.arg(self.path()))?;
        open_to_all(&self.path());
        Ok(())
    }

    /// Gets ready to cut the power.
    pub(crate) fn fuse(&self) -> Fuse {
        assert_eq!(self.kind, Kind::Ext4, "memory has no power to cut");
        let mut command = Command::new("python3");
        command.args(["-c", CUT]).arg(self.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut python = command.spawn().expect("python3 starts");
        let mut ready = String::new();
        let mut said = BufReader::new(python.stdout.take().expect("it is piped"));
        said.read_line(&mut ready).expect("python3 speaks");
        assert_eq!(ready, "ready\n");
        Fuse(python)
    }

    /// Brings the disk back as it was when its power was cut. Whoever had files open must be gone, or about to be.
    pub(crate) fn power_up(&self) {
        self.unmount().expect("nobody has files open");
        self.mount().expect("the disk comes back");
    }

    fn unmount(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match run(Command::new("umount").arg(self.path())) {
                Err(cause) if cause.contains("busy") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                outcome => return outcome,
            }
        }
    }

    /// Writes everything to the disk.
    pub(crate) fn sync(&self) {
        run(Command::new("sync").arg("--file-system").arg(self.path())).expect("it is written");
    }

    /// Takes all space but so many bytes. May be called again: what was given back since is taken too.
    pub(crate) fn fill_but(&self, bytes: u64) {
        let path = self.path().join(BALLAST);
        let mut ballast = File::options().append(true).create(true).open(path).expect("a file");
        for size in [64 << 10, 4 << 10] {
            loop {
                match ballast.write_all(&vec![1; size]) {
                    Ok(()) => {}
                    Err(full) if full.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the ballast can't be written: {error}"),
                }
            }
        }
        let length = ballast.metadata().expect("a file").len();
        ballast.set_len(length.saturating_sub(bytes)).expect("space is given back");
        self.sync();
    }

    /// Gives all space back.
    pub(crate) fn free(&self) {
        std::fs::remove_file(self.path().join(BALLAST)).expect("the ballast is there");
        self.sync();
    }
}

/// What cuts the power of a disk.
#[derive(Debug)]
pub(crate) struct Fuse(Child);

impl Fuse {
    /// From now on, nothing reaches the disk. What was acknowledged after this call may be lost: nobody would have heard of it.
    pub(crate) fn blow(mut self) {
        self.0.stdin.take().expect("it is piped").write_all(b"now\n").expect("python3 listens");
        assert!(self.0.wait().expect("it ends").success(), "the power was not cut");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its folder stays where it can't be unmounted; the next run tries again.
        if self.unmount().is_err() {
            let _ = run(Command::new("umount").arg("--lazy").arg(self.path()));
        }
    }
}

/// Servers have users of their own.
fn open_to_all(folder: &Path) {
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("it is ours");
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stderr, .. } = command.output().map_err(|cause| format!("{name} can't be run: {cause}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&stderr).trim()))
}

/// Of runs that were killed.
fn unmount_leftovers() {
    for line in std::fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
        let Some(point) = line.split(' ').nth(1) else { continue };
        let Some((_, rest)) = point.split_once(PREFIX) else { continue };
        let process = rest.split('_').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            let _ = run(Command::new("umount").arg("--lazy").arg(point));
        }
    }
}
