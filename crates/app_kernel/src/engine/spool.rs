//! What a process notes down beside its requests and others apply later: records in files that only grow. Each process has its own, and in it
//! each thread writes to one of a few, so that threads seldom wait for each other.
//!
//! - A record is with the operating system before [`Spool::append`] returns: killing the process loses nothing. It is not forced to the disk,
//!   which would cost each request a journey there: a power cut may lose the last seconds.
//! - What happens often is added up first ([`Spool::add`]) and is with the operating system before [`Spool::settle`] returns: what came
//!   meanwhile is written with it, as one record for each kind.
//! - A record is a line: a checksum (CRC-32, in hex), a space, the text. What a torn write left does not fit its checksum and is skipped, counted.
//! - A file's owner holds a lock on it while it lives. [`Spool::orphans`] are files whose owner is gone: any process of the same folder may
//!   apply what is left in them.
//! - On a full disk records wait in memory, up to [`MOST_WAITING`] bytes, and are written once there is room; beyond that they are lost, which is
//!   told. What is noted down here must not fail a request.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::digits::{push_whole, write_hex};
use crate::base::id::new_id;

/// From this length on a process begins a new file, so that old ones can go.
const LONGEST_FILE: u64 = 8 << 20;
/// How many files a process writes at a time, at most.
const MOST_WRITERS: usize = 8;
/// What waits in memory at most for each file while nothing can be written, in bytes.
const MOST_WAITING: usize = 1 << 20;
/// How much is read at once, in bytes.
const CHUNK: u64 = 512 << 10;
/// How many kinds are added up at a time, at most; the one beyond is looked for among so many.
const MOST_KINDS: usize = 32;
const SUFFIX: &str = "spool";
/// What the record of a sum begins with.
const SUM: &str = "r\t";
/// What stands where the checksum of a line comes.
const NO_CHECKSUM: &str = "00000000 ";

thread_local! {
    /// Which of the writers a thread takes: threads take turns.
    static TURN: usize = {
        static TURNS: AtomicUsize = AtomicUsize::new(0);
        TURNS.fetch_add(1, Ordering::Relaxed)
    };
}

/// The records of this process, and those that others left.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    writers: Box<[Mutex<Writer>]>,
    /// Up to where the files of this process are applied, in bytes. Whoever applies holds it.
    pub(crate) applied: tokio::sync::Mutex<HashMap<String, u64>>,
}

#[derive(Debug, Default)]
struct Writer {
    current: Option<Open>,
    finished: Vec<Open>,
    waiting: Vec<u8>,
    lost: u64,
    is_failing: bool,
    unsettled: Unsettled,
}

/// What is added up and not written down yet. Its texts are kept for the next ones.
#[derive(Debug, Default)]
struct Unsettled {
    /// The first `used` of them count.
    kinds: Vec<Kind>,
    used: usize,
    /// How much was ever added.
    added: u64,
    /// How much of that is written down.
    settled: u64,
    lines: String,
}

#[derive(Debug, Default)]
struct Kind {
    text: String,
    count: u64,
    numbers: Numbers,
}

/// The numbers that are added up.
type Numbers = [u64; 2];

/// Up to where a writer has to be settled.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    writer: usize,
    added: u64,
}

/// How often something of a kind happened, and what its numbers add up to: all fit an `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum<'a> {
    pub(crate) count: u64,
    pub(crate) numbers: Numbers,
    pub(crate) kind: &'a str,
}

/// A file whose lock is held as long as this lives.
#[derive(Debug)]
struct Open {
    file: File,
    name: String,
    length: u64,
}

/// A file with records, up to the length that was known when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) length: u64,
    /// Whether more may come.
    pub(crate) is_current: bool,
}

/// A file whose owner is gone. Nobody else takes it while this lives.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) part: Part,
    _lock: File,
}

/// Records of one file, from one place to another.
#[derive(Debug)]
pub(crate) struct Records {
    /// Their lines.
    lines: Vec<u8>,
    /// The place behind them.
    pub(crate) end: u64,
    /// Whether half a line follows that never becomes a whole one.
    pub(crate) is_torn: bool,
}

impl Records {
    /// Each record; none for a line that does not fit its checksum.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        self.lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(text_of)
    }
}

impl Spool {
    /// A place for records. Nothing is made before the first one.
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_writers(folder, threads.min(MOST_WRITERS))
    }

    fn with_writers(folder: impl Into<PathBuf>, writers: usize) -> Self {
        let writers = (0..writers.max(1)).map(|_| Mutex::default()).collect();
        Spool { folder: folder.into(), writers, applied: tokio::sync::Mutex::default() }
    }

    /// The place of the writer of this thread.
    fn place(&self) -> usize {
        TURN.with(|turn| *turn) % self.writers.len()
    }

    /// Notes a record down. The text has no line break.
    pub(crate) fn append(&self, text: &str) {
        let mut line = String::with_capacity(NO_CHECKSUM.len() + text.len() + 1);
        push_record(&mut line, |line| line.push_str(text));
        held(&self.writers[self.place()]).note_down(&self.folder, line.as_bytes(), 1);
    }

    /// Counts something of the kind that is written to the end of a text, without a line break, and adds its numbers up. It is not noted down
    /// before it is settled.
    pub(crate) fn add(&self, numbers: Numbers, write_kind: impl FnOnce(&mut String)) -> Mark {
        let place = self.place();
        let mut writer = held(&self.writers[place]);
        if writer.unsettled.used == MOST_KINDS {
            writer.settle(&self.folder);
        }
        Mark { writer: place, added: writer.unsettled.add(numbers, write_kind) }
    }

    /// Notes down what was added up to a mark, and whatever came to the same writer since, unless that was done meanwhile.
    pub(crate) fn settle(&self, mark: Mark) {
        let mut writer = held(&self.writers[mark.writer]);
        if writer.unsettled.settled < mark.added {
            writer.settle(&self.folder);
        }
    }

    /// The files of this process; of each writer the oldest first. Writes what is in memory before, where that is possible now.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.writers.iter().flat_map(|writer| held(writer).parts(&self.folder)).collect()
    }

    /// How much of this process is not applied yet, in bytes; it waits for whoever applies.
    pub(crate) async fn backlog_bytes(&self) -> u64 {
        let applied = self.applied.lock().await;
        let left = |part: &Part| part.length.saturating_sub(applied.get(&part.name).copied().unwrap_or_default());
        self.parts().iter().map(left).sum()
    }

    /// Removes a file of this process to which nothing comes any more.
    pub(crate) fn remove_finished(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))?;
        for writer in &self.writers {
            held(writer).finished.retain(|open| open.name != name);
        }
        Ok(())
    }

    /// Lets the next records begin new files.
    pub(crate) fn finish_current(&self) {
        for writer in &self.writers {
            let mut writer = held(writer);
            writer.settle(&self.folder);
            let current = writer.current.take();
            writer.finished.extend(current);
        }
    }

    /// Files that other processes left behind.
    pub(crate) fn orphans(&self) -> io::Result<Vec<Orphan>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let ours: Vec<String> = self.parts().into_iter().map(|part| part.name).collect();
        let mut orphans = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            if path.extension().is_none_or(|ending| ending != SUFFIX) || ours.contains(&name) {
                continue;
            }
            let Ok(lock) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
            // One that another has applied and removed meanwhile has no name any more.
            if lock.try_lock().is_ok() && path.exists() {
                let length = lock.metadata()?.len();
                orphans.push(Orphan { part: Part { name, path, length, is_current: false }, _lock: lock });
            }
        }
        Ok(orphans)
    }

    /// Removes a file that another process left.
    pub(crate) fn remove_orphan(&self, orphan: &Orphan) -> io::Result<()> {
        fs::remove_file(&orphan.part.path)
    }
}

fn held(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    fn parts(&mut self, folder: &Path) -> Vec<Part> {
        self.settle(folder);
        self.catch_up(folder);
        let finished = self.finished.iter().map(|open| open.part(folder, false));
        finished.chain(self.current.as_ref().map(|open| open.part(folder, true))).collect()
    }

    /// Notes down what is added up.
    fn settle(&mut self, folder: &Path) {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        let records = unsettled.settle();
        if records > 0 {
            self.note_down(folder, unsettled.lines.as_bytes(), records);
        }
        self.unsettled = unsettled;
    }

    /// Writes so many lines, or keeps them until they can be written.
    fn note_down(&mut self, folder: &Path, lines: &[u8], records: u64) {
        if self.waiting.is_empty() {
            match self.write(folder, lines) {
                Ok(()) => return,
                Err(error) => self.note_failure(folder, &error),
            }
        }
        if self.waiting.len() + lines.len() > MOST_WAITING {
            self.lost += records;
            return;
        }
        self.waiting.extend_from_slice(lines);
        self.catch_up(folder);
    }

    fn write(&mut self, folder: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.current.as_ref().is_some_and(|open| open.length >= LONGEST_FILE) {
            let full = self.current.take();
            self.finished.extend(full);
        }
        let open = match &mut self.current {
            Some(open) => open,
            none => none.insert(Open::create(folder)?),
        };
        if let Err(error) = open.file.write_all(bytes) {
            // What came half goes; where even that fails, its checksum tells.
            let _ = open.file.set_len(open.length).and_then(|()| open.file.seek(SeekFrom::End(0)));
            return Err(error);
        }
        open.length += bytes.len() as u64;
        Ok(())
    }

    /// Tries to write what waits.
    fn catch_up(&mut self, folder: &Path) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        match self.write(folder, &waiting) {
            Ok(()) => {
                self.is_failing = false;
                let lost = std::mem::take(&mut self.lost);
                tracing::info!(lost, "usage is written down again; {lost} records found no room meanwhile");
            }
            Err(error) => {
                self.waiting = waiting;
                self.note_failure(folder, &error);
            }
        }
    }

    fn note_failure(&mut self, folder: &Path, error: &io::Error) {
        if !self.is_failing {
            self.is_failing = true;
            let folder = folder.display();
            tracing::warn!("{folder}: usage can't be written down and waits in memory, requests go on: {error}");
        }
    }
}

impl Unsettled {
    /// Adds one of a kind; there is room for another one. Tells how much was ever added.
    fn add(&mut self, numbers: Numbers, write_kind: impl FnOnce(&mut String)) -> u64 {
        if self.kinds.len() == self.used {
            self.kinds.push(Kind::default());
        }
        let (known, rest) = self.kinds.split_at_mut(self.used);
        let new = &mut rest[0];
        new.text.clear();
        write_kind(&mut new.text);
        let kind = match known.iter_mut().find(|kind| kind.text == new.text) {
            Some(kind) => kind,
            None => {
                self.used += 1;
                (new.count, new.numbers) = (0, Numbers::default());
                new
            }
        };
        kind.count += 1;
        for (sum, number) in kind.numbers.iter_mut().zip(numbers) {
            *sum = sum.saturating_add(number).min(i64::MAX.unsigned_abs());
        }
        self.added += 1;
        self.added
    }

    /// Writes a line for each kind and begins anew. Tells how many.
    fn settle(&mut self) -> u64 {
        self.lines.clear();
        for Kind { text, count, numbers } in &self.kinds[..self.used] {
            push_record(&mut self.lines, |line| Sum { count: *count, numbers: *numbers, kind: text }.write(line));
        }
        self.settled = self.added;
        std::mem::take(&mut self.used) as u64
    }
}

impl<'a> Sum<'a> {
    fn write(self, line: &mut String) {
        line.push_str(SUM);
        let [one, other] = self.numbers;
        for number in [self.count, one, other] {
            push_whole(line, number);
            line.push('\t');
        }
        line.push_str(self.kind);
    }

    /// What a record says; none if it is not the record of a sum.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let mut fields = text.strip_prefix(SUM)?.splitn(4, '\t');
        let mut number = || fields.next()?.parse().ok().filter(|number| i64::try_from(*number).is_ok());
        let (count, numbers) = (number()?, [number()?, number()?]);
        Some(Sum { count, numbers, kind: fields.next()? })
    }
}

impl Open {
    fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let name = format!("{}.{SUFFIX}", new_id());
        // It gets its name once it is locked, so that nobody takes it for an orphan.
        let unnamed = folder.join(format!("{name}.new"));
        let file = OpenOptions::new().create_new(true).append(true).open(&unnamed)?;
        file.try_lock().map_err(io::Error::from)?;
        fs::rename(unnamed, folder.join(&name))?;
        Ok(Open { file, name, length: 0 })
    }

    fn part(&self, folder: &Path, is_current: bool) -> Part {
        Part { name: self.name.clone(), path: folder.join(&self.name), length: self.length, is_current }
    }
}

impl Part {
    /// The next records behind a place.
    pub(crate) fn read(&self, from: u64) -> io::Result<Records> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut lines = Vec::new();
        file.take(self.length.saturating_sub(from).min(CHUNK)).read_to_end(&mut lines)?;
        let read = lines.len();
        let is_rest = from + read as u64 >= self.length;
        let whole = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let is_stuck = whole == 0 && read > 0;
        let is_torn = whole < read && ((is_rest && !self.is_current) || (is_stuck && !is_rest));
        let end = from + if is_torn { read } else { whole } as u64;
        lines.truncate(whole);
        Ok(Records { lines, end, is_torn })
    }
}

/// Writes a line to the end of others: a checksum, then what `write` writes.
fn push_record(lines: &mut String, write: impl FnOnce(&mut String)) {
    let from = lines.len();
    lines.push_str(NO_CHECKSUM);
    write(lines);
    let mut sum = [0; 8];
    write_hex(&mut sum, checksum(&lines.as_bytes()[from + NO_CHECKSUM.len()..]).into());
    lines.replace_range(from..from + sum.len(), std::str::from_utf8(&sum).unwrap_or_default());
    lines.push('\n');
}

/// The text of a line that fits its checksum.
fn text_of(line: &[u8]) -> Option<&str> {
    let (sum, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == checksum(text.as_bytes())).then_some(text)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn read(part: &Part, from: u64) -> Vec<String> {
        part.read(from).expect("records").texts().flatten().map(str::to_owned).collect()
    }

    fn all(part: &Part) -> Vec<String> {
        read(part, 0)
    }

    /// Promise: R-06
    #[test]
    fn what_is_noted_down_is_read_back_in_order_from_any_place() {
        let folder = folder();
        let spool = Spool::new(folder.path());
        assert_eq!(spool.parts(), [], "nothing is made before the first record");
        spool.append("one");
        let behind_one = spool.parts()[0].length;
        spool.append("two");
        let part = &spool.parts()[0];
        assert_eq!(all(part), ["one", "two"]);
        assert_eq!(read(part, behind_one), ["two"]);
        let records = part.read(0).expect("records");
        assert_eq!((records.end, records.is_torn), (part.length, false));
    }

    /// Promise: R-06
    #[test]
    fn a_torn_or_changed_record_is_skipped_and_counted() {
        let folder = folder();
        let spool = Spool::new(folder.path());
        for text in ["one", "two", "three"] {
            spool.append(text);
        }
        let path = spool.parts()[0].path.clone();
        drop(spool);
        let mut bytes = fs::read(&path).expect("a file");
        bytes[9] = b'O';
        bytes.truncate(bytes.len() - 2);
        fs::write(&path, bytes).expect("a write");
        let orphans = Spool::new(folder.path()).orphans().expect("orphans");
        let records = orphans[0].part.read(0).expect("records");
        assert_eq!(records.texts().collect::<Vec<_>>(), [None, Some("two")]);
        assert_eq!((records.end, records.is_torn), (orphans[0].part.length, true));
    }

    /// Promise: R-06
    #[test]
    fn a_file_is_an_orphan_only_once_its_owner_is_gone_and_only_for_one() {
        let folder = folder();
        let (owner, other) = (Spool::new(folder.path()), Spool::new(folder.path()));
        owner.append("one");
        assert!(other.orphans().expect("orphans").is_empty() && owner.orphans().expect("orphans").is_empty());
        drop(owner);
        let taken = other.orphans().expect("orphans");
        assert_eq!(taken.len(), 1);
        assert!(Spool::new(folder.path()).orphans().expect("orphans").is_empty(), "it is taken");
        other.remove_orphan(&taken[0]).expect("it goes");
        drop(taken);
        assert!(other.orphans().expect("orphans").is_empty());
    }

    #[test]
    fn a_long_file_is_followed_by_another_and_can_go() {
        let folder = folder();
        let spool = Spool::new(folder.path());
        let long = "x".repeat(64 << 10);
        let files = || spool.parts().iter().map(|part| part.is_current).collect::<Vec<_>>();
        while files().len() < 2 {
            spool.append(&long);
        }
        assert_eq!(files(), [false, true]);
        let finished = spool.parts().remove(0);
        let (mut from, mut found) = (0, 0);
        while from < finished.length {
            let records = finished.read(from).expect("records");
            (from, found) = (records.end, found + records.texts().flatten().count());
        }
        assert_eq!(found as u64, finished.length / (long.len() as u64 + 10));
        spool.remove_finished(&finished.name).expect("it goes");
        assert_eq!((files(), finished.path.exists()), (vec![true], false));
    }

    /// Promise: R-06
    #[test]
    fn threads_share_a_few_files_and_lose_nothing() {
        let folder = folder();
        let spool = Spool::with_writers(folder.path(), 2);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let spool = &spool;
                scope.spawn(move || (0..500).for_each(|number| spool.append(&format!("{thread}:{number}"))));
            }
        });
        let parts = spool.parts();
        assert!(parts.len() <= 2 && parts.iter().all(|part| part.is_current));
        let mut found: Vec<String> = parts.iter().flat_map(all).collect();
        found.sort();
        let mut wanted: Vec<String> = (0..2000).map(|at| format!("{}:{}", at / 500, at % 500)).collect();
        wanted.sort();
        assert_eq!(found, wanted);
        spool.finish_current();
        assert!(spool.parts().iter().all(|part| !part.is_current));
    }

    fn sums(spool: &Spool) -> Vec<String> {
        spool.parts().iter().flat_map(all).collect()
    }

    fn add(spool: &Spool, latency: u64, kind: &str) -> Mark {
        spool.add([latency, 7], |text| text.push_str(kind))
    }

    /// Promise: R-06
    #[test]
    fn what_came_together_is_written_once_for_each_kind_when_the_first_settles() {
        let folder = folder();
        let spool = Spool::with_writers(folder.path(), 1);
        let marks = [add(&spool, 1, "a"), add(&spool, 2, "b\tc"), add(&spool, 3, "a")];
        assert!(fs::read_dir(folder.path()).expect("a folder").next().is_none(), "nothing is written yet");
        spool.settle(marks[0]);
        let written = || fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a file").path());
        let text = || written().map(|path| fs::read_to_string(path).expect("text")).collect::<String>();
        let first = text();
        assert_eq!(first.lines().count(), 2, "it is with the operating system: {first}");
        marks.iter().for_each(|mark| spool.settle(*mark));
        assert_eq!(text(), first, "the others were written with it");
        spool.settle(add(&spool, 5, "a"));
        assert_eq!(sums(&spool), ["r\t2\t4\t14\ta", "r\t1\t2\t7\tb\tc", "r\t1\t5\t7\ta"]);
        let sum = Sum { count: 1, numbers: [2, 7], kind: "b\tc" };
        assert_eq!(Sum::read("r\t1\t2\t7\tb\tc"), Some(sum));
        let beyond = format!("r\t1\t2\t{}\ta", u64::MAX);
        for other in ["", "r\t", "r\t1\t2\t7", "r\t1\t2\t-7\ta", "r\tx\t2\t7\ta", "{}", &beyond] {
            assert_eq!(Sum::read(other), None, "{other:?}");
        }
    }

    /// Promise: R-06
    #[test]
    fn what_nobody_settled_is_there_for_who_applies_and_at_the_end() {
        let folder = folder();
        let spool = Spool::with_writers(folder.path(), 2);
        add(&spool, 1, "a");
        assert_eq!(sums(&spool), ["r\t1\t1\t7\ta"]);
        add(&spool, u64::MAX, "b");
        add(&spool, u64::MAX, "b");
        spool.finish_current();
        assert!(spool.parts().iter().all(|part| !part.is_current));
        let most = i64::MAX;
        assert_eq!(sums(&spool), ["r\t1\t1\t7\ta".to_owned(), format!("r\t2\t{most}\t14\tb")]);
    }

    /// Promise: R-06
    #[test]
    fn threads_that_add_more_kinds_than_are_kept_lose_none() {
        let folder = folder();
        let spool = Spool::with_writers(folder.path(), 2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let one = || (0..5000_u64).for_each(|at| spool.settle(add(&spool, 1, &(at % 100).to_string())));
                let other = || (0..5000_u64).for_each(|at| _ = add(&spool, 1, &(at % 100).to_string()));
                scope.spawn(one);
                scope.spawn(other);
            }
        });
        let mut counts = HashMap::<String, u64>::new();
        for text in sums(&spool) {
            let Sum { count, numbers, kind } = Sum::read(&text).expect("a sum");
            assert_eq!(numbers, [count, 7 * count]);
            *counts.entry(kind.to_owned()).or_default() += count;
        }
        assert_eq!(counts.len(), 100);
        assert!(counts.values().all(|count| *count == 400), "{counts:?}");
    }

    /// Promise: R-18
    #[test]
    fn where_nothing_can_be_written_records_wait_and_are_written_later() {
        let folder = folder();
        let place = folder.path().join("usage");
        fs::write(&place, "in the way").expect("a file");
        let spool = Spool::new(&place);
        spool.append("one");
        spool.append("two");
        assert_eq!(spool.parts(), []);
        fs::remove_file(&place).expect("it goes");
        spool.append("three");
        assert_eq!(all(&spool.parts()[0]), ["one", "two", "three"]);
    }
}
