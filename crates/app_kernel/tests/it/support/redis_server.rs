//! A Redis of a test's own, to kill and to stop: started and stopped by `scripts/servers.sh`, as the one that all tests share.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::testing::TestRedis;

use super::repository;
use super::servers::is_alive;

/// How long the server may take to go, or to be back.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the server, tells where, and stops it when its standard input ends.
const SCRIPT: &str = r#"
    say() { :; }
    complain() { echo "$*" >&2; }
    source scripts/servers.sh
    unset TEST_REDIS_URL
    trap stop_servers EXIT
    start_servers redis || exit 1
    echo "$TEST_SERVERS_DIR"
    echo "$TEST_REDIS_URL"
    read -r _
"#;

/// Stopped when dropped.
#[derive(Debug)]
pub(crate) struct RedisServer {
    script: Child,
    folder: PathBuf,
    redis: TestRedis,
    /// One that was started again: it is our child, and there until we have asked for its end.
    again: Option<Child>,
}

impl RedisServer {
    /// None where `DATABASES` deselects Redis.
    pub(crate) fn start() -> Option<Self> {
        TestRedis::shared()?;
        let mut command = Command::new("bash");
        command.args(["-c", SCRIPT]).current_dir(repository::root()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = command.spawn().expect("bash starts");
        let lines = BufReader::new(script.stdout.take().expect("it is piped")).lines();
        let lines: Vec<String> = lines.take(2).map_while(Result::ok).collect();
        let [folder, url] = &lines[..] else { panic!("Redis does not start: {lines:?}") };
        let redis = TestRedis::at(Secret::new(url.as_str()));
        Some(RedisServer { script, folder: PathBuf::from(folder), redis, again: None })
    }

    pub(crate) fn redis(&self) -> &TestRedis {
        &self.redis
    }

    fn process(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("redis.pid")).expect("it wrote its process id");
        text.trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.process()]).status();
        assert!(status.expect("kill runs").success(), "Redis can't be told {signal}");
    }

    /// It is there, and says nothing more.
    pub(crate) fn hang(&self) {
        self.signal("STOP");
    }

    /// It goes on after [`RedisServer::hang`].
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    /// Kills it with signal 9, with all that it knew.
    pub(crate) fn kill(&mut self) {
        let process = self.process();
        self.signal("KILL");
        if let Some(mut child) = self.again.take() {
            child.wait().expect("a child can be waited for");
        }
        let deadline = Instant::now() + PATIENCE;
        while is_alive(&process) {
            assert!(Instant::now() < deadline, "Redis does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the one that was killed: same port, no data.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new("sh");
        command.arg(self.folder.join("redis.run")).stdin(Stdio::null()).stdout(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.again = Some(command.spawn().expect("sh starts"));
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.again {
            let _ = child.kill();
            let _ = child.wait();
        } else {
            // The script waits for an orderly end, which a stopped process never has.
            let _ = Command::new("kill").args(["-CONT", &self.process()]).stderr(Stdio::null()).status();
        }
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}
