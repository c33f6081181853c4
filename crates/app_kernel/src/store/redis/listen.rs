//! Being called by other processes: a connection that does nothing but listen to a channel.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::connect::{Connector, Failure};
use super::{Redis, command};
use crate::base::backoff::Backoff;
use crate::base::error::Result;

/// The wait before somebody listens again whose connection broke.
const BETWEEN_LISTENS: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(10) };
/// After how long without a call it is looked whether the server is still there: a connection that hangs says nothing of it.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);

impl Redis {
    /// Calls `heard` whenever a process of this service notifies this channel, and when it has begun to listen (again), since it may have missed
    /// some. Goes on until it is dropped.
    pub(crate) async fn listen(&self, channel: &str, heard: Arc<dyn Fn() + Send + Sync>) {
        let channel = self.key(channel);
        let mut failures = 0;
        loop {
            let mut has_listened = false;
            let heard = || {
                has_listened = true;
                heard();
            };
            if let Err(failure) = self.0.connector.listen(&channel, heard).await {
                tracing::debug!(%failure, "can't listen to Redis; trying again");
            }
            failures = if has_listened { 1 } else { failures + 1 };
            tokio::time::sleep(BETWEEN_LISTENS.wait(failures)).await;
        }
    }

    /// Tells all processes of this service that listen to this channel.
    ///
    /// # Errors
    /// As [`Redis::run`].
    pub(crate) async fn notify(&self, channel: &str) -> Result<()> {
        self.run::<i64>(command("PUBLISH").arg(self.key(channel)).arg("")).await.map(drop)
    }
}

impl Connector {
    /// Calls `heard` once it listens, and for each call, until the connection breaks.
    async fn listen(&self, channel: &str, mut heard: impl FnMut()) -> Result<(), Failure> {
        let mut connection = self.in_time(self.client().get_async_pubsub()).await?;
        self.in_time(connection.subscribe(channel)).await?;
        heard();
        loop {
            let call = tokio::time::timeout(LONGEST_SILENCE, async { connection.on_message().next().await }).await;
            match call {
                Ok(Some(_)) => heard(),
                Ok(None) => return Ok(()),
                Err(_) => drop(self.in_time(connection.ping::<redis::Value>()).await?),
            }
        }
    }

    async fn in_time<T>(&self, answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.patience(), answer).await {
            Ok(answer) => answer.map_err(Failure::Redis),
            Err(_) => Err(Failure::TooLate(self.patience())),
        }
    }
}
