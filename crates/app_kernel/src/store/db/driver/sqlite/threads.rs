//! The threads that own SQLite's connections.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::super::{DbError, Options};
use super::group::{GroupedWrite, Groups, write_alone};
use super::log::{KEPT, LogKeeper};
use super::readers::{Reader, Seat};
use super::refused;

/// How long to wait for another process that writes to the same file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Virtual machine steps between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 50_000;
/// The page cache of each connection, in KiB.
const CACHE_KIB: i64 = 32_768;

pub(super) type ReadJob = Box<dyn FnOnce(&mut Connection) + Send>;
/// Work for the writer.
pub(super) enum WriteJob {
    /// One operation that may share its commit with others.
    Grouped(Box<dyn GroupedWrite>),
    /// One operation that changes the schema.
    Alone(Box<dyn GroupedWrite>),
    /// A transaction of a caller, who sends its steps.
    Held { steps: flume::Receiver<Step>, begun: oneshot::Sender<Result<(), DbError>>, longest_pause: Duration },
    /// The end of the thread.
    Stop,
}

/// A step of a caller's transaction.
pub(super) enum Step {
    Run(ReadJob),
    Commit(oneshot::Sender<Result<(), DbError>>),
    RollBack(oneshot::Sender<()>),
}

/// What a thread does with its connection.
pub(super) enum Role {
    Write(flume::Receiver<WriteJob>, LogKeeper),
    Read(flume::Receiver<ReadJob>, Seat),
    /// Reads, and leaves nothing behind, not even an empty file.
    Look(flume::Receiver<ReadJob>, Seat),
}

/// Starts a thread and waits until its connection is open.
pub(super) async fn start(name: &str, path: &Path, options: &Options, role: Role) -> Result<JoinHandle<()>, DbError> {
    let (opened, answer) = oneshot::channel();
    let (file, full_sync, timeout): (PathBuf, bool, Duration) =
        (path.to_owned(), options.sqlite_full_sync, options.statement_timeout);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || match open(&file, &role, full_sync) {
        Err(error) => drop(opened.send(Err(error))),
        Ok(mut connection) => {
            let deadline = Deadline::watch(&mut connection, timeout);
            match role {
                Role::Write(queue, log) => {
                    let _ = opened.send(Ok(()));
                    write_all(connection, &queue, &deadline, log);
                }
                Role::Read(queue, seat) | Role::Look(queue, seat) => {
                    seat.take(Reader { connection, deadline });
                    let _ = opened.send(Ok(()));
                    read_all(&queue, &seat);
                }
            }
        }
    });
    let thread = thread.map_err(|cause| refused(path, cause, "allow the process more threads"))?;
    answer.await.map_err(|_| super::panicked())?.map_err(|cause| {
        refused(path, cause, "is it a SQLite file, and may this user read and write it and its folder?")
    })?;
    Ok(thread)
}

fn open(path: &Path, role: &Role, full_sync: bool) -> rusqlite::Result<Connection> {
    let is_writer = matches!(role, Role::Write(..));
    let connection = if matches!(role, Role::Look(..)) { open_to_look(path)? } else { Connection::open(path)? };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if is_writer {
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "journal_size_limit", KEPT)?;
    }
    connection.pragma_update(None, "synchronous", if full_sync { "full" } else { "normal" })?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "case_sensitive_like", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "query_only", !is_writer)?;
    // Once a file was analysed, SQLite would plan a prepared statement anew for each value that is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(256);
    // A file that is none shows only when it is read.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Opens a file so that nothing of it changes, nor of its folder.
fn open_to_look(path: &Path) -> rusqlite::Result<Connection> {
    if !path.exists() {
        return Connection::open_in_memory();
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if Path::new(&log).exists() {
        // Somebody has it open, or died: what is in the log counts, and its files are there already.
        return Connection::open_with_flags(path, flags);
    }
    // Otherwise even a reader would make the files of a log.
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = percent_encode(absolute.as_os_str().as_encoded_bytes(), NON_ALPHANUMERIC).to_string();
    Connection::open_with_flags(format!("file:{}?immutable=1", path.replace("%2F", "/")), flags)
}

/// Stops a statement that runs for too long.
pub(super) struct Deadline {
    started: Instant,
    /// In milliseconds after `started`; 0 for none.
    at: Arc<AtomicU64>,
    timeout: Duration,
}

impl Deadline {
    pub(super) fn watch(connection: &mut Connection, timeout: Duration) -> Self {
        let (started, at) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let watched = Arc::clone(&at);
        let is_over = move || {
            let at = watched.load(Ordering::Relaxed);
            at != 0 && started.elapsed().as_millis() as u64 > at
        };
        connection
            .progress_handler(STEPS_BETWEEN_LOOKS, Some(is_over))
            .expect("a handler can be set on an open connection");
        Deadline { started, at, timeout }
    }

    /// From now on, until the next call.
    fn begin(&self) {
        self.begin_at(Instant::now());
    }

    /// From a moment that was just now, until the next call.
    pub(super) fn begin_at(&self, now: Instant) {
        let at = (now.saturating_duration_since(self.started) + self.timeout).as_millis() as u64;
        self.at.store(at.max(1), Ordering::Relaxed);
    }

    /// Not until the next call of [`Deadline::begin`].
    fn lift(&self) {
        self.at.store(0, Ordering::Relaxed);
    }
}

thread_local! {
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// A read that ends the thread it runs on.
pub(super) fn end_this_reader(_: &mut Connection) {
    ENDS.set(true);
}

fn read_all(queue: &flume::Receiver<ReadJob>, seat: &Seat) {
    while let Ok(job) = queue.recv() {
        seat.use_it(|Reader { connection, deadline }| {
            deadline.begin();
            // A panic answers its caller by dropping the channel; the thread lives on.
            let _ = catch_unwind(AssertUnwindSafe(|| job(connection)));
        });
        if ENDS.get() {
            break;
        }
    }
    seat.leave();
}

fn write_all(mut connection: Connection, queue: &flume::Receiver<WriteJob>, deadline: &Deadline, mut log: LogKeeper) {
    let (mut groups, mut held_back) = (Groups::default(), None);
    loop {
        if held_back.is_none() && queue.is_empty() {
            log.settle(&connection);
        }
        let Some(job) = held_back.take().or_else(|| queue.recv().ok()) else { break };
        deadline.begin();
        match job {
            WriteJob::Grouped(first) => held_back = groups.write(&mut connection, first, queue),
            WriteJob::Alone(job) => {
                deadline.lift();
                write_alone(&mut connection, job);
            }
            WriteJob::Held { steps, begun, longest_pause } => {
                // Its caller may read beside it.
                log.settle(&connection);
                hold(&mut connection, &steps, begun, longest_pause, deadline);
            }
            WriteJob::Stop => break,
        }
        log.look(&connection);
    }
    drop(log);
    // Tidying up is worth no wait for others who are at work.
    let _ = connection.busy_timeout(Duration::ZERO);
    let _ = connection.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)");
}

pub(super) fn exec(connection: &Connection, sql: &str) -> Result<(), DbError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

pub(super) fn roll_back_what_is_open(connection: &Connection) {
    if !connection.is_autocommit() {
        let _ = exec(connection, "ROLLBACK");
    }
}

/// Serves the steps of a caller's transaction until it ends, the caller goes away, or pauses for too long.
fn hold(
    connection: &mut Connection,
    steps: &flume::Receiver<Step>,
    begun: oneshot::Sender<Result<(), DbError>>,
    longest_pause: Duration,
    deadline: &Deadline,
) {
    let began = exec(connection, "BEGIN IMMEDIATE");
    let is_open = began.is_ok();
    if begun.send(began).is_err() || !is_open {
        return roll_back_what_is_open(connection);
    }
    while let Ok(step) = steps.recv_timeout(longest_pause) {
        deadline.begin();
        match step {
            Step::Run(job) => {
                let _ = catch_unwind(AssertUnwindSafe(|| job(connection)));
                if connection.is_autocommit() {
                    return; // SQLite gave the transaction up; the next step finds the channel closed.
                }
            }
            Step::Commit(reply) => {
                let committed = exec(connection, "COMMIT");
                roll_back_what_is_open(connection);
                let _ = reply.send(committed);
                return;
            }
            Step::RollBack(reply) => {
                roll_back_what_is_open(connection);
                let _ = reply.send(());
                return;
            }
        }
    }
    roll_back_what_is_open(connection);
}
