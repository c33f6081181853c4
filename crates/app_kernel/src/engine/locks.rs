//! Locks that one holder in all processes has at a time, each by a name.
//!
//! A lock is a row of the app's database, claimed for the length of a lease by the database's clock and renewed while it is held. The database
//! is the one that keeps what is being protected, so it is the one that says who may write; Redis, which may forget, is not asked.
//!
//! A lease can be lost: the process is stopped for longer than it lasts, or cut off from the database. So a holder can see whether they still
//! have it, is told when they have not ([`LockGuard::lost`]), and gets a number with it that only grows ([`LockGuard::fencing_token`]): what is
//! written with the number, and refused under a smaller one than the last, is safe even from a holder who woke up late.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::id::new_id;
use crate::engine::claims::{self, Claim, FENCE};
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::{Backend, Db};

const TABLE: &str = "kernel_locks";
/// How long a lease lasts where nothing is said.
const TTL: Duration = Duration::from_secs(30);
/// The longest name, in bytes.
const LONGEST_NAME: usize = 200;
/// How long somebody who waits lets pass between two looks: from the first to the longest.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// How long a lock that nobody has is remembered, and how often those are swept out.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
const BETWEEN_SWEEPS: Duration = Duration::from_secs(3600);

/// A lock; its id is its name.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_locks", history = false)]
struct LockRow {
    /// Who has it.
    worker_id: Option<String>,
    /// One more with each holder. Begins at the milliseconds of the day it was made, so that it grows even after the row was swept out.
    fence: i64,
    /// When the lease ends, or ended.
    #[entity(index)]
    due_at: Timestamp,
}

/// The tables of this engine.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![LockRow::definition()]
}

/// A lock that may be taken; from [`Kernel::lock`](crate::kernel::Kernel::lock).
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # async fn write_report(fencing_token: i64) -> Result<()> { Ok(()) }
/// # async fn example(kernel: &Kernel) -> Result<()> {
/// if let Some(guard) = kernel.lock("nightly-report").try_acquire().await? {
///     guard.while_held(write_report(guard.fencing_token())).await??;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nobody has a lock before it is acquired"]
pub struct Lock {
    db: Result<Db, Arc<Error>>,
    name: String,
    ttl: Duration,
}

impl Lock {
    pub(crate) fn new(db: Result<Db>, name: String) -> Self {
        Lock { db: db.map_err(Arc::new), name, ttl: TTL }
    }

    /// How long the lease lasts, 30 seconds where nothing is said. It is renewed while it is held; so long others wait after a holder was killed.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Takes the lock, as soon as nobody else has it.
    ///
    /// # Errors
    /// Where the name is empty or longer than 200 bytes, the lease is shorter than a second or longer than an hour, or there is no database.
    pub async fn acquire(&self) -> Result<LockGuard> {
        let mut pause = FIRST_LOOK;
        loop {
            if let Some(guard) = self.try_acquire().await? {
                return Ok(guard);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_LOOK);
        }
    }

    /// Takes the lock, if nobody else has it now.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>> {
        let db = self.checked()?;
        let holder = new_id();
        // Before the database begins to count, so that we never believe in it for longer.
        let began = Instant::now();
        let mut fence = self.claim(db, &holder).await?;
        if fence.is_none() && make(db, &self.name).await? {
            fence = self.claim(db, &holder).await?;
        }
        let Some(fence) = fence else { return Ok(None) };
        Ok(Some(LockGuard::new(Held { db: db.clone(), name: self.name.clone(), holder, fence, ttl: self.ttl }, began)))
    }

    fn checked(&self) -> Result<&Db> {
        let Lock { db, name, ttl } = self;
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let message = format!(
                "a lock's name has 1 to {LONGEST_NAME} bytes without control characters, such as nightly-report"
            );
            return Err(Error::invalid(message));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(ttl) {
            return Err(Error::invalid(format!("the lease of a lock lasts from a second to an hour, not {ttl:?}")));
        }
        db.as_ref().map_err(|missing| Error::unavailable("locks are rows: set DATABASE_URL").cause(Arc::clone(missing)))
    }

    async fn claim(&self, db: &Db, holder: &str) -> Result<Option<i64>> {
        let free = db.sql("[id] = ").bind(self.name.as_str()).text(" AND ([worker_id] IS NULL OR [due_at] < ").now();
        let claimed = claims::claim(
            db,
            Claim {
                table: TABLE,
                free: free.text(")"),
                order: "[id]",
                set: db.sql("[updated_at] = ").now(),
                columns: "[id], [fence]",
                most: 1,
                worker_id: holder,
                lease: self.ttl,
            },
        );
        Ok(claimed.await?.first().and_then(|row| row[FENCE].as_int()))
    }
}

/// Makes the row of a lock. Answers whether there was none.
async fn make(db: &Db, name: &str) -> Result<bool> {
    let (ignore, nothing) = match db.backend() {
        Backend::MySql => (" IGNORE", ""),
        Backend::Sqlite | Backend::Postgres => ("", " ON CONFLICT DO NOTHING"),
    };
    let columns = "[id], [fence], [due_at], [created_at], [updated_at], [version]";
    let row = db.sql(format!("INSERT{ignore} INTO [{TABLE}] ({columns}) VALUES (")).bind(name).text(", ");
    let row = row.bind(db.now().as_millisecond()).text(", ").now().text(", ").now().text(", ").now();
    Ok(row.text(&format!(", 1){nothing}")).execute(db).await? > 0)
}

/// What a holder has.
#[derive(Debug)]
struct Held {
    db: Db,
    name: String,
    holder: String,
    fence: i64,
    ttl: Duration,
}

impl Held {
    /// Whether the lease was renewed; not, where somebody else has it.
    async fn renew(&self) -> Result<bool> {
        let names = std::slice::from_ref(&self.name);
        let held = claims::renew(&self.db, TABLE, &self.holder, names, self.ttl).await?;
        Ok(held.iter().any(|(_, fence)| *fence == self.fence))
    }

    async fn release(&self) -> Result<()> {
        let mine = claims::still_mine(&self.db, &self.holder, self.fence, [&self.name]);
        let release =
            self.db.sql(format!("UPDATE [{TABLE}] SET [worker_id] = NULL, [due_at] = ")).now().text(" WHERE ");
        release.part(mine).execute(&self.db).await.map(drop)
    }
}

/// A lock that is held. Released when it is dropped; the lease is renewed until then.
#[must_use = "a lock is released when its guard is dropped"]
pub struct LockGuard {
    name: String,
    fence: i64,
    /// Until when it is surely ours. Nobody else is let in before.
    until: Arc<Mutex<Instant>>,
    lost: watch::Receiver<bool>,
    let_go: Option<oneshot::Sender<()>>,
    keeper: tokio::task::JoinHandle<()>,
}

impl LockGuard {
    fn new(held: Held, began: Instant) -> Self {
        let (name, fence) = (held.name.clone(), held.fence);
        let until = Arc::new(Mutex::new(began + held.ttl));
        let (is_lost, lost) = watch::channel(false);
        let (let_go, told) = oneshot::channel();
        let keeper = tokio::spawn(keep(held, Arc::clone(&until), is_lost, told));
        LockGuard { name, fence, until, lost, let_go: Some(let_go), keeper }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A number that is larger than that of every holder before.
    #[must_use]
    pub fn fencing_token(&self) -> i64 {
        self.fence
    }

    /// Whether it is still ours. By this process' own reckoning, which is on the safe side: it asks nobody.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !*self.lost.borrow() && Instant::now() < *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it is lost, which mostly never happens.
    pub async fn lost(&self) {
        // A keeper that is gone keeps nothing.
        drop(self.lost.clone().wait_for(|lost| *lost).await);
    }

    /// Does something for as long as the lock is held; gives it up when the lock is lost.
    ///
    /// # Errors
    /// `Conflict`, with the code `lock_lost`, where the lock was lost before the end.
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.lost() => {
                let message = format!("the lock `{}` was lost before the work under it was done", self.name);
                Err(Error::conflict(message).code("lock_lost"))
            }
            done = work => Ok(done),
        }
    }

    /// Releases it, and waits until others may have it.
    pub async fn release(mut self) {
        self.let_go = None;
        // It ends by itself; where it was given up with the runtime, the lease ends.
        let _ = (&mut self.keeper).await;
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LockGuard { name, fence, .. } = self;
        f.debug_struct("LockGuard")
            .field("name", name)
            .field("fence", fence)
            .field("is_held", &self.is_held())
            .finish_non_exhaustive()
    }
}

/// Renews the lease until it is told to let go, or the lease is lost.
async fn keep(held: Held, until: Arc<Mutex<Instant>>, is_lost: watch::Sender<bool>, mut told: oneshot::Receiver<()>) {
    loop {
        let end = *until.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = async {
            tokio::time::sleep(held.ttl / 3).await;
            loop {
                let began = Instant::now();
                match held.renew().await {
                    Ok(true) => return Some(began + held.ttl),
                    Ok(false) => return None,
                    Err(error) => {
                        tracing::warn!(cause = ?error, "the lease of a lock could not be renewed; tried again")
                    }
                }
                tokio::time::sleep(held.ttl / 10).await;
            }
        };
        tokio::select! {
            biased;
            // A guard that is dropped drops its end.
            _let_go = &mut told => {
                if let Err(error) = held.release().await {
                    tracing::warn!(cause = ?error, "a lock could not be released; others get it when its lease ends");
                }
                return;
            }
            renewed = tokio::time::timeout_at(end, renewed) => match renewed {
                Ok(Some(end)) => *until.lock().unwrap_or_else(PoisonError::into_inner) = end,
                Ok(None) | Err(_) => {
                    is_lost.send_replace(true);
                    tracing::warn!("the lock `{}` is lost: its lease could not be renewed in time", held.name);
                    return;
                }
            }
        }
    }
}

/// Sweeps out locks that nobody has had for a day, at once and each hour, until it is told to stop.
pub(crate) async fn keep_tidy(db: Db, mut stop: watch::Receiver<bool>) {
    loop {
        let idle = db
            .sql(format!("DELETE FROM [{TABLE}] WHERE [due_at] < "))
            .bind(db.now() - jiff::SignedDuration::try_from(REMEMBERED).expect("a day fits"));
        if let Err(error) = idle.execute(&db).await {
            tracing::warn!("locks that nobody has could not be swept out, the next hour tries again: {error:?}");
        }
        tokio::select! {
            // A sender that is gone has stopped too.
            _told = stop.wait_for(|stopped| *stopped) => return,
            () = tokio::time::sleep(BETWEEN_SWEEPS) => {}
        }
    }
}
