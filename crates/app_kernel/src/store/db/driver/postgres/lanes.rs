//! Connections that several lookups share.
//!
//! A lookup reads one row by its key. It waits for nobody and leaves nothing behind in its session, so another may be sent on the same
//! connection before it is answered: PostgreSQL answers in order, and what is sent and read together costs one system call. A lookup therefore
//! takes a connection of its own while there is one that is idle, and else goes along with other lookups instead of waiting for one.
//! Whatever may take long, or is a transaction, never shares.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use deadpool::managed::{Object, TimeoutType, Timeouts};

use super::pool::{Connection, Pool, PoolError, Pooled};

/// How many lookups are on their way on one connection at most: one that is slow holds up no more.
const MOST_AT_ONCE: usize = 32;
/// How many lookups a connection serves before it goes back to the pool, where others may wait for it.
const MOST_IN_ALL: u32 = 256;

/// A connection that belongs to lookups until the last of them has its answer.
pub(super) struct Lane {
    /// None only while it is being dropped.
    connection: Option<Pooled>,
    taken: AtomicU32,
    is_broken: AtomicBool,
}

impl Lane {
    /// Nobody joins any more, and it is closed once the last has left.
    pub(super) fn give_up(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    fn has_room(&self) -> bool {
        !self.is_broken.load(Ordering::Relaxed) && self.taken.load(Ordering::Relaxed) < MOST_IN_ALL
    }
}

impl Deref for Lane {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("only the drop takes it")
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if *self.is_broken.get_mut()
            && let Some(connection) = self.connection.take()
        {
            drop(Object::take(connection));
        }
    }
}

/// The lanes of a pool.
#[derive(Default)]
pub(super) struct Lanes(Mutex<Vec<Weak<Lane>>>);

impl Lanes {
    /// A lane with room.
    pub(super) async fn enter(&self, pool: &Pool) -> Result<Arc<Lane>, PoolError> {
        let at_once = Timeouts { wait: Some(Duration::ZERO), ..pool.timeouts() };
        match pool.timeout_get(&at_once).await {
            Err(PoolError::Timeout(TimeoutType::Wait)) => {}
            outcome => return outcome.map(|connection| self.open(connection)),
        }
        match self.join() {
            Some(lane) => Ok(lane),
            None => pool.get().await.map(|connection| self.open(connection)),
        }
    }

    fn open(&self, connection: Pooled) -> Arc<Lane> {
        let (taken, is_broken) = (AtomicU32::new(1), AtomicBool::new(false));
        let lane = Arc::new(Lane { connection: Some(connection), taken, is_broken });
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.strong_count() > 0);
        lanes.push(Arc::downgrade(&lane));
        lane
    }

    /// The emptiest lane, unless all are full.
    fn join(&self) -> Option<Arc<Lane>> {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let least = lanes.iter().filter(|lane| (1..MOST_AT_ONCE).contains(&lane.strong_count()));
        let lane = least.min_by_key(|lane| lane.strong_count())?.upgrade().filter(|lane| lane.has_room())?;
        lane.taken.fetch_add(1, Ordering::Relaxed);
        Some(lane)
    }
}

#[cfg(all(test, feature = "mysql"))]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::super::Options;
    use super::super::connect::Address;
    use super::*;
    use crate::base::secret::Secret;
    use crate::store::db::dialect::Backend;
    use crate::store::db::driver::server_tests::server_url;
    use crate::store::db::driver::{Driver, Operation, RowRef, Session};
    use crate::store::db::error::DbError;
    use crate::store::db::row::DecodeError;
    use crate::store::db::url::DatabaseUrl;
    use crate::store::db::value::Value;

    /// A pool of so many connections; none where PostgreSQL is left out.
    fn pool(size: usize) -> Option<Pool> {
        let url = server_url(Backend::Postgres)?;
        let options = Options { pool_size: Some(size), ..Options::default() };
        Some(Address::read(&url, &options).and_then(|address| address.pool(&options)).expect("a pool"))
    }

    async fn enter_all(lanes: &Lanes, pool: &Pool, count: usize) -> Vec<Arc<Lane>> {
        join_all((0..count).map(|_| lanes.enter(pool))).await.into_iter().map(|lane| lane.expect("a lane")).collect()
    }

    #[tokio::test]
    async fn an_idle_connection_comes_before_one_that_is_shared() {
        let Some(pool) = pool(2) else { return };
        let lanes = Lanes::default();
        let (one, two) = (lanes.enter(&pool).await.expect("a lane"), lanes.enter(&pool).await.expect("a lane"));
        assert!(!Arc::ptr_eq(&one, &two));
        let three = lanes.enter(&pool).await.expect("a lane");
        let four = lanes.enter(&pool).await.expect("a lane");
        assert!(!Arc::ptr_eq(&three, &four), "the emptier one is taken");
        drop((one, two, three, four));
        assert_eq!((pool.status().size, pool.status().available), (2, 2), "both went back");
    }

    #[tokio::test]
    async fn a_lane_takes_so_many_at_once_and_the_next_waits() {
        let Some(pool) = pool(1) else { return };
        let lanes = Lanes::default();
        let first = lanes.enter(&pool).await.expect("a lane");
        let others = enter_all(&lanes, &pool, MOST_AT_ONCE - 1).await;
        assert!(others.iter().all(|lane| Arc::ptr_eq(lane, &first)));
        let mut next = Box::pin(lanes.enter(&pool));
        assert!((&mut next).now_or_never().is_none(), "it is full");
        drop((first, others));
        assert_eq!(next.await.expect("a lane").taken.load(Ordering::Relaxed), 1, "a lane of its own");
    }

    #[tokio::test]
    async fn a_lane_is_given_back_although_lookups_never_cease() {
        let Some(pool) = pool(1) else { return };
        let lanes = Lanes::default();
        let mut last = lanes.enter(&pool).await.expect("a lane");
        let mut waiting = Box::pin(pool.get());
        assert!((&mut waiting).now_or_never().is_none());
        for _ in 1..MOST_IN_ALL {
            last = lanes.enter(&pool).await.expect("a lane");
        }
        let mut late = Box::pin(lanes.enter(&pool));
        assert!((&mut late).now_or_never().is_none(), "nobody joins any more");
        drop(last);
        let other_work = waiting.await.expect("a connection");
        assert!((&mut late).now_or_never().is_none());
        drop(other_work);
        late.await.expect("a lane");
    }

    /// Promise: R-09
    #[tokio::test]
    async fn a_lane_that_broke_is_closed_and_nobody_joins_it() {
        let Some(pool) = pool(1) else { return };
        let lanes = Lanes::default();
        let (one, two) = (lanes.enter(&pool).await.expect("a lane"), lanes.enter(&pool).await.expect("a lane"));
        one.give_up();
        drop(one);
        let mut next = Box::pin(lanes.enter(&pool));
        assert!((&mut next).now_or_never().is_none(), "the other lookup still has it");
        drop(two);
        assert!(next.await.expect("a lane").client.simple_query("SELECT 1").await.is_ok());
    }

    /// A lookup of a number. Those that seven divides can't be read.
    struct Number(i64);

    impl Operation for Number {
        type Output = Vec<i64>;

        async fn run(&self, session: &mut Session<'_>) -> Result<Vec<i64>, DbError> {
            let decode = |row: &RowRef<'_>| match row.int(0)? {
                number if number % 7 == 0 => {
                    Err(DecodeError { column: "number".to_owned(), problem: "is divided by seven".into() })
                }
                number => Ok(number),
            };
            session.query("SELECT $1::int8", &[Value::Int(self.0)], decode).await
        }

        fn is_lookup(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn everybody_gets_the_answer_to_what_they_asked_although_some_leave_and_some_fail() {
        let Some(url) = server_url(Backend::Postgres) else { return };
        let options = Options { pool_size: Some(2), ..Options::default() };
        let url = DatabaseUrl { backend: Backend::Postgres, text: Secret::new(url) };
        let driver = Driver::connect(&url, &options).await.expect("a connection");
        let ask = async |number: i64| {
            let answer = driver.read(Number(number));
            if number % 5 == 0 {
                // Polled once, so that it is on its way, and left.
                let _ = tokio::time::timeout(Duration::ZERO, answer).await;
                return;
            }
            match answer.await {
                Ok(found) => assert_eq!(found, [number]),
                Err(error) => assert!(number % 7 == 0, "{number}: {error:?}"),
            }
        };
        for round in 0..20 {
            join_all((0..100).map(|at| ask(round * 100 + at))).await;
        }
        driver.close().await;
    }
}
