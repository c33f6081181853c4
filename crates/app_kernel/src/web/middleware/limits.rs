//! How long a URL and a body may be, and how long a body may keep us waiting.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::base::error::Error;

/// The longest path with its query, in bytes.
const MAX_URL_BYTES: usize = 16 << 10;
/// What a body must bring for each time-out that it keeps us waiting: one that drips byte by byte is late too.
const SLOWEST_BODY_BYTES: u64 = 4096;

#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct BodyLimits {
    pub(in crate::web) max_bytes: u64,
    pub(in crate::web) timeout: Duration,
}

/// Refuses what can be seen to be too long before a byte of the body is read.
pub(in crate::web) fn refusal(parts: &Parts, limits: &BodyLimits) -> Option<Error> {
    let url_bytes = parts.uri.path().len() + parts.uri.query().map_or(0, |query| query.len() + 1);
    if url_bytes > MAX_URL_BYTES {
        let message = format!("the URL is longer than {MAX_URL_BYTES} bytes");
        return Some(Error::invalid(message).status(414).code("uri_too_long"));
    }
    let announced = parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
    (announced > limits.max_bytes).then(|| BodyFailure::TooLarge.error(limits))
}

/// Why a body was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::web) enum BodyFailure {
    Late = 1,
    TooLarge = 2,
}

impl BodyFailure {
    pub(in crate::web) fn error(self, limits: &BodyLimits) -> Error {
        match self {
            BodyFailure::Late => {
                let message = format!(
                    "the body paused or came too slowly: less than {SLOWEST_BODY_BYTES} bytes in {} seconds of waiting",
                    limits.timeout.as_secs_f32()
                );
                Error::invalid(message).status(408).code("body_timeout")
            }
            BodyFailure::TooLarge => {
                let message = format!("the body is longer than {} bytes", limits.max_bytes);
                Error::invalid(message).status(413).code("body_too_large")
            }
        }
    }
}

impl fmt::Display for BodyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BodyFailure::Late => "the body came too slowly",
            BodyFailure::TooLarge => "the body is too long",
        })
    }
}

impl StdError for BodyFailure {}

/// Where a body leaves word of how it failed: extractors make of its error what they like, the answer is 408 or 413 all the same.
#[derive(Debug, Default)]
pub(in crate::web) struct BodyFate(AtomicU8);

impl BodyFate {
    fn set(&self, failure: BodyFailure) {
        self.0.store(failure as u8, Ordering::Relaxed);
    }

    pub(in crate::web) fn get(&self) -> Option<BodyFailure> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(BodyFailure::Late),
            2 => Some(BodyFailure::TooLarge),
            _ => None,
        }
    }
}

/// A request's body within the limits. A timer is made at the first pause and used again for the next.
pub(in crate::web) struct LimitedBody<B, F> {
    inner: B,
    left: u64,
    timeout: Duration,
    fate: Arc<F>,
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    /// For the bytes since it last brought enough; what the handler does meanwhile is not counted.
    waited: Duration,
    brought: u64,
}

impl<B, F: AsRef<BodyFate>> LimitedBody<B, F> {
    pub(in crate::web) fn new(inner: B, limits: &BodyLimits, fate: Arc<F>) -> Self {
        LimitedBody {
            inner,
            left: limits.max_bytes,
            timeout: limits.timeout,
            fate,
            timer: None,
            waiting_since: None,
            waited: Duration::ZERO,
            brought: 0,
        }
    }

    fn fail(&self, failure: BodyFailure) -> BoxError {
        (*self.fate).as_ref().set(failure);
        failure.into()
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.timeout)));
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            timer.as_mut().reset(now + self.timeout.saturating_sub(self.waited));
        }
        timer.as_mut().poll(cx)
    }

    fn came(&mut self, bytes: u64) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.brought += bytes;
        if self.brought >= SLOWEST_BODY_BYTES {
            (self.brought, self.waited) = (0, Duration::ZERO);
        }
    }
}

impl<B, F> HttpBody for LimitedBody<B, F>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    F: AsRef<BodyFate>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
            return this.poll_patience(cx).map(|()| Some(Err(this.fail(BodyFailure::Late))));
        };
        Poll::Ready(match frame {
            None => None,
            Some(Err(error)) => Some(Err(error.into())),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining) as u64;
                this.came(bytes);
                match this.left.checked_sub(bytes) {
                    Some(left) => {
                        this.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err(this.fail(BodyFailure::TooLarge))),
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
