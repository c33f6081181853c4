//! How fast a client moves. A connection notes here what it waits for and since when; one timer per connection, armed afresh only
//! when it fires, judges the notes. So a request that is on time costs a few atomic stores and no timer at all.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// A client that takes this many bytes within a body time-out is slow, but reads.
const SLOWEST_READER_BYTES: u64 = 4096;

/// A moment that may not have come.
#[derive(Debug, Default)]
struct Since(AtomicU64);

impl Since {
    fn mark(&self, pace: &Pace) {
        // One microsecond late, so that zero can mean "not yet".
        self.0.store(pace.born.elapsed().as_micros() as u64 + 1, Relaxed);
    }

    fn mark_first(&self, pace: &Pace) {
        if !self.is_set() {
            self.mark(pace);
        }
    }

    fn clear(&self) {
        if self.is_set() {
            self.0.store(0, Relaxed);
        }
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed) != 0
    }

    fn get(&self, pace: &Pace) -> Option<Instant> {
        let micros = self.0.load(Relaxed).checked_sub(1)?;
        Some(pace.born + Duration::from_micros(micros))
    }
}

/// What one connection does. Shared by its bytes, its requests and its timer; HTTP/2 streams run in tasks of their own.
#[derive(Debug)]
pub(super) struct Pace {
    born: Instant,
    /// Requests whose response has not been handed over to its end.
    in_flight: AtomicU32,
    /// Response bodies of which the client has yet to take the last part before more is asked of them.
    sending: AtomicU32,
    is_http2: AtomicBool,
    has_sent_bytes: AtomicBool,
    has_unread_body: AtomicBool,
    was_cut: AtomicBool,
    head_since: Since,
    idle_since: Since,
    stalled_since: Since,
    written: AtomicU64,
}

/// What to do with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is late; look again then.
    Wait(Instant),
    /// It is idle: tell the client that we close.
    Close,
    /// It is late: drop it.
    Cut,
}

/// What the timer remembers from one look to the next.
#[derive(Debug)]
pub(super) struct Memory {
    written: u64,
    /// When much was written last.
    flowed_at: Instant,
    /// The same, or when there was nothing to write.
    progress_at: Instant,
    closing_since: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace {
            born: Instant::now(),
            in_flight: AtomicU32::new(0),
            sending: AtomicU32::new(0),
            is_http2: AtomicBool::new(false),
            has_sent_bytes: AtomicBool::new(false),
            has_unread_body: AtomicBool::new(false),
            was_cut: AtomicBool::new(false),
            head_since: Since::default(),
            idle_since: Since::default(),
            stalled_since: Since::default(),
            written: AtomicU64::new(0),
        }
    }

    pub(super) fn memory(&self) -> Memory {
        Memory { written: 0, flowed_at: self.born, progress_at: self.born, closing_since: None }
    }

    pub(super) fn bytes_came(&self) {
        if !self.has_sent_bytes.load(Relaxed) {
            self.has_sent_bytes.store(true, Relaxed);
        }
        // On HTTP/2 bytes between requests may be pings; there only requests end the idle time.
        if self.in_flight.load(Relaxed) == 0 && !self.is_http2.load(Relaxed) {
            self.head_since.mark_first(self);
        }
    }

    pub(super) fn bytes_went(&self, count: usize) {
        self.written.fetch_add(count as u64, Relaxed);
        if self.stalled_since.is_set() {
            self.stalled_since.clear();
            // A response whose body was handed over whole ends when the client has taken it.
            if self.in_flight.load(Relaxed) == 0 {
                self.idle_since.mark(self);
            }
        }
    }

    pub(super) fn client_does_not_read(&self) {
        self.stalled_since.mark_first(self);
    }

    pub(super) fn request_began(&self, is_http2: bool, has_body: bool) {
        self.in_flight.fetch_add(1, Relaxed);
        self.head_since.clear();
        if is_http2 {
            self.is_http2.store(true, Relaxed);
        }
        self.has_unread_body.store(has_body, Relaxed);
    }

    pub(super) fn request_body_ended(&self) {
        self.has_unread_body.store(false, Relaxed);
    }

    pub(super) fn request_ended(&self) {
        if self.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.idle_since.mark(self);
        }
    }

    pub(super) fn part_handed_over(&self) {
        self.sending.fetch_add(1, Relaxed);
    }

    pub(super) fn part_taken(&self) {
        self.sending.fetch_sub(1, Relaxed);
    }

    pub(super) fn cut(&self) {
        self.was_cut.store(true, Relaxed);
    }

    pub(super) fn was_cut(&self) -> bool {
        self.was_cut.load(Relaxed)
    }

    pub(super) fn has_sent_bytes(&self) -> bool {
        self.has_sent_bytes.load(Relaxed)
    }

    /// Whether a head is being read: hyper answers by itself only then, to say that it can't be read.
    pub(super) fn is_reading_head(&self) -> bool {
        self.head_since.is_set() && self.in_flight.load(Relaxed) == 0
    }

    /// Whether the client may still be sending what nobody will read.
    pub(super) fn has_unread_input(&self) -> bool {
        self.has_unread_body.load(Relaxed) || self.is_reading_head()
    }

    /// Judges the connection. Every time-out is at least [`Limits::tick`] long and this is asked at least once a tick, so none is noticed late.
    pub(super) fn judge(&self, memory: &mut Memory, limits: &Limits, now: Instant) -> Verdict {
        let mut until = now + limits.tick();
        let mut is_late = |since: Instant, timeout: Duration| {
            until = until.min(since + timeout);
            now >= since + timeout
        };
        if self.stalled_since.get(self).is_some_and(|since| is_late(since, limits.body_timeout)) {
            return Verdict::Cut;
        }
        self.note_progress(memory, now);
        if is_late(memory.progress_at, limits.body_timeout) {
            return Verdict::Cut;
        }
        // What waits to be written is the end of a response.
        if self.in_flight.load(Relaxed) == 0 && !self.stalled_since.is_set() {
            if let Some(since) = memory.closing_since {
                if is_late(since.max(memory.flowed_at), limits.body_timeout) {
                    return Verdict::Cut;
                }
            } else if let Some(since) = self.head_since.get(self) {
                if is_late(since, limits.header_timeout) {
                    return Verdict::Cut;
                }
            } else if let Some(since) = self.idle_since.get(self) {
                // An HTTP/2 response may still be on its way after its body was handed over whole.
                let since = if self.is_http2.load(Relaxed) { since.max(memory.flowed_at) } else { since };
                if is_late(since, limits.idle_timeout) {
                    memory.closing_since = Some(now);
                    return Verdict::Close;
                }
            } else if is_late(self.born, limits.header_timeout) {
                return Verdict::Cut;
            }
        }
        Verdict::Wait(until)
    }

    fn note_progress(&self, memory: &mut Memory, now: Instant) {
        let written = self.written.load(Relaxed);
        if written - memory.written >= SLOWEST_READER_BYTES {
            (memory.written, memory.flowed_at, memory.progress_at) = (written, now, now);
        } else if self.sending.load(Relaxed) == 0 {
            memory.progress_at = now;
        }
    }
}
