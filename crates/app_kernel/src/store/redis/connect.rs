//! The connection: made when it is needed, thrown away when it does not answer.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, FromRedisValue, RedisError, Script, ToRedisArgs};

use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// Makes connections, and keeps the last one that works.
pub(super) struct Connector {
    client: Client,
    place: String,
    patience: Duration,
    connection: Mutex<Option<Numbered>>,
    made: AtomicU64,
}

/// A connection, told apart from the one that took its place.
#[derive(Clone)]
struct Numbered {
    number: u64,
    manager: ConnectionManager,
}

/// Why there is no answer. Redis does not repeat what it was told, so it may be logged.
#[derive(Debug)]
pub(super) enum Failure {
    TooLate(Duration),
    Redis(RedisError),
}

impl Failure {
    /// Whether the server is there and says no, as to a wrong password.
    pub(super) fn is_an_answer(&self) -> bool {
        matches!(self, Failure::Redis(error) if error.code().is_some())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::TooLate(patience) => write!(f, "no answer within {} ms", patience.as_millis()),
            Failure::Redis(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl Connector {
    pub(super) fn new(url: &Secret, patience: Duration) -> Result<Self> {
        let unusable = || {
            Error::invalid(
                "REDIS_URL can't be used; it must be an address such as redis://localhost:6379, \
                 redis://user:password@host:6379/0 or rediss://host:6379 (TLS)",
            )
        };
        // The client's own message is left out: it may repeat a part of the address.
        let client = Client::open(url.expose()).map_err(|_| unusable())?;
        let scheme = url.expose().split_once("://").map_or("redis", |(scheme, _)| scheme);
        if scheme == "rediss" {
            use_ring();
        }
        let place = format!("{scheme}://{}", client.get_connection_info().addr());
        Ok(Connector { client, place, patience, connection: Mutex::default(), made: AtomicU64::default() })
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// How long connecting, and how long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        self.with(async |mut manager| command.query_async(&mut manager).await).await
    }

    pub(super) async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        args: impl ToRedisArgs,
    ) -> Result<T, Failure> {
        let mut call = script.prepare_invoke();
        for key in keys {
            call.key(key);
        }
        call.arg(args);
        self.with(async |mut manager| call.invoke_async(&mut manager).await).await
    }

    async fn with<T>(&self, ask: impl AsyncFnOnce(ConnectionManager) -> redis::RedisResult<T>) -> Result<T, Failure> {
        let connection = self.connection().map_err(Failure::Redis)?;
        let answer = tokio::time::timeout(self.patience, ask(connection.manager)).await;
        let failure = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Failure::Redis(error),
            Err(_) => Failure::TooLate(self.patience),
        };
        if !failure.is_an_answer() {
            self.forget(connection.number);
        }
        Err(failure)
    }

    /// The present connection, or a new one. It connects when it is used, once for all who wait for it.
    fn connection(&self) -> redis::RedisResult<Numbered> {
        let mut present = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = &*present {
            return Ok(connection.clone());
        }
        let patience = Some(self.patience);
        // Who tries again, and when, is the breaker's business.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(patience)
            .set_response_timeout(patience)
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(self.client.clone(), config)?;
        let connection = Numbered { number: self.made.fetch_add(1, Ordering::Relaxed), manager };
        *present = Some(connection.clone());
        Ok(connection)
    }

    /// Throws a connection away, unless another one has taken its place.
    fn forget(&self, number: u64) {
        let mut present = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|connection| connection.number == number) {
            *present = None;
        }
    }
}

/// TLS by ring, unless the program has chosen another provider. Where two are compiled in, the client would not know which to take.
fn use_ring() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody was quicker: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
