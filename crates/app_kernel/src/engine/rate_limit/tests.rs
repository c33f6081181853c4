//! What holds in each form: in this process, in Redis, and while Redis is away.

use futures_util::future::join_all;

use super::*;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;
use crate::store::redis::RedisOptions;
use crate::testing::TestRedis;
use std::time::Duration;

const THREE_A_MINUTE: Quota = Quota { burst: 3, period: Duration::from_secs(60) };
const TWENTY_SECS: Wait = Wait(Duration::from_secs(20));

/// Where limits of a test are kept.
struct Place {
    redis: Option<Redis>,
    clock: Clock,
}

impl Place {
    fn limiter(&self, name: &'static str) -> Limiter {
        Limiter::new(name, THREE_A_MINUTE, &self.clock, self.redis.as_ref())
    }
}

/// All forms that `DATABASES` selects.
async fn in_each_form(test: impl AsyncFn(Place)) {
    let nobody_listens = Secret::new("redis://127.0.0.1:1");
    let away = Redis::new(&nobody_listens, "limits", RedisOptions::default()).expect("an address");
    let shared = TestRedis::shared();
    let forms = [Some(None), Some(Some(away)), shared.as_ref().map(|redis| Some(redis.patient()))];
    for redis in forms.into_iter().flatten() {
        test(Place { redis, clock: Clock::manual(Timestamp::UNIX_EPOCH) }).await;
    }
}

/// Promise
#[tokio::test]
async fn a_burst_passes_and_then_one_for_each_interval() {
    in_each_form(async |place| {
        let limiter = place.limiter("burst");
        for _ in 0..3 {
            assert_eq!(limiter.take("ann").await, Ok(()));
        }
        assert_eq!(limiter.take("ann").await, Err(TWENTY_SECS));
        assert_eq!(limiter.take("bob").await, Ok(()), "keys are apart");
        assert_eq!(place.limiter("another").take("ann").await, Ok(()), "limits are apart");
        place.clock.advance(Duration::from_secs(20));
        assert_eq!(limiter.take("ann").await, Ok(()));
        assert_eq!(limiter.take("ann").await, Err(TWENTY_SECS));
        place.clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(limiter.take("ann").await, Ok(()));
        }
        assert_eq!(limiter.take("ann").await, Err(TWENTY_SECS), "quiet time is not saved up beyond the burst");
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_does_not_prolong_the_wait() {
    in_each_form(async |place| {
        let limiter = place.limiter("refused");
        for _ in 0..100 {
            let _refused_or_not = limiter.take("ann").await;
            limiter.count("bob").await;
        }
        assert_eq!(limiter.check("ann").await, Err(TWENTY_SECS));
        assert_eq!(limiter.check("bob").await, Err(TWENTY_SECS), "counting stops at an empty budget");
        place.clock.advance(Duration::from_secs(20));
        assert_eq!((limiter.check("ann").await, limiter.check("bob").await), (Ok(()), Ok(())));
    })
    .await;
}

#[tokio::test]
async fn a_key_is_fresh_until_something_counts_and_again_when_it_came_back() {
    in_each_form(async |place| {
        let limiter = place.limiter("fresh");
        assert!(limiter.is_fresh("ann").await);
        assert_eq!(limiter.check("ann").await, Ok(()));
        assert!(limiter.is_fresh("ann").await, "looking is free");
        limiter.count("ann").await;
        assert!(!limiter.is_fresh("ann").await);
        place.clock.advance(Duration::from_secs(20));
        assert!(limiter.is_fresh("ann").await);
    })
    .await;
}

/// Promise: R-33
#[tokio::test]
async fn processes_that_share_a_redis_admit_no_more_than_the_limit_together() {
    let Some(redis) = TestRedis::shared() else { return };
    let place = Place { redis: Some(redis.patient()), clock: Clock::manual(Timestamp::UNIX_EPOCH) };
    // Each with a connection and a memory of its own.
    let processes = [0; 3]
        .map(|_| Limiter::new("together", Quota { burst: 20, ..THREE_A_MINUTE }, &place.clock, Some(&redis.patient())));
    let taken = join_all((0..200).map(|n| processes[n % 3].take("ann"))).await;
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 20);
    // Away, each goes on from what it has admitted itself.
    let here = |limiter: &Limiter| match &limiter.0 {
        Form::Redis { here, .. } => (0..20).take_while(|_| here.take(&"ann").is_ok()).count(),
        Form::Memory(_) => unreachable!("they share a Redis"),
    };
    assert_eq!(processes.iter().map(here).sum::<usize>(), 3 * 20 - 20);
}

/// Promise
#[tokio::test]
async fn redis_counts_by_its_own_clock_and_knows_no_names() {
    let Some(redis) = TestRedis::shared() else { return };
    let two_a_day = Quota { burst: 2, period: Duration::from_secs(24 * 3600) };
    let limiter = Limiter::new("days", two_a_day, &Clock::system(), Some(&redis.patient()));
    assert_eq!([limiter.take("ann@example.com").await, limiter.take("ann@example.com").await], [Ok(()), Ok(())]);
    let Wait(wait) = limiter.take("ann@example.com").await.expect_err("the third");
    assert!(wait > Duration::from_secs(11 * 3600) && wait <= Duration::from_secs(12 * 3600), "{wait:?}");
    let contents = redis.contents().await;
    let [(key, _)] = &contents[..] else { panic!("{contents:?}") };
    assert!(key.starts_with(&format!("{}limit:days:", redis.prefix())), "{key}");
    assert!(!format!("{contents:?}").contains("ann"), "{contents:?}");
}
