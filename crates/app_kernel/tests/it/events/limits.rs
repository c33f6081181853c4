//! How many streams somebody may have at once.

use app_kernel::prelude::*;
use app_kernel::testing::{Client, Listener, TestRedis, TestService};

use super::shop;

const MOST: u32 = 2;
const PATH: &str = "/widgets/events";

fn limited(config: ServiceConfig) -> Service {
    shop(ServiceConfig { event_streams_per_user: MOST, ..config })
}

async fn listen(client: &Client) -> Listener {
    client.listen(PATH).await.expect("there are fewer")
}

/// Waits until one that has ended is given back.
async fn listen_again(client: &Client) -> Listener {
    let again = async {
        loop {
            match client.listen(PATH).await {
                Ok(listener) => return listener,
                Err(refused) => assert_eq!(refused.status, 429),
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    // Sooner than a lease runs out that nobody gave back.
    tokio::time::timeout(std::time::Duration::from_secs(20), again).await.expect("a stream ends with its client")
}

#[tokio::test]
async fn one_too_many_is_refused_until_another_ends() {
    let service = TestService::start(limited).await;
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    let (first, _second) = (listen(&ann).await, listen(&ann).await);
    let refused = ann.get(PATH).await.expect_problem(429, "too_many_streams");
    assert_eq!(refused.header("retry-after"), Some("10"));
    let _bobs = listen(&bob).await;
    drop(first);
    let _again = listen_again(&ann).await;
    ann.get(PATH).await.expect(429);
}

#[tokio::test]
async fn who_is_not_signed_in_is_counted_by_address() {
    let service = TestService::start(limited).await;
    let (one, another) = (service.anonymous(), service.anonymous());
    let _streams = [one.listen("/everything/widgets").await, another.listen("/everything/widgets").await];
    one.get("/everything/widgets").await.expect_problem(429, "too_many_streams");
    let ann = service.sign_up("ann").await;
    let _anns = listen(&ann).await;
}

#[tokio::test]
async fn processes_that_share_a_redis_count_together() {
    let Some(redis) = TestRedis::shared() else { return };
    let build = |config| limited(config).redis(redis.patient());
    let one = TestService::start(build).await;
    let other = one.beside(build).await;
    let ann = one.sign_up("ann").await;
    let there = Client::new(other.url()).with_token(ann.token().expect("a token"));
    let (_here, there_too) = (listen(&ann).await, listen(&there).await);
    for client in [&ann, &there] {
        client.get(PATH).await.expect_problem(429, "too_many_streams");
    }
    drop(there_too);
    let _again = listen_again(&ann).await;
    there.get(PATH).await.expect(429);
    // One that stops gives back what its clients had.
    one.stop().await;
    let _both = (listen_again(&there).await, listen_again(&there).await);
}
