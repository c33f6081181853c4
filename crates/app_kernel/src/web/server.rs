//! The accept loop, on hyper: axum's own has neither time-outs nor caps. A client that is slow to send or to read is cut off, a client too
//! many is told 503, and neither is felt by the others. At the end requests in flight are finished before the connections are closed.

mod connection;
mod io;
mod pace;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use futures_util::FutureExt;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tower::Service;

use crate::base::config::ServiceConfig;
use crate::base::id::new_id;
use crate::base::metrics::{Counter, Gauge, Metrics};

pub(crate) use connection::RequestBody;

/// The longest head of a request, in bytes, and what an HTTP/1 connection buffers; a longer one is answered 431.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// What one HTTP/2 response may have waiting for the client.
const MAX_SEND_BUFFER_BYTES: usize = 128 << 10;
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 200;
/// What an HTTP/2 client may send of one body, and of all, before a handler reads.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// Connections at once that are being told 503. More are closed without a word.
const MAX_SHEDDING: usize = 128;
const SHEDDING_TIMEOUT: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long cut connections may take to fall.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long clients may take, and how many there may be.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
}

impl From<&ServiceConfig> for Limits {
    fn from(config: &ServiceConfig) -> Self {
        Limits {
            max_connections: config.max_connections,
            header_timeout: config.header_timeout,
            idle_timeout: config.header_timeout * 6,
            body_timeout: config.body_timeout,
            shutdown_timeout: config.shutdown_timeout,
        }
    }
}

impl Limits {
    /// How often a connection's pace is judged at least: no time-out is shorter.
    fn tick(&self) -> Duration {
        self.header_timeout.min(self.body_timeout).min(self.idle_timeout)
    }
}

/// How many connections there are, and were.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turnstile {
    open: Gauge,
    accepted: Counter,
    refused: Counter,
}

impl Turnstile {
    /// Counts that `metrics` tells of.
    pub(crate) fn told_by(metrics: &Metrics) -> Self {
        let turnstile = Turnstile::default();
        let Turnstile { open, accepted, refused } = turnstile.clone();
        metrics.collect(move |samples| {
            samples.gauge("app_kernel_http_connections", "Open connections of clients.", &[], open.get() as f64);
            let about = "Connections of clients that were let in.";
            samples.counter("app_kernel_http_connections_accepted_total", about, &[], accepted.get());
            let about = "Connections that were turned away because there were MAX_CONNECTIONS.";
            samples.counter("app_kernel_http_connections_refused_total", about, &[], refused.get());
        });
        turnstile
    }
}

/// How serving ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drained {
    /// Whether every request in flight was finished in time.
    pub(crate) is_clean: bool,
    /// How many connections were cut off.
    pub(crate) cut: usize,
}

/// Serves what arrives at `listener` until `shutdown` completes; then stops accepting, finishes the requests in flight, and returns.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    service: S,
    limits: Limits,
    turnstile: Turnstile,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    S: Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let slots = u32::try_from(limits.max_connections).unwrap_or(u32::MAX >> 4).min(u32::MAX >> 4);
    let server = Server {
        service,
        slots: Arc::new(Semaphore::new(slots as usize)),
        shedding: Arc::new(Semaphore::new(MAX_SHEDDING)),
        refusals: Throttle::default(),
        turnstile,
        shared: Arc::new(Shared::new(limits)),
    };
    let mut shutdown = std::pin::pin!(shutdown);
    let mut failures = Throttle::default();
    let mut server = server;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => server.admit(stream, peer),
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                if let Some(times) = failures.ready() {
                    tracing::error!(%error, times, "accepting connections failed; trying again. Too few file descriptors? See `ulimit -n`");
                }
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    // The system has accepted these already: closing the listener would reset them.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        server.admit(stream, peer);
    }
    drop(listener);
    server.drain(slots).await
}

/// Whether `accept` failed for the one connection only.
fn is_of_the_connection(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
    )
}

struct Server<S> {
    service: S,
    slots: Arc<Semaphore>,
    shedding: Arc<Semaphore>,
    refusals: Throttle,
    turnstile: Turnstile,
    shared: Arc<Shared>,
}

impl<S> Server<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            return self.shed(stream);
        };
        // Small answers must not wait for the acknowledgement of the last one.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        self.turnstile.accepted.inc();
        let (service, shared, open) = (self.service.clone(), self.shared.clone(), self.turnstile.open.hold());
        tokio::spawn(async move {
            let _open = open;
            connection::drive(stream, peer, service, &shared).await;
            drop(slot);
        });
    }

    fn shed(&mut self, stream: TcpStream) {
        self.turnstile.refused.inc();
        if let Some(times) = self.refusals.ready() {
            tracing::warn!(
                times,
                max_connections = self.shared.limits.max_connections,
                "too many connections; new ones are answered 503"
            );
        }
        if let Ok(slot) = self.shedding.clone().try_acquire_owned() {
            tokio::spawn(async move {
                // Whether the client stays to hear it is its own affair.
                let _ = tokio::time::timeout(SHEDDING_TIMEOUT, tell_overloaded(stream)).await;
                drop(slot);
            });
        }
    }

    async fn drain(self, slots: u32) -> Drained {
        self.shared.enter(Phase::Draining);
        let all_closed = async || self.slots.acquire_many(slots).await.is_ok();
        if tokio::time::timeout(self.shared.limits.shutdown_timeout, all_closed()).await.is_ok() {
            return Drained { is_clean: true, cut: 0 };
        }
        let cut = slots as usize - self.slots.available_permits();
        tracing::warn!(cut, "requests in flight did not finish in time; their connections are cut off");
        self.shared.enter(Phase::Cutting);
        if tokio::time::timeout(CUT_TIMEOUT, all_closed()).await.is_err() {
            tracing::warn!("some connections are still busy after being cut off; a handler may be blocking its thread");
        }
        Drained { is_clean: false, cut }
    }
}

/// Answers whatever is asked with 503. Reads before and after: closing with bytes unread would reset the connection and lose the answer.
async fn tell_overloaded(mut stream: TcpStream) -> std::io::Result<()> {
    let mut scratch = [0; 2048];
    if stream.read(&mut scratch).await? == 0 {
        return Ok(());
    }
    stream.write_all(&raw_problem(503, Some(1))).await?;
    stream.shutdown().await?;
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}

/// A whole HTTP/1.1 response for what never reaches the router.
fn raw_problem(status: u16, retry_after_secs: Option<u32>) -> Vec<u8> {
    let (code, detail) = match status {
        503 => ("unavailable", "the service has too many connections; try again"),
        431 => ("head_too_large", "the head of the request is too large"),
        414 => ("uri_too_long", "the URL is too long"),
        _ => ("invalid", "the request is not valid HTTP"),
    };
    let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
    let request_id = new_id();
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","code":"{code}","request_id":"{request_id}"}}"#
    );
    let retry_after = retry_after_secs.map(|secs| format!("retry-after: {secs}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{retry_after}\
         x-request-id: {request_id}\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Serving,
    Draining,
    Cutting,
}

/// What all connections share.
struct Shared {
    limits: Limits,
    protocol: auto::Builder<TokioExecutor>,
    phase: AtomicU8,
    phase_changed: Notify,
}

impl Shared {
    fn new(limits: Limits) -> Self {
        let mut protocol = auto::Builder::new(TokioExecutor::new());
        // The pace keeps HTTP/1's time-outs: hyper's makes a timer per request and can't tell idle from slow.
        protocol.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES);
        protocol
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.idle_timeout / 2)
            .keep_alive_timeout(limits.header_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
            // Rapid reset (CVE-2023-44487): a client that opens and cancels without end is told to calm down.
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(200);
        Shared { limits, protocol, phase: AtomicU8::new(Phase::Serving as u8), phase_changed: Notify::new() }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Cutting,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.phase_changed.notify_waiters();
    }
}

/// Lets a log line through once a second, and counts the others.
#[derive(Debug, Default)]
struct Throttle {
    last: Option<Instant>,
    times: u64,
}

impl Throttle {
    /// How often it happened since the last line, where another line is due.
    fn ready(&mut self) -> Option<u64> {
        self.times += 1;
        if self.last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests;
