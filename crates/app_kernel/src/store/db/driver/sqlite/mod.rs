//! SQLite in the process: one thread that writes and groups queued writes into one commit, and threads that read.
//! A write is acknowledged after the commit that holds it; with `synchronous=FULL` that is after it reached the disk.

pub(crate) mod copy;
mod error;
mod group;
mod log;
mod readers;
mod session;
mod threads;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use group::{GroupedWrite, NotCommitted};
use readers::Readers;
pub(crate) use session::{RowRef, Session};
use threads::{ReadJob, WriteJob};

use super::super::dialect::{self, Dialect};
use super::{DatabaseUrl, DbError, Operation, Options};
use crate::base::error::Error;

/// Reader threads where nothing else is configured. More do not help: a read is CPU, not waiting.
const READERS: usize = 2;
/// Reads and writes that may queue before callers wait to queue.
const QUEUE: usize = 4096;

/// An open SQLite file.
#[derive(Debug)]
pub(crate) struct Driver {
    writes: flume::Sender<WriteJob>,
    reads: flume::Sender<ReadJob>,
    readers: Arc<Readers>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    log: PathBuf,
    statement_timeout: Duration,
}

/// Makes the file of a new database, for its owner only: it has everybody's addresses and hashes. SQLite gives the files beside it the same mode.
/// One that is there keeps what its owner gave it; whether one can be made at all, SQLite says better.
fn make_private(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _ = options.open(path);
}

impl Driver {
    pub(crate) async fn connect(url: &DatabaseUrl, options: &Options) -> Result<Self, DbError> {
        let path = url.sqlite_file()?;
        if options.read_only {
            return Self::connect_to_look(&path, options).await;
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|cause| {
                refused(
                    &path,
                    format!("can't make the folder {}: {cause}", folder.display()),
                    "make it, or give another path",
                )
            })?;
        }
        make_private(&path);
        let (writes, write_queue) = flume::bounded(QUEUE);
        let (reads, read_queue) = flume::bounded(QUEUE);
        let mut threads = Vec::new();
        let gate = Arc::new(log::Gate::default());
        let keeper = log::LogKeeper::new(&path, Arc::clone(&gate));
        // The writer opens first: it makes the file and turns the log on.
        threads.push(threads::start("sqlite-writer", &path, options, threads::Role::Write(write_queue, keeper)).await?);
        let readers = Readers::new(options.pool_size.unwrap_or(READERS), gate);
        for (number, seat) in readers.seats().enumerate() {
            let role = threads::Role::Read(read_queue.clone(), seat);
            threads.push(threads::start(&format!("sqlite-reader-{number}"), &path, options, role).await?);
        }
        let (log, threads) = (log::path_of(&path), Mutex::new(threads));
        Ok(Driver { writes, reads, readers, threads, log, statement_timeout: options.statement_timeout })
    }

    pub(crate) fn load(&self) -> super::Load {
        super::Load::Queues { reads: self.reads.len(), writes: self.writes.len() }
    }

    /// How long the write-ahead log is, in bytes.
    pub(crate) fn log_bytes(&self) -> u64 {
        log::bytes(&self.log)
    }

    /// Without a thread that writes. Where there is no file, it looks at an empty database.
    async fn connect_to_look(path: &Path, options: &Options) -> Result<Self, DbError> {
        let (writes, _) = flume::bounded(0);
        let (reads, read_queue) = flume::bounded(QUEUE);
        // Nobody writes there, so the gate never closes.
        let readers = Readers::new(1, Arc::default());
        let mut threads = Vec::new();
        for seat in readers.seats() {
            let role = threads::Role::Look(read_queue.clone(), seat);
            threads.push(threads::start("sqlite-reader", path, options, role).await?);
        }
        let (log, threads) = (log::path_of(path), Mutex::new(threads));
        Ok(Driver { writes, reads, readers, threads, log, statement_timeout: options.statement_timeout })
    }

    pub(crate) fn dialect(&self) -> &'static dyn Dialect {
        &dialect::Sqlite
    }

    pub(crate) async fn read<O: Operation>(&self, operation: O) -> Result<O::Output, DbError> {
        if operation.is_lookup() {
            // Who looks up again and again, and never waits, must let others have their turn now and then.
            tokio::task::coop::consume_budget().await;
            if let Some(output) = self.readers.look_up_at_once(&operation) {
                return Ok(output);
            }
        }
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            let _ = reply.send(run_now(&operation, connection));
        });
        self.reads.send_async(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| panicked())?
    }

    pub(crate) async fn write<O: Operation>(&self, operation: Arc<O>) -> Result<O::Output, DbError> {
        let (reply, answer) = oneshot::channel();
        self.writes
            .send_async(WriteJob::Grouped(Box::new(Queued { operation, outcome: None, reply })))
            .await
            .map_err(|_| closed())?;
        answer.await.map_err(|_| panicked())?
    }

    pub(crate) async fn change_schema<O: Operation>(&self, operation: Arc<O>) -> Result<O::Output, DbError> {
        let (reply, answer) = oneshot::channel();
        self.writes
            .send_async(WriteJob::Alone(Box::new(Queued { operation, outcome: None, reply })))
            .await
            .map_err(|_| closed())?;
        answer.await.map_err(|_| panicked())?
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, DbError> {
        let (steps, queue) = flume::bounded(1);
        let (begun, answer) = oneshot::channel();
        let longest_pause = self.statement_timeout;
        let job = WriteJob::Held { steps: queue, begun, longest_pause };
        self.writes.send_async(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| panicked())??;
        Ok(Transaction { steps })
    }

    pub(crate) async fn close(&self) {
        let _ = self.writes.send_async(WriteJob::Stop).await;
        let threads = std::mem::take(&mut *self.threads.lock().expect("nothing panics while holding it"));
        let reads = self.reads.clone();
        for _ in 0..threads.len() {
            // A reader that gets this job ends. One job is too many where there is a writer.
            let _ = reads.send_async(Box::new(threads::end_this_reader)).await;
        }
        let _ = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        })
        .await;
    }
}

/// A transaction that holds the writer: other writes wait until it ends.
#[derive(Debug)]
pub(crate) struct Transaction {
    steps: flume::Sender<threads::Step>,
}

impl Transaction {
    pub(crate) async fn run<O: Operation>(&mut self, operation: O) -> Result<O::Output, DbError> {
        let (reply, answer) = oneshot::channel();
        let step = threads::Step::Run(Box::new(move |connection| {
            let _ = reply.send(run_now(&operation, connection));
        }));
        self.steps.send_async(step).await.map_err(|_| timed_out())?;
        answer.await.map_err(|_| panicked())?
    }

    pub(crate) async fn commit(self) -> Result<(), DbError> {
        let (reply, answer) = oneshot::channel();
        self.steps.send_async(threads::Step::Commit(reply)).await.map_err(|_| timed_out())?;
        answer.await.map_err(|_| panicked())?
    }

    pub(crate) async fn rollback(self) {
        let (reply, answer) = oneshot::channel();
        if self.steps.send_async(threads::Step::RollBack(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// A write on its way to the writer, and what came of it there.
struct Queued<O: Operation> {
    operation: Arc<O>,
    outcome: Option<Result<O::Output, DbError>>,
    reply: oneshot::Sender<Result<O::Output, DbError>>,
}

impl<O: Operation> GroupedWrite for Queued<O> {
    fn run(&mut self, connection: &mut rusqlite::Connection) -> bool {
        self.outcome.insert(run_now(&*self.operation, connection)).is_ok()
    }

    fn answer(self: Box<Self>, committed: Result<(), NotCommitted>) {
        let outcome = self.outcome.unwrap_or_else(|| Err(panicked()));
        // Where a caller has left, nobody is told.
        let _ = self.reply.send(outcome.and_then(|output| committed.map(|()| output).map_err(Into::into)));
    }

    fn refuse(self: Box<Self>, reason: DbError) {
        let _ = self.reply.send(Err(reason));
    }
}

/// Runs an operation on this thread. Nothing on SQLite waits for a wake-up, so one poll finishes it.
fn run_now<O: Operation>(operation: &O, connection: &mut rusqlite::Connection) -> Result<O::Output, DbError> {
    let mut session = super::Session::from(super::On::Sqlite(Session::new(connection)));
    operation.run(&mut session).now_or_never().expect("an operation on SQLite waits for nothing")
}

fn refused(path: &Path, problem: impl std::fmt::Display, cure: &str) -> DbError {
    Error::unavailable(format!("DATABASE_URL: the SQLite file {} can't be used: {problem}; {cure}", path.display()))
        .into()
}

fn closed() -> DbError {
    DbError::Away("the database is closed".into())
}

fn panicked() -> DbError {
    DbError::Other("an operation panicked".into())
}

fn timed_out() -> DbError {
    DbError::Away("the transaction paused for too long and was rolled back".into())
}
