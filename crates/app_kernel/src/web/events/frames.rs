//! What goes over the wire, and when.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::response::sse::Event;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio::time::Instant;

use crate::base::error::Result;
use crate::base::metrics::Counter;
use crate::store::db::feed::{ChangeEvent, RowChange};

/// When something is said where there is nothing to tell: proxies close what is silent for longer.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts: so long may somebody listen who is not allowed to any more.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What a stream holds for as long as it lasts beside its changes.
struct Frames<C, H> {
    changes: C,
    position: fn(&C) -> i64,
    sent: Counter,
    come_back_after: Duration,
    drained: BoxFuture<'static, ()>,
    until: Pin<Box<tokio::time::Sleep>>,
    is_greeted: bool,
    _held: H,
}

/// The changes as events, until the service drains, the client is gone or the time is over. What is `held` is let go of then. Clients are
/// asked to come back after so long.
pub(super) fn frames<R, C, H>(
    changes: C,
    position: fn(&C) -> i64,
    sent: Counter,
    come_back_after: Duration,
    drained: impl Future<Output = ()> + Send + 'static,
    held: H,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + 'static
where
    R: Serialize + Send + 'static,
    C: Stream<Item = Result<ChangeEvent<R>>> + Send + Unpin + 'static,
    H: Send + 'static,
{
    let until = Box::pin(tokio::time::sleep_until(Instant::now() + LONGEST));
    let drained = drained.boxed();
    let frames = Frames { changes, position, sent, come_back_after, drained, until, is_greeted: false, _held: held };
    stream::unfold(frames, async |mut frames| {
        let event = frames.next().await?;
        Some((Ok(event), frames))
    })
}

impl<R, C, H> Frames<C, H>
where
    R: Serialize,
    C: Stream<Item = Result<ChangeEvent<R>>> + Unpin,
{
    async fn next(&mut self) -> Option<Event> {
        if !self.is_greeted {
            self.is_greeted = true;
            // A client that is cut off before its first change must not miss any either.
            return Some(self.standing().retry(self.come_back_after));
        }
        let event = tokio::select! {
            biased;
            () = &mut self.drained => return None,
            () = &mut self.until => return None,
            event = self.changes.next() => event?,
            () = tokio::time::sleep(HEARTBEAT) => return Some(self.standing().comment("")),
        };
        match event.and_then(|event| frame(&event)) {
            Ok(event) => {
                self.sent.inc();
                Some(event)
            }
            Err(error) => {
                tracing::warn!("an event stream ends, its client comes back: {error:?}");
                None
            }
        }
    }

    /// No event, only where the stream stands: a client that comes back goes on from there.
    fn standing(&self) -> Event {
        Event::default().id((self.position)(&self.changes).to_string())
    }
}

fn frame<R: Serialize>(event: &ChangeEvent<R>) -> Result<Event> {
    match event {
        ChangeEvent::Change(change) => {
            let RowChange { position, operation, .. } = change;
            with_data(Event::default().id(position.to_string()).event(operation.as_str()), change)
        }
        ChangeEvent::Reset { position } => {
            let missing = serde_json::json!({ "position": position });
            with_data(Event::default().id(position.to_string()).event("reset"), &missing)
        }
    }
}

fn with_data(event: Event, data: &impl Serialize) -> Result<Event> {
    event
        .json_data(data)
        .map_err(|cause| crate::base::error::Error::internal("a change can't be written as JSON").cause(cause))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use axum::response::sse::Sse;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::base::error::Error;
    use crate::store::db::history::Operation;

    type Told = Result<ChangeEvent<String>>;

    fn change(position: i64, row: &str) -> Told {
        Ok(ChangeEvent::Change(RowChange {
            position,
            operation: Operation::Updated,
            id: "w1".to_owned(),
            version: 2,
            row: Some(row.to_owned()),
            changed_at: "2026-01-30T12:00:00.000001Z".parse().expect("a time"),
            user_id: None,
            workspace_id: None,
            request_id: None,
        }))
    }

    async fn text_of(
        changes: impl Stream<Item = Told> + Send + Unpin + 'static,
        drained: impl Future<Output = ()> + Send + 'static,
    ) -> (String, u64) {
        let sent = Counter::default();
        let frames = frames(changes, |_| 7, sent.clone(), Duration::from_millis(3040), drained, ());
        let body = Sse::new(frames).into_response().into_body().collect().await.expect("a body");
        (String::from_utf8(body.to_bytes().to_vec()).expect("text"), sent.get())
    }

    #[tokio::test]
    async fn a_change_is_one_event_and_a_failure_ends_the_stream() {
        let changes = [
            change(8, "a\nb"),
            Ok(ChangeEvent::Reset { position: 9 }),
            Err(Error::unavailable("away")),
            change(10, "c"),
        ];
        let (text, sent) = text_of(stream::iter(changes), std::future::pending()).await;
        let wanted = "id: 7\nretry: 3040\n\n\
            id: 8\nevent: updated\ndata: {\"position\":8,\"operation\":\"updated\",\"id\":\"w1\",\"version\":2,\"row\":\"a\\nb\",\
            \"changed_at\":\"2026-01-30T12:00:00.000001Z\",\"user_id\":null,\"workspace_id\":null,\"request_id\":null}\n\n\
            id: 9\nevent: reset\ndata: {\"position\":9}\n\n";
        assert_eq!((text.as_str(), sent), (wanted, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_where_it_stands_until_its_time_is_over() {
        let began = Instant::now();
        let (text, sent) = text_of(stream::pending(), std::future::pending()).await;
        assert_eq!((began.elapsed(), sent), (LONGEST, 0));
        let heartbeats = text.matches("id: 7\n: \n\n").count();
        assert_eq!(heartbeats, 59, "each 15 seconds: {text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_stops_does_not_wait_for_it() {
        let began = Instant::now();
        let (text, _) = text_of(stream::pending(), tokio::time::sleep(Duration::from_millis(20))).await;
        assert_eq!((text.as_str(), began.elapsed()), ("id: 7\nretry: 3040\n\n", Duration::from_millis(20)));
    }
}
