//! Several processes with one Redis, asked for far more than they may give: together they admit no more than the limit.

use std::time::{Duration, Instant};

use app_kernel::testing::TestDatabase;
use axum::http::Method;
use futures_util::StreamExt as _;

use super::api::{Api, Plan};
use super::load::{Asked, Load, statuses};
use crate::support::redis_server::RedisServer;
use crate::support::scale;

/// What a caller may have in a minute.
const LIMIT: u32 = 60;
const PROCESSES: usize = 3;
/// How many ask at once.
const CLIENTS: usize = 60;
/// A burst must lie within one window: what comes later may be admitted by the next.
const WINDOW: Duration = Duration::from_secs(60);

/// Promise: R-33
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_admit_no_more_than_the_limit_together() {
    let Some(redis) = RedisServer::start() else { return };
    let (bursts, asked) = (scale(2), 10 * LIMIT as usize);
    let database = TestDatabase::sqlite().await;
    let home = database.data_dir();
    let url = redis.redis().url().expose().to_owned();
    let plan = Plan { limit: LIMIT, redis: Some(url), is_patient: true };
    let apis: Vec<Api> = (0..PROCESSES).map(|_| Api::start(&plan, database.url(), &home)).collect();
    for burst in 0..bursts {
        let load = Load::new(apis.iter().map(|api| (Method::GET, api.address("/hello"))).collect());
        // Each burst is another caller's, who has the whole limit.
        let load = load.with_header("x-forwarded-for", &format!("203.0.113.{}", burst % 250));
        let began = Instant::now();
        let asking = futures_util::stream::iter(0..asked).map(|n| load.ask(n, began)).buffer_unordered(CLIENTS);
        let all: Vec<Asked> = asking.collect().await;
        assert!(began.elapsed() < WINDOW, "the machine is too busy for this test: {:?}", began.elapsed());
        let expected = [(200, LIMIT as usize), (429, asked - LIMIT as usize)];
        assert_eq!(statuses(&all), expected.into());
        assert!(all.iter().all(|asked| asked.status == Some(200) || asked.says_when), "429 without Retry-After");
    }
    println!(
        "R-33 held: {bursts} bursts of {asked} requests at {PROCESSES} processes, {LIMIT} admitted of {LIMIT} in each"
    );
}
