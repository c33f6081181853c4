//! Writes that share one commit.
//!
//! They run one after the other in one transaction, as if each were alone. A savepoint for each would have SQLite copy every page before it is
//! touched, so there are none while all goes well. Where one fails, everything is undone, and all of them are done again, each in a savepoint of its own
//! that undoes it alone; where writes fail often, the next group has savepoints from the start. That a write is done twice is seen by nobody: what comes of
//! it is told after the commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rusqlite::Connection;

use super::super::DbError;
use super::threads::{WriteJob, exec, roll_back_what_is_open};

/// Queued writes that share one commit at most: more would make the first wait for the last.
const GROUP: usize = 64;

/// A write that may share its commit with others.
pub(super) trait GroupedWrite: Send {
    /// Does the work and keeps what came of it; false where it failed. May be called again once what it did is undone.
    fn run(&mut self, connection: &mut Connection) -> bool;

    /// Tells the caller what came of it: after the commit, or with the reason why there was none.
    fn answer(self: Box<Self>, committed: Result<(), NotCommitted>);

    /// Tells the caller that nothing was done.
    fn refuse(self: Box<Self>, reason: DbError);
}

/// Why a whole group was not committed; each of its writes hears of it.
#[derive(Clone)]
pub(super) struct NotCommitted(Arc<DbError>);

impl From<NotCommitted> for DbError {
    fn from(NotCommitted(cause): NotCommitted) -> Self {
        let text = match &*cause {
            DbError::TryAgain(cause) | DbError::Away(cause) | DbError::Full(cause) | DbError::Other(cause) => {
                cause.to_string()
            }
            other => other.to_string(),
        };
        match &*cause {
            DbError::TryAgain(_) => DbError::TryAgain(text.into()),
            DbError::Away(_) => DbError::Away(text.into()),
            DbError::Full(_) => DbError::Full(text.into()),
            _ => DbError::Other(text.into()),
        }
    }
}

/// How a write ended that was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Well,
    Badly,
    /// Its caller hears of it when it is dropped.
    InPanic,
}

fn run(job: &mut dyn GroupedWrite, connection: &mut Connection) -> Ended {
    match catch_unwind(AssertUnwindSafe(|| job.run(connection))) {
        Ok(true) => Ended::Well,
        Ok(false) => Ended::Badly,
        Err(_) => Ended::InPanic,
    }
}

/// The groups of one writer.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// A write of the last group failed, so this one has savepoints.
    is_careful: bool,
}

impl Groups {
    /// Writes what is queued in one transaction, and answers after the commit. Gives back a job that it took from the queue and that can't join.
    pub(super) fn write(
        &mut self,
        connection: &mut Connection,
        first: Box<dyn GroupedWrite>,
        queue: &flume::Receiver<WriteJob>,
    ) -> Option<WriteJob> {
        if let Err(reason) = exec(connection, "BEGIN IMMEDIATE") {
            first.refuse(reason);
            return None;
        }
        // Alone as yet: if it fails, there is nothing else to keep.
        let first = run_first(connection, first)?;
        let mut group =
            Group { connection, members: Vec::with_capacity(queue.len().min(GROUP) + 1), has_failed: false };
        group.members.push(first);
        let (mut outcome, mut held_back) = (Ok(()), None);
        while group.members.len() < GROUP && outcome.is_ok() {
            match queue.try_recv() {
                Ok(WriteJob::Grouped(job)) => outcome = group.add(job, self.is_careful || group.has_failed),
                Ok(other) => {
                    held_back = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        self.is_careful = group.has_failed;
        let Group { connection, members, .. } = group;
        let outcome = outcome.and_then(|()| exec(connection, "COMMIT")).map_err(|error| NotCommitted(Arc::new(error)));
        roll_back_what_is_open(connection);
        for member in members {
            member.answer(outcome.clone());
        }
        held_back
    }
}

/// Writes of one transaction.
struct Group<'a> {
    connection: &'a mut Connection,
    /// Those that were run, whatever came of them.
    members: Vec<Box<dyn GroupedWrite>>,
    has_failed: bool,
}

impl Group<'_> {
    /// Runs one more. An error is the whole group's.
    fn add(&mut self, mut job: Box<dyn GroupedWrite>, is_careful: bool) -> Result<(), DbError> {
        if is_careful {
            return self.add_carefully(job);
        }
        match run(&mut *job, self.connection) {
            Ended::Well => {
                self.members.push(job);
                return Ok(());
            }
            Ended::Badly => self.members.push(job),
            Ended::InPanic => drop(job),
        }
        self.has_failed = true;
        self.do_again()
    }

    /// Undoes everything, and does it again so that a failure undoes itself alone.
    fn do_again(&mut self) -> Result<(), DbError> {
        roll_back_what_is_open(self.connection);
        exec(self.connection, "BEGIN IMMEDIATE")?;
        let mut jobs = std::mem::take(&mut self.members).into_iter();
        while let Some(job) = jobs.next() {
            if let Err(error) = self.add_carefully(job) {
                // The others hear of it too.
                self.members.extend(jobs);
                return Err(error);
            }
        }
        Ok(())
    }

    fn add_carefully(&mut self, mut job: Box<dyn GroupedWrite>) -> Result<(), DbError> {
        let begun = exec(self.connection, "SAVEPOINT w");
        let ended = if begun.is_ok() { run(&mut *job, self.connection) } else { Ended::Badly };
        if ended != Ended::InPanic {
            self.members.push(job);
        }
        begun?;
        if self.connection.is_autocommit() {
            return Err(DbError::Other("SQLite gave the transaction up".into()));
        }
        if ended != Ended::Well {
            self.has_failed = true;
            exec(self.connection, "ROLLBACK TO w")?;
        }
        exec(self.connection, "RELEASE w")
    }
}

/// Runs work that changes the schema in a transaction of its own. A table may be dropped on its way to another form, and what refers to
/// it must not go with it: so no foreign key is enforced meanwhile. That can't be chosen inside a transaction.
pub(super) fn write_alone(connection: &mut Connection, job: Box<dyn GroupedWrite>) {
    let begun = exec(connection, "PRAGMA foreign_keys = OFF").and_then(|()| exec(connection, "BEGIN IMMEDIATE"));
    let outcome = match begun {
        Ok(()) => run_first(connection, job).map(|job| (job, exec(connection, "COMMIT"))),
        Err(reason) => {
            job.refuse(reason);
            None
        }
    };
    roll_back_what_is_open(connection);
    for restored in ["PRAGMA legacy_alter_table = OFF", "PRAGMA foreign_keys = ON"] {
        if let Err(error) = exec(connection, restored) {
            tracing::error!(%error, "`{restored}` failed");
        }
    }
    if let Some((job, committed)) = outcome {
        job.answer(committed.map_err(|error| NotCommitted(Arc::new(error))));
    }
}

/// Runs a write that is alone in its transaction. Where it fails, it is undone and answered.
fn run_first(connection: &mut Connection, mut job: Box<dyn GroupedWrite>) -> Option<Box<dyn GroupedWrite>> {
    let ended = run(&mut *job, connection);
    if ended == Ended::Well {
        return Some(job);
    }
    roll_back_what_is_open(connection);
    if ended == Ended::Badly {
        job.answer(Ok(()));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What a write is to do once it has put its number into the table.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Then {
        Succeed,
        Fail,
        Panic,
        /// Refer to a row that is not there, which only the commit notices.
        Dangle,
    }

    /// A write that notes how often it ran and what its caller was told.
    struct Put {
        number: i64,
        then: Then,
        has_failed: bool,
        log: Arc<Mutex<Vec<String>>>,
    }

    impl GroupedWrite for Put {
        fn run(&mut self, connection: &mut Connection) -> bool {
            self.log.lock().expect("a log").push(format!("{} runs", self.number));
            let dangling = (self.then == Then::Dangle).then_some(999);
            connection
                .execute("INSERT INTO put (number, refers) VALUES (?, ?)", (self.number, dangling))
                .expect("it can be put");
            assert!(self.then != Then::Panic, "a panic of the test");
            self.has_failed = self.then == Then::Fail;
            !self.has_failed
        }

        fn answer(self: Box<Self>, committed: Result<(), NotCommitted>) {
            let told = match committed {
                _ if self.has_failed => "failed",
                Ok(()) => "is there",
                Err(_) => "is not committed",
            };
            self.log.lock().expect("a log").push(format!("{} {told}", self.number));
        }

        fn refuse(self: Box<Self>, _: DbError) {
            self.log.lock().expect("a log").push(format!("{} refused", self.number));
        }
    }

    struct Stage {
        connection: Connection,
        groups: Groups,
    }

    impl Stage {
        fn new() -> Self {
            let connection = Connection::open_in_memory().expect("a database");
            let schema = "PRAGMA foreign_keys = ON; CREATE TABLE put (number INTEGER PRIMARY KEY, \
                          refers INTEGER REFERENCES put (number) DEFERRABLE INITIALLY DEFERRED)";
            connection.execute_batch(schema).expect("a table");
            Stage { connection, groups: Groups::default() }
        }

        /// Writes these as one group. Answers what happened, and which numbers are in the table.
        fn write(&mut self, writes: &[(i64, Then)]) -> (Vec<String>, Vec<i64>) {
            let log = Arc::<Mutex<Vec<String>>>::default();
            let (sender, queue) = flume::unbounded();
            let mut jobs = writes.iter().map(|(number, then)| -> Box<dyn GroupedWrite> {
                Box::new(Put { number: *number, then: *then, has_failed: false, log: Arc::clone(&log) })
            });
            let first = jobs.next().expect("a first one");
            jobs.for_each(|job| sender.send(WriteJob::Grouped(job)).expect("a queue"));
            sender.send(WriteJob::Stop).expect("a queue");
            let left = self.groups.write(&mut self.connection, first, &queue);
            assert!(
                matches!(left, Some(WriteJob::Stop)) || queue.len() == writes.len(),
                "what can't join is given back"
            );
            assert!(self.connection.is_autocommit());
            let mut statement = self.connection.prepare("SELECT number FROM put ORDER BY number").expect("a statement");
            let numbers = statement.query_map([], |row| row.get(0)).expect("rows").map(Result::unwrap).collect();
            (std::mem::take(&mut *log.lock().expect("a log")), numbers)
        }
    }

    fn lines(text: &str) -> Vec<String> {
        text.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn writes_that_all_succeed_run_once_and_are_answered_after_the_commit() {
        let (log, numbers) = Stage::new().write(&[(1, Then::Succeed), (2, Then::Succeed), (3, Then::Succeed)]);
        assert_eq!(log, lines("1 runs, 2 runs, 3 runs, 1 is there, 2 is there, 3 is there"));
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn a_write_that_fails_undoes_itself_alone() {
        let mut stage = Stage::new();
        let writes = [(1, Then::Succeed), (2, Then::Fail), (3, Then::Succeed), (4, Then::Fail)];
        let (log, numbers) = stage.write(&writes);
        let wanted = "1 runs, 2 runs, 1 runs, 2 runs, 3 runs, 4 runs, 1 is there, 2 failed, 3 is there, 4 failed";
        assert_eq!((log, numbers), (lines(wanted), vec![1, 3]));
        // The next group takes care from the start, so nothing is done twice; the one after it believes in its writes again.
        let (log, _) = stage.write(&[(5, Then::Succeed), (6, Then::Fail), (7, Then::Succeed)]);
        assert_eq!(log, lines("5 runs, 6 runs, 7 runs, 5 is there, 6 failed, 7 is there"));
        let (log, _) = stage.write(&[(8, Then::Succeed), (9, Then::Succeed)]);
        assert_eq!(log, lines("8 runs, 9 runs, 8 is there, 9 is there"));
        assert!(!stage.groups.is_careful);
    }

    #[test]
    fn the_first_that_fails_is_answered_at_once_and_holds_nobody_up() {
        let (log, numbers) = Stage::new().write(&[(1, Then::Fail), (2, Then::Succeed)]);
        assert_eq!((log, numbers), (lines("1 runs, 1 failed"), vec![]), "the rest is the next group");
    }

    #[test]
    fn a_panic_takes_nobody_along() {
        let mut stage = Stage::new();
        for groups in 0..2 {
            let at = groups * 10;
            let (log, numbers) =
                stage.write(&[(at + 1, Then::Succeed), (at + 2, Then::Panic), (at + 3, Then::Succeed)]);
            let told: Vec<_> = log.into_iter().filter(|line| !line.ends_with("runs")).collect();
            assert_eq!(told, [format!("{} is there", at + 1), format!("{} is there", at + 3)]);
            assert_eq!(numbers[numbers.len() - 2..], [at + 1, at + 3]);
        }
    }

    #[test]
    fn where_the_commit_fails_all_are_told_so_and_nothing_is_there() {
        let (log, numbers) = Stage::new().write(&[(1, Then::Succeed), (2, Then::Dangle), (3, Then::Fail)]);
        let told: Vec<_> = log.into_iter().filter(|line| !line.ends_with("runs")).collect();
        assert_eq!(told, ["1 is not committed", "2 is not committed", "3 failed"]);
        assert_eq!(numbers, Vec::<i64>::new());
    }
}
