//! Receivers that make others wait: they hold up nobody but themselves.

use std::time::{Duration, Instant};

use app_kernel::feature::webhooks::{DeliveryState, NewWebhook, Outcome, read_webhook_delivery};
use app_kernel::prelude::*;
use app_kernel::testing::TestService;

use super::{app, last, log_of, make, owner, thing, trigger};
use crate::jobs::until;
use crate::support::receiver::{Receiver, Way};

/// How many requests to one webhook may be under way: first tries, and others.
const AT_ONCE: usize = 10 + 3;
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(15);

/// Promise: R-19
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_that_never_answer_hold_up_nobody_else() {
    let events = 100;
    let with_worker = |config| {
        app(ServiceConfig {
            worker_embedded: true,
            worker_concurrency: 2,
            shutdown_timeout: Duration::from_secs(1),
            ..config
        })
    };
    let service = TestService::start(with_worker).await;
    let (ann, ours) = owner(&service, "ann").await;
    let [silent, drip, dripping_body, flood, refusing_flood, good] = [
        Receiver::always(Way::Silence).await,
        Receiver::always(Way::Drip { from_the_head: true }).await,
        Receiver::always(Way::Drip { from_the_head: false }).await,
        Receiver::always(Way::Flood(200)).await,
        Receiver::always(Way::Flood(500)).await,
        Receiver::start().await,
    ];
    let began = Instant::now();
    let mut webhooks = Vec::<NewWebhook>::new();
    for receiver in [&silent, &drip, &dripping_body, &flood, &refusing_flood, &good] {
        webhooks.push(make(&service, &ours, &receiver.url()).await);
    }
    for n in 0..events {
        trigger(&service, &ours, thing(n)).await;
    }
    let received = good.wait_for(events).await;
    let ids: std::collections::BTreeSet<&str> = received.iter().map(|request| request.id()).collect();
    assert_eq!(ids.len(), events);
    ann.get("/auth/me").await.expect(200);
    let rounds = 1 + (began.elapsed().as_millis() / LONGEST.as_millis()) as usize;
    let under_way = silent.received().len();
    assert!(under_way <= AT_ONCE * rounds, "{under_way} requests to the silent one after {rounds} rounds");

    let outcome = async |webhook: usize, outcome: Outcome| {
        let log = log_of(&service, &webhooks[webhook]).await;
        log.iter().any(|delivery| delivery.last_outcome == Some(outcome))
    };
    until("the silent one has had its time", async || outcome(0, Outcome::Timeout).await).await;
    until("so has the one that drips", async || outcome(1, Outcome::Timeout).await).await;
    until("a status is enough", async || outcome(2, Outcome::Delivered).await).await;
    until("however much follows it", async || outcome(3, Outcome::Delivered).await).await;
    until("or however bad it is", async || outcome(4, Outcome::Refused).await).await;
    let log = log_of(&service, &webhooks[3]).await;
    let flooded = log.iter().find(|delivery| delivery.state == DeliveryState::Delivered).expect("one");
    let flooded = read_webhook_delivery(&service.db(), &ours, &webhooks[3].id, &flooded.id).await.expect("a delivery");
    assert_eq!(flooded.tries[0].answer.as_ref().map(String::len), Some(1024), "it is kept shortened");
    let timed_out = last_timeout(&service, &webhooks[0]).await;
    assert!(timed_out >= LONGEST.as_millis() as i64, "given up after {timed_out} ms");
    assert_eq!(last(&service, &webhooks[5]).await.info.state, DeliveryState::Delivered);
    println!(
        "R-19 held: {events} events beside 5 receivers that make others wait, {under_way} requests under way to the silent one"
    );
}

/// How long a try took that was given up.
async fn last_timeout(service: &TestService, webhook: &NewWebhook) -> i64 {
    let sql = "SELECT [duration_ms] FROM [kernel_webhook_attempts] AS a WHERE [outcome] = 'timeout' AND EXISTS \
               (SELECT 1 FROM [kernel_webhook_deliveries] AS d WHERE d.[id] = a.[delivery_id] AND d.[webhook_id] = ?)";
    service.db().query(sql, [webhook.id.as_str()]).await.expect("rows")[0]["duration_ms"].as_int().expect("a number")
}
