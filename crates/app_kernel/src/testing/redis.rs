//! Redis for a test: the server that `TEST_REDIS_URL` names, with keys of the test's own, gone when the test ends.
//!
//! A server that is not there fails the test. `DATABASES=sqlite` deselects it, which the test says.

use std::sync::Arc;
use std::time::Duration;

use super::databases;
use crate::base::breaker::BreakerRule;
use crate::base::id::new_id;
use crate::base::secret::Secret;
use crate::store::redis::{Redis, RedisOptions};

/// As long as a machine under test may take for an answer: a limit that is kept in another place meanwhile would be another limit.
const PATIENCE: RedisOptions = RedisOptions {
    patience: Duration::from_secs(30),
    breaker: BreakerRule { failures: 3, pause: Duration::from_secs(2) },
};

/// A Redis server, and a name for a service on it that nobody else has. Its keys go with its last clone.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # use app_kernel::testing::{TestRedis, TestService};
/// # async fn example() {
/// let Some(redis) = TestRedis::shared() else { return };
/// let build = |config| Service::new("greeter", config).redis(redis.patient());
/// let one = TestService::start(build).await;
/// let another = one.beside(build).await;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TestRedis(Arc<Home>);

#[derive(Debug)]
struct Home {
    url: Secret,
    name: String,
}

impl TestRedis {
    /// The server that all tests share; none where `DATABASES` deselects it.
    ///
    /// # Panics
    /// Where `TEST_REDIS_URL` is not set.
    #[must_use]
    pub fn shared() -> Option<Self> {
        if !databases::selects("redis") {
            println!("deselected by DATABASES");
            return None;
        }
        let url = std::env::var("TEST_REDIS_URL").ok().filter(|url| !url.is_empty());
        let cure = "TEST_REDIS_URL is not set; run ./test, which starts a server, or set DATABASES=sqlite to run less";
        Some(Self::at(Secret::new(url.expect(cure))))
    }

    /// A server of the test's own.
    #[must_use]
    pub fn at(url: Secret) -> Self {
        TestRedis(Arc::new(Home { url, name: format!("app_kernel_test_{}", new_id()) }))
    }

    /// Its address, as `REDIS_URL` would say it.
    #[must_use]
    pub fn url(&self) -> &Secret {
        &self.0.url
    }

    /// What all keys start with.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.patient().prefix().to_owned()
    }

    /// As services have it, but that it waits longer for an answer, as busy machines need. For [`Service::redis`](crate::service::Service::redis).
    #[must_use]
    pub fn patient(&self) -> Redis {
        self.with(PATIENCE)
    }

    /// With patience of the test's own.
    ///
    /// # Panics
    /// Where the server's address can't be used.
    #[must_use]
    pub fn with(&self, options: RedisOptions) -> Redis {
        Redis::new(&self.0.url, &self.0.name, options).unwrap_or_else(|error| panic!("TEST_REDIS_URL: {error}"))
    }

    /// All keys with what lies behind them, as text.
    ///
    /// # Panics
    /// Where the server does not answer.
    pub async fn contents(&self) -> Vec<(String, String)> {
        let redis = self.patient();
        redis.contents().await.unwrap_or_else(|error| panic!("reading the keys of a test: {error:?}"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // On a thread and a runtime of its own: the test's may be ending. Nobody misses keys that were not removed; all have an end.
        let (url, name) = (self.url.clone(), self.name.clone());
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            let redis = Redis::new(&url, &name, RedisOptions::default()).ok()?;
            runtime.block_on(redis.remove_all()).ok()
        });
        let _ = removed.join();
    }
}
