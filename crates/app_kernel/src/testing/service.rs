//! A real server for a test: on a free port, with a database of its own and a clock that the test moves.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::client::Client;
use super::databases::TestDatabase;
use crate::base::clock::{Clock, Timestamp};
use crate::base::config::{LogFormat, ServiceConfig};
use crate::base::secret::Secret;
use crate::engine::mail::{Mail, Mailer, Outbox};
use crate::kernel::Kernel;
use crate::service::{Running, Service};
use crate::store::db::Db;

/// The password that [`TestService::sign_up`] gives everybody.
pub const PASSWORD: &str = "correct horse battery staple";

/// What signs the access tokens of every service under test.
pub const JWT_SECRET: &str = "a secret of the tests, long enough for all";

/// What the links in its mails start with.
pub const PUBLIC_URL: &str = "https://app.example.com";

/// How long a mail is waited for.
const MAIL_TIMEOUT: Duration = Duration::from_secs(20);

/// A service under test. Stops when dropped. A test that leaves jobs behind which are due fails: `run_jobs` runs them.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # use app_kernel::testing::TestService;
/// # async fn example() {
/// let service = TestService::start(|config| Service::new("greeter", config)).await;
/// let ann = service.sign_up("ann").await;
/// ann.get("/auth/me").await.expect(200);
/// # }
/// ```
pub struct TestService {
    running: Option<Running>,
    clock: Clock,
    database: TestDatabase,
    outbox: Outbox,
}

impl TestService {
    /// Starts a service on a fresh SQLite file.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn start(build: impl FnOnce(ServiceConfig) -> Service) -> Self {
        Self::start_on(TestDatabase::sqlite().await, build).await
    }

    /// Starts a service on a database that is there, so that a test can run on each of them, or start twice on one.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn start_on(database: TestDatabase, build: impl FnOnce(ServiceConfig) -> Service) -> Self {
        let now = Timestamp::from_microsecond(Clock::system().now().as_microsecond()).unwrap_or_default();
        Self::start_at(Clock::manual(now), database, Outbox::default(), build).await
    }

    /// Another process of the same service: on its database, by its clock, with nothing of its memory. What either sends comes to one outbox.
    ///
    /// # Panics
    /// Where it does not start.
    pub async fn beside(&self, build: impl FnOnce(ServiceConfig) -> Service) -> Self {
        Self::start_at(self.clock.clone(), self.database.clone(), self.outbox.clone(), build).await
    }

    async fn start_at(
        clock: Clock,
        database: TestDatabase,
        outbox: Outbox,
        build: impl FnOnce(ServiceConfig) -> Service,
    ) -> Self {
        let config = ServiceConfig {
            port: 0,
            database_url: Some(database.url().clone()),
            data_dir: database.data_dir().display().to_string(),
            jwt_secret: Some(Secret::new(JWT_SECRET)),
            allow_self_signup: true,
            backup_enabled: false,
            worker_embedded: false,
            // Also with a Redis: a test makes as many requests as it needs.
            rate_limit_enabled: Some(false),
            public_url: Some(PUBLIC_URL.to_owned()),
            shutdown_timeout: Duration::from_secs(5),
            log_format: Some(LogFormat::Json),
            ..ServiceConfig::default()
        };
        let service = build(config).clock(clock.clone()).mailer_unless_set(Mailer::into_outbox(&outbox));
        // Boxed: a start is the deepest future there is, and the compiler looks into all that a test awaits.
        let running: BoxFuture<'_, Running> = Box::pin(async {
            let started = service.start().await.unwrap_or_else(|error| panic!("the service does not start: {error:?}"));
            started.serve().await.unwrap_or_else(|error| panic!("the service does not listen: {error:?}"))
        });
        let running = running.await;
        TestService { running: Some(running), clock, database, outbox }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is stopped")
    }

    /// Where it listens: `http://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.running().address())
    }

    /// The engines.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        self.running().kernel()
    }

    /// The store, on behalf of the service itself.
    ///
    /// # Panics
    /// Where the service was started without one.
    #[must_use]
    pub fn db(&self) -> Db {
        self.kernel().db().expect("the service has a database")
    }

    /// The time as the service has it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> &TestDatabase {
        &self.database
    }

    /// Runs the jobs that are due by the service's clock, and those that become due by that, until none is. Answers how many tries there were.
    /// Jobs of a service under test run at no other time, unless it is built with `worker_embedded`.
    ///
    /// # Panics
    /// Where the database does not answer.
    pub async fn run_jobs(&self) -> usize {
        let worker = self.running().worker().unwrap_or_else(|error| panic!("jobs can't be run: {error:?}"));
        worker.run_to_idle().await.unwrap_or_else(|error| panic!("jobs can't be run: {error:?}"))
    }

    /// What this service has enqueued and nobody has run since: the end of the test would name it.
    fn jobs_left_behind(&self) -> Option<String> {
        let running = self.running.as_ref().filter(|running| !running.kernel().config().worker_embedded)?;
        let left = running.kernel().jobs().ok()?.left_behind();
        let names: Vec<String> = left.iter().map(|(task, count)| format!("{count} × {task}")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// What it has sent by mail.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Takes the oldest mail to an address out of the outbox; waits for it, because mail is sent beside the requests.
    ///
    /// # Panics
    /// Where none comes.
    pub async fn mail_to(&self, address: &str) -> Mail {
        let mail = tokio::time::timeout(MAIL_TIMEOUT, self.outbox.take(address)).await;
        mail.unwrap_or_else(|_| panic!("no mail came to {address}; there is {:?}", self.outbox.mails()))
    }

    /// Moves the service's clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Somebody without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::new(self.url())
    }

    /// A new user, signed in; the address is `{name}@example.com`.
    ///
    /// # Panics
    /// Where the service refuses.
    pub async fn sign_up(&self, name: &str) -> Client {
        let client = self.anonymous();
        let email = format!("{name}@example.com");
        let registration = serde_json::json!({ "email": email, "password": PASSWORD, "name": name });
        client.post("/auth/register", registration).await.expect(201);
        self.sign_in(name).await
    }

    /// A user who is there, signed in once more.
    ///
    /// # Panics
    /// Where the service refuses.
    pub async fn sign_in(&self, name: &str) -> Client {
        let client = self.anonymous();
        let credentials = serde_json::json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
        let tokens = client.post("/auth/login", credentials).await.expect(200).json();
        let token = tokens["access_token"].as_str().expect("a login answers a token");
        client.with_token(token)
    }

    /// Stops gracefully and gives the database back, for a second start.
    pub async fn stop(mut self) -> TestDatabase {
        // What is left is for the next start.
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
        self.database.clone()
    }
}

impl Drop for TestService {
    fn drop(&mut self) {
        if let Some(left) = self.jobs_left_behind()
            && !std::thread::panicking()
        {
            panic!("the test leaves jobs behind that nobody has run: {left}; call service.run_jobs().await");
        }
    }
}
