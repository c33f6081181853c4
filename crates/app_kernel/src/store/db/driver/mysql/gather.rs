//! Lookups that become one statement.
//!
//! MySQL takes no statement before it has answered the one before, so where all connections are busy, lookups wait. Those that wait for the same
//! statement are then asked for together: the first of them waits for a connection, and whoever comes meanwhile goes along. The busier the
//! database is, the more rows one statement reads; where a connection is idle, nobody waits for others. Each hears only of their own row.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::super::finish::to_the_end;
use super::super::watch::Watching;
use super::super::{DbError, DecodeError, Operation, RowRef, Value, Watch};
use super::{Driver, Lease, Purpose};
use crate::store::db::places::padded;

/// How many keys one statement asks for at most: a page of rows, which is read about as quickly as one of them.
const MOST_KEYS: usize = 64;

/// What came of asking together.
pub(in super::super) enum Answer<O: Operation> {
    Told(Result<O::Output, DbError>),
    /// Nothing: it is to ask alone.
    Alone(O),
}

/// Those who wait, by the statement that they wait for.
#[derive(Default)]
pub(super) struct Gatherings(Mutex<Vec<Gathering>>);

struct Gathering {
    statement: Arc<str>,
    members: Vec<Box<dyn Member>>,
}

impl Gatherings {
    /// Whether there was nobody yet: then it is this one who takes the others along.
    fn join(&self, statement: &Arc<str>, member: Box<dyn Member>) -> bool {
        let mut gatherings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gathering) = gatherings.iter_mut().find(|gathering| Arc::ptr_eq(&gathering.statement, statement)) {
            gathering.members.push(member);
            return false;
        }
        gatherings.push(Gathering { statement: Arc::clone(statement), members: vec![member] });
        true
    }

    /// All who wait for a statement. Who comes later begins anew.
    fn leave(&self, statement: &Arc<str>) -> Vec<Box<dyn Member>> {
        let mut gatherings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = gatherings.iter().position(|gathering| Arc::ptr_eq(&gathering.statement, statement));
        place.map(|place| gatherings.swap_remove(place).members).unwrap_or_default()
    }
}

/// One who waits, whatever they make of the row.
trait Member: Send {
    /// Whether nobody listens any more.
    fn is_gone(&self) -> bool;
    fn key(&self) -> Option<&str>;
    fn for_several(&self, keys: usize) -> Option<String>;
    /// The statement is on its way.
    fn begin(&mut self);
    /// This is the row of the key.
    fn hear(&mut self, row: &RowRef<'_>);
    fn tell(self: Box<Self>, end: &End);
}

/// How the statement ended.
enum End {
    /// All rows were read.
    Answered,
    /// There was no answer, and there would be none if each asked alone.
    Failed(String),
    /// Each is to ask alone.
    Undecided,
}

impl End {
    fn of(error: &DbError) -> Self {
        match error {
            DbError::Away(cause) => End::Failed(cause.to_string()),
            _ => End::Undecided,
        }
    }
}

struct Waiting<O: Operation> {
    operation: O,
    watching: Option<Watching>,
    heard: Option<Result<O::Output, DecodeError>>,
    reply: oneshot::Sender<Answer<O>>,
}

impl<O: Operation> Member for Waiting<O> {
    fn is_gone(&self) -> bool {
        self.reply.is_closed()
    }

    fn key(&self) -> Option<&str> {
        self.operation.by_key().map(|lookup| lookup.key())
    }

    fn for_several(&self, keys: usize) -> Option<String> {
        self.operation.by_key().map(|lookup| lookup.for_several(keys, &super::MySql))
    }

    fn begin(&mut self) {
        let watch = self.operation.watch();
        self.watching = self.operation.by_key().map(|lookup| Watch::begin(watch, lookup.statement()));
    }

    fn hear(&mut self, row: &RowRef<'_>) {
        self.heard = self.operation.by_key().map(|lookup| lookup.answer(Some(row)));
    }

    fn tell(self: Box<Self>, end: &End) {
        let Waiting { operation, watching, heard, reply } = *self;
        let outcome = match end {
            End::Undecided => None,
            End::Failed(cause) => Some(Err(DbError::Away(cause.as_str().into()))),
            End::Answered => {
                let heard = heard.or_else(|| operation.by_key().map(|lookup| lookup.answer(None)));
                heard.map(|heard| heard.map_err(DbError::Decode))
            }
        };
        let answer = match (outcome, watching) {
            (None, _) => Answer::Alone(operation),
            (Some(outcome), None) => Answer::Told(outcome),
            (Some(outcome), Some(watching)) => Answer::Told(watching.end(outcome)),
        };
        let _ = reply.send(answer); // they may have left
    }
}

impl Driver {
    /// Looks a row up together with others, where all connections are busy.
    pub(in super::super) async fn look_up_together<O: Operation>(&self, operation: O) -> Answer<O> {
        let statement = operation.by_key().map(|lookup| Arc::clone(lookup.statement()));
        let Some(statement) = statement.filter(|_| self.is_busy()) else { return Answer::Alone(operation) };
        let (reply, answer) = oneshot::channel();
        let member = Box::new(Waiting { operation, watching: None, heard: None, reply });
        if self.gatherings.join(&statement, member) {
            // The others depend on it, even where this one leaves.
            to_the_end(take_along(self.clone(), statement)).await;
        }
        let given_up =
            || Answer::Told(Err(DbError::Away("the lookups that this one went along with were given up".into())));
        answer.await.unwrap_or_else(|_| given_up())
    }

    fn is_busy(&self) -> bool {
        let status = self.pool.status();
        status.available == 0 && status.size >= status.max_size
    }
}

/// Waits for a connection, and asks there for all who have come by then.
async fn take_along(driver: Driver, statement: Arc<str>) {
    let lent = driver.lend(Purpose::Lookup).await;
    let mut members = driver.gatherings.leave(&statement);
    members.retain(|member| !member.is_gone());
    let mut lease = match lent {
        Ok(lease) => lease,
        Err(error) => return tell(members, &End::of(&error)),
    };
    while !members.is_empty() {
        let rest = members.split_off(members.len().min(MOST_KEYS));
        ask(&mut lease, &statement, members).await;
        members = rest;
    }
}

async fn ask(lease: &mut Lease, statement: &str, mut members: Vec<Box<dyn Member>>) {
    let keys: Vec<&str> = members.iter().filter_map(|member| member.key()).collect();
    let params: Vec<Value> = padded(&keys).map(|key| Value::Text((*key).to_owned())).collect();
    let several = if params.len() > 1 { members[0].for_several(params.len()) } else { None };
    members.iter_mut().for_each(|member| member.begin());
    let mut on_row = |row: &RowRef<'_>| {
        let key = row.text(0)?;
        members.iter_mut().filter(|member| member.key() == Some(key)).for_each(|member| member.hear(row));
        Ok(())
    };
    let outcome = lease.statement(several.as_deref().unwrap_or(statement), &params, &mut on_row).await;
    let end = match outcome {
        Ok(_) => End::Answered,
        // The connection had ended while it waited: asked on another, they may be answered.
        Err(_) if lease.has_ended() => End::Undecided,
        Err(error) => End::of(&error),
    };
    tell(members, &end);
}

fn tell(members: Vec<Box<dyn Member>>, end: &End) {
    members.into_iter().for_each(|member| member.tell(end));
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use futures_util::future::join_all;

    use super::*;
    use crate::base::secret::Secret;
    use crate::store::db::dialect::{Backend, Dialect};
    use crate::store::db::driver::server_tests::server_url;
    use crate::store::db::driver::{self, ByKey, Options, Session};
    use crate::store::db::url::DatabaseUrl;

    /// Numbers to look up, and how often several were asked for at once.
    struct Numbers {
        one: Arc<str>,
        /// How it ends after the places.
        rest: &'static str,
        together: AtomicUsize,
    }

    impl Numbers {
        fn new() -> Arc<Self> {
            Arc::new(Numbers { one: text(1).into(), rest: "", together: AtomicUsize::new(0) })
        }
    }

    /// Finds all that do not end with a one.
    fn text(keys: usize) -> String {
        let rest = " UNION ALL SELECT ?".repeat(keys - 1);
        format!("SELECT t.k FROM (SELECT ? AS k{rest}) t WHERE t.k NOT LIKE '%1'")
    }

    /// A lookup of one of them. Those that seven divides can't be read.
    struct Number {
        numbers: Arc<Numbers>,
        key: String,
    }

    impl Operation for Number {
        type Output = Option<i64>;

        async fn run(&self, session: &mut Session<'_>) -> Result<Option<i64>, DbError> {
            let decode = |row: &RowRef<'_>| self.answer(Some(row));
            let found = session.query(&self.numbers.one, &[Value::Text(self.key.clone())], decode).await?;
            Ok(found.into_iter().next().flatten())
        }

        fn is_lookup(&self) -> bool {
            true
        }

        fn by_key(&self) -> Option<&dyn ByKey<Option<i64>>> {
            Some(self)
        }
    }

    impl ByKey<Option<i64>> for Number {
        fn statement(&self) -> &Arc<str> {
            &self.numbers.one
        }

        fn for_several(&self, keys: usize, _: &dyn Dialect) -> String {
            self.numbers.together.fetch_add(1, Ordering::Relaxed);
            text(keys) + self.numbers.rest
        }

        fn key(&self) -> &str {
            &self.key
        }

        fn answer(&self, row: Option<&RowRef<'_>>) -> Result<Option<i64>, DecodeError> {
            let Some(row) = row else { return Ok(None) };
            match row.text(0)?.parse::<i64>() {
                Ok(number) if number % 7 != 0 => Ok(Some(number)),
                _ => Err(row.unfit(0, "is divided by seven")),
            }
        }
    }

    async fn connected(pool_size: usize, connect_timeout: Duration) -> Option<driver::Driver> {
        let url = DatabaseUrl { backend: Backend::MySql, text: Secret::new(server_url(Backend::MySql)?) };
        let options = Options { pool_size: Some(pool_size), connect_timeout, ..Options::default() };
        Some(driver::Driver::connect(&url, &options).await.expect("a connection"))
    }

    const LONG: Duration = Duration::from_secs(30);

    async fn look_up(driver: &driver::Driver, numbers: &Arc<Numbers>, number: i64) -> Result<Option<i64>, DbError> {
        driver.read(Number { numbers: Arc::clone(numbers), key: number.to_string() }).await
    }

    #[tokio::test]
    async fn everybody_hears_of_their_own_row_although_some_leave_and_some_rows_are_unreadable() {
        let Some(driver) = connected(2, LONG).await else { return };
        let numbers = Numbers::new();
        let ask = async |number: i64| {
            let answer = look_up(&driver, &numbers, number);
            if number % 5 == 0 {
                // Polled once, so that it waits or is on its way, and left.
                let _ = tokio::time::timeout(Duration::ZERO, answer).await;
                return;
            }
            match answer.await {
                Ok(found) => assert_eq!(found, (number % 10 != 1).then_some(number)),
                Err(DbError::Decode(_)) => assert_eq!(number % 7, 0),
                Err(error) => panic!("{number}: {error:?}"),
            }
        };
        for round in 0..20 {
            // Every one twice, as many may want the same row.
            join_all((0..200).map(|at| ask(round * 100 + at / 2))).await;
        }
        let together = numbers.together.load(Ordering::Relaxed);
        assert!((20..2000).contains(&together), "{together} statements for 4,000 lookups");
        driver.close().await;
    }

    #[tokio::test]
    async fn nobody_waits_for_others_while_a_connection_is_idle() {
        let Some(driver) = connected(4, LONG).await else { return };
        let numbers = Numbers::new();
        for _ in 0..20 {
            join_all((2..6).map(|number| look_up(&driver, &numbers, number))).await;
        }
        assert_eq!(numbers.together.load(Ordering::Relaxed), 0);
        driver.close().await;
    }

    #[tokio::test]
    async fn where_they_can_not_be_asked_for_together_each_asks_alone() {
        let Some(driver) = connected(1, LONG).await else { return };
        let numbers = Arc::new(Numbers { one: text(1).into(), rest: " no SQL", together: AtomicUsize::new(0) });
        // Where the pool may still grow, nobody gathers.
        look_up(&driver, &numbers, 2).await.expect("an answer");
        let answers = join_all((2..9).map(|number| look_up(&driver, &numbers, number))).await;
        for (number, answer) in (2..).zip(answers) {
            match answer {
                Ok(found) => assert_eq!(found, Some(number)),
                Err(error) => assert!(number == 7 && matches!(error, DbError::Decode(_)), "{error:?}"),
            }
        }
        assert!(numbers.together.load(Ordering::Relaxed) > 0);
        driver.close().await;
    }

    #[tokio::test]
    async fn where_no_connection_becomes_free_all_are_told_so_in_time() {
        let Some(driver) = connected(1, Duration::from_millis(300)).await else { return };
        let numbers = Numbers::new();
        let mut transaction = driver.begin().await.expect("a connection");
        let began = Instant::now();
        for answer in join_all((2..9).map(|number| look_up(&driver, &numbers, number))).await {
            assert!(matches!(answer, Err(DbError::Away(_))), "{answer:?}");
        }
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        let number = Number { numbers: Arc::clone(&numbers), key: "2".to_owned() };
        assert_eq!(transaction.run(number).await.expect("an answer"), Some(2));
        transaction.commit().await.expect("an end");
        assert_eq!(look_up(&driver, &numbers, 3).await.expect("an answer"), Some(3));
        driver.close().await;
    }
}
