//! From an event to its receivers, on every database.

use std::time::Duration;

use app_kernel::feature::webhooks::{DeliveryState, DisabledBecause, Outcome, read_webhook, update_webhook};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{last, log_of, make, owner, signed_by, start, thing, trigger};
use crate::support::receiver::{Receiver, Way};

on_every_database!(
    every_enabled_webhook_of_the_workspace_gets_every_event,
    an_event_is_told_if_and_when_its_transaction_is_committed,
    a_failing_receiver_is_tried_again_with_the_same_id_and_the_same_bytes,
    the_tenth_failure_is_the_last,
    a_receiver_that_answers_410_is_told_nothing_more,
    a_webhook_is_given_up_after_five_days_in_which_every_try_failed,
    many_webhooks_of_one_workspace_are_told_at_once,
);

/// Promise: O1, O2, O3, O4
async fn every_enabled_webhook_of_the_workspace_gets_every_event(database: TestDatabase) {
    let service = start(database).await;
    let ((_, ours), (_, theirs)) = (owner(&service, "ann").await, owner(&service, "bob").await);
    let (first, second, off, other) =
        (Receiver::start().await, Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let webhook = make(&service, &ours, &first.url()).await;
    make(&service, &ours, &second.url()).await;
    let disabled = make(&service, &ours, &off.url()).await;
    update_webhook(&service.db(), &ours, &disabled.id).enabled(false).await.expect("a change");
    make(&service, &theirs, &other.url()).await;

    // Also by the handle of a workspace, as handlers have it.
    let db = service.db().in_workspace(&ours);
    let data = json!({ "service": "api", "version": 42, "name": "größe 😀\u{0}" });
    let event = trigger_webhook_event(&db, &ours, "deployment.succeeded", &data).await.expect("an event");
    assert_eq!(event.deliveries, 2);
    assert_eq!(service.run_jobs().await, 2);
    for receiver in [&first, &second] {
        let request = &receiver.received()[0];
        assert_eq!((receiver.received().len(), request.path.as_str(), request.id()), (1, "/hook", &*event.id));
        assert_eq!(request.header("content-type"), "application/json");
        let at: i64 = request.header("webhook-timestamp").parse().expect("seconds");
        assert_eq!(at, service.now().as_second());
        let body = request.json();
        let keys: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["event", "data", "timestamp"]);
        assert_eq!((&body["event"], &body["data"]), (&json!("deployment.succeeded"), &data));
        let told: Timestamp = body["timestamp"].as_str().expect("a time").parse().expect("a time");
        assert_eq!(told, service.now());
    }
    assert_eq!(signed_by(&first.received()[0], &[&webhook.secret]), [webhook.secret.as_str()]);
    assert_eq!(signed_by(&second.received()[0], &[&webhook.secret]), [""; 0], "each has a secret of its own");
    assert_eq!(off.received().len() + other.received().len(), 0);

    let delivery = last(&service, &webhook).await;
    assert_eq!((delivery.info.state, delivery.info.attempts), (DeliveryState::Delivered, 1));
    assert_eq!((delivery.info.last_status, delivery.body["data"].clone()), (Some(204), data));
    assert_eq!((delivery.tries.len(), delivery.tries[0].outcome), (1, Outcome::Delivered));
    let nobody = trigger_webhook_event(&service.db(), "no-such-workspace", "a", json!({})).await.expect("an event");
    assert_eq!(nobody.deliveries, 0);
}

/// Promise: O2, R-19
async fn an_event_is_told_if_and_when_its_transaction_is_committed(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::start().await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    let db = service.db();
    let rolled_back: Result<()> = db
        .transaction(async |tx| {
            trigger_webhook_event(&tx, &ours, "thing.happened", thing(1)).await?;
            Err(Error::conflict("it did not happen"))
        })
        .await;
    rolled_back.expect_err("rolled back");
    assert_eq!((service.run_jobs().await, log_of(&service, &webhook).await.len()), (0, 0));
    let kept = db.transaction(async |tx| trigger_webhook_event(&tx, &ours, "thing.happened", thing(2)).await).await;
    kept.expect("committed");
    assert_eq!(receiver.received().len(), 0, "nobody waits for a receiver");
    service.run_jobs().await;
    let received = receiver.received();
    assert_eq!((received.len(), received[0].json()["data"].clone()), (1, thing(2)));
}

/// Promise: R-19
async fn a_failing_receiver_is_tried_again_with_the_same_id_and_the_same_bytes(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let elsewhere = Receiver::start().await;
    let target = elsewhere.url();
    let receiver = Receiver::that(move |_, before| match before {
        0 => Way::Status(500, "out of cheese".to_owned()),
        1 => Way::Redirect(307, target.clone()),
        2 => Way::Reset,
        3 => Way::HalfAHead,
        _ => Way::Status(200, "thanks".to_owned()),
    })
    .await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    let id = trigger(&service, &ours, thing(1)).await;
    let mut tries = 0;
    // Just before the wait is over, there is nothing to do.
    for (early, late) in [(0, 0), (4, 6), (260, 340), (1600, 2000), (6400, 8000)] {
        service.advance(Duration::from_secs(early));
        if early > 0 {
            assert_eq!(service.run_jobs().await, 0, "before try {}", tries + 1);
        }
        service.advance(Duration::from_secs(late - early));
        assert_eq!(service.run_jobs().await, 1, "at try {}", tries + 1);
        tries += 1;
        assert_eq!(last(&service, &webhook).await.info.attempts, tries);
    }
    let received = receiver.received();
    assert_eq!(received.len(), 5);
    for request in &received {
        assert_eq!((request.id(), &request.body), (id.as_str(), &received[0].body));
        assert_eq!(signed_by(request, &[&webhook.secret]).len(), 1, "signed anew, at its own time");
    }
    let times: std::collections::BTreeSet<&str> = received.iter().map(|it| it.header("webhook-timestamp")).collect();
    assert_eq!((times.len(), elsewhere.received().len()), (5, 0), "redirects are not followed");
    let delivery = last(&service, &webhook).await;
    let outcomes: Vec<_> = delivery.tries.iter().map(|it| (it.outcome, it.status, it.answer.as_deref())).collect();
    assert_eq!(
        outcomes,
        [
            (Outcome::Refused, Some(500), Some("out of cheese")),
            (Outcome::Refused, Some(307), None),
            (Outcome::Unreachable, None, None),
            (Outcome::Unreachable, None, None),
            (Outcome::Delivered, Some(200), Some("thanks")),
        ]
    );
    let info = read_webhook(&service.db(), &ours, &webhook.id).await.expect("it is there");
    assert_eq!((info.failing_since, info.is_enabled), (None, true), "a success ends the streak");
}

/// Promise: R-19
async fn the_tenth_failure_is_the_last(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::always(Way::Status(503, String::new())).await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    trigger(&service, &ours, thing(1)).await;
    for (i, wait) in [0, 6, 340, 2000, 8000, 20_000, 40_000, 56_000, 80_000, 96_000].into_iter().enumerate() {
        service.advance(Duration::from_secs(wait));
        assert_eq!(service.run_jobs().await, 1, "try {}", i + 1);
    }
    service.advance(Duration::from_secs(48 * 3600));
    assert_eq!(service.run_jobs().await, 0);
    let delivery = last(&service, &webhook).await;
    assert_eq!(
        (delivery.info.state, delivery.info.attempts, receiver.received().len()),
        (DeliveryState::Failed, 10, 10)
    );
    assert_eq!(delivery.info.next_attempt_at, None);
    let info = read_webhook(&service.db(), &ours, &webhook.id).await.expect("it is there");
    assert!(info.is_enabled, "three days are not five");
}

async fn a_receiver_that_answers_410_is_told_nothing_more(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::always(Way::Status(410, String::new())).await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    trigger(&service, &ours, thing(1)).await;
    service.run_jobs().await;
    let info = read_webhook(&service.db(), &ours, &webhook.id).await.expect("it is there");
    assert_eq!((info.is_enabled, info.disabled_because), (false, Some(DisabledBecause::Gone)));
    assert_eq!(info.disabled_at, Some(service.now()));
    let none = trigger_webhook_event(&service.db(), &ours, "thing.happened", thing(2)).await.expect("an event");
    assert_eq!((none.deliveries, receiver.received().len()), (0, 1));
    assert_eq!(last(&service, &webhook).await.info.state, DeliveryState::Failed);
    let versions = service.db().history::<app_kernel::feature::webhooks::Webhook>(&webhook.id).await.expect("versions");
    assert_eq!(versions.len(), 2, "that it was given up is recorded");
}

async fn a_webhook_is_given_up_after_five_days_in_which_every_try_failed(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::always(Way::Status(500, String::new())).await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    let info = async || read_webhook(&service.db(), &ours, &webhook.id).await.expect("it is there");
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let began = service.now();
    for _ in 0..4 {
        trigger(&service, &ours, thing(1)).await;
        service.run_jobs().await;
        assert_eq!((info().await.is_enabled, info().await.failing_since), (true, Some(began)));
        service.advance(hours(29));
    }
    service.advance(hours(5));
    trigger(&service, &ours, thing(2)).await;
    service.run_jobs().await;
    assert_eq!(info().await.disabled_because, Some(DisabledBecause::Failing));
    // What waits is given up when its time comes, and nothing is sent.
    let before = receiver.received().len();
    service.advance(hours(48));
    service.run_jobs().await;
    let log = log_of(&service, &webhook).await;
    assert!(log.iter().all(|delivery| delivery.state == DeliveryState::Failed), "{log:?}");
    assert_eq!((receiver.received().len(), log[0].last_outcome), (before, Some(Outcome::Disabled)));

    // Enabled again, it starts with a clean record; one failure a week is no streak.
    update_webhook(&service.db(), &ours, &webhook.id).enabled(true).await.expect("a change");
    assert_eq!(info().await.failing_since, None);
    for _ in 0..2 {
        trigger(&service, &ours, thing(3)).await;
        service.run_jobs().await;
        assert_eq!((info().await.is_enabled, info().await.failing_since), (true, Some(service.now())));
        let sql = "DELETE FROM [kernel_jobs] WHERE [state] = 'scheduled'";
        service.db().execute(sql, ()).await.expect("its further tries are not this test's");
        service.advance(hours(7 * 24));
    }
}

async fn many_webhooks_of_one_workspace_are_told_at_once(database: TestDatabase) {
    let service = start(database).await;
    let (_, ours) = owner(&service, "ann").await;
    let receiver = Receiver::start().await;
    let one = make(&service, &ours, &receiver.url()).await;
    let row = service.db().get::<app_kernel::feature::webhooks::Webhook>(&one.id).await.expect("a row").expect("a row");
    // The secrets are sealed for another: these are here to be many.
    service.db().save_many((1..600).map(|_| row.entity.clone())).await.expect("rows");
    let told = trigger_webhook_event(&service.db(), &ours, "thing.happened", thing(1)).await.expect("an event");
    assert_eq!(told.deliveries, 600);
    let count = async |sql: &str| service.db().query(sql, ()).await.expect("a count")[0]["n"].as_int();
    assert_eq!(count("SELECT COUNT(*) AS [n] FROM [kernel_webhook_deliveries]").await, Some(600));
    assert_eq!(count("SELECT COUNT(DISTINCT [concurrency_key]) AS [n] FROM [kernel_jobs]").await, Some(600));
    service.run_jobs().await;
    assert_eq!(receiver.received().len(), 1);
    let unreadable =
        "SELECT COUNT(*) AS [n] FROM [kernel_webhook_deliveries] WHERE [last_outcome] = 'secret_unreadable'";
    assert_eq!(count(unreadable).await, Some(599));
}
