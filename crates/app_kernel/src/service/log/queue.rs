//! Lines on their way from those who log to the thread that writes them.

use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::line::Style;

/// How much may wait to be written.
const MAX_QUEUE_BYTES: usize = 1 << 20;
/// How long lines gather before they are written together.
const GATHERING: Duration = Duration::from_millis(3);
/// How long a full queue holds up the one who logs. After that lines are counted instead, until there is room.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// Lines on their way to the writing thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: Vec<u8>,
    lost: u64,
    is_idle: bool,
    is_writing: bool,
    is_urgent: bool,
    is_closed: bool,
    is_stuck: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, line: &str, is_urgent: bool) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > MAX_QUEUE_BYTES && !state.waiting.is_empty() && !state.is_stuck {
            let is_full = |state: &mut QueueState| {
                state.waiting.len() + line.len() > MAX_QUEUE_BYTES && !state.waiting.is_empty()
            };
            let waited =
                self.changed.wait_timeout_while(state, LONGEST_WAIT, is_full).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.is_stuck = waited.1.timed_out();
        }
        if state.is_stuck {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(line.as_bytes());
        // The writer is woken once per batch, not once per line.
        let must_wake = state.is_idle || (is_urgent && !state.is_urgent);
        state.is_idle = false;
        state.is_urgent |= is_urgent;
        drop(state);
        if must_wake {
            self.changed.notify_all();
        }
    }

    /// From now on nothing comes: the writing thread ends once it has written the rest.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_written(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && !state.is_writing
    }

    pub(super) fn flush(&self) {
        let mut state = self.lock();
        state.is_urgent = true;
        self.changed.notify_all();
        let is_unwritten = |state: &mut QueueState| !state.waiting.is_empty() || state.is_writing;
        drop(self.changed.wait_timeout_while(state, Duration::from_secs(1), is_unwritten));
    }

    /// The writing thread's life.
    pub(super) fn write_to(&self, style: Style, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let lost = {
                let mut state = self.lock();
                state.is_writing = false;
                self.changed.notify_all();
                while state.waiting.is_empty() {
                    if state.is_closed {
                        return;
                    }
                    state.is_idle = true;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.is_idle = false;
                let is_early = |state: &mut QueueState| {
                    !state.is_urgent && !state.is_closed && state.waiting.len() < MAX_QUEUE_BYTES / 2
                };
                state = self
                    .changed
                    .wait_timeout_while(state, GATHERING, is_early)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                state.is_urgent = false;
                state.is_stuck = false;
                state.is_writing = true;
                std::mem::swap(&mut batch, &mut state.waiting);
                std::mem::take(&mut state.lost)
            };
            self.changed.notify_all();
            if lost > 0 {
                batch.extend_from_slice(style.losses(lost).as_bytes());
            }
            // Nobody is left to tell that stdout is closed.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
        }
    }
}
