//! A service under load whose Redis is killed, and hangs: every request is answered as before, and soon again as fast.

use std::time::Duration;

use app_kernel::testing::TestDatabase;
use axum::http::Method;

use super::api::{Api, NO_LIMIT, Plan};
use super::load::{Asked, Load, p99, statuses};
use crate::support::redis_server::RedisServer;
use crate::support::{figure, is_full};

/// How long a service may take to notice.
const NOTICE: Duration = Duration::from_secs(1);

/// What the answers may take, by what they take while all is well. A short run on a busy machine has few requests to take a percentile of.
fn bound(calm: Duration) -> Duration {
    2 * calm + if is_full() { Duration::from_millis(20) } else { Duration::from_millis(250) }
}

/// The load while Redis is away. Fails where a request was not answered well, or where answers were slow after the first second.
async fn served_without(name: &str, load: &Load, per_second: usize, time: Duration, calm: Duration) -> Duration {
    let all = load.run(per_second, NOTICE + time).await;
    assert_eq!(statuses(&all), [(200, all.len())].into(), "Redis {name}");
    let later: Vec<Asked> = all.into_iter().filter(|asked| asked.at >= NOTICE).collect();
    let slow = p99(&later);
    assert!(slow <= bound(calm), "Redis {name}: p99 {slow:?}, calm {calm:?}");
    slow
}

/// Promise: R-08
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_serves_while_its_redis_is_gone_or_hangs() {
    let Some(mut redis) = RedisServer::start() else { return };
    let (per_second, secs) = (figure(60, 500), figure(3, 30));
    let time = Duration::from_secs(secs as u64);
    let database = TestDatabase::sqlite().await;
    let home = database.data_dir();
    let url = redis.redis().url().expose().to_owned();
    let plan = Plan { limit: NO_LIMIT, redis: Some(url), is_patient: false };
    let api = Api::start(&plan, database.url(), &home);
    let token = api.sign_up("ann").await;
    let load = Load::new(vec![(Method::GET, api.address("/greeting"))]);
    let load = load.with_header("authorization", &format!("Bearer {token}"));
    load.run(per_second, NOTICE).await;
    let calm = load.run(per_second, time).await;
    assert_eq!(statuses(&calm), [(200, calm.len())].into());
    let calm = p99(&calm);

    redis.kill();
    let killed = served_without("killed", &load, per_second, time, calm).await;
    redis.start_again();
    api.until_well("redis").await;
    redis.hang();
    let hung = served_without("hung", &load, per_second, time, calm).await;
    redis.go_on();
    api.until_well("redis").await;

    println!(
        "R-08 held: Redis killed {secs} s and hung {secs} s under {per_second} requests/s, 0 × 5xx, p99 {} ms and {} ms, {} ms when calm",
        killed.as_millis(),
        hung.as_millis(),
        calm.as_millis()
    );
}
