//! Functions whose answers are kept, and the cache while Redis goes and comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app_kernel::prelude::*;
use app_kernel::testing::TestService;

#[cfg(target_os = "linux")]
use crate::support::redis_server::RedisServer;

/// What is asked of, and how often it was.
#[derive(Debug, Default)]
struct Source {
    asked: AtomicUsize,
}

#[derive(Debug, Clone)]
struct Reader {
    id: String,
}

/// The projects of a workspace.
#[cached(ttl = 300, key = "projects:{workspace_id}:{page}", ignore(source))]
async fn get_projects(kernel: &Kernel, source: &Source, workspace_id: &str, page: u32) -> Result<Vec<String>> {
    let n = source.asked.fetch_add(1, Ordering::SeqCst);
    if workspace_id.is_empty() {
        Err(Error::invalid("a workspace has a name"))?;
    }
    Ok(vec![format!("{} {workspace_id} {page} {n}", kernel.service_name())])
}

#[cached(ttl = "2m", key = "greeting:{reader.id}")]
pub(super) async fn greet(cache: &Cache, reader: Reader) -> Result<String> {
    Ok(format!("hello {}, the {}th", reader.id, cache.counts().misses))
}

#[cached(ttl = "2m", key = "joined:{left}:{right}")]
async fn join(_cache: &Cache, left: &str, right: &str) -> Result<String> {
    Ok(format!("{left}, {right}"))
}

/// What a page shows may be old for a while.
#[cached(ttl = "1m", stale = "10m", key = "news:{topic}:{page}", ignore(source))]
async fn get_news(kernel: &Kernel, source: Arc<Source>, topic: &str, page: u32) -> Result<String> {
    let n = source.asked.fetch_add(1, Ordering::SeqCst);
    Ok(format!("{} {topic} {page} {n}", kernel.service_name()))
}

/// Promise: K2
#[tokio::test]
async fn a_stale_answer_is_given_at_once_while_the_function_is_called_beside() {
    let service = TestService::start(|config| Service::new("cache", config)).await;
    let (kernel, source) = (service.kernel(), Arc::<Source>::default());
    let ask = async || get_news(kernel, Arc::clone(&source), "sport", 1).await.expect("news");
    assert_eq!([ask().await, ask().await], ["cache sport 1 0", "cache sport 1 0"]);
    service.advance(Duration::from_secs(61));
    assert_eq!(ask().await, "cache sport 1 0", "nobody waits");
    let renewed = async {
        while ask().await != "cache sport 1 1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renewed).await.expect("it is found out beside");
    assert_eq!(source.asked.load(Ordering::SeqCst), 2, "once, whoever asks");
    service.advance(Duration::from_secs(11 * 60));
    assert_eq!(ask().await, "cache sport 1 2", "too old to be given");
    get_news_invalidate(kernel, "sport", 1).await.expect("forgotten");
    assert_eq!(ask().await, "cache sport 1 3");
}

/// Promise: K2
#[tokio::test]
async fn a_function_is_asked_once_for_each_key_until_it_is_told_to_ask_again() {
    let service = TestService::start(|config| Service::new("cache", config)).await;
    let (kernel, source) = (service.kernel(), Source::default());
    let ask = async |workspace: &str, page| get_projects(kernel, &source, workspace, page).await.expect("projects");
    assert_eq!(
        [ask("a", 1).await, ask("a", 1).await, ask("b", 1).await, ask("a", 2).await],
        [["cache a 1 0"], ["cache a 1 0"], ["cache b 1 1"], ["cache a 2 2"]]
    );
    // No argument reaches into the next one's part of the key.
    let cache = kernel.cache();
    assert_eq!(join(cache, "a", "b:c").await.expect("a text"), "a, b:c");
    assert_eq!(join(cache, "a:b", "c").await.expect("a text"), "a:b, c");
    get_projects_invalidate(kernel, "a", 1).await.expect("forgotten");
    assert_eq!([ask("a", 1).await, ask("b", 1).await], [["cache a 1 3"], ["cache b 1 1"]]);
    service.advance(Duration::from_secs(300));
    assert_eq!(ask("b", 1).await, ["cache b 1 4"]);
    for asked in [6, 7] {
        let refused = get_projects(kernel, &source, "", 1).await.expect_err("its own error");
        assert_eq!(
            (refused.message(), source.asked.load(Ordering::SeqCst)),
            ("a workspace has a name", asked),
            "not kept"
        );
    }
    let ann = Reader { id: "ann".to_owned() };
    let first = greet(kernel.cache(), ann.clone()).await.expect("a greeting");
    assert_eq!(greet(kernel.cache(), ann.clone()).await.expect("a greeting"), first);
    greet_invalidate(kernel.cache(), ann.clone()).await.expect("forgotten");
    assert_ne!(greet(kernel.cache(), ann).await.expect("a greeting"), first);
}

/// Promise: K3, R-08
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_value_that_was_deleted_while_redis_hung_does_not_come_back() {
    let Some(server) = RedisServer::start() else { return };
    let url = server.redis().url().clone();
    let service =
        TestService::start(|config| Service::new("cache", ServiceConfig { redis_url: Some(url.clone()), ..config }))
            .await;
    let cache = service.kernel().cache();
    let hour = Duration::from_secs(3600);
    let read = async |key: &str| cache.get::<String>(key).await.expect("a key");
    for key in ["deleted", "changed", "left"] {
        cache.set(key, "before", hour).await.expect("kept");
    }
    server.hang();
    cache.delete("deleted").await.expect("never an error");
    cache.set("changed", "after", hour).await.expect("never an error");
    assert_eq!((read("deleted").await, read("changed").await.as_deref()), (None, Some("after")));
    let loads = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        let load = async { Ok::<usize, Error>(loads.fetch_add(1, Ordering::SeqCst)) };
        assert_eq!(cache.get_or_set("found", hour, load).await.expect("found out"), 0, "in this process' memory");
    }
    server.go_on();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while read("left").await.as_deref() != Some("before") {
        assert!(std::time::Instant::now() < deadline, "Redis is not asked again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((read("deleted").await, read("changed").await), (None, None), "what Redis had of these was old");
    assert!(cache.counts().errors > 0);
}
