//! Connections that several lookups share.
//!
//! A lookup reads one row by its key. It waits for nobody and leaves nothing behind in its session, so another may be sent on the same
//! connection before it is answered: PostgreSQL answers in order, and what is sent and read together costs one system call and wakes one process.
//! So lookups keep to a few lanes: a third goes along with others, as long as these are few and answers come; else it takes an idle connection, and
//! where there is none, it goes along with more of them instead of waiting. Whatever may take long, or is a transaction, never shares.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use deadpool::managed::{Object, TimeoutType, Timeouts};

use super::pool::{Connection, Pool, PoolError, Pooled};

/// From how many lanes on lookups go together although there are idle connections.
const FEW_LANES: usize = 2;
/// How many lookups do so on one connection.
const FEW_AT_ONCE: usize = 8;
/// How long such a lane may be without an answer: who joins is not to wait for a table that is being altered.
const PATIENCE: Duration = Duration::from_millis(20);
/// How many lookups are on their way on one connection at most: one that is slow holds up no more.
const MOST_AT_ONCE: usize = 32;
/// How many lookups a connection serves before it goes back to the pool, where others may wait for it.
const MOST_IN_ALL: u32 = 256;

/// A connection that belongs to lookups until the last of them has its answer.
pub(super) struct Lane {
    /// None only while it is being dropped.
    connection: Option<Pooled>,
    opened: Instant,
    /// When the last answer came, in microseconds since it was opened.
    answered: AtomicU64,
    taken: AtomicU32,
    is_broken: AtomicBool,
}

impl Lane {
    /// Nobody joins any more, and it is closed once the last has left.
    pub(super) fn give_up(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }

    /// Whether answers come. There is always one that is awaited, or nobody would have the lane.
    fn is_moving(&self, now: Instant) -> bool {
        let last = self.opened + Duration::from_micros(self.answered.load(Ordering::Relaxed));
        now.saturating_duration_since(last) < PATIENCE
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

/// A lookup's place on a lane.
pub(super) struct Seat(Arc<Lane>);

impl Seat {
    fn on(lane: Arc<Lane>) -> Self {
        lane.taken.fetch_add(1, Ordering::Relaxed);
        Seat(lane)
    }
}

impl Deref for Seat {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let after = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.answered.store(after, Ordering::Relaxed);
    }
}

/// The lanes of a pool.
#[derive(Default)]
pub(super) struct Lanes(Mutex<Vec<Weak<Lane>>>);

impl Lanes {
    /// A place on a lane with room.
    pub(super) async fn enter(&self, pool: &Pool) -> Result<Seat, PoolError> {
        if let Some(seat) = self.join_few() {
            return Ok(seat);
        }
        let at_once = Timeouts { wait: Some(Duration::ZERO), ..pool.timeouts() };
        match pool.timeout_get(&at_once).await {
            Err(PoolError::Timeout(TimeoutType::Wait)) => {}
            outcome => return outcome.map(|connection| self.open(connection)),
        }
        match self.join() {
            Some(seat) => Ok(seat),
            None => pool.get().await.map(|connection| self.open(connection)),
        }
    }

    fn open(&self, connection: Pooled) -> Seat {
        let (taken, answered, is_broken) = (AtomicU32::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let lane = Arc::new(Lane { connection: Some(connection), opened: Instant::now(), answered, taken, is_broken });
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.strong_count() > 0);
        lanes.push(Arc::downgrade(&lane));
        Seat::on(lane)
    }

    /// The emptiest lane of those that move, where there are a few of them.
    fn join_few(&self) -> Option<Seat> {
        let now = Instant::now();
        let (mut moving, mut emptiest) = (0, None::<(usize, Arc<Lane>)>);
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.iter().filter_map(Weak::upgrade).filter(|lane| lane.is_moving(now)) {
            moving += 1;
            let lookups = Arc::strong_count(&lane) - 1;
            let least = emptiest.as_ref().map_or(FEW_AT_ONCE, |(least, _)| *least);
            if lookups < least && lane.has_room() {
                emptiest = Some((lookups, lane));
            }
        }
        emptiest.filter(|_| moving >= FEW_LANES).map(|(_, lane)| Seat::on(lane))
    }

    /// The emptiest lane, unless all are full.
    fn join(&self) -> Option<Seat> {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let least = lanes.iter().filter(|lane| (1..MOST_AT_ONCE).contains(&lane.strong_count()));
        let lane = least.min_by_key(|lane| lane.strong_count())?.upgrade().filter(|lane| lane.has_room())?;
        Some(Seat::on(lane))
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

    const HOUR_MICROS: u64 = 3_600_000_000;

    async fn enter_all(lanes: &Lanes, pool: &Pool, count: usize) -> Vec<Seat> {
        join_all((0..count).map(|_| lanes.enter(pool))).await.into_iter().map(|seat| seat.expect("a lane")).collect()
    }

    fn is_same(one: &Seat, other: &Seat) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }

    #[tokio::test]
    async fn lookups_keep_to_a_few_lanes_while_these_are_nearly_empty() {
        let Some(pool) = pool(4) else { return };
        // Connected beforehand, which takes longer than a lane may be without an answer.
        drop(join_all((0..4).map(|_| pool.get())).await);
        let lanes = Lanes::default();
        let mut seats = Vec::new();
        for _ in 0..FEW_LANES * FEW_AT_ONCE {
            seats.push(lanes.enter(&pool).await.expect("a lane"));
            // As if an answer had just come, however slow this machine is.
            seats.iter().for_each(|seat: &Seat| seat.answered.store(HOUR_MICROS, Ordering::Relaxed));
        }
        assert!(!is_same(&seats[0], &seats[1]), "the first two have their own");
        for lane in &seats[..FEW_LANES] {
            assert_eq!(seats.iter().filter(|seat| is_same(seat, lane)).count(), FEW_AT_ONCE);
        }
        let next = lanes.enter(&pool).await.expect("a lane");
        assert!(seats.iter().all(|seat| !is_same(seat, &next)), "an idle connection comes before a longer queue");
        drop((seats, next));
        assert_eq!((pool.status().size, pool.status().available), (4, 4), "all went back");
    }

    #[tokio::test]
    async fn a_lane_without_an_answer_is_left_alone_while_there_are_idle_connections() {
        let Some(pool) = pool(3) else { return };
        drop(join_all((0..3).map(|_| pool.get())).await);
        let lanes = Lanes::default();
        let stuck = enter_all(&lanes, &pool, FEW_LANES).await;
        tokio::time::sleep(PATIENCE).await;
        let other = lanes.enter(&pool).await.expect("a lane");
        assert!(stuck.iter().all(|seat| !is_same(seat, &other)));
        let last_resort = lanes.enter(&pool).await.expect("a lane");
        assert_eq!(pool.status().size, 3, "nothing is idle, and so nothing is left but to join");
        drop((stuck, other, last_resort));
    }

    #[tokio::test]
    async fn a_lane_takes_so_many_at_once_and_the_next_waits() {
        let Some(pool) = pool(1) else { return };
        let lanes = Lanes::default();
        let first = lanes.enter(&pool).await.expect("a lane");
        let others = enter_all(&lanes, &pool, MOST_AT_ONCE - 1).await;
        assert!(others.iter().all(|lane| is_same(lane, &first)));
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
