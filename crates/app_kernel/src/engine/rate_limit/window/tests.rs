//! What holds in each form: in this process, in Redis, and while Redis is away.

use std::collections::VecDeque;

use futures_util::future::join_all;

use super::*;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;
use crate::store::redis::RedisOptions;
use crate::testing::TestRedis;

const THREE_A_MINUTE: Window = Window { most: 3, length: Duration::from_secs(60) };
const ANN: Subject<'static> = Subject::User("ann");

/// Tests in all forms that `DATABASES` selects.
async fn in_each_form(test: impl AsyncFn(WindowLimiter, Clock)) {
    let nobody_listens = Secret::new("redis://127.0.0.1:1");
    let away = Redis::new(&nobody_listens, "limits", RedisOptions::default()).expect("an address");
    let shared = TestRedis::shared();
    let forms = [Some(None), Some(Some(away)), shared.as_ref().map(|redis| Some(redis.patient()))];
    for redis in forms.into_iter().flatten() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        test(WindowLimiter::new(&clock, redis.as_ref()), clock).await;
    }
}

fn admitted(left: u32, secs: u64) -> Standing {
    Standing { admitted: true, left, back_in: Duration::from_secs(secs) }
}

fn refused(secs: u64) -> Standing {
    Standing { admitted: false, left: 0, back_in: Duration::from_secs(secs) }
}

/// Promise: R-33
#[tokio::test]
async fn each_comes_back_a_window_after_it_was_taken() {
    in_each_form(async |limiter, clock| {
        let take = || limiter.take("all", ANN, THREE_A_MINUTE);
        assert_eq!(take().await, admitted(2, 60));
        clock.advance(Duration::from_secs(10));
        assert_eq!(take().await, admitted(1, 50));
        assert_eq!(take().await, admitted(0, 50));
        for _ in 0..5 {
            assert_eq!(take().await, refused(50), "what is refused does not prolong the wait");
        }
        for other in [Subject::User("bob"), Subject::ApiKey("ann"), Subject::Address([192, 0, 2, 1].into())] {
            assert_eq!(limiter.take("all", other, THREE_A_MINUTE).await, admitted(2, 60), "callers are apart");
        }
        assert_eq!(limiter.take("search", ANN, THREE_A_MINUTE).await, admitted(2, 60), "limits are apart");
        clock.advance(Duration::from_secs(50));
        assert_eq!(take().await, admitted(0, 10), "one came back");
        assert_eq!(take().await, refused(10));
        clock.advance(Duration::from_secs(600));
        for left in [2, 1, 0] {
            assert_eq!(take().await, admitted(left, 60), "quiet time is not saved up");
        }
        assert_eq!(take().await, refused(60));
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_has_become_smaller_holds_at_once() {
    in_each_form(async |limiter, clock| {
        for _ in 0..3 {
            assert!(limiter.take("all", ANN, THREE_A_MINUTE).await.admitted);
            clock.advance(Duration::from_secs(10));
        }
        let one = Window { most: 1, ..THREE_A_MINUTE };
        assert_eq!(limiter.take("all", ANN, one).await, refused(50), "until the last of the three is over");
    })
    .await;
}

/// Promise: R-33
#[tokio::test]
async fn no_stretch_of_a_window_has_more_and_nothing_due_is_refused() {
    in_each_form(async |limiter, clock| {
        let window = Window { most: 7, length: Duration::from_secs(10) };
        let mut passed = VecDeque::new();
        let mut step = 1_u64;
        for _ in 0..400 {
            // Uneven steps from nothing to two seconds, the same each time.
            step = step * 48_271 % 2_147_483_647;
            clock.advance(Duration::from_millis(if step.is_multiple_of(3) { 0 } else { step % 2000 }));
            let now = clock.now().as_millisecond();
            while passed.front().is_some_and(|then| now - then >= 10_000) {
                passed.pop_front();
            }
            let standing = limiter.take("all", ANN, window).await;
            assert_eq!(standing.admitted, passed.len() < 7, "at {now} ms after {passed:?}");
            if standing.admitted {
                passed.push_back(now);
            }
            assert_eq!(standing.left as usize, 7 - passed.len());
        }
    })
    .await;
}

/// Promise: R-33
#[tokio::test]
async fn processes_that_share_a_redis_admit_no_more_than_the_limit_together() {
    let Some(redis) = TestRedis::shared() else { return };
    let clock = Clock::manual(Timestamp::UNIX_EPOCH);
    // Each with a connection and a memory of its own.
    let processes = [0; 3].map(|_| WindowLimiter::new(&clock, Some(&redis.patient())));
    let window = Window { most: 20, ..THREE_A_MINUTE };
    let taken = join_all((0..200).map(|n| processes[n % 3].take("all", ANN, window))).await;
    assert_eq!(taken.iter().filter(|taken| taken.admitted).count(), 20);
    // Away, each goes on from what it has admitted itself.
    let here = |limiter: &WindowLimiter| match &limiter.form {
        Form::Redis { here, .. } => (0..20).take_while(|_| here.take(&("all", ANN), window).admitted).count(),
        Form::Memory(_) => unreachable!("they share a Redis"),
    };
    assert_eq!(processes.iter().map(here).sum::<usize>(), 3 * 20 - 20);
}

/// Promise
#[tokio::test]
async fn redis_counts_by_its_own_clock_and_knows_no_addresses() {
    let Some(redis) = TestRedis::shared() else { return };
    let limiter = WindowLimiter::new(&Clock::system(), Some(&redis.patient()));
    let who = Subject::Address([192, 0, 2, 77].into());
    let two_a_day = Window { most: 2, length: Duration::from_secs(24 * 3600) };
    let taken = [limiter.take("all", who, two_a_day).await, limiter.take("all", who, two_a_day).await];
    assert_eq!(taken.map(|taken| (taken.admitted, taken.left)), [(true, 1), (true, 0)]);
    let Standing { admitted, back_in, .. } = limiter.take("all", who, two_a_day).await;
    assert!(!admitted && back_in > Duration::from_secs(23 * 3600) && back_in <= two_a_day.length, "{back_in:?}");
    let contents = redis.contents().await;
    let [(key, _)] = &contents[..] else { panic!("{contents:?}") };
    assert!(key.starts_with(&format!("{}requests:", redis.prefix())), "{key}");
    assert!(!format!("{contents:?}").contains("192.0.2"), "{contents:?}");
}
