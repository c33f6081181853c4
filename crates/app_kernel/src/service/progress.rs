//! How far a backup or a restore is, on the last line of a terminal; elsewhere nothing.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::store::db::backup::Progress;

/// The shortest time between two words: nobody reads faster, and a terminal is slow.
const BETWEEN_WORDS: Duration = Duration::from_millis(100);

/// Writes to the terminal, where there is one.
pub(super) fn on_a_terminal() -> Progress {
    if !std::io::stderr().is_terminal() {
        return Progress::default();
    }
    let last = Mutex::new(None::<Instant>);
    Progress::new(move |table, rows| {
        let mut last = last.lock().expect("nothing panics while holding it");
        if last.is_none_or(|last| last.elapsed() >= BETWEEN_WORDS) {
            *last = Some(Instant::now());
            write(&format!("\r\x1b[K{table}: {rows} rows"));
        }
    })
}

/// Says something there, until the next word or [`clear`].
pub(super) fn word(text: &str) {
    if std::io::stderr().is_terminal() {
        write(&format!("\r\x1b[K{text}"));
    }
}

/// Makes the line empty again.
pub(super) fn clear() {
    if std::io::stderr().is_terminal() {
        write("\r\x1b[K");
    }
}

fn write(text: &str) {
    let mut terminal = std::io::stderr();
    // A terminal that is gone is no reason to stop.
    let _ = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}
