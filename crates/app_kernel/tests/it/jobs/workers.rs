//! Workers: several at once, silent ones, and those that are told to stop.

use std::time::Duration;

use app_kernel::feature::jobs::JobState;
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::json;

use super::{
    app, gate_of, job, jobs, last_forever, mark, mark_quietly, marks, start, state, until, wait_at_each_gate,
    wait_at_the_gate, with_worker, word,
};

on_every_database!(
    a_worker_beside_the_requests_runs_what_is_enqueued,
    workers_of_several_processes_share_the_jobs,
    a_silent_workers_job_is_run_by_another_and_what_it_says_later_changes_nothing,
    what_a_silent_worker_says_does_not_end_the_try_of_another,
    a_job_whose_worker_is_silent_at_its_last_try_has_failed,
    a_stopping_worker_finishes_or_hands_back,
    a_running_job_can_be_cancelled,
    a_waiting_job_can_be_cancelled,
    finished_jobs_are_swept_out_in_time_and_failed_ones_stay,
);

/// Promise: B2, I4
async fn a_worker_beside_the_requests_runs_what_is_enqueued(database: TestDatabase) {
    let service = TestService::start_on(database, with_worker).await;
    let id = jobs(&service).enqueue(mark, word("gear")).await.expect("enqueued").job_id;
    until("the job is done", || async { state(&service, &id).await == JobState::Succeeded }).await;
    let ready = service.anonymous().get("/readyz").await.expect(200).json();
    assert_eq!(ready["workers"]["jobs"]["status"], "ok", "{ready}");
}

/// Promise: R-01
async fn workers_of_several_processes_share_the_jobs(database: TestDatabase) {
    let service = start(database).await;
    jobs(&service).enqueue_many(mark_quietly, (0..300).map(|n| word(n.to_string()))).await.expect("enqueued");
    let (second, third) = (service.beside(app).await, service.beside(app).await);
    let (a, b, c) = tokio::join!(service.run_jobs(), second.run_jobs(), third.run_jobs());
    assert_eq!(a + b + c, 300);
    let mut words = marks(&service.db()).await;
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), 300);
}

/// Makes the leases of all jobs that run end in the past.
async fn end_leases(db: &Db) {
    let sql = "UPDATE [kernel_jobs] SET [due_at] = ? WHERE [state] = 'running'";
    let long_ago: Timestamp = "2000-01-01T00:00:00Z".parse().expect("a time");
    assert_eq!(db.execute(sql, [long_ago]).await.expect("an answer"), 1);
}

/// Promise
async fn a_silent_workers_job_is_run_by_another_and_what_it_says_later_changes_nothing(database: TestDatabase) {
    let gate = database.url().expose().to_owned();
    let service = start(database).await;
    let other = service.beside(app).await;
    let id = jobs(&service).enqueue(wait_at_the_gate, gate.clone()).await.expect("enqueued").job_id;
    let (db, others) = (service.db(), other.db());
    let scene = async {
        until("the first try has begun", || async { marks(&db).await == ["arrived"] }).await;
        end_leases(&others).await;
        assert_eq!(other.run_jobs().await, 1);
        assert_eq!(state(&other, &id).await, JobState::Succeeded);
        gate_of(&gate).await.add_permits(1);
    };
    // The first worker renews its lease each ten seconds: it learns nothing before its task has ended.
    tokio::join!(service.run_jobs(), scene);
    let done = job(&service, &id).await;
    assert_eq!((done.state, done.attempt, done.result.clone()), (JobState::Succeeded, 2, Some(json!("try 2"))));
    assert_eq!(done.first_error.as_deref().map(|error| error.starts_with("its worker went silent")), Some(true));
}

/// Promise: R-02
async fn what_a_silent_worker_says_does_not_end_the_try_of_another(database: TestDatabase) {
    let gate = database.url().expose().to_owned();
    let service = start(database).await;
    let other = service.beside(app).await;
    let id = jobs(&service).enqueue(wait_at_each_gate, gate.clone()).await.expect("enqueued").job_id;
    let db = service.db();
    let arrived = async |times: usize| {
        until("a try has begun", || async {
            marks(&db).await.iter().filter(|word| *word == "arrived").count() == times
        })
        .await;
    };
    let second = async {
        arrived(1).await;
        end_leases(&db).await;
        assert_eq!(other.run_jobs().await, 1);
    };
    let first = async {
        assert_eq!(service.run_jobs().await, 1);
        let running = job(&service, &id).await;
        assert_eq!((running.state, running.attempt, running.result.clone()), (JobState::Running, 2, None));
        gate_of(&format!("{gate} 2")).await.add_permits(1);
    };
    let scene = async {
        arrived(2).await;
        gate_of(&format!("{gate} 1")).await.add_permits(1);
    };
    tokio::join!(first, second, scene);
    assert_eq!(job(&service, &id).await.result, Some(json!("try 2")));
}

/// Promise: R-04
async fn a_job_whose_worker_is_silent_at_its_last_try_has_failed(database: TestDatabase) {
    let service = start(database).await;
    let id = jobs(&service).enqueue(mark, word("poison")).await.expect("enqueued").job_id;
    let db = service.db();
    // As after a claim by a process that is gone.
    for attempt in 1..=3 {
        let sql =
            "UPDATE [kernel_jobs] SET [state] = 'running', [worker_id] = 'gone', [attempt] = ?, [fence] = [fence] + 1";
        db.execute(sql, [attempt]).await.expect("an answer");
        end_leases(&db).await;
        // A worker without the task rescues it all the same.
        let bystander = |config| Service::new("job_tests", config).entity::<super::Mark>().task(super::behave);
        service.beside(bystander).await.run_jobs().await;
        let expected = if attempt < 3 { JobState::Ready } else { JobState::Failed };
        assert_eq!(state(&service, &id).await, expected, "after attempt {attempt}");
    }
    service.run_jobs().await;
    assert_eq!(marks(&db).await, Vec::<String>::new());
}

/// Promise
async fn a_stopping_worker_finishes_or_hands_back(database: TestDatabase) {
    let gate = database.url().expose().to_owned();
    let watching = start(database).await;
    let stopping = watching.beside(with_worker).await;
    let id = jobs(&stopping).enqueue(wait_at_the_gate, gate.clone()).await.expect("enqueued").job_id;
    until("the job runs", || async { marks(&watching.db()).await == ["arrived"] }).await;
    stopping.stop().await;
    let back = job(&watching, &id).await;
    assert_eq!((back.state, back.attempt, back.worker_id.clone()), (JobState::Ready, 0, None));
    gate_of(&gate).await.add_permits(1);
    assert_eq!(watching.run_jobs().await, 1);
    assert_eq!(job(&watching, &id).await.result, Some(json!("try 1")));
    // One that can finish does.
    let stopping = watching.beside(with_worker).await;
    let id = jobs(&stopping).enqueue(wait_at_the_gate, format!("{gate} 2")).await.expect("enqueued").job_id;
    until("the job runs", || async { state(&watching, &id).await == JobState::Running }).await;
    let open = async {
        tokio::task::yield_now().await;
        gate_of(&format!("{gate} 2")).await.add_permits(1);
    };
    tokio::join!(stopping.stop(), open);
    assert_eq!(state(&watching, &id).await, JobState::Succeeded);
}

async fn a_running_job_can_be_cancelled(database: TestDatabase) {
    let service = start(database).await;
    let id = jobs(&service).enqueue(last_forever, json!({})).await.expect("enqueued").job_id;
    let scene = async {
        until("the job runs", || async { marks(&service.db()).await == ["begun"] }).await;
        let running = job(&service, &id).await;
        assert_eq!((running.state, running.progress.clone()), (JobState::Running, Some(json!({ "percent": 10 }))));
        assert!(!jobs(&service).delete(&id).await.expect("an answer"), "it runs");
        assert!(jobs(&service).cancel(&id).await.expect("an answer"));
    };
    tokio::join!(service.run_jobs(), scene);
    assert_eq!(state(&service, &id).await, JobState::Cancelled);
    assert_eq!(marks(&service.db()).await, ["begun", "told"]);
    assert!(!jobs(&service).cancel(&id).await.expect("an answer"), "it is finished");
}

async fn a_waiting_job_can_be_cancelled(database: TestDatabase) {
    let service = start(database).await;
    let id = jobs(&service).enqueue(mark, word("never")).await.expect("enqueued").job_id;
    assert!(jobs(&service).cancel(&id).await.expect("an answer"));
    assert_eq!((service.run_jobs().await, state(&service, &id).await), (0, JobState::Cancelled));
    assert!(jobs(&service).retry(&id).await.expect("an answer"));
    assert_eq!((service.run_jobs().await, state(&service, &id).await), (1, JobState::Succeeded));
}

async fn finished_jobs_are_swept_out_in_time_and_failed_ones_stay(database: TestDatabase) {
    let service = start(database).await;
    let done = jobs(&service).enqueue(mark, word("gear")).await.expect("enqueued").job_id;
    let failed = jobs(&service).enqueue(super::behave, json!({ "tries": ["discard"] })).await.expect("enqueued").job_id;
    service.run_jobs().await;
    service.advance(Duration::from_secs(71 * 3600));
    service.beside(with_worker).await.stop().await;
    assert_eq!(state(&service, &done).await, JobState::Succeeded);
    service.advance(Duration::from_secs(2 * 3600));
    let sweeping = service.beside(with_worker).await;
    until("it is swept out", || async { jobs(&service).get(&done).await.expect("an answer").is_none() }).await;
    sweeping.stop().await;
    assert_eq!(state(&service, &failed).await, JobState::Failed);
}
