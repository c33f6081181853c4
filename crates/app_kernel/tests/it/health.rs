//! What `/readyz` says of the workers beside the requests.

use std::time::Duration;

use app_kernel::feature::metering::track_usage;
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::{Value, json};

use crate::jobs::{app, mark, until, word};

on_every_database!(
    every_worker_of_a_service_tells_what_it_has_done,
    a_worker_that_fails_degrades_the_service_and_recovers,
    what_is_asked_to_stop_is_gone_without_a_complaint,
);

async fn readiness(service: &TestService) -> Value {
    service.anonymous().get("/readyz").await.expect(200).json()
}

fn busy(config: ServiceConfig) -> Service {
    app(ServiceConfig { worker_embedded: true, ..config })
}

/// Promise: A1, R1
async fn every_worker_of_a_service_tells_what_it_has_done(database: TestDatabase) {
    let service = TestService::start_on(database, busy).await;
    let jobs = service.kernel().jobs().expect("jobs");
    jobs.enqueue_many(mark, ["a", "b", "c"].map(word)).await.expect("enqueued");
    track_usage(service.kernel()).count("tokens", 5).record().expect("noted down");
    let number = |ready: &Value, worker: &str, what: &str| ready["workers"][worker][what].as_f64().unwrap_or(-1.0);
    let all_is_done = async || {
        let ready = readiness(&service).await;
        let done = |worker, count: f64| {
            number(&ready, worker, "processed") >= count && number(&ready, worker, "lag_secs") == 0.0
        };
        // Each job leaves a row, whose change is audited.
        done("jobs", 3.0) && done("audit", 3.0) && done("usage", 1.0)
    };
    until("all is done", all_is_done).await;
    let ready = readiness(&service).await;
    assert_eq!(ready["status"], "ok", "{ready}");
    for worker in ["jobs", "audit", "usage"] {
        let told = &ready["workers"][worker];
        assert_eq!((&told["status"], &told["failed"], &told["last_error"]), (&json!("ok"), &json!(0), &Value::Null));
        let since: Timestamp = told["alive_since"].as_str().expect("a time").parse().expect("a time");
        assert_eq!(since, service.now(), "the clock stands still");
    }
    assert_eq!((number(&ready, "jobs", "claimed"), number(&ready, "jobs", "waiting")), (3.0, 0.0));
    let told: Vec<&str> = service.kernel().workers().iter().map(|worker| worker.name).collect();
    assert_eq!(told, ["mail", "audit", "usage", "jobs"]);
}

/// Promise: A1, R1
async fn a_worker_that_fails_degrades_the_service_and_recovers(database: TestDatabase) {
    let service = TestService::start_on(database, app).await;
    let db = service.db();
    db.execute("ALTER TABLE [kernel_audit_log] RENAME TO [kernel_audit_away]", ()).await.expect("it is renamed");
    db.save_entity("things", json!({ "name": "gear" })).await.expect("the request goes on");
    until("the service is degraded", async || readiness(&service).await["status"] == "degraded").await;
    service.advance(Duration::from_secs(90));
    let ready = readiness(&service).await;
    let audit = &ready["workers"]["audit"];
    assert_eq!((&audit["status"], &ready["workers"]["usage"]["status"]), (&json!("degraded"), &json!("ok")), "{ready}");
    assert_eq!((audit["lag_secs"].as_f64(), audit["last_error"]["code"].is_string()), (Some(90.0), true), "{ready}");
    db.execute("ALTER TABLE [kernel_audit_away] RENAME TO [kernel_audit_log]", ()).await.expect("it is renamed");
    until("the service is well", async || readiness(&service).await["status"] == "ok").await;
    let audit = readiness(&service).await["workers"]["audit"].take();
    assert_eq!((&audit["lag_secs"], audit["last_error"]["code"].is_string()), (&json!(0.0), true), "{audit}");
}

async fn what_is_asked_to_stop_is_gone_without_a_complaint(database: TestDatabase) {
    let service = TestService::start_on(database, busy).await;
    until("all workers work", async || service.kernel().workers().len() == 4).await;
    let kernel = service.kernel().clone();
    service.stop().await;
    assert_eq!(kernel.workers(), []);
}
