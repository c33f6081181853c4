//! The quick start as a program of its own: built as `cargo run -p quickstart` builds it, run in an empty folder with nothing in its
//! environment but what the test puts there.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::repository;

/// How long a program may take for what should take a moment. Long, because a test machine may be busy; a hang still ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The quick start's executable.
pub(crate) fn quickstart() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build_quickstart)
}

/// Builds it beside this test, with the same profile, so that nothing is built twice that need not be.
fn build_quickstart() -> PathBuf {
    let here = std::env::current_exe().expect("a test knows its path");
    let profile_folder = here.ancestors().nth(2).expect("a test lies in TARGET/PROFILE/deps");
    let target = profile_folder.parent().expect("a profile lies in a target folder");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--package", "quickstart", "--profile", profile]);
    cargo.args(["--message-format", "json-render-diagnostics", "--target-dir"]).arg(target);
    // What cargo told this test about itself would make build scripts of others run again.
    for (name, _) in std::env::vars_os() {
        let is_of_this_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .map(|start| name.to_str().is_some_and(|name| name.starts_with(start)));
        if is_of_this_package.contains(&true) {
            cargo.env_remove(name);
        }
    }
    let built = cargo.current_dir(repository::root()).stdin(Stdio::null()).output().expect("cargo starts");
    assert!(built.status.success(), "the quick start does not build:\n{}", String::from_utf8_lossy(&built.stderr));
    let messages = String::from_utf8_lossy(&built.stdout).into_owned();
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables = messages.filter_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    executables.next().expect("cargo names the executable that it built")
}

/// What a program did until its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// The lines it wrote on stdout.
    pub(crate) out: Vec<String>,
    /// What it wrote on stderr.
    pub(crate) err: String,
}

/// A folder and an environment to run the quick start in.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Place {
    /// An empty folder, a free port, and no Docker that starts what a test wants to be missing; nothing else.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        Place { folder, variables: Vec::new() }.with("PORT", "0").with("DEV_AUTOSTART", "false")
    }

    /// The same, with a variable.
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// The folder it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Any program, in this folder and this environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.variables.iter().cloned()).current_dir(self.folder()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the quick start with these arguments until it ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Running::start(self.command(quickstart()).args(arguments)).end()
    }

    /// Starts the quick start and waits until it listens.
    pub(crate) fn serve(&self) -> Serving {
        self.start(&[], "listening on ")
    }

    /// Starts the quick start in a role, and waits until it says these words and an address.
    pub(crate) fn start(&self, arguments: &[&str], words: &str) -> Serving {
        let mut running = Running::start(self.command(quickstart()).args(arguments));
        let said = format!("{words}http://");
        let listening = running.wait_for_line(|line| line.contains(&said));
        let rest = listening.split(words).nth(1).unwrap_or_default();
        let url: String = rest.chars().take_while(|c| !matches!(c, '"' | ' ')).collect();
        Serving { running, url }
    }
}

/// The quick start, serving. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    running: Running,
    url: String,
}

impl Serving {
    /// `http://127.0.0.1:41234`
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.running.child.id()
    }

    /// Waits until it has written a line that is looked for, and gives it.
    pub(crate) fn wait_for_line(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        self.running.wait_for_line(is_it)
    }

    /// Sends SIGTERM, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.running.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("sh starts");
        assert!(sent.success(), "{kill} failed");
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Ended {
        self.running.end()
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) fn stop(self) -> Ended {
        self.terminate();
        self.end()
    }
}

/// A program under way, whose output is read as it comes.
#[derive(Debug)]
struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Those that were waited past, or for.
    seen: Vec<String>,
    err: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let (out, mut complaints) = (child.stdout.take(), child.stderr.take());
        let (sender, lines) = channel();
        let read_out = std::thread::spawn(move || {
            for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()) {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let err = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&err);
        let read_err = std::thread::spawn(move || {
            let mut text = String::new();
            if let Some(complaints) = &mut complaints {
                let _ = complaints.read_to_string(&mut text);
            }
            *heard.lock().expect("nobody panics while holding it") = text;
        });
        Running { child, lines, seen: Vec::new(), err, readers: vec![read_out, read_err] }
    }

    fn wait_for_line(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if is_it(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the line did not come; there were:\n{}", self.seen.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let (status, seen) = (self.wait(), self.seen.join("\n"));
                    let err = self.err.lock().expect("nobody panics while holding it");
                    panic!("the program ended ({status}) before the line came:\n{seen}\n{err}");
                }
            }
        }
    }

    /// Waits for the end of the process and of its output.
    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the program does not end; it wrote:\n{}", self.seen.join("\n"))
                }
            }
        }
        for reader in self.readers.drain(..) {
            reader.join().expect("reading does not panic");
        }
        self.child.wait().expect("a child can be waited for")
    }

    fn end(mut self) -> Ended {
        let code = self.wait().code();
        let err = self.err.lock().expect("nobody panics while holding it").clone();
        Ended { code, out: std::mem::take(&mut self.seen), err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where the test failed before the program ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
