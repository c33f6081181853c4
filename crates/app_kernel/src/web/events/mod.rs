//! Changes as server-sent events: what the browser's `EventSource` reads, and `curl -N` shows.
//!
//! - Each change is an event with its position as `id`. A client that was cut off comes back with the last one as `Last-Event-ID` and gets what
//!   it has missed, once each and in order. Where that is gone, it is told so by an event `reset`.
//! - A stream ends when the service begins to stop, and after a while in any case: who was signed out, or sent out of a workspace, does not
//!   listen for ever. `EventSource` comes back by itself, and is asked who it is like every request.
//! - A user has so many streams at once, by leases.

mod frames;

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, ReferenceOr, SchemaObject, StatusCode};
use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;
use serde::Serialize;

use super::edge::{ClientAddress, subscriber};
use super::openapi;
use crate::base::backoff::Backoff;
use crate::base::caller::Caller;
use crate::base::error::{Error, Result};
use crate::base::metrics::{Counter, Gauge, Samples};
use crate::engine::leases::{Lease, Leases};
use crate::kernel::Kernel;
use crate::store::db::Shape;
use crate::store::db::feed::{ChangeStream, ChangesOf};

/// The header in which a client says up to where it has got.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx to pass on what comes as it comes.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// When a client comes back whose stream has ended: at least, and how much later at most. Those of a service that stops don't all come at once.
const COME_BACK_AFTER: Duration = Duration::from_secs(2);
const SPREAD: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(2) };
/// When a caller who has too many streams may try again.
const RETRY_AFTER_SECS: u32 = 10;

/// Answers a request with changes as server-sent events, for as long as the client listens. Answers 400 for a `Last-Event-ID` that is none of
/// ours, and 429 where the caller has `EVENT_STREAMS_PER_USER` streams already.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # use axum::response::Response;
/// # #[derive(Entity, Serialize)] struct Widget { name: String, workspace_id: String }
/// async fn watch(member: WorkspaceMember, events: EventStream) -> Result<Response> {
///     events.send(member.db().changes().of::<Widget>()).await
/// }
/// ```
#[derive(Debug)]
pub struct EventStream {
    kernel: Kernel,
    /// Whose stream it is, as leases count it.
    who: String,
    /// Where it goes on.
    after: Option<i64>,
}

impl EventStream {
    /// Answers with these changes: behind the `Last-Event-ID` of the request, else from now on. A change is an event `created`, `updated`,
    /// `soft_deleted` or `deleted`, its data a [`RowChange`](crate::store::db::feed::RowChange) as JSON. What the handle may see goes out: bound
    /// it to what the caller may read.
    ///
    /// # Errors
    /// `TooManyRequests` with the code `too_many_streams`; and those of [`ChangesOf::stream_from`].
    pub async fn send<S: Shape>(self, changes: ChangesOf<S>) -> Result<Response>
    where
        S::Item: Serialize,
    {
        let streams = self.kernel.kept::<EventStreams>();
        let lease = streams.lease(&self.kernel, &self.who).await?;
        let changes = match self.after {
            Some(position) => {
                streams.resumed.inc();
                changes.stream_from(position).await?
            }
            None => changes.stream().await?,
        };
        let held = (lease, streams.open.hold());
        let drained = {
            let kernel = self.kernel.clone();
            async move { kernel.drained().await }
        };
        let (sent, come_back_after) = (streams.sent.clone(), COME_BACK_AFTER + SPREAD.wait(1));
        let frames = frames::frames(changes, ChangeStream::position, sent, come_back_after, drained, held);
        Ok(answer(frames))
    }
}

fn answer(frames: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// What a process knows of its streams.
#[derive(Debug, Default)]
pub(crate) struct EventStreams {
    leases: OnceLock<Leases>,
    open: Gauge,
    sent: Counter,
    resumed: Counter,
    refused: Counter,
}

impl EventStreams {
    async fn lease(&self, kernel: &Kernel, who: &str) -> Result<Lease> {
        let leases = self.leases.get_or_init(|| Leases::new("events", kernel.clock(), kernel.redis()));
        let most = kernel.config().event_streams_per_user;
        leases.take(who, most).await.ok_or_else(|| {
            self.refused.inc();
            Error::too_many_requests(format!("there are {most} event streams already; close one first"))
                .code("too_many_streams")
                .retry_after_secs(RETRY_AFTER_SECS)
        })
    }

    /// Tells how many streams there are, and what they did.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        samples.gauge("app_kernel_event_streams", "Event streams that are open.", &[], self.open.get() as f64);
        let about = "Changes that were sent as events.";
        samples.counter("app_kernel_events_sent_total", about, &[], self.sent.get());
        let about = "Event streams that went on behind a Last-Event-ID.";
        samples.counter("app_kernel_event_streams_resumed_total", about, &[], self.resumed.get());
        let about = "Event streams that were refused because their caller had EVENT_STREAMS_PER_USER.";
        samples.counter("app_kernel_event_streams_refused_total", about, &[], self.refused.get());
    }
}

impl<S> FromRequestParts<S> for EventStream
where
    Kernel: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let after = last_event_id(&parts.headers)?;
        let user = parts.extensions.get::<Caller>().and_then(Caller::user_id);
        let who = match user {
            Some(user) => format!("user {user}"),
            None => {
                let ClientAddress(address) = ClientAddress::from_request_parts(parts, state).await?;
                format!("address {}", subscriber(address))
            }
        };
        Ok(EventStream { kernel: Kernel::from_ref(state), who, after })
    }
}

/// Where the client goes on; none where it does not say, or has nothing to say yet.
fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>> {
    let mut said = headers.get_all(LAST_EVENT_ID).iter();
    let id = match (said.next(), said.next()) {
        (None, _) => return Ok(None),
        (Some(id), None) => id.to_str().ok(),
        (Some(_), Some(_)) => None,
    };
    let position = |id: &str| id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.parse().ok()).flatten();
    match id {
        Some("") => Ok(None),
        id => id.and_then(position).map(Some).ok_or_else(|| {
            Error::invalid("the header Last-Event-ID must be the `id` of an event of this stream, or be left out")
                .code("bad_last_event_id")
        }),
    }
}

impl OperationInput for EventStream {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        let description = "The `id` of the last event that the client has got: the stream goes on behind it.";
        openapi::add_header_parameter(operation, "Last-Event-ID", description);
        let json_schema = schemars::json_schema!({ "type": "string" });
        let schema = Some(SchemaObject { json_schema, external_docs: None, example: None });
        let media = MediaType { schema, ..MediaType::default() };
        let description = "Events: `created`, `updated`, `soft_deleted` and `deleted` with the change as JSON, and `reset` where some are missing.";
        let response = aide::openapi::Response {
            description: description.to_owned(),
            content: [("text/event-stream".to_owned(), media)].into_iter().collect(),
            ..aide::openapi::Response::default()
        };
        let answers = &mut operation.responses.get_or_insert_default().responses;
        answers.insert(StatusCode::Code(200), ReferenceOr::Item(response));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ids: &[&str]) -> Result<Option<i64>, String> {
        let ids = ids.iter().map(|id| (LAST_EVENT_ID, HeaderValue::from_str(id).expect("a header")));
        last_event_id(&ids.collect()).map_err(|error| error.error_code().to_owned())
    }

    #[test]
    fn the_last_event_is_a_position_or_nothing() {
        assert_eq!(
            [read(&[]), read(&[""]), read(&["0"]), read(&["57"])],
            [Ok(None), Ok(None), Ok(Some(0)), Ok(Some(57))]
        );
        for bad in ["-1", "+1", "1.0", "x", "9223372036854775808", "1 ", "é"] {
            assert_eq!(read(&[bad]), Err("bad_last_event_id".to_owned()), "{bad}");
        }
        assert_eq!(read(&["1", "2"]), Err("bad_last_event_id".to_owned()));
    }
}
