//! Redis: what several processes share and may lose. It is never the only home of anything promised, nor asked who may do what.
//!
//! - Nobody waits for it: it is connected when it is first asked, each question has half a second, and after some failures in a row a
//!   [breaker](crate::base::breaker) refuses at once. A probe beside the requests looks every two seconds whether it is back. So a start and
//!   a request never fail because Redis is away, and pay nothing for it after the first failures; whoever asks needs an answer for that case.
//! - A connection that did not answer is thrown away: one that hangs would never recover by itself.
//! - Keys start with the service's name, so that services can share a server.
//! - What is asked several times in one go, or must not be torn apart, is a script.

mod about;
mod connect;
mod listen;
mod name;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

// What questions and answers are made of. Nothing else of the library names the client.
pub(crate) use ::redis::{Cmd as Command, FromRedisValue as Answer, ToRedisArgs as Arguments, cmd as command};

pub use self::about::About;

use self::connect::Connector;
use crate::base::breaker::{Admission, Breaker, BreakerRule};
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// How patient it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedisOptions {
    /// How long connecting, and how long an answer may take.
    pub patience: Duration,
    /// When nobody asks any more, and for how long.
    pub breaker: BreakerRule,
}

impl Default for RedisOptions {
    fn default() -> Self {
        RedisOptions {
            patience: Duration::from_millis(500),
            breaker: BreakerRule { failures: 3, pause: Duration::from_secs(2) },
        }
    }
}

/// A Redis server, as one service sees it. Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    connector: Connector,
    prefix: String,
    breaker: Breaker,
}

impl Redis {
    /// The server of `REDIS_URL`, for the service of this name; none where it is not set. Nothing is connected yet.
    ///
    /// # Errors
    /// Where the address can't be used; names the variable and the cure, and not the address, which may hold a password.
    pub fn from_config(service: &str, config: &ServiceConfig) -> Result<Option<Self>> {
        config.redis_url.as_ref().map(|url| Redis::new(url, service, RedisOptions::default())).transpose()
    }

    /// A server, for the service of this name. Nothing is connected yet.
    ///
    /// # Errors
    /// As [`Redis::from_config`].
    pub fn new(url: &Secret, service: &str, options: RedisOptions) -> Result<Self> {
        Ok(Redis(Arc::new(Shared {
            connector: Connector::new(url, options.patience)?,
            prefix: name::prefix(service),
            breaker: Breaker::new(options.breaker),
        })))
    }

    /// Where it is, without credentials: `redis://localhost:6379`.
    #[must_use]
    pub fn place(&self) -> &str {
        self.0.connector.place()
    }

    /// What all of its keys start with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// The whole key of something: `widget_service:limits:…`.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0.prefix)
    }

    /// Whether it is known to be away, so that whoever can do without need not ask.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.breaker.is_open()
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// `Unavailable` where it does not.
    pub async fn ping(&self) -> Result<()> {
        self.run::<()>(&command("PING")).await
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// `Unavailable` where it does not answer in time, answers an error, or is known to be away.
    pub(crate) async fn run<T: Answer>(&self, command: &Command) -> Result<T> {
        self.admit()?;
        let asked = self.0.connector.run(command).await;
        self.0.conclude(asked)
    }

    /// Runs a script: all of it, or nothing, with nobody else in between. The keys are whole ones, from [`Redis::key`].
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub(crate) async fn script<T: Answer>(&self, script: &Script, keys: &[String], args: impl Arguments) -> Result<T> {
        self.admit()?;
        let asked = self.0.connector.script(&script.0, keys, args).await;
        self.0.conclude(asked)
    }

    /// All keys that start so, with what lies behind them, as text; for tests.
    #[cfg(feature = "testing")]
    pub(crate) async fn contents(&self, prefix: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for key in self.keys(prefix).await? {
            let kind: String = self.run(command("TYPE").arg(&key)).await?;
            let (read, rest): (_, &[&str]) = match kind.as_str() {
                "hash" => ("HGETALL", &[]),
                "list" => ("LRANGE", &["0", "-1"]),
                "set" => ("SMEMBERS", &[]),
                "zset" => ("ZRANGE", &["0", "-1"]),
                "stream" => ("XRANGE", &["-", "+"]),
                _ => ("GET", &[]),
            };
            let value: ::redis::Value = self.run(command(read).arg(&key).arg(rest)).await?;
            found.push((key, format!("{value:?}")));
        }
        Ok(found)
    }

    /// Removes all keys of this service; for tests.
    #[cfg(feature = "testing")]
    pub(crate) async fn remove_all(&self) -> Result<()> {
        for key in self.keys(self.prefix()).await? {
            self.run::<()>(command("DEL").arg(&key)).await?;
        }
        Ok(())
    }

    #[cfg(feature = "testing")]
    async fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let (mut cursor, mut keys) = (0, Vec::new());
        loop {
            let mut scan = command("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1000);
            let (next, page): (u64, Vec<String>) = self.run(&scan).await?;
            keys.extend(page);
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }

    /// Refuses at once while it is away. The first one after the pause sends a probe, and is refused all the same: no request waits for it.
    fn admit(&self) -> Result<()> {
        match self.0.breaker.admit(Instant::now()) {
            Admission::Ask => Ok(()),
            Admission::Refused => Err(away()),
            Admission::Probe => {
                let shared = Arc::clone(&self.0);
                tokio::spawn(async move {
                    let answered = shared.connector.run::<()>(&command("PING")).await;
                    // What became of it is in the breaker.
                    let _ = shared.conclude(answered);
                });
                Err(away())
            }
        }
    }
}

impl Shared {
    /// Tells the breaker, and the log when it turns.
    fn conclude<T>(&self, asked: Result<T, connect::Failure>) -> Result<T> {
        let place = self.connector.place();
        match asked {
            Ok(answer) => {
                if self.breaker.succeeded() {
                    tracing::info!("Redis at {place} is back");
                }
                Ok(answer)
            }
            Err(failure) => {
                if self.breaker.failed(Instant::now()) {
                    tracing::warn!(cause = %failure, "REDIS_URL: Redis at {place} does not answer; this process goes on without");
                }
                Err(away().cause(failure))
            }
        }
    }
}

fn away() -> Error {
    Error::unavailable("Redis does not answer")
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("place", &self.place()).field("prefix", &self.prefix()).finish_non_exhaustive()
    }
}

/// A program in Lua that the server runs in one step. Sent once, then named by its hash.
pub(crate) struct Script(::redis::Script);

impl Script {
    pub(crate) fn new(lua: &str) -> Self {
        Script(::redis::Script::new(lua))
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.0.get_hash()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-32
    #[test]
    fn an_address_that_can_not_be_used_is_refused_by_the_variable_and_not_repeated() {
        for url in ["hunter2", "http://:hunter2@h", "redis://:hunter2@h:port", "redis://:hunter2@h/nine", "redis://"] {
            let error = Redis::new(&Secret::new(url), "s", RedisOptions::default()).expect_err("a refusal");
            let told = format!("{error} {error:?}");
            assert!(error.to_string().starts_with("REDIS_URL can't be used"), "{url}: {told}");
            assert!(!told.contains("hunter2"), "{url}: {told}");
        }
    }

    /// Promise: R-32
    #[test]
    fn it_shows_itself_without_its_password() {
        for (url, place) in [
            ("redis://ann:hunter2@h:6380/3", "redis://h:6380"),
            ("rediss://:hunter2@h", "rediss://h:6379"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "redis+unix:///run/redis.sock"),
        ] {
            let redis = Redis::new(&Secret::new(url), "a service", RedisOptions::default()).expect("an address");
            assert_eq!(redis.place(), place);
            assert!(!format!("{redis:?}").contains("hunter2"), "{redis:?}");
            assert_eq!(redis.key("limits"), "a%20service:limits");
        }
    }

    /// Promise: R-08
    #[tokio::test]
    async fn a_server_that_is_not_there_is_asked_a_few_times_and_then_left_alone() {
        // Reserved, and nobody listens.
        let url = Secret::new("redis://127.0.0.1:1");
        let rule = BreakerRule { failures: 2, pause: Duration::from_secs(3600) };
        let options = RedisOptions { breaker: rule, ..RedisOptions::default() };
        let redis = Redis::new(&url, "s", options).expect("an address");
        for is_away in [false, true] {
            let error = redis.ping().await.expect_err("nobody there");
            assert_eq!((error.http_status(), redis.is_away()), (503, is_away));
        }
        let refused = redis.ping().await.expect_err("left alone");
        assert!(std::error::Error::source(&refused).is_none(), "it was not asked: {refused:?}");
    }
}
