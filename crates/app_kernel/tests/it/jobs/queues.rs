//! Queues with limits, schedules, and workers that take a share of the jobs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use app_kernel::feature::jobs::JobState;
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};

use super::{Mark, jobs, mark, marks, word};

on_every_database!(
    a_queue_runs_no_more_at_once_than_its_limits_allow,
    a_schedule_makes_one_job_for_each_tick_in_all_processes_together,
);

/// How many of the jobs of a group run, and how many did at most.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicI64,
    most: AtomicI64,
}

/// Of each group of each test.
fn gauge(name: &str) -> &'static Gauge {
    static GAUGES: std::sync::Mutex<Vec<(String, &'static Gauge)>> = std::sync::Mutex::new(Vec::new());
    let mut gauges = GAUGES.lock().expect("nothing panics while holding it");
    if let Some((_, gauge)) = gauges.iter().find(|(known, _)| known == name) {
        return gauge;
    }
    let gauge: &'static Gauge = Box::leak(Box::default());
    gauges.push((name.to_owned(), gauge));
    gauge
}

/// Is counted in these groups while it runs.
#[task(queue = "narrow")]
async fn be_counted(groups: Vec<String>) -> Result<()> {
    for group in &groups {
        let gauge = gauge(group);
        gauge.most.fetch_max(gauge.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    }
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    for group in &groups {
        gauge(group).now.fetch_sub(1, Ordering::SeqCst);
    }
    Ok(())
}

fn narrow(config: ServiceConfig) -> Service {
    Service::new("job_tests", config)
        .entity::<Mark>()
        .task(be_counted)
        .queue("narrow", QueueLimits::default().concurrency(4).per_key(2))
}

async fn a_queue_runs_no_more_at_once_than_its_limits_allow(database: TestDatabase) {
    let test = database.url().expose().to_owned();
    let service = TestService::start_on(database, narrow).await;
    let jobs = jobs(&service);
    for n in 0..40 {
        let key = ["a", "b", "c"][n % 3];
        let groups = vec![test.clone(), format!("{test} {key}")];
        jobs.enqueue(be_counted, groups).concurrency_key(key).await.expect("enqueued");
    }
    let (second, third) = (service.beside(narrow).await, service.beside(narrow).await);
    // Where the queue is full, a process has nothing to do and goes home.
    let counts = async || jobs.counts().await.expect("counts");
    while counts().await != [("narrow".to_owned(), JobState::Succeeded, 40)] {
        tokio::join!(service.run_jobs(), second.run_jobs(), third.run_jobs());
    }
    let most = |group: &str| gauge(group).most.load(Ordering::SeqCst);
    let by_key = ["a", "b", "c"].map(|key| most(&format!("{test} {key}")));
    assert!(most(&test) <= 4 && by_key.iter().all(|most| *most <= 2), "{} {by_key:?}", most(&test));
    assert!(most(&test) >= 2, "they never ran side by side");
}

/// A name that is none.
fn hourly(config: ServiceConfig) -> Service {
    Service::new("job_tests", config).entity::<Mark>().task(mark).cron("hourly mark", "x", mark, word("tick"))
}

fn hourly_in_order(config: ServiceConfig) -> Service {
    Service::new("job_tests", config).entity::<Mark>().task(mark).cron("hourly", "0 * * * *", mark, word("tick"))
}

async fn a_schedule_makes_one_job_for_each_tick_in_all_processes_together(database: TestDatabase) {
    let service = TestService::start_on(database, hourly_in_order).await;
    let second = service.beside(hourly_in_order).await;
    assert_eq!(service.run_jobs().await + second.run_jobs().await, 0);
    for hour in 1..=3 {
        service.advance(Duration::from_secs(3600));
        let (a, b) = tokio::join!(service.run_jobs(), second.run_jobs());
        assert_eq!(a + b, 1, "in hour {hour}");
    }
    assert_eq!(marks(&service.db()).await, ["tick"; 3]);
    let late = service.beside(hourly_in_order).await;
    assert_eq!(late.run_jobs().await, 0, "what was done is not made up for");
}

/// Promise: I1
#[tokio::test]
async fn what_can_not_be_registered_ends_the_start_with_its_cure() {
    let database = TestDatabase::sqlite().await;
    let config = || ServiceConfig { database_url: Some(database.url().clone()), ..ServiceConfig::default() };
    let twice = Service::new("t", config()).task(mark).task(mark);
    let unscheduled = Service::new("t", config()).cron("hourly", "0 * * * *", mark, word("x"));
    let wrong =
        [(hourly(config()), "characters"), (twice, "two tasks are called `mark`"), (unscheduled, ".task(mark)")];
    for (service, cure) in wrong {
        let error = service.start().await.err().expect("it does not start").to_string();
        assert!(error.contains(cure), "{error}");
    }
}
