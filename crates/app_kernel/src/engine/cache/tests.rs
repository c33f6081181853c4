//! What holds in each form: in this process, in Redis, and while Redis is away.

use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;

use super::*;
use crate::base::clock::Timestamp;
use crate::base::secret::Secret;
use crate::store::redis::RedisOptions;
use crate::testing::TestRedis;

const MINUTE: Duration = Duration::from_secs(60);

/// Tests in all forms that `DATABASES` selects.
async fn in_each_form(test: impl AsyncFn(Cache, Clock)) {
    let nobody_listens = Secret::new("redis://127.0.0.1:1");
    let away = Redis::new(&nobody_listens, "cache", RedisOptions::default()).expect("an address");
    let shared = TestRedis::shared();
    let forms = [Some(None), Some(Some(away)), shared.as_ref().map(|redis| Some(redis.patient()))];
    for redis in forms.into_iter().flatten() {
        // Redis counts by real time besides; what is asked here lives for a minute at least.
        let clock = Clock::manual(Timestamp::from_second(1_800_000_000).expect("a time"));
        test(Cache::new(clock.clone(), redis, 1 << 20), clock).await;
    }
}

async fn text(cache: &Cache, key: &str) -> Option<String> {
    cache.get(key).await.expect("a key")
}

/// Promise: K1, K3, B4
#[tokio::test]
async fn a_value_is_there_until_its_time_is_over_or_it_is_deleted() {
    in_each_form(async |cache, clock| {
        assert_eq!(text(&cache, "a").await, None);
        cache.set("a", "one", MINUTE).await.expect("kept");
        cache.set("b", &vec![1, 2], 2 * MINUTE).await.expect("kept");
        assert_eq!(text(&cache, "a").await.as_deref(), Some("one"));
        assert_eq!(cache.get::<Vec<u8>>("b").await.expect("a key"), Some(vec![1, 2]));
        cache.set("a", "two", MINUTE).await.expect("kept");
        assert_eq!(text(&cache, "a").await.as_deref(), Some("two"));
        clock.advance(MINUTE);
        assert_eq!(text(&cache, "a").await, None);
        cache.delete("b").await.expect("forgotten");
        assert_eq!(cache.get::<Vec<u8>>("b").await.expect("a key"), None);
    })
    .await;
}

/// Promise: K3
#[tokio::test]
async fn keys_are_deleted_by_what_they_begin_with() {
    in_each_form(async |cache, _| {
        for key in ["p*:1", "p*:2", "px:1", "p"] {
            cache.set(key, key, MINUTE).await.expect("kept");
        }
        cache.delete_prefix("p*:").await.expect("forgotten");
        for (key, is_there) in [("p*:1", false), ("p*:2", false), ("px:1", true), ("p", true)] {
            assert_eq!(text(&cache, key).await.is_some(), is_there, "{key}");
        }
        assert_eq!(cache.delete_prefix("").await.expect_err("all of it").http_status(), 400);
    })
    .await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    in_each_form(async |cache, _| {
        for ttl in [Duration::ZERO, Duration::MAX] {
            let error = cache.set("a", "one", ttl).await.expect_err("no time");
            assert!(error.message().contains("Duration::from_secs(300)"), "{error}");
        }
        for key in ["", "a b", "a\u{7}"] {
            assert_eq!(cache.set(key, "one", MINUTE).await.expect_err("no key").http_status(), 400);
            assert_eq!(cache.get::<String>(key).await.expect_err("no key").http_status(), 400);
            assert_eq!(cache.delete(key).await.expect_err("no key").http_status(), 400);
        }
    })
    .await;
}

#[tokio::test]
async fn a_value_of_another_type_counts_as_missing_and_is_replaced() {
    in_each_form(async |cache, _| {
        cache.set("a", "one", MINUTE).await.expect("kept");
        assert_eq!(cache.get::<u32>("a").await.expect("a key"), None);
        assert_eq!(cache.get_or_set("a", MINUTE, async { Ok::<u32, Error>(7) }).await.expect("found out"), 7);
        assert_eq!(cache.get::<u32>("a").await.expect("a key"), Some(7));
    })
    .await;
}

/// Promise: K2
#[tokio::test]
async fn of_all_who_ask_at_once_one_finds_out() {
    in_each_form(async |cache, _| {
        let loads = AtomicUsize::new(0);
        let ask = || {
            cache.get_or_set("a", MINUTE, async {
                tokio::task::yield_now().await;
                Ok::<usize, Error>(loads.fetch_add(1, Ordering::Relaxed))
            })
        };
        for answer in join_all((0..100).map(|_| ask())).await {
            assert_eq!(answer.expect("found out"), 0);
        }
        assert_eq!(loads.load(Ordering::Relaxed), 1);
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_not_kept_and_the_next_one_tries() {
    in_each_form(async |cache, _| {
        let fails = async { Err::<u32, Error>(Error::conflict("not now")) };
        assert_eq!(cache.get_or_set("a", MINUTE, fails).await.expect_err("its own").message(), "not now");
        assert_eq!(cache.get_or_set("a", MINUTE, async { Ok::<u32, Error>(7) }).await.expect("found out"), 7);
        assert_eq!(cache.get::<u32>("a").await.expect("a key"), Some(7), "the mark of the first is not in the way");
    })
    .await;
}

/// The classic race: an old value is on its way when the key is deleted.
#[tokio::test]
async fn what_was_found_out_before_a_change_does_not_land_after_it() {
    in_each_form(async |cache, _| {
        for change in ["delete", "prefix"] {
            let (cache, key) = (&cache, format!("row:{change}"));
            let old = cache.get_or_set(&key, MINUTE, async {
                match change {
                    "delete" => cache.delete(&key).await?,
                    _ => cache.delete_prefix("row:").await?,
                }
                Ok::<_, Error>("old".to_owned())
            });
            assert_eq!(old.await.expect("found out"), "old");
            assert_eq!(text(cache, &key).await, None, "{change}");
        }
        let old = cache.get_or_set("row:set", MINUTE, async {
            cache.set("row:set", "new", MINUTE).await?;
            Ok::<_, Error>("old".to_owned())
        });
        assert_eq!(old.await.expect("found out"), "old");
        assert_eq!(text(&cache, "row:set").await.as_deref(), Some("new"));
    })
    .await;
}

#[tokio::test]
async fn an_old_value_is_answered_while_it_is_found_out_anew() {
    in_each_form(async |cache, clock| {
        let ask = |value: &'static str| {
            cache.get_or_refresh("a", MINUTE, 2 * MINUTE, async move { Ok::<_, Error>(value.to_owned()) })
        };
        assert_eq!(ask("one").await.expect("found out"), "one");
        assert_eq!(ask("two").await.expect("there"), "one", "fresh");
        clock.advance(MINUTE);
        assert_eq!(ask("three").await.expect("there"), "one", "stale, and found out anew beside");
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while text(&cache, "a").await.as_deref() != Some("three") {
            assert!(std::time::Instant::now() < deadline, "it was never found out anew");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        clock.advance(3 * MINUTE);
        assert_eq!(ask("four").await.expect("found out"), "four", "too old");
    })
    .await;
}

#[tokio::test]
async fn it_counts_what_it_was_of_use() {
    let cache = Cache::new(Clock::system(), None, 1 << 20);
    cache.set("a", "one", MINUTE).await.expect("kept");
    assert_eq!((text(&cache, "a").await.is_some(), text(&cache, "b").await.is_some()), (true, false));
    assert_eq!(cache.get::<u32>("a").await.expect("a key"), None);
    assert_eq!(cache.counts(), CacheCounts { hits: 1, misses: 2, errors: 1 });
}

/// Promise: K3, B4
#[tokio::test]
async fn processes_share_values_and_find_each_out_once() {
    let Some(redis) = TestRedis::shared() else { return };
    let processes = [0; 3].map(|_| Cache::new(Clock::system(), Some(redis.patient()), 1 << 20));
    processes[0].set("a", "one", MINUTE).await.expect("kept");
    assert_eq!(text(&processes[1], "a").await.as_deref(), Some("one"));
    processes[2].delete("a").await.expect("forgotten");
    assert_eq!(text(&processes[0], "a").await, None);
    let loads = AtomicUsize::new(0);
    let ask = |n: usize| {
        processes[n % 3].get_or_set("b", MINUTE, async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<usize, Error>(loads.fetch_add(1, Ordering::Relaxed))
        })
    };
    for answer in join_all((0..30).map(ask)).await {
        assert_eq!(answer.expect("found out"), 0);
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    for (key, _) in redis.contents().await {
        assert!(key.starts_with(&redis.prefix()), "{key}");
    }
}
