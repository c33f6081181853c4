//! Servers for development, by a stand-in for Docker that starts real ones: what is brought up, what is said, and what is left alone.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::{Ended, PATIENCE, Place, Serving};
use crate::support::repository;
use crate::support::servers::is_alive;

const NAMES: [&str; 3] = ["appkernel-postgres", "appkernel-mysql", "appkernel-redis"];

/// A `docker` of a test's own. Its servers end with it.
struct Docker {
    folder: tempfile::TempDir,
}

impl Docker {
    fn new() -> Self {
        // A short path, which the servers' own users may pass through.
        let folder =
            tempfile::Builder::new().prefix("app_kernel_docker_").tempdir_in("/tmp").expect("/tmp can be written");
        let allow =
            |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        allow(folder.path());
        std::fs::create_dir(folder.path().join("bin")).expect("a folder");
        let program = folder.path().join("bin/docker");
        std::fs::copy(repository::root().join("crates/app_kernel/tests/it/support/docker.sh"), &program)
            .expect("a file");
        allow(&program);
        Docker { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An empty folder where this is the Docker.
    fn place(&self) -> Place {
        let path = std::env::var("PATH").unwrap_or_default();
        let servers = repository::root().join("scripts/servers.sh");
        Place::new()
            .with("DEV_AUTOSTART", "true")
            .with("PATH", format!("{}:{path}", self.path("bin").display()))
            .with("DOCKER_HOME", self.folder.path().display().to_string())
            .with("SERVERS_SH", servers.display().to_string())
    }

    /// What it was told, a line each.
    fn calls(&self) -> Vec<String> {
        match std::fs::read_to_string(self.path("calls")) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// As `docker stop`: the server ends, its data stays.
    fn stop(&self, container: &str) {
        let Ok(process) = std::fs::read_to_string(self.path(container).join("pid")) else { return };
        let process = process.trim();
        let kill = |signal: &str| Command::new("kill").args([signal, process]).stderr(Stdio::null()).status();
        let signal = if container.ends_with("postgres") { "-INT" } else { "-TERM" };
        let (deadline, mut sent) = (Instant::now() + PATIENCE, kill(signal));
        while is_alive(process) {
            sent.as_ref().expect("kill runs");
            if Instant::now() > deadline {
                sent = kill("-KILL");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        NAMES.iter().for_each(|name| self.stop(name));
    }
}

/// A port below those that the system gives away, so that nobody takes it by chance before the server does.
fn free_port() -> u16 {
    let seed = std::process::id() as u16
        ^ app_kernel::base::id::new_id()
            .bytes()
            .rev()
            .fold(0, |seed: u16, byte| seed.wrapping_mul(31) ^ u16::from(byte));
    let ports = (0..12_000).map(|step| 20_000 + (seed % 12_000 + step) % 12_000);
    ports.into_iter().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// Whether `DATABASES` selects it.
fn is_selected(name: &str) -> bool {
    std::env::var("DATABASES").map_or(true, |list| list.contains(name))
}

fn told(ended: &Ended) -> Vec<String> {
    let lines = ended.out.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| Some(line["message"].as_str()?.to_owned())).collect()
}

fn stop(serving: Serving) -> Vec<String> {
    let ended = serving.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    told(&ended)
}

/// Promise: S1, S2, S3
#[test]
fn postgres_and_redis_are_started_said_and_there_again_with_their_data() {
    if !is_selected("postgres") || !is_selected("redis") {
        return println!("deselected by DATABASES");
    }
    let docker = Docker::new();
    let (port, redis) = (free_port(), free_port());
    let url = |password: &str| format!("postgres://ann:{password}@localhost:{port}/myapp");
    let place = docker
        .place()
        .with("DATABASE_URL", url("hunter2"))
        .with("REDIS_URL", format!("redis://:hunter2@localhost:{redis}"));
    let lines = stop(place.serve());
    for line in [format!("✓ PostgreSQL started at localhost:{port}"), format!("✓ Redis started at localhost:{redis}")]
    {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("redis: on, ")), "{lines:?}");
    let calls = docker.calls().join("\n");
    assert!(calls.contains("--env POSTGRES_PASSWORD") && !calls.contains("hunter2"), "{calls}");
    assert_eq!(calls.matches("container run").count(), 2, "{calls}");

    // It is there: nobody is asked.
    assert_eq!(place.run(&["user", "create", "ann@example.com"]).code, Some(0));
    assert_eq!(docker.calls().join("\n"), calls);

    // It was stopped: it is started again, and has what it had.
    docker.stop("appkernel-postgres");
    let listed = place.run(&["user", "list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    assert!(listed.out.iter().any(|line| line.ends_with("ann@example.com")), "{:?}", listed.out);
    assert!(listed.err.contains(&format!("note: ✓ PostgreSQL started at localhost:{port}\n")), "{}", listed.err);
    assert_eq!(docker.calls().iter().filter(|call| *call == "container start appkernel-postgres").count(), 1);

    // The address has changed: that is another server.
    docker.stop("appkernel-postgres");
    let refused = place.with("DATABASE_URL", url("hunter3")).run(&["user", "list"]);
    assert_eq!(refused.code, Some(1));
    let wanted = format!(
        "Error: DATABASE_URL: nothing listens at localhost:{port}, and the container appkernel-postgres is not that server: its password is another; \
         correct DATABASE_URL, or remove the container with its data: docker rm -f appkernel-postgres && docker volume rm appkernel-postgres\n"
    );
    assert_eq!(refused.err, wanted);
}

/// Promise: S1, S3
#[test]
fn mysql_is_started_with_the_user_and_the_database_of_the_address() {
    if !is_selected("mysql") || !Path::new("/usr/bin/mariadb-install-db").exists() {
        return println!("deselected: DATABASES leaves MySQL out, or MariaDB is not installed");
    }
    let docker = Docker::new();
    let port = free_port();
    let place = docker.place().with("DATABASE_URL", format!("mysql://ann:hunter2@127.0.0.1:{port}/myapp"));
    let lines = stop(place.serve());
    assert!(lines.contains(&format!("✓ MySQL started at 127.0.0.1:{port}")), "{lines:?}");
    assert!(!docker.calls().concat().contains("hunter2"));
}

#[test]
fn a_docker_that_does_not_answer_is_a_line_beside_the_ordinary_error() {
    let docker = Docker::new();
    std::fs::write(docker.path("away"), "").expect("a file");
    let port = free_port();
    let ended = docker.place().with("DATABASE_URL", format!("postgres://ann:hunter2@localhost:{port}/app")).run(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.err.starts_with(&format!(
            "Error: DATABASE_URL: cannot reach PostgreSQL at localhost:{port}: nothing listens there; "
        )),
        "{}",
        ended.err
    );
    let wanted = format!(
        "nothing listens at localhost:{port} of DATABASE_URL, and Docker does not answer (Cannot connect to the Docker daemon at \
         unix:///var/run/docker.sock. Is the docker daemon running?): start Docker, which brings PostgreSQL by itself, or PostgreSQL"
    );
    assert_eq!(told(&ended), [wanted]);
}

/// Promise: S3
#[test]
fn nothing_is_started_in_production_elsewhere_or_where_nobody_wants_it() {
    let docker = Docker::new();
    let secret = ("JWT_SECRET", "a secret of the tests, long enough for all");
    let here = format!("postgres://ann:a@localhost:{}/app", free_port());
    let cases: [&[(&str, &str)]; 3] = [
        &[("APP_ENV", "production"), secret, ("DATABASE_URL", &here)],
        &[("DEV_AUTOSTART", "false"), ("DATABASE_URL", &here)],
        // A name that nobody has (RFC 6761, 6.4).
        &[("DATABASE_URL", "postgres://ann:a@db.invalid/app")],
    ];
    for variables in cases {
        let place = variables.iter().fold(docker.place(), |place, (name, value)| place.with(name, *value));
        let ended = place.run(&[]);
        assert_eq!(ended.code, Some(1), "{variables:?}");
        assert_eq!(docker.calls(), Vec::<String>::new(), "{variables:?}");
    }
}

/// Promise: S1
#[test]
fn a_server_that_listens_is_taken_as_it_is() {
    let docker = Docker::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    assert!(TcpStream::connect(address).is_ok());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let ended = docker.place().with("DATABASE_URL", format!("postgres://ann:a@{address}/app")).run(&["user", "list"]);
    assert_eq!(ended.code, Some(1), "it is no PostgreSQL");
    assert_eq!(docker.calls(), Vec::<String>::new());
}
