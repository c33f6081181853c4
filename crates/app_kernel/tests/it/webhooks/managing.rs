//! Webhooks over HTTP: made, changed, rotated, tried out, sent once more.

use std::time::Duration;

use app_kernel::feature::webhooks::Webhook;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::{Value, json};

use super::{log_of, make, owner, signed_by, start, thing, trigger};
use crate::support::receiver::{Receiver, Way};

on_every_database!(
    a_webhook_lives_from_its_making_to_its_deletion,
    a_rotated_secret_signs_on_for_a_day,
    a_delivery_is_sent_once_more_with_the_same_id,
    what_a_webhook_has_missed_is_sent_when_it_recovers,
);

/// Promise: O1
async fn a_webhook_lives_from_its_making_to_its_deletion(database: TestDatabase) {
    let service = start(database).await;
    let (ann, ours) = owner(&service, "ann").await;
    let (bob, _) = owner(&service, "bob").await;
    let receiver = Receiver::start().await;
    let all = format!("/workspaces/{ours}/webhooks");
    let made = ann.post(&all, json!({ "url": receiver.url(), "description": "Chat" })).await.expect(201);
    let (id, secret) = (made.id(), made.json()["secret"].as_str().expect("a secret").to_owned());
    assert!(secret.starts_with("whsec_"), "{secret}");
    let one = format!("{all}/{id}");
    let read = ann.get(&one).await.expect(200).json();
    assert_eq!(
        (&read["url"], &read["description"], &read["is_enabled"]),
        (&json!(receiver.url()), &json!("Chat"), &json!(true))
    );
    assert_eq!(ann.get(&all).await.expect(200).json(), json!([read]));
    bob.get(&one).await.expect_problem(404, "not_found");

    // The secret is told once, and lies nowhere as it is.
    assert!(!read.to_string().contains("whsec_") && read.get("secret").is_none(), "{read}");
    let row = service.db().get::<Webhook>(&id).await.expect("a row").expect("a row");
    let bare = secret.trim_start_matches("whsec_");
    assert!(!row.sealed_secret.expose().contains(bare), "sealed");
    for table in ["kernel_webhooks_history", "kernel_changes", "kernel_audit_log"] {
        let rows = service.db().query(format!("SELECT * FROM [{table}]"), ()).await.expect("rows");
        let text = format!("{rows:?}");
        assert!(!text.contains(bare) && !text.contains(row.sealed_secret.expose()), "{table}");
    }

    let tried = ann.post(&format!("{one}/test"), json!({})).await.expect(201).json();
    assert_eq!((&tried["event"], &tried["state"]), (&json!("webhook.test"), &json!("pending")));
    service.run_jobs().await;
    assert_eq!(receiver.received()[0].json()["data"]["webhook_id"], json!(id));
    let log = ann.get(&format!("{one}/deliveries")).await.expect(200).json();
    assert_eq!((&log["items"][0]["id"], &log["items"][0]["state"]), (&tried["id"], &json!("delivered")));
    let path = format!("{one}/deliveries/{}", tried["id"].as_str().expect("an id"));
    let details = ann.get(&path).await.expect(200).json();
    assert_eq!((&details["tries"][0]["status"], &details["body"]["event"]), (&json!(204), &json!("webhook.test")));

    let change = json!({ "url": receiver.url() + "/2", "description": "", "is_enabled": false });
    let changed = ann.patch(&one, change).await.expect(200).json();
    assert_eq!((&changed["description"], &changed["disabled_because"]), (&Value::Null, &json!("by_hand")));
    assert_eq!(changed["url"], json!(receiver.url() + "/2"));
    ann.post(&format!("{one}/test"), json!({})).await.expect_problem(409, "webhook_disabled");
    ann.post(&format!("{path}/redeliver"), json!({})).await.expect_problem(409, "webhook_disabled");
    let enabled = ann.patch(&one, json!({ "is_enabled": true })).await.expect(200).json();
    assert_eq!((&enabled["is_enabled"], &enabled["disabled_because"]), (&json!(true), &Value::Null));
    trigger(&service, &ours, thing(1)).await;
    ann.delete(&one).await.expect(204);
    service.run_jobs().await;
    assert_eq!(receiver.received().len(), 1, "what was on its way is not sent any more");
    for path in [&one, &path] {
        ann.get(path).await.expect_problem(404, "not_found");
    }
    ann.delete(&one).await.expect_problem(404, "not_found");
}

async fn a_rotated_secret_signs_on_for_a_day(database: TestDatabase) {
    let service = start(database).await;
    let (ann, ours) = owner(&service, "ann").await;
    let receiver = Receiver::start().await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    let rotate = format!("/workspaces/{ours}/webhooks/{}/rotate", webhook.id);
    let rotated = ann.post(&rotate, json!({})).await.expect(200).json();
    let (old, new) = (webhook.secret.clone(), rotated["secret"].as_str().expect("a secret").to_owned());
    assert_ne!(old, new);
    let hour = Duration::from_secs(3600);
    let mut signers = Vec::new();
    for wait in [Duration::ZERO, hour * 23, hour * 2] {
        service.advance(wait);
        trigger(&service, &ours, thing(1)).await;
        service.run_jobs().await;
        let received = receiver.received();
        signers.push(signed_by(received.last().expect("a request"), &[&old, &new]).len());
    }
    assert_eq!(signers, [2, 2, 1]);
    let last = receiver.received().pop().expect("a request");
    assert_eq!(signed_by(&last, &[&old, &new]), [new.as_str()]);
    let ann = service.sign_in("ann").await; // a day has passed
    let at_once = ann.post(&rotate, json!({ "overlap_hours": 0 })).await.expect(200).json();
    assert_eq!(at_once["previous_secret_until"], Value::Null);
    trigger(&service, &ours, thing(2)).await;
    service.run_jobs().await;
    let last = receiver.received().pop().expect("a request");
    assert_eq!(signed_by(&last, &[&old, &new, at_once["secret"].as_str().expect("a secret")]).len(), 1);
    ann.post(&rotate, json!({ "overlap_hours": 169 })).await.expect_problem(422, "unprocessable");
}

async fn a_delivery_is_sent_once_more_with_the_same_id(database: TestDatabase) {
    let service = start(database).await;
    let (ann, ours) = owner(&service, "ann").await;
    let receiver = Receiver::start().await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    let id = trigger(&service, &ours, thing(1)).await;
    let delivery = log_of(&service, &webhook).await.remove(0).id;
    let path = format!("/workspaces/{ours}/webhooks/{}/deliveries/{delivery}/redeliver", webhook.id);
    ann.post(&path, json!({})).await.expect_problem(409, "already_pending");
    service.run_jobs().await;
    let again = ann.post(&path, json!({})).await.expect(200).json();
    assert_eq!((&again["state"], &again["attempts"]), (&json!("pending"), &json!(1)));
    assert_eq!(service.run_jobs().await, 1);
    let received = receiver.received();
    assert_eq!((received[1].id(), &received[1].body), (id.as_str(), &received[0].body));
    assert_eq!(log_of(&service, &webhook).await[0].attempts, 2);
    ann.post(&path.replace(&delivery, "no-such"), json!({})).await.expect_problem(404, "not_found");
    let other = make(&service, &ours, &receiver.url()).await;
    ann.post(&path.replace(&webhook.id, &other.id), json!({})).await.expect_problem(404, "not_found");
}

async fn what_a_webhook_has_missed_is_sent_when_it_recovers(database: TestDatabase) {
    let service = start(database).await;
    let (ann, ours) = owner(&service, "ann").await;
    let receiver = Receiver::that(|request, before| match request.json()["data"]["n"].as_u64() {
        Some(_) if before < 3 => Way::Status(410, String::new()),
        _ => Way::Status(200, String::new()),
    })
    .await;
    let webhook = make(&service, &ours, &receiver.url()).await;
    let one = format!("/workspaces/{ours}/webhooks/{}", webhook.id);
    let mut since = String::new();
    for n in 0..3 {
        if n == 1 {
            since = service.now().to_string();
        }
        trigger(&service, &ours, thing(n)).await;
        service.run_jobs().await;
        ann.patch(&one, json!({ "is_enabled": true })).await.expect(200);
        service.advance(Duration::from_secs(60));
    }
    let recovered = ann.post(&format!("{one}/recover"), json!({ "since": since })).await.expect(200).json();
    assert_eq!(recovered, json!({ "deliveries": 2 }));
    assert_eq!(service.run_jobs().await, 2);
    let sent: Vec<u64> = receiver.received()[3..].iter().filter_map(|it| it.json()["data"]["n"].as_u64()).collect();
    assert_eq!((sent.len(), sent.contains(&0)), (2, false), "{sent:?}");
    let failed = ann.get(&format!("{one}/deliveries?state=failed&limit=1")).await.expect(200).json();
    assert_eq!((failed["items"].as_array().expect("items").len(), &failed["next"]), (1, &Value::Null));
    let page = ann.get(&format!("{one}/deliveries?limit=2")).await.expect(200).json();
    let next = format!("{one}/deliveries?limit=2&after={}", page["next"].as_str().expect("a cursor"));
    assert_eq!(ann.get(&next).await.expect(200).json()["items"].as_array().map(Vec::len), Some(1));
}
