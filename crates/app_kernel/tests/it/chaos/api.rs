//! A service whose requests meet all that a request can: a session, a limit, the cache and the database. It runs as a process of its own.

use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use app_kernel::base::config::LogFormat;
use app_kernel::base::secret::Secret;
use app_kernel::prelude::*;
use app_kernel::store::redis::{Redis, RedisOptions};
use app_kernel::testing::Client;
use app_kernel::testing::service::{JWT_SECRET, PASSWORD};
use serde_json::{Value, json};

use super::victim::{Victim, Work};

/// How long a service may take to notice that what it needs is back. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is saved.
#[derive(Debug, Clone, Entity)]
#[entity(table = "notes")]
struct Note {
    text: String,
}

/// Reads by its session, and the greeting from the cache, which is found out anew every second.
async fn greet(user: CurrentUser, kernel: Kernel) -> Result<String> {
    let found = async { Ok::<_, Error>("hello".to_owned()) };
    let greeting = kernel.cache().get_or_set("greeting", Duration::from_secs(1), found).await?;
    Ok(format!("{greeting} {}", user.email))
}

async fn save(_user: CurrentUser, db: Db) -> Result<Created<String>> {
    Ok(Created::new(db.save(Note { text: "gear".to_owned() }).await?.id))
}

async fn count(_user: CurrentUser, db: Db) -> Result<String> {
    Ok(db.count::<Note>("[text] = ?", ["gear"]).await?.to_string())
}

async fn hello() -> &'static str {
    "hello"
}

/// How a service is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Requests in a minute for each caller.
    pub(super) limit: u32,
    /// The address of Redis.
    pub(super) redis: Option<String>,
    /// Whether Redis may take as long for an answer as a busy machine needs.
    pub(super) is_patient: bool,
}

/// More than anybody asks for: every request is counted, and none refused.
pub(super) const NO_LIMIT: u32 = 1_000_000;

const NAME: &str = "chaos_api";

/// What a victim does: serves until it is killed.
pub(super) async fn work(plan: &str, url: &Secret, home: &FilePath, ready: impl Fn(&str)) {
    let plan: Plan = serde_json::from_str(plan).expect("a plan");
    let redis = plan.redis.map(Secret::new);
    let config = ServiceConfig {
        port: 0,
        database_url: Some(url.clone()),
        jwt_secret: Some(Secret::new(JWT_SECRET)),
        allow_self_signup: true,
        backup_enabled: false,
        data_dir: home.join(app_kernel::base::id::new_id()).display().to_string(),
        redis_url: redis.clone(),
        rate_limit_enabled: Some(true),
        rate_limit_requests: plan.limit,
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        log_format: Some(LogFormat::Json),
        ..ServiceConfig::default()
    };
    let mut service = Service::new(NAME, config)
        .entity::<Note>()
        .route("/hello", get(hello))
        .route("/greeting", get(greet))
        .route("/notes", post(save).get(count));
    if let Some(redis) = redis.filter(|_| plan.is_patient) {
        let options = RedisOptions { patience: PATIENCE, ..RedisOptions::default() };
        service = service.redis(Redis::new(&redis, NAME, options).expect("an address"));
    }
    let running = service.start().await.expect("it starts").serve().await.expect("a free port");
    ready(&running.address().to_string());
    std::future::pending::<()>().await;
}

/// The service, as a process of its own.
#[derive(Debug)]
pub(super) struct Api {
    victim: Victim,
    url: String,
}

impl Api {
    /// Starts it on a database, with a folder of its own in `home`.
    pub(super) fn start(plan: &Plan, url: &Secret, home: &FilePath) -> Self {
        let victim = Victim::start(&Work::Api(serde_json::to_string(plan).expect("JSON")), url, home);
        let url = format!("http://{}", victim.hear());
        Api { victim, url }
    }

    /// `http://127.0.0.1:41234`
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its process.
    pub(super) fn id(&self) -> u32 {
        self.victim.id()
    }

    /// An address of this service.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Signs somebody up, and gives the token.
    pub(super) async fn sign_up(&self, name: &str) -> String {
        let who = json!({ "email": format!("{name}@example.com"), "password": PASSWORD });
        let client = Client::new(self.url());
        client.post("/auth/register", &who).await.expect(201);
        let signed_in = client.post("/auth/login", &who).await.expect(200).json();
        signed_in["access_token"].as_str().expect("a token").to_owned()
    }

    /// Waits until `/readyz` says of a part that it is well.
    pub(super) async fn until_well(&self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = Client::new(self.url()).get("/readyz").await;
            let said: Value = answer.json();
            if said["checks"][part] == "ok" {
                return;
            }
            assert!(Instant::now() < deadline, "{part} is not found again: {said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
