//! How tries end: tasks that fail, panic, hang, give up or come back later.

use std::time::Duration;

use app_kernel::feature::jobs::JobState;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::json;

use super::{behave, hang, job, jobs, marks, start};

on_every_database!(
    a_failure_is_tried_again_and_the_errors_are_kept,
    panics_and_time_outs_are_failures,
    a_task_may_say_what_follows,
    a_snooze_costs_no_try,
    a_failed_job_can_be_retried_and_deleted,
);

/// A job whose tries go like this.
async fn behaving(service: &TestService, tries: &[&str]) -> String {
    jobs(service).enqueue(behave, json!({ "tries": tries })).await.expect("enqueued").job_id
}

/// Runs jobs, and again whenever they are due, for a day.
async fn run_for_a_day(service: &TestService) -> usize {
    let mut tries = 0;
    for _ in 0..24 {
        tries += service.run_jobs().await;
        service.advance(Duration::from_secs(3600));
    }
    tries
}

/// Promise: I1, I4, R-04
async fn a_failure_is_tried_again_and_the_errors_are_kept(database: TestDatabase) {
    let service = start(database).await;
    let recovers = behaving(&service, &["fail", "succeed"]).await;
    let never = behaving(&service, &["fail"]).await;
    assert_eq!(service.run_jobs().await, 2);
    let waiting = job(&service, &recovers).await;
    assert_eq!((waiting.state, waiting.attempt), (JobState::Scheduled, 1));
    assert!(waiting.due_at >= service.now() && waiting.due_at <= service.now() + Duration::from_secs(10));
    assert_eq!(run_for_a_day(&service).await, 3);
    let recovers = job(&service, &recovers).await;
    assert_eq!(
        (recovers.state, recovers.attempt, recovers.result.clone()),
        (JobState::Succeeded, 2, Some(json!("done")))
    );
    let never = job(&service, &never).await;
    assert_eq!((never.state, never.attempt, never.max_attempts), (JobState::Failed, 3, 3));
    assert_eq!(never.first_error.as_deref(), Some("no answer at try 1"));
    assert_eq!(never.last_error.as_deref(), Some("no answer at try 3"));
}

/// Promise: I1, R-04
async fn panics_and_time_outs_are_failures(database: TestDatabase) {
    let service = start(database).await;
    let panics = behaving(&service, &["panic"]).await;
    let hangs = jobs(&service).enqueue(hang, ()).await.expect("enqueued").job_id;
    assert_eq!(run_for_a_day(&service).await, 3 + 2);
    let panics = job(&service, &panics).await;
    assert_eq!((panics.state, panics.attempt), (JobState::Failed, 3));
    assert_eq!(panics.first_error.as_deref(), Some("the task panicked: out of cheese at try 1"));
    let hangs = job(&service, &hangs).await;
    assert_eq!((hangs.state, hangs.attempt), (JobState::Failed, 2));
    assert_eq!(hangs.last_error.as_deref(), Some("the task did not end within 150ms"));
}

async fn a_task_may_say_what_follows(database: TestDatabase) {
    let service = start(database).await;
    let discarded = behaving(&service, &["discard"]).await;
    let patient = behaving(&service, &["retry in a minute", "succeed"]).await;
    assert_eq!(service.run_jobs().await, 2);
    let discarded = job(&service, &discarded).await;
    assert_eq!((discarded.state, discarded.attempt), (JobState::Failed, 1));
    assert_eq!(discarded.last_error.as_deref(), Some("nobody wants this"));
    service.advance(Duration::from_secs(59));
    assert_eq!(service.run_jobs().await, 0);
    service.advance(Duration::from_secs(1));
    assert_eq!(service.run_jobs().await, 1);
    assert_eq!(job(&service, &patient).await.state, JobState::Succeeded);
}

async fn a_snooze_costs_no_try(database: TestDatabase) {
    let service = start(database).await;
    let id = behaving(&service, &["snooze"]).await;
    assert_eq!(run_for_a_day(&service).await, 4);
    let job = job(&service, &id).await;
    assert_eq!((job.state, job.attempt, job.last_error.clone()), (JobState::Succeeded, 1, None));
    assert_eq!(marks(&service.db()).await.len(), 4);
}

async fn a_failed_job_can_be_retried_and_deleted(database: TestDatabase) {
    let service = start(database).await;
    let jobs = jobs(&service);
    let failed = jobs.enqueue(behave, json!({ "tries": ["discard"] })).unique_key("k").await.expect("enqueued").job_id;
    service.run_jobs().await;
    assert!(jobs.retry(&failed).await.expect("an answer"));
    assert!(!jobs.retry(&failed).await.expect("an answer"), "it waits already");
    service.run_jobs().await;
    // Another has the key meanwhile.
    jobs.enqueue(behave, json!({ "tries": ["succeed"] })).unique_key("k").await.expect("enqueued");
    assert_eq!(jobs.retry(&failed).await.expect_err("the key is taken").error_code(), "duplicate");
    service.run_jobs().await;
    assert!(jobs.delete(&failed).await.expect("an answer"));
    assert_eq!(jobs.get(&failed).await.expect("an answer").map(|job| job.id), None);
    assert!(!jobs.retry(&failed).await.expect("an answer"));
}
