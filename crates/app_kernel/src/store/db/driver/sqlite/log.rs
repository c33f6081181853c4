//! The write-ahead log of a SQLite file, kept short however many read.
//!
//! SQLite copies its log into the file as it grows, but starts it afresh only at a moment when nobody reads from it. Where reads
//! overlap without a gap, that moment never comes. So, past a limit, new reads wait at a gate until those under way are done; writes go
//! on meanwhile, and then the log starts afresh. A read that does not end soon pins the log all the same: that is logged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::threads::BUSY_TIMEOUT;

/// From this size on the log is started afresh, in bytes; the next try comes after as much again.
const LIMIT: u64 = 32 << 20;
/// What its file keeps when it starts afresh, in bytes: space that is there is faster to write to.
pub(super) const KEPT: i64 = 16 << 20;
/// How long new reads wait for those under way.
const PATIENCE: Duration = Duration::from_millis(250);

/// The size of a file's log, in bytes.
pub(super) fn bytes(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |file| file.len())
}

/// Where the log of a file lies.
pub(super) fn path_of(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// What every read passes. Open, but for moments.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    reads: usize,
}

impl Gate {
    /// Begins a read, which ends when the pass is dropped.
    pub(super) fn enter(&self) -> Pass<'_> {
        let open = self.changed.wait_while(self.state(), |state| state.is_closed);
        open.expect(UNPOISONED).reads += 1;
        Pass(self)
    }

    /// The same, for those who can't wait: none while the gate is closed.
    pub(super) fn try_to_enter(&self) -> Option<Pass<'_>> {
        let mut state = self.state();
        if state.is_closed {
            return None;
        }
        state.reads += 1;
        Some(Pass(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    pub(super) fn close(&self) {
        self.state().is_closed = true;
    }

    pub(super) fn open(&self) {
        self.state().is_closed = false;
        self.changed.notify_all();
    }

    fn is_empty(&self) -> bool {
        self.state().reads == 0
    }

    fn wait_until_empty(&self, at_most: Duration) {
        let left = self.changed.wait_timeout_while(self.state(), at_most, |state| state.reads > 0);
        drop(left.expect(UNPOISONED));
    }
}

const UNPOISONED: &str = "nothing panics while holding it";

/// A read under way.
pub(super) struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.reads -= 1;
        if state.is_closed {
            self.0.changed.notify_all();
        }
    }
}

/// Keeps the log short, in the writer's thread.
pub(super) struct LogKeeper {
    log: PathBuf,
    gate: Arc<Gate>,
    /// Since when the gate is closed.
    closed: Option<Instant>,
    /// At which size the log is next started afresh.
    next_at: u64,
}

impl LogKeeper {
    pub(super) fn new(file: &Path, gate: Arc<Gate>) -> Self {
        LogKeeper { log: path_of(file), gate, closed: None, next_at: LIMIT }
    }

    /// After a commit, with more writes to come.
    pub(super) fn look(&mut self, connection: &Connection) {
        if let Some(since) = self.closed {
            if self.gate.is_empty() || since.elapsed() > PATIENCE {
                self.start_afresh(connection);
            }
            return;
        }
        let size = bytes(&self.log);
        if size >= self.next_at {
            self.gate.close();
            self.closed = Some(Instant::now());
        } else if size < LIMIT {
            self.next_at = LIMIT;
        }
    }

    /// Before the writer does anything but write: the gate stays closed for nobody.
    pub(super) fn settle(&mut self, connection: &Connection) {
        if let Some(since) = self.closed {
            self.gate.wait_until_empty(PATIENCE.saturating_sub(since.elapsed()));
            self.start_afresh(connection);
        }
    }

    fn start_afresh(&mut self, connection: &Connection) {
        let is_ours = !self.gate.is_empty();
        // Writes are worth no wait for other processes.
        let _ = connection.busy_timeout(Duration::ZERO);
        let is_pinned = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, bool>(0));
        let _ = connection.busy_timeout(BUSY_TIMEOUT);
        self.gate.open();
        self.closed = None;
        self.next_at = LIMIT;
        let cause = match is_pinned {
            Ok(false) => return,
            Ok(true) if is_ours => "a query that runs for long reads from it".to_owned(),
            Ok(true) => "another connection, such as a backup's, reads from it".to_owned(),
            Err(error) => error.to_string(),
        };
        let size = bytes(&self.log);
        self.next_at = size + LIMIT;
        tracing::warn!(bytes = size, "SQLite's log {} has {} MiB: {cause}", self.log.display(), size >> 20);
    }
}

impl Drop for LogKeeper {
    fn drop(&mut self) {
        self.gate.open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "INSERT INTO t VALUES (randomblob(1 << 20))";

    struct File {
        folder: tempfile::TempDir,
        writer: Connection,
        gate: Arc<Gate>,
        keeper: LogKeeper,
    }

    impl File {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let writer = Self::connect(&folder);
            for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "off")] {
                writer.pragma_update(None, pragma, value).expect("a pragma");
            }
            writer.pragma_update(None, "journal_size_limit", KEPT).expect("a pragma");
            writer.execute_batch("CREATE TABLE t (x)").expect("a table");
            let gate = Arc::new(Gate::default());
            let keeper = LogKeeper::new(&folder.path().join("app.db"), Arc::clone(&gate));
            File { folder, writer, gate, keeper }
        }

        fn connect(folder: &tempfile::TempDir) -> Connection {
            Connection::open(folder.path().join("app.db")).expect("a connection")
        }

        fn write(&mut self, mib: usize) {
            for _ in 0..mib {
                self.writer.execute(ROW, []).expect("a write");
                self.keeper.look(&self.writer);
            }
        }

        fn log_mib(&self) -> u64 {
            bytes(&self.keeper.log) >> 20
        }
    }

    #[test]
    fn a_read_that_does_not_end_pins_the_log_and_keeps_nobody_waiting() {
        let mut file = File::new();
        let reader = File::connect(&file.folder);
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").expect("a read");
        let gate = Arc::clone(&file.gate);
        let pass = gate.enter();
        file.write(40);
        file.keeper.settle(&file.writer);
        drop(gate.enter());
        assert!(file.log_mib() >= 40 && file.keeper.next_at > 2 * LIMIT, "{} MiB", file.log_mib());
        reader.execute_batch("COMMIT").expect("an end");
        drop(pass);
        file.write(40);
        assert!(file.log_mib() <= 64, "{} MiB", file.log_mib());
    }

    #[test]
    fn a_closed_gate_keeps_new_reads_out_until_it_opens() {
        let gate = Arc::new(Gate::default());
        let under_way = gate.enter();
        gate.close();
        let late = {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || drop(gate.enter()))
        };
        assert!(!gate.is_empty() && !late.is_finished());
        drop(under_way);
        gate.wait_until_empty(Duration::from_secs(10));
        assert!(gate.is_empty() && !late.is_finished());
        gate.open();
        late.join().expect("it enters");
    }
}
