//! Enqueuing: in the caller's transaction, once where a key says so, later where a time says so, and only what can be run.

use std::time::Duration;

use app_kernel::feature::jobs::JobState;
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{job, jobs, mark, mark_quietly, marks, start, state, word};

on_every_database!(
    a_job_runs_and_its_result_is_kept,
    a_job_is_there_if_and_only_if_its_transaction_is,
    a_task_that_nobody_knows_is_refused_and_so_is_a_payload_that_does_not_fit,
    a_job_with_a_unique_key_is_there_once_until_it_is_done,
    many_jobs_are_enqueued_and_run_together,
    a_delayed_job_waits_for_its_time,
    smaller_priorities_run_first,
    a_job_changes_things_in_the_name_of_its_user,
);

/// Promise: B2, I1, I2, I3, I6
async fn a_job_runs_and_its_result_is_kept(database: TestDatabase) {
    let service = start(database).await;
    let typed = jobs(&service).enqueue(mark, word("gear")).await.expect("enqueued");
    let named = jobs(&service).enqueue("double", 21).await.expect("enqueued");
    assert!(typed.is_new && state(&service, &typed.job_id).await == JobState::Ready);
    assert_eq!(service.run_jobs().await, 2);
    let done = job(&service, &typed.job_id).await;
    assert_eq!(
        (done.state, done.attempt, done.result.clone()),
        (JobState::Succeeded, 1, Some(json!({ "left": "gear" })))
    );
    assert_eq!(job(&service, &named.job_id).await.result, Some(json!(42)));
    assert_eq!(marks(&service.db()).await, ["gear"]);
    assert_eq!(done.worker_id, None);
}

/// Promise: R-01
async fn a_job_is_there_if_and_only_if_its_transaction_is(database: TestDatabase) {
    let service = start(database).await;
    let jobs = jobs(&service);
    let undone: Result<()> = service
        .db()
        .transaction(async |tx| {
            jobs.on(&tx).enqueue(mark, word("undone")).await?;
            Err(Error::conflict("no"))
        })
        .await;
    assert_eq!(undone.expect_err("it was undone").message(), "no");
    let kept = service.db().transaction(async |tx| jobs.on(&tx).enqueue(mark, word("kept")).await).await;
    assert_eq!(state(&service, &kept.expect("committed").job_id).await, JobState::Ready);
    assert_eq!(service.run_jobs().await, 1);
    assert_eq!(marks(&service.db()).await, ["kept"]);
}

async fn a_task_that_nobody_knows_is_refused_and_so_is_a_payload_that_does_not_fit(database: TestDatabase) {
    let service = start(database).await;
    let jobs = jobs(&service);
    let unknown = jobs.enqueue("make_tea", json!({})).await.expect_err("unknown");
    assert_eq!(unknown.error_code(), "unknown_task");
    assert!(unknown.message().contains(".task(make_tea)") && unknown.message().contains("mark"), "{unknown}");
    for payload in [json!({}), json!({ "word": 3 }), json!("gear")] {
        let unfit = jobs.enqueue("mark", payload).await.expect_err("it does not fit");
        assert_eq!(unfit.error_code(), "payload_unfit", "{unfit}");
    }
    let large = jobs.enqueue(mark, word("x".repeat(2 << 20))).await.expect_err("too large");
    assert!(large.message().contains("enqueue its id"), "{large}");
    for key in ["", &"x".repeat(201), "a\0b"] {
        jobs.enqueue(mark, word("x")).unique_key(key).await.expect_err("no key");
    }
    jobs.enqueue(mark, word("x")).queue("no queue").await.expect_err("no name");
    let counts = jobs.counts().await.expect("counts");
    assert_eq!(counts, []);
}

async fn a_job_with_a_unique_key_is_there_once_until_it_is_done(database: TestDatabase) {
    let service = start(database).await;
    let jobs = jobs(&service);
    let enqueue = |word_: &str| jobs.enqueue(mark, word(word_)).unique_key("the Käse of ann").into_future();
    let answers = futures_util::future::join_all((0..8).map(|_| enqueue("first"))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_new).count(), 1);
    assert!(answers.iter().all(|answer| answer.job_id == answers[0].job_id));
    assert_eq!(service.run_jobs().await, 1);
    let second = enqueue("second").await.expect("an answer");
    assert!(second.is_new);
    assert_eq!(service.run_jobs().await, 1);
    assert_eq!(marks(&service.db()).await, ["first", "second"]);
}

async fn many_jobs_are_enqueued_and_run_together(database: TestDatabase) {
    let service = start(database).await;
    let ids = jobs(&service).enqueue_many(mark_quietly, (0..1203).map(|n| word(n.to_string()))).await.expect("all");
    assert_eq!(ids.len(), 1203);
    assert_eq!(service.run_jobs().await, 1203);
    let mut found = marks(&service.db()).await;
    found.sort_by_key(|word| word.parse::<u32>().expect("a number"));
    assert_eq!(found, (0..1203).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(jobs(&service).counts().await.expect("counts"), [("default".to_owned(), JobState::Succeeded, 1203)]);
}

async fn a_delayed_job_waits_for_its_time(database: TestDatabase) {
    let service = start(database).await;
    let jobs = jobs(&service);
    let hour = Duration::from_secs(3600);
    let later = jobs.enqueue(mark, word("in an hour")).delay(hour).await.expect("enqueued").job_id;
    let at = service.now() + hour * 2;
    jobs.enqueue(mark, word("in two")).at(at).await.expect("enqueued");
    assert_eq!((state(&service, &later).await, service.run_jobs().await), (JobState::Scheduled, 0));
    service.advance(hour);
    assert_eq!(service.run_jobs().await, 1);
    service.advance(hour);
    assert_eq!(service.run_jobs().await, 1);
    assert_eq!(marks(&service.db()).await, ["in an hour", "in two"]);
}

async fn smaller_priorities_run_first(database: TestDatabase) {
    let one_at_a_time = |config| super::app(ServiceConfig { worker_concurrency: 1, ..config });
    let service = app_kernel::testing::TestService::start_on(database, one_at_a_time).await;
    for (name, priority) in [("c", 5), ("a", -3), ("d", 5), ("b", 0)] {
        jobs(&service).enqueue(mark_quietly, word(name)).priority(priority).await.expect("enqueued");
        service.advance(Duration::from_millis(1));
    }
    service.run_jobs().await;
    assert_eq!(marks(&service.db()).await, ["a", "b", "c", "d"]);
}

/// Promise: I3, I6
async fn a_job_changes_things_in_the_name_of_its_user(database: TestDatabase) {
    let service = start(database).await;
    let ann = service.sign_up("ann").await;
    let user_id = ann.get("/auth/me").await.expect(200).id();
    ann.post("/marks", "hers").await.expect(200);
    let told = jobs(&service).enqueue(mark, word("bob's")).user("bob").await.expect("enqueued").job_id;
    jobs(&service).enqueue(mark, word("nobody's")).await.expect("enqueued");
    assert_eq!(job(&service, &told).await.user_id.as_deref(), Some("bob"));
    service.run_jobs().await;
    for (word, user) in [("hers", Some(user_id.as_str())), ("bob's", Some("bob")), ("nobody's", None)] {
        let left = service.db().find::<super::Mark>("[word] = ?", [word]).first().await.expect("an answer");
        let history = service.db().history::<super::Mark>(&left.expect("a mark").id).await.expect("a history");
        assert_eq!(history[0].user_id.as_deref(), user, "{word}");
    }
}
