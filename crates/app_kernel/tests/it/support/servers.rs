//! Servers of a test's own, to kill: started and stopped by `scripts/servers.sh`, as those that all tests share.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::store::db::{Backend, Db, DbOptions};

use super::repository;

/// How long a server may take to be back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the servers, tells where, and stops them when its standard input ends.
const SCRIPT: &str = r#"
    say() { :; }
    complain() { echo "$*" >&2; }
    source scripts/servers.sh
    unset TEST_POSTGRES_URL TEST_MYSQL_URL
    trap stop_servers EXIT
    start_servers "$@" || exit 1
    echo "$TEST_SERVERS_DIR"
    echo "${TEST_POSTGRES_URL:-}"
    echo "${TEST_MYSQL_URL:-}"
    read -r _
"#;

const BOTH: [Backend; 2] = [Backend::Postgres, Backend::MySql];
const UNPOISONED: &str = "nobody panics while holding it";

fn index(backend: Backend) -> usize {
    usize::from(backend == Backend::MySql)
}

/// PostgreSQL, MySQL or both. Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    script: Child,
    folder: PathBuf,
    urls: [String; 2],
    /// The main process of each, also where the disk with its pid file is gone.
    processes: Mutex<[String; 2]>,
    /// Those that were started again: one that was killed is there until we have asked for its end.
    again: Mutex<Vec<Child>>,
}

impl Servers {
    /// Those of these databases that `DATABASES` selects, with their data below a folder where one is named; none where it selects none.
    pub(crate) fn start(backends: &[Backend], home: Option<&Path>) -> Option<Self> {
        let list = std::env::var("DATABASES").ok();
        let is_selected = |backend: &&Backend| list.as_ref().is_none_or(|list| list.contains(backend.as_str()));
        let names: Vec<&str> = backends.iter().filter(is_selected).map(|backend| backend.as_str()).collect();
        if names.is_empty() {
            println!("deselected by DATABASES");
            return None;
        }
        let mut command = Command::new("bash");
        command.args(["-c", SCRIPT, "servers"]).args(names).current_dir(repository::root());
        command.envs(home.map(|home| ("TEST_SERVERS_HOME", home))).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().expect("bash starts");
        let lines = BufReader::new(script.stdout.take().expect("it is piped")).lines();
        let lines: Vec<String> = lines.take(3).map_while(Result::ok).collect();
        let [folder, postgres, mysql] = &lines[..] else { panic!("the servers do not start: {lines:?}") };
        let folder = PathBuf::from(folder);
        let process = |backend: Backend| {
            let text = std::fs::read_to_string(folder.join(format!("{}.pid", backend.as_str()))).unwrap_or_default();
            text.lines().next().unwrap_or_default().trim().to_owned()
        };
        let processes = Mutex::new(BOTH.map(process));
        let urls = [postgres.clone(), mysql.clone()];
        Some(Servers { script, folder, urls, processes, again: Mutex::default() })
    }

    /// Which of the two there are.
    pub(crate) fn backends(&self) -> Vec<Backend> {
        BOTH.into_iter().filter(|backend| !self.server(*backend).is_empty()).collect()
    }

    /// The folder with data, sockets and scripts.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn server(&self, backend: Backend) -> &str {
        &self.urls[index(backend)]
    }

    /// The address of a database on a server.
    pub(crate) fn url(&self, backend: Backend, name: &str) -> Secret {
        let server = self.server(backend).rsplit_once('/').expect("an address has a database").0;
        Secret::new(format!("{server}/{name}"))
    }

    /// Runs a statement as the administrator.
    pub(crate) async fn run(&self, backend: Backend, statement: &str) {
        let (url, deadline) = (Secret::new(self.server(backend)), Instant::now() + PATIENCE);
        let db = loop {
            match Db::open(&url, &[], DbOptions::default()).await {
                Ok(db) => break db,
                Err(error) => assert!(Instant::now() < deadline, "the server does not answer: {error}"),
            }
            // It listens before it lets anybody in.
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        db.execute(statement, ()).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        db.close().await;
    }

    /// Makes a database.
    pub(crate) async fn database(&self, backend: Backend, name: &str) -> Secret {
        self.run(backend, &format!("CREATE DATABASE {name}")).await;
        self.url(backend, name)
    }

    /// Kills a server and all of its processes with signal 9.
    pub(crate) fn kill(&self, backend: Backend) {
        let server = std::mem::take(&mut self.processes.lock().expect(UNPOISONED)[index(backend)]);
        if server.is_empty() {
            return;
        }
        let mut all = vec![server.clone()];
        all.extend(children_of(&server));
        // Some of the children may have ended by themselves.
        let _ = Command::new("kill").arg("-KILL").args(&all).stderr(Stdio::null()).status();
        let mut again = self.again.lock().expect(UNPOISONED);
        again.retain_mut(|child| child.id().to_string() != server || child.wait().is_err());
        let deadline = Instant::now() + PATIENCE;
        while all.iter().any(|process| is_alive(process)) {
            assert!(Instant::now() < deadline, "{all:?} do not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A server and all of its processes are there, and say nothing more.
    pub(crate) fn hang(&self, backend: Backend) {
        self.signal(backend, "STOP");
    }

    /// A server goes on after [`Servers::hang`].
    pub(crate) fn go_on(&self, backend: Backend) {
        self.signal(backend, "CONT");
    }

    fn signal(&self, backend: Backend, signal: &str) {
        let server = self.processes.lock().expect(UNPOISONED)[index(backend)].clone();
        let mut all = vec![server.clone()];
        all.extend(children_of(&server));
        // Some of the children may have ended by themselves.
        let _ = Command::new("kill").arg(format!("-{signal}")).args(&all).stderr(Stdio::null()).status();
    }

    /// Starts a server that was killed, and waits until it serves this database again.
    pub(crate) async fn start_again(&self, backend: Backend, url: &Secret) {
        let mut command = Command::new("sh");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.arg(self.folder.join(format!("{}.run", backend.as_str()))).stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = command.spawn().expect("sh starts");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Db::open(url, &[], DbOptions::default()).await {
                Ok(db) => {
                    db.close().await;
                    break;
                }
                Err(error) if Instant::now() > deadline => panic!("{} does not come back: {error}", backend.as_str()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            let ended = server.try_wait().expect("a child can be asked");
            assert_eq!(ended, None, "{}: {}", backend.as_str(), self.log(backend));
        }
        self.processes.lock().expect(UNPOISONED)[index(backend)] = server.id().to_string();
        self.again.lock().expect(UNPOISONED).push(server);
    }

    fn log(&self, backend: Backend) -> String {
        let log = std::fs::read_to_string(self.folder.join(format!("{}.log", backend.as_str()))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Nobody wants their data: no wait for an orderly end.
        for backend in self.backends() {
            self.kill(backend);
        }
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

fn stat_of(process: &str) -> Option<(char, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // `12 (name of any kind) S 1 ..`
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.to_owned()))
}

/// One that has ended but was not waited for is not alive.
pub(crate) fn is_alive(process: &str) -> bool {
    stat_of(process).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn children_of(parent: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    let names = processes.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| stat_of(name).is_some_and(|(_, of)| of == parent)).collect()
}
