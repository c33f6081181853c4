//! Processes to be killed. Each is this test binary, started again to run one function, so that it is built already and has our code.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use app_kernel::base::clock::Clock;
use app_kernel::base::config::ServiceConfig;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::Db;
use app_kernel::store::db::entity::Entity;

use super::{api, jobs, webhooks};
use crate::backup;
use crate::db::{Widget, widget};

/// What a victim does, on which database, in which folder: three things, apart by `|`.
const WORK: &str = "APP_KERNEL_TEST_VICTIM";
/// How many save at once.
const WRITERS: usize = 8;
/// How the lines begin that are not the test runner's.
const SAID: &str = "victim: ";
/// How long a victim may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a victim is to do.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Make backups, one after the other, and say the name of each.
    Backups,
    /// Make one backup.
    Backup,
    /// Restore a backup.
    Restore(String),
    /// Save widgets whose names begin so, and say the name of each that was acknowledged.
    Save(String),
    /// Be a process in the role `worker`, for one task.
    Worker(&'static str),
    /// Run jobs until told to end, with leases of this length.
    Jobs(Duration),
    /// Deliver webhooks.
    Webhooks,
    /// Serve, and say the address.
    Serve,
    /// Serve as [`super::api`] does, and say the address.
    Api(String),
}

/// No test of its own: what a victim runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(work) = std::env::var(WORK) else { return };
    let [what, url, folder] = work.split('|').collect::<Vec<_>>()[..] else { panic!("three things: {work}") };
    if let Some(task) = what.strip_prefix("worker ") {
        return jobs::work_apart(task, &Secret::new(url), Path::new(folder)).await;
    }
    if let Some(lease) = what.strip_prefix("jobs ") {
        return jobs::work(lease, &Secret::new(url), Path::new(folder), || say("ready")).await;
    }
    if what == "webhooks" {
        return webhooks::work(&Secret::new(url), Path::new(folder), || say("ready")).await;
    }
    if let Some(plan) = what.strip_prefix("api ") {
        return api::work(plan, &Secret::new(url), Path::new(folder), say).await;
    }
    if what == "serve" {
        return serve(url, folder).await;
    }
    let options = backup::options(Path::new(folder), &Clock::system());
    let db = Db::open(&Secret::new(url), &[Widget::definition()], options).await.expect("the database opens");
    let backups = db.backups().expect("a place for backups");
    match what.split_once(' ').unwrap_or((what, "")) {
        ("backup", _) => drop(backups.make().await.expect("a backup")),
        ("backups", _) => loop {
            let made = backups.make().await.expect("a backup");
            say(&made.csv);
            say(&made.native);
        },
        ("restore", name) => drop(backups.restore(name, None).await.expect("a restore")),
        ("save", run) => save_on(&db, run).await,
        (other, _) => panic!("a victim can't {other}"),
    }
    db.close().await;
}

async fn serve(url: &str, folder: &str) {
    let config = ServiceConfig {
        port: 0,
        database_url: Some(Secret::new(url)),
        data_dir: folder.to_owned(),
        backup_enabled: false,
        ..ServiceConfig::default()
    };
    let started = super::killed_services::shop(config).start().await.expect("the service starts");
    let running = started.serve().await.expect("it listens");
    say(&running.address().to_string());
    std::future::pending::<()>().await;
}

async fn save_on(db: &Db, run: &str) {
    let writers = (0..WRITERS).map(|writer| async move {
        for n in 0.. {
            let name = format!("{run} {writer} {n}");
            if db.save(widget(&name)).await.is_err() {
                break; // the disk or the server is gone
            }
            say(&name);
        }
    });
    futures_util::future::join_all(writers).await;
}

/// Past the test runner, which would keep it until the end; in one write, so that a kill leaves no half line to be believed.
fn say(word: &str) {
    let _ = std::io::stdout().lock().write_all(format!("\n{SAID}{word}\n").as_bytes());
}

/// A victim at work. Killed when dropped.
#[derive(Debug)]
pub(super) struct Victim {
    child: Child,
    said: Receiver<String>,
}

impl Victim {
    pub(super) fn start(work: &Work, url: &Secret, folder: &Path) -> Self {
        let what = match work {
            Work::Backup => "backup".to_owned(),
            Work::Backups => "backups".to_owned(),
            Work::Restore(name) => format!("restore {name}"),
            Work::Save(run) => format!("save {run}"),
            Work::Worker(task) => format!("worker {task}"),
            Work::Jobs(lease) => format!("jobs {}", lease.as_secs()),
            Work::Webhooks => "webhooks".to_owned(),
            Work::Serve => "serve".to_owned(),
            Work::Api(plan) => format!("api {plan}"),
        };
        let mut command = Command::new(std::env::current_exe().expect("a test binary"));
        command.args(["--exact", "chaos::victim::victim", "--nocapture"]);
        command.env(WORK, format!("{what}|{}|{}", url.expose(), folder.display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("this binary can be started again");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            let words = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix(SAID).map(str::to_owned));
            words.for_each(|word| drop(sender.send(word)));
        });
        Victim { child, said }
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next word.
    pub(super) fn hear(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("a word of the victim")
    }

    /// What it has said since.
    pub(super) fn heard(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }

    /// Sends it a signal, such as STOP.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name} was not sent");
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_some()
    }

    /// Kills it, where it has not ended by itself.
    pub(super) fn kill(mut self) {
        let _gone = self.child.kill();
        self.child.wait().expect("it ends");
    }

    /// Lets it work to its end. False where it failed.
    pub(super) fn end(mut self) -> bool {
        self.child.wait().expect("it ends").success()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a piece of work takes when nobody is killed.
pub(super) fn time_of_a_run(work: &Work, url: &Secret, folder: &Path) -> Duration {
    let started = Instant::now();
    assert!(Victim::start(work, url, folder).end(), "{work:?} fails without any fault");
    started.elapsed()
}
