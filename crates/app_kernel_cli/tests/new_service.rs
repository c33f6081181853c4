//! A service that `new` wrote, as its owner meets it: it is formatted, passes its own tests, and runs.
#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const NAME: &str = "sample-service";
/// How long a line may take. Long, because a test machine may be busy; a hang still ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// The root of this repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two folders below the root")
        .to_owned()
}

/// Where this was built: what the service needs is there already.
fn target() -> PathBuf {
    let tool = Path::new(env!("CARGO_BIN_EXE_app-kernel"));
    tool.ancestors().nth(2).expect("a program lies in TARGET/PROFILE").to_owned()
}

/// Runs the tool in this folder.
fn app_kernel(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_app-kernel"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().expect("the tool starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder, and in it the service with the kernel of this repository.
fn made() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let kernel = root().join("crates/app_kernel").display().to_string();
    let output = app_kernel(folder.path(), &["new", NAME, "--kernel-path", &kernel]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("sample-service is there. Next:\n\n  cd sample-service\n"));
    let service = folder.path().join(NAME);
    (folder, service)
}

/// Cargo in the folder of the service, without a network, beside what is built already.
#[track_caller]
fn cargo(service: &Path, arguments: &[&str]) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(service).stdin(Stdio::null());
    // What cargo told this test about itself would make build scripts of others run again.
    for (name, _) in std::env::vars_os() {
        let is_of_this_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .map(|start| name.to_str().is_some_and(|name| name.starts_with(start)));
        if is_of_this_package.contains(&true) {
            cargo.env_remove(name);
        }
    }
    let output =
        cargo.env("CARGO_TARGET_DIR", target()).env("CARGO_NET_OFFLINE", "true").output().expect("cargo starts");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "cargo {}:\n{said}", arguments.join(" "));
    said
}

/// The service under way. Killed when dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it in this role, with these variables beside the usual ones.
    fn start(service: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(target().join("debug").join(NAME));
        command.args(arguments).current_dir(service).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env_clear().envs([("PORT", "0"), ("LOG_FORMAT", "json"), ("DEV_AUTOSTART", "false")]);
        let mut child = command.envs(variables.iter().copied()).spawn().expect("it was built");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines }
    }

    /// Waits for a line that has these words, and gives it.
    #[track_caller]
    fn line(&self, words: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("`{words}` does not come ({error}); there is:\n{}", seen.join("\n")),
            }
        }
    }

    /// Sends SIGTERM, as an orchestrator does; it says these words and ends well.
    #[track_caller]
    fn stop(mut self, words: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        assert!(sent.expect("sh starts").success());
        self.line(words);
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        assert_eq!(self.child.wait().expect("a child can be waited for").code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lays this repository's crates and versions around the service, with the features that `cargo test --workspace` gives Tokio: what that has
/// built is not built again. The service's own files stay, but for where its manifest looks for the kernel.
fn join_the_workspace(folder: &Path, service: &Path) {
    let change = |from: &Path, to: &Path, changes: &[(&str, &str)]| {
        let mut text = std::fs::read_to_string(from).expect("a manifest");
        for (old, new) in changes {
            assert!(text.contains(old), "{old}: {text}");
            text = text.replace(old, new);
        }
        std::fs::write(to, text).expect("it can be written");
    };
    let kernel = format!("path = {:?}", root().join("crates/app_kernel").canonicalize().expect("it is there"));
    let features = r#""macros", "rt-multi-thread""#;
    let (manifest, more) = (service.join("Cargo.toml"), format!(r#"{features}, "test-util""#));
    let own = (&*kernel, r#"path = "../crates/app_kernel""#);
    let all_features = (r#"["testing"]"#, r#"["otel", "testing"]"#);
    change(&manifest, &manifest, &[own, (features, &more), all_features]);
    let members = (r#""examples/*", "docs/guide", "bench/server"]"#, &*format!(r#""{NAME}"]"#));
    change(&root().join("Cargo.toml"), &folder.join("Cargo.toml"), &[members]);
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("the lock file is there");
    std::os::unix::fs::symlink(root().join("crates"), folder.join("crates")).expect("a link");
}

#[test]
fn a_new_service_passes_its_own_checks_and_runs_in_each_role() {
    let (folder, service) = made();
    cargo(&service, &["fmt", "--check"]);
    join_the_workspace(folder.path(), &service);
    let said = cargo(&service, &["test"]);
    assert!(said.contains("test result: ok. 3 passed; 0 failed"), "{said}");

    let serving = Running::start(&service, &[], &[]);
    let line = serving.line("listening on http://");
    let address =
        line.split("listening on http://").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
    let mut connection = TcpStream::connect(address).expect("it listens");
    let request = "GET /openapi.json HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    connection.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("/api/v1/notes/{id}"), "{answer}");
    serving.stop("SIGTERM");

    // Each role has its log until its end.
    let worker = Running::start(&service, &["worker"], &[]);
    worker.line("running jobs");
    worker.stop("finishing the jobs that are under way");

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let redis = format!("redis://{}", listener.local_addr().expect("it has one"));
    drop(listener); // nobody listens there now
    let carrier = Running::start(&service, &["admin-worker"], &[("REDIS_URL", &redis)]);
    carrier.line("the admin worker carries audit and usage");
    carrier.stop("finishing what is under way");
}

#[test]
fn the_folder_has_what_a_service_needs_and_is_not_written_twice() {
    let (folder, service) = made();
    let manifest = std::fs::read_to_string(service.join("Cargo.toml")).expect("a manifest");
    assert!(manifest.starts_with("[package]\nname = \"sample-service\"\n"), "{manifest}");
    for file in [
        "Dockerfile",
        "compose.yaml",
        "sample-service.service",
        ".env.example",
        ".gitignore",
        ".dockerignore",
        ".github/workflows/ci.yml",
        "README.md",
    ] {
        let text = std::fs::read_to_string(service.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(!text.contains("{{name}}") && !text.contains("{{ident}}"), "{file}");
    }
    if Command::new("git").arg("--version").output().is_ok() {
        assert!(service.join(".git").is_dir());
    }
    // `.env` holds secrets, and what migrations left is for everybody.
    let ignored = std::fs::read_to_string(service.join(".gitignore")).expect("a file");
    assert!(ignored.lines().any(|line| line == ".env") && ignored.contains("!/.data/migrations_audit"));

    std::fs::write(service.join("src/routes.rs"), "mine").expect("it can be written");
    let again = app_kernel(folder.path(), &["new", NAME]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is there and holds something; give another name, or empty it first"));
    assert_eq!(std::fs::read_to_string(service.join("src/routes.rs")).expect("it is there"), "mine");
}

#[test]
fn a_service_within_a_repository_gets_none_of_its_own() {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let init = Command::new("git").args(["init", "--quiet"]).current_dir(folder.path()).status();
    if !init.is_ok_and(|status| status.success()) {
        return println!("deselected: git is not there");
    }
    let output = app_kernel(folder.path(), &["new", "inner"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!folder.path().join("inner/.git").exists() && folder.path().join("inner/src/main.rs").is_file());
    let manifest = std::fs::read_to_string(folder.path().join("inner/Cargo.toml")).expect("a manifest");
    assert!(
        manifest.contains(&format!("app_kernel = {{ version = \"{}\" }}", env!("CARGO_PKG_VERSION"))),
        "{manifest}"
    );
}
