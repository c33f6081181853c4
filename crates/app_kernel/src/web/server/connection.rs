//! One connection: hyper speaks the protocol, the [`Pace`] keeps the time, the server's phase says when to stop.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, Version};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower::Service;

use super::io::{Abort, PacedIo};
use super::pace::{Pace, Verdict};
use super::{Phase, Shared};

/// How long a connection that was just accepted may take to send its first bytes once the server is draining.
const LATECOMER_GRACE: Duration = Duration::from_millis(500);

/// Serves one connection to its end.
pub(super) async fn drive<T, S>(io: T, peer: SocketAddr, service: S, shared: &Shared)
where
    T: AsyncRead + AsyncWrite + Abort + Send + Unpin + 'static,
    S: Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let pace = Arc::new(Pace::new());
    let answer = {
        let pace = pace.clone();
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let (mut parts, incoming) = request.into_parts();
            let has_body = !incoming.is_end_stream();
            pace.request_began(parts.version == Version::HTTP_2, has_body);
            let in_flight = InFlight(pace.clone());
            parts.extensions.insert(ConnectInfo(peer));
            let body = RequestBody { incoming, pace: has_body.then(|| pace.clone()) };
            let response = service.clone().call(Request::from_parts(parts, body));
            async move { response.await.map(|response| response.map(|body| ResponseBody::new(body, in_flight))) }
        })
    };
    let io = TokioIo::new(PacedIo::new(io, pace.clone()));
    let mut connection = pin!(shared.protocol.serve_connection_with_upgrades(io, answer));
    let mut timer = pin!(tokio::time::sleep(shared.limits.tick()));
    let mut memory = pace.memory();
    let mut phases = pin!(PhaseWatch::new(shared));
    let mut is_closing = false;
    let mut latest_first_byte = None;

    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                if let Err(error) = ended {
                    tracing::trace!(%error, "a connection ended early");
                }
                return Poll::Ready(());
            }
            match phases.as_mut().poll_phase(cx) {
                Phase::Serving => {}
                Phase::Cutting => {
                    pace.cut();
                    return Poll::Ready(());
                }
                // A request that is already on its way is answered: a connection without a byte is not told to close before its first.
                Phase::Draining if is_closing => {}
                Phase::Draining if pace.has_sent_bytes() => {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                Phase::Draining => {
                    if latest_first_byte.is_none() {
                        let latest = Instant::now() + LATECOMER_GRACE;
                        latest_first_byte = Some(latest);
                        timer.as_mut().reset(latest);
                    }
                }
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if latest_first_byte.is_some_and(|latest| now >= latest) && !pace.has_sent_bytes() {
                return Poll::Ready(());
            }
            match pace.judge(&mut memory, &shared.limits, now) {
                Verdict::Wait(until) => timer.as_mut().reset(until),
                Verdict::Close => {
                    is_closing = true;
                    timer.as_mut().reset(now + shared.limits.tick());
                    connection.as_mut().graceful_shutdown();
                }
                Verdict::Cut => {
                    pace.cut();
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

/// Learns of the server's phase. Asks the notifier once per phase and waker, not once per poll: it is a lock that all connections share.
struct PhaseWatch<'a> {
    shared: &'a Shared,
    notified: Pin<Box<tokio::sync::futures::Notified<'a>>>,
    waker: Option<Waker>,
}

impl<'a> PhaseWatch<'a> {
    fn new(shared: &'a Shared) -> Self {
        PhaseWatch { shared, notified: Box::pin(shared.phase_changed.notified()), waker: None }
    }

    fn poll_phase(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Phase {
        let is_registered = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        let seen = self.shared.phase();
        if !is_registered || seen != Phase::Serving {
            while self.notified.as_mut().poll(cx).is_ready() {
                let next = self.shared.phase_changed.notified();
                self.notified.set(next);
            }
            self.waker = Some(cx.waker().clone());
        }
        // Read after the registration: a change in between wakes us.
        self.shared.phase()
    }
}

/// A request that is being answered; ends when it is dropped.
struct InFlight(Arc<Pace>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// A request's body, as the connection delivers it.
pub(crate) struct RequestBody {
    incoming: Incoming,
    /// Told when all was read; none where there was nothing to read.
    pace: Option<Arc<Pace>>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        let has_ended = matches!(frame, Poll::Ready(None)) || (frame.is_ready() && self.incoming.is_end_stream());
        if let Some(pace) = self.pace.take_if(|_| has_ended) {
            pace.request_body_ended();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A response's body on its way out. Knows whether the client took the last part: hyper asks for the next one, or drops the body, only then.
struct ResponseBody {
    inner: Body,
    in_flight: InFlight,
    is_handed_over: bool,
}

impl ResponseBody {
    fn new(inner: Body, in_flight: InFlight) -> Self {
        let mut body = ResponseBody { inner, in_flight, is_handed_over: false };
        // The head is a part too; a response that is nothing else is dropped at once.
        body.hand_over();
        body
    }

    fn hand_over(&mut self) {
        self.is_handed_over = true;
        self.in_flight.0.part_handed_over();
    }

    fn take(&mut self) {
        if std::mem::take(&mut self.is_handed_over) {
            self.in_flight.0.part_taken();
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.take();
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.take();
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &frame {
            self.hand_over();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
