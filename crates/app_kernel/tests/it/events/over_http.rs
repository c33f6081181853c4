//! Streams of events as clients see them.

use std::time::Duration;

use app_kernel::prelude::*;
use app_kernel::testing::{Heard, Listener, TestDatabase, TestService, on_every_database};

use super::{post_widget, shop, widget};

on_every_database!(
    who_comes_back_with_the_last_id_has_lost_nothing_and_gets_nothing_twice,
    members_hear_of_their_own_workspace_only,
    a_service_that_stops_ends_its_streams,
);

async fn names(listener: &mut Listener, count: usize) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(name(&listener.next().await.expect("an event")));
    }
    names
}

fn name(heard: &Heard) -> String {
    heard.data["row"]["name"].as_str().unwrap_or_else(|| panic!("{heard:?}")).to_owned()
}

async fn who_comes_back_with_the_last_id_has_lost_nothing_and_gets_nothing_twice(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let ann = service.sign_up("ann").await;
    let mut listener = ann.listen("/widgets/events").await.expect("a stream");
    let all: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    let mut heard = Vec::new();
    for (cut, written) in all.chunks(4).enumerate() {
        for name in written {
            post_widget(&ann, name).await;
        }
        // Cut off in the middle of what there is.
        heard.extend(names(&mut listener, 3).await);
        let last_id = listener.last_id().expect("an id").to_owned();
        drop(listener);
        post_widget(&ann, &format!("meanwhile {cut}")).await;
        listener =
            ann.clone().with_header("last-event-id", &last_id).listen("/widgets/events").await.expect("a stream");
    }
    heard.extend(names(&mut listener, 6).await);
    let wanted =
        ["0", "1", "2", "3", "meanwhile 0", "4", "5", "6", "7", "meanwhile 1", "8", "9", "10", "11", "meanwhile 2"];
    assert_eq!(heard, wanted);
}

/// Promise: R-27
async fn members_hear_of_their_own_workspace_only(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    let mut listener = ann.listen("/widgets/events").await.expect("a stream");
    post_widget(&bob, "bob's").await;
    service.db().save_entity("notes", serde_json::json!({ "name": "a note" })).await.expect("saved");
    post_widget(&ann, "ann's").await;
    let Heard { event, data } = listener.next().await.expect("an event");
    assert_eq!(
        (event.as_str(), &data["row"]["name"], &data["row"]["word"]),
        ("created", &"ann's".into(), &"[redacted]".into())
    );
    assert_eq!(listener.last_id(), Some(data["position"].to_string().as_str()));
    service.anonymous().get("/widgets/events").await.expect(401);
}

/// Promise: R-30
async fn a_service_that_stops_ends_its_streams(database: TestDatabase) {
    let service = TestService::start_on(database, shop).await;
    let ann = service.sign_up("ann").await;
    let mut listener = ann.listen("/widgets/events").await.expect("a stream");
    post_widget(&ann, "gear").await;
    assert_eq!(names(&mut listener, 1).await, ["gear"]);
    let (heard, _) = tokio::join!(listener.next(), service.stop());
    assert_eq!(heard, None, "it ends, and is not cut off");
}

#[tokio::test]
async fn nothing_on_the_way_holds_events_back_or_cuts_a_silent_stream_off() {
    let short = Duration::from_millis(100);
    let hasty = |config| shop(ServiceConfig { header_timeout: short, body_timeout: short, ..config });
    let service = TestService::start(hasty).await;
    let client = service.anonymous().with_header("accept-encoding", "gzip");
    let mut listener = client.listen("/everything/widgets").await.expect("a stream");
    let header = |name: &str| listener.headers.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!(header("cache-control"), Some("no-store"));
    assert_eq!((header("content-encoding"), header("x-accel-buffering")), (None, Some("no")));
    // Longer than the service waits for a client that is idle or does not read: six and one of those.
    tokio::time::sleep(short * 15).await;
    service.db().save(widget("gear", "w")).await.expect("saved");
    assert_eq!(names(&mut listener, 1).await, ["gear"]);
}

#[tokio::test]
async fn a_last_event_id_that_is_none_is_refused_by_its_name() {
    let service = TestService::start(shop).await;
    for bad in ["x", "-1", "1.5", "99999999999999999999"] {
        let client = service.anonymous().with_header("last-event-id", bad);
        let refused = client.get("/everything/widgets").await.expect_problem(400, "bad_last_event_id");
        assert!(refused.text().contains("Last-Event-ID"), "{}", refused.text());
    }
}

#[tokio::test]
async fn a_client_of_another_time_is_told_to_begin_anew() {
    let service = TestService::start(shop).await;
    let client = service.anonymous().with_header("last-event-id", "4711");
    let mut listener = client.listen("/everything/widgets").await.expect("a stream");
    let Heard { event, data } = listener.next().await.expect("an event");
    assert_eq!(event, "reset");
    assert_eq!(listener.last_id(), Some(data["position"].to_string().as_str()));
    service.db().save(widget("gear", "w")).await.expect("saved");
    assert_eq!(names(&mut listener, 1).await, ["gear"]);
}

#[tokio::test]
async fn the_document_and_the_numbers_tell_of_streams() {
    let service = TestService::start(shop).await;
    let document = service.anonymous().get("/openapi.json").await.expect(200).json();
    let operation = &document["paths"]["/api/v1/widgets/events"]["get"];
    assert!(operation["responses"]["200"]["content"]["text/event-stream"].is_object(), "{operation}");
    let parameters = operation["parameters"].as_array().expect("parameters");
    assert!(parameters.iter().any(|parameter| parameter["name"] == "Last-Event-ID"), "{operation}");
    let client = service.anonymous().with_header("last-event-id", "0");
    let mut listener = client.listen("/everything/widgets").await.expect("a stream");
    service.db().save(widget("gear", "w")).await.expect("saved");
    assert_eq!(names(&mut listener, 1).await, ["gear"]);
    let numbers = service.anonymous().get("/metrics").await.expect(200).text();
    for line in
        ["app_kernel_event_streams 1", "app_kernel_events_sent_total 1", "app_kernel_event_streams_resumed_total 1"]
    {
        assert!(numbers.lines().any(|found| found == line), "{line} is missing: {numbers}");
    }
}
