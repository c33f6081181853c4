//! The connections that read. Each belongs to a thread, which does what comes in the queue. While it has nothing to do, a lookup borrows its
//! connection and is done at once, on the thread that asks: to hand a lookup over and back takes longer than the lookup.
//!
//! What is always true: a lookup done at once waits for nobody. Where no connection is free, where the gate is closed, where another process holds
//! the file or where lookups turn out to be slow, as from a disk whose pages nobody has read yet, it goes into the queue as all reads do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::Operation;
use super::log::Gate;
use super::run_now;
use super::threads::{BUSY_TIMEOUT, Deadline};

/// A lookup that takes longer held up what else its thread has to do.
const SLOW: Duration = Duration::from_millis(1);
/// What a slow lookup weighs against quick ones. A thread that had to give way to another looks slow, too; that is seldom.
const WEIGHT: u32 = 8;
/// With so much weight lookups go into the queue,
const TOO_SLOW: u32 = 4 * WEIGHT;
/// and so long.
const REST: Duration = Duration::from_secs(1);

/// A connection that reads.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) deadline: Deadline,
}

/// The connections of all threads that read one file.
pub(super) struct Readers {
    places: Box<[Place]>,
    gate: Arc<Gate>,
    pace: Pace,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("pace", &self.pace).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Place {
    /// None until its thread has begun, and once it has ended.
    reader: Mutex<Option<Reader>>,
    /// Its thread has something to do, and goes first: who comes in between again and again would keep it waiting.
    is_wanted: AtomicBool,
}

/// The place of one thread among them.
pub(super) struct Seat {
    readers: Arc<Readers>,
    number: usize,
}

const UNPOISONED: &str = "no panic leaves its thread while it is held";

impl Readers {
    pub(super) fn new(count: usize, gate: Arc<Gate>) -> Arc<Self> {
        let places = (0..count).map(|_| Place::default()).collect();
        Arc::new(Readers { places, gate, pace: Pace::new() })
    }

    /// One for each thread.
    pub(super) fn seats(self: &Arc<Self>) -> impl Iterator<Item = Seat> {
        (0..self.places.len()).map(|number| Seat { readers: Arc::clone(self), number })
    }

    /// What an operation answers, where it is a lookup that can be done at once. What fails does not count: whoever asks in the queue is told why.
    pub(super) fn look_up_at_once<O: Operation>(&self, operation: &O) -> Option<O::Output> {
        if !operation.is_lookup() || !self.pace.is_quick() {
            return None;
        }
        let _pass = self.gate.try_to_enter()?;
        let is_free = |place: &&Place| !place.is_wanted.load(Ordering::Relaxed);
        let mut reader = self.places.iter().filter(is_free).find_map(|place| place.reader.try_lock().ok())?;
        let Reader { connection, deadline } = reader.as_mut()?;
        let began = Instant::now();
        deadline.begin_at(began);
        connection.busy_timeout(Duration::ZERO).ok()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| run_now(operation, connection)));
        let _ = connection.busy_timeout(BUSY_TIMEOUT);
        self.pace.note(began.elapsed());
        outcome.ok()?.ok()
    }
}

impl Seat {
    /// Brings the connection.
    pub(super) fn take(&self, reader: Reader) {
        *self.reader() = Some(reader);
    }

    /// Does something with the connection that may take its time, and does not panic.
    pub(super) fn use_it(&self, work: impl FnOnce(&mut Reader)) {
        let _pass = self.readers.gate.enter();
        let is_wanted = &self.readers.places[self.number].is_wanted;
        is_wanted.store(true, Ordering::Relaxed);
        let mut reader = self.reader();
        is_wanted.store(false, Ordering::Relaxed);
        if let Some(reader) = reader.as_mut() {
            work(reader);
        }
    }

    /// Closes the connection.
    pub(super) fn leave(&self) {
        let reader = self.reader().take();
        drop(reader);
    }

    fn reader(&self) -> MutexGuard<'_, Option<Reader>> {
        self.readers.places[self.number].reader.lock().expect(UNPOISONED)
    }
}

/// How quick lookups were of late.
#[derive(Debug)]
struct Pace {
    born: Instant,
    /// The weight of slow ones, less the number of quick ones since.
    slowness: AtomicU32,
    /// Until when none is done at once, in milliseconds since `born`.
    rests_until: AtomicU64,
}

impl Pace {
    fn new() -> Self {
        Pace { born: Instant::now(), slowness: AtomicU32::new(0), rests_until: AtomicU64::new(0) }
    }

    fn is_quick(&self) -> bool {
        if self.slowness.load(Ordering::Relaxed) < TOO_SLOW {
            return true;
        }
        let is_over = self.age() >= self.rests_until.load(Ordering::Relaxed);
        if is_over {
            self.slowness.store(0, Ordering::Relaxed);
        }
        is_over
    }

    fn note(&self, took: Duration) {
        let before = self.slowness.load(Ordering::Relaxed);
        if took > SLOW {
            // The rest begins before the weight says so.
            self.rests_until.store(self.age() + REST.as_millis() as u64, Ordering::Relaxed);
            self.slowness.store(before.saturating_add(WEIGHT), Ordering::Release);
        } else if before > 0 {
            // Two at once may count as one: it is a rule of thumb.
            self.slowness.store(before - 1, Ordering::Relaxed);
        }
    }

    fn age(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{DatabaseUrl, DbError, Options, Session, Value};
    use super::super::Driver;
    use super::*;

    /// Looks a number up, or reads it in the queue.
    struct Find {
        key: i64,
        is_lookup: bool,
    }

    impl Operation for Find {
        type Output = Vec<i64>;

        async fn run(&self, session: &mut Session<'_>) -> Result<Vec<i64>, DbError> {
            session.query("SELECT n FROM t WHERE k = ?", &[Value::Int(self.key)], |row| row.int(0)).await
        }

        fn is_lookup(&self) -> bool {
            self.is_lookup
        }
    }

    const ONE: Find = Find { key: 1, is_lookup: true };

    async fn opened(folder: &tempfile::TempDir) -> Driver {
        let file = folder.path().join("app.db");
        let other = Connection::open(&file).expect("a file");
        other
            .execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, n); INSERT INTO t VALUES (1, 7), (2, 'seven')")
            .expect("a table");
        let url = DatabaseUrl::parse(&format!("sqlite:///{}", file.display()).into()).expect("an address");
        Driver::connect(&url, &Options::default()).await.expect("it opens")
    }

    #[tokio::test]
    async fn a_lookup_is_done_at_once_and_other_reads_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = opened(&folder).await;
        assert_eq!(driver.readers.look_up_at_once(&ONE), Some(vec![7]));
        assert_eq!(driver.readers.look_up_at_once(&Find { is_lookup: false, ..ONE }), None);
        assert_eq!(driver.read(ONE).await.expect("a read"), [7]);
        driver.close().await;
        assert_eq!(driver.readers.look_up_at_once(&ONE), None);
        driver.read(ONE).await.expect_err("it is closed");
    }

    #[tokio::test]
    async fn who_looks_up_again_and_again_lets_others_have_their_turn() {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = opened(&folder).await;
        let turn = std::cell::Cell::new(false);
        let waits = async {
            while !turn.get() {
                driver.read(ONE).await.expect("a read");
            }
        };
        let other = async {
            tokio::task::yield_now().await;
            turn.set(true);
        };
        tokio::join!(waits, other);
        driver.close().await;
    }

    #[tokio::test]
    async fn what_fails_at_once_is_told_by_the_queue() {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = opened(&folder).await;
        let text = || Find { key: 2, ..ONE };
        assert_eq!(driver.readers.look_up_at_once(&text()), None);
        let error = driver.read(text()).await.expect_err("a text is no number");
        assert!(matches!(error, DbError::Decode(_)), "{error:?}");
        driver.close().await;
    }

    #[tokio::test]
    async fn a_lookup_waits_neither_at_the_gate_nor_for_a_connection() {
        let folder = tempfile::tempdir().expect("a folder");
        let driver = opened(&folder).await;
        driver.readers.gate.close();
        assert_eq!(driver.readers.look_up_at_once(&ONE), None);
        driver.readers.gate.open();
        let all: Vec<_> = driver.readers.places.iter().map(|place| place.reader.lock().expect("free")).collect();
        assert_eq!(driver.readers.look_up_at_once(&ONE), None);
        drop(all);
        let set_wanted =
            |is_wanted| driver.readers.places.iter().for_each(|p| p.is_wanted.store(is_wanted, Ordering::Relaxed));
        set_wanted(true);
        assert_eq!(driver.readers.look_up_at_once(&ONE), None, "their threads go first");
        set_wanted(false);
        assert_eq!(driver.readers.look_up_at_once(&ONE), Some(vec![7]));
        driver.close().await;
    }

    #[test]
    fn where_another_process_holds_the_file_nobody_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.db");
        let holder = Connection::open(&file).expect("a file");
        holder
            .execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, n); INSERT INTO t VALUES (1, 7)")
            .expect("a table");
        let mut connection = Connection::open(&file).expect("a connection");
        connection.busy_timeout(BUSY_TIMEOUT).expect("it is open");
        let deadline = Deadline::watch(&mut connection, Duration::from_secs(30));
        let readers = Readers::new(1, Arc::default());
        readers.seats().next().expect("one").take(Reader { connection, deadline });
        holder.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
        let began = Instant::now();
        assert_eq!(readers.look_up_at_once(&ONE), None);
        assert!(began.elapsed() < BUSY_TIMEOUT / 2, "it did not wait");
        holder.execute_batch("COMMIT").expect("an end");
        assert_eq!(readers.look_up_at_once(&ONE), Some(vec![7]));
    }

    #[test]
    fn slow_lookups_go_into_the_queue_for_a_while() {
        let quick = Duration::from_micros(20);
        let pace = Pace::new();
        for _ in 0..100 {
            pace.note(SLOW * 2);
            (0..WEIGHT).for_each(|_| pace.note(quick));
            assert!(pace.is_quick(), "one of nine may be slow");
        }
        (0..3).for_each(|_| pace.note(SLOW * 2));
        assert!(pace.is_quick());
        pace.note(SLOW * 2);
        assert!(!pace.is_quick() && !pace.is_quick());
        pace.rests_until.store(0, Ordering::Relaxed);
        assert!(pace.is_quick() && pace.slowness.load(Ordering::Relaxed) == 0, "it is tried again");
    }
}
