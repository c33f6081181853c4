//! Somebody who listens to server-sent events.

use std::time::Duration;

use axum::http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::client::{Answer, Client};

/// How long an event is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stream of events. Dropping it closes the connection.
#[derive(Debug)]
pub struct Listener {
    asked: String,
    /// The headers of the answer.
    pub headers: HeaderMap,
    body: Incoming,
    /// What has come and is not read yet.
    unread: Vec<u8>,
    last_id: Option<String>,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What it is, such as `created`.
    pub event: String,
    /// What it says.
    pub data: serde_json::Value,
}

impl Client {
    /// Listens to the events of a path: `client.listen("/widgets/events").await?`.
    ///
    /// # Errors
    /// The answer, where it is anything but 200.
    ///
    /// # Panics
    /// Where no answer comes.
    pub async fn listen(&self, path: &str) -> Result<Listener, Box<Answer>> {
        let asked = format!("GET {path}");
        let (parts, body) = self.ask(Method::GET, path, None, Vec::new()).await.into_parts();
        if parts.status == 200 {
            return Ok(Listener { asked, headers: parts.headers, body, unread: Vec::new(), last_id: None });
        }
        let body = body.collect().await.unwrap_or_else(|error| panic!("{asked} got half an answer: {error:?}"));
        Err(Box::new(Answer { asked, status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() }))
    }
}

impl Listener {
    /// The next event; none where the stream has ended as it should.
    ///
    /// # Panics
    /// Where none comes, or the stream breaks off.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.split_once(": "));
                lines.filter(|(field, _)| *field == name).map(|(_, value)| value.to_owned()).next()
            };
            self.last_id = field("id").or(self.last_id.take());
            if let Some(data) = field("data") {
                let data = serde_json::from_str(&data).unwrap_or_else(|_| panic!("{} told {block}", self.asked));
                return Some(Heard { event: field("event").unwrap_or_default(), data });
            }
        }
    }

    /// What `Last-Event-ID` would say, once something was heard.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The lines up to the next empty one.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|bytes| bytes == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&block).into_owned());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("{} tells nothing for a long time", self.asked))?;
            let frame = frame.unwrap_or_else(|error| panic!("{} broke off: {error:?}", self.asked));
            self.unread.extend(frame.into_data().unwrap_or_default());
        }
    }
}
