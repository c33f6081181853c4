//! A connection's bytes. Notes in its [`Pace`] what comes and goes, dresses hyper's own bare refusals as problem documents, and lingers
//! after a refusal until the client has read it: closing at once would reset the connection and lose the answer (RFC 9112, 9.6).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::pace::Pace;
use super::raw_problem;

const LINGER: Duration = Duration::from_secs(1);
/// hyper's bare refusal is some 120 bytes; every answer of ours is longer for its headers alone.
const LONGEST_BARE_REFUSAL: usize = 160;

/// A byte stream that can be dropped without waiting for its peer.
pub(super) trait Abort {
    /// Makes the coming close free everything that was not sent.
    fn abort(&self);
}

impl Abort for TcpStream {
    fn abort(&self) {
        if let Err(error) = self.set_zero_linger() {
            tracing::debug!(%error, "a late connection could not be reset; it is closed instead");
        }
    }
}

impl Abort for tokio::io::DuplexStream {
    fn abort(&self) {}
}

pub(super) struct PacedIo<T: Abort> {
    inner: T,
    pace: Arc<Pace>,
    /// Our words in the place of hyper's, on their way out.
    refusal: Vec<u8>,
    has_ended: bool,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<T: Abort> PacedIo<T> {
    pub(super) fn new(inner: T, pace: Arc<Pace>) -> Self {
        PacedIo { inner, pace, refusal: Vec::new(), has_ended: false, lingering: None }
    }
}

impl<T: Abort> Drop for PacedIo<T> {
    fn drop(&mut self) {
        if self.pace.was_cut() {
            self.inner.abort();
        }
    }
}

impl<T: AsyncRead + Abort + Unpin> AsyncRead for PacedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.pace.bytes_came();
        } else {
            self.has_ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Abort + Unpin> PacedIo<T> {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(count)) => self.pace.bytes_went(*count),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pace.client_does_not_read(),
        }
        written
    }

    /// The status of hyper's own answer to what it can't read, where `bytes` are one.
    fn bare_refusal(&self, bytes: &[u8]) -> Option<u16> {
        let is_one = bytes.len() <= LONGEST_BARE_REFUSAL
            && self.refusal.is_empty()
            && self.pace.is_reading_head()
            && bytes.starts_with(b"HTTP/1.1 4")
            && bytes.ends_with(b"\r\n\r\n");
        if !is_one {
            return None;
        }
        std::str::from_utf8(&bytes[9..12]).ok()?.parse().ok()
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = Pin::new(&mut self.inner).poll_write(cx, &self.refusal);
            let count = ready!(self.note(written))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and forgets until the client closes or the time is up.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_ended || !self.pace.has_unread_input() {
            return Poll::Ready(());
        }
        let timer = self.lingering.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 4096];
        // Yields now and then, so that a client with much to say does not hold the thread.
        for _ in 0..16 {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => {
                    self.has_ended = true;
                    return Poll::Ready(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncRead + AsyncWrite + Abort + Unpin> AsyncWrite for PacedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(status) = self.bare_refusal(buf) {
            self.refusal = raw_problem(status, None);
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs {
            return self.poll_write(cx, only);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
