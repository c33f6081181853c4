//! The service as its clients meet it.

use std::time::Duration;

use app_kernel::testing::{Client, TestDatabase, TestService, on_every_database};
use documents::service;
use serde_json::{Value, json};

on_every_database!(
    a_document_is_read_by_a_job_that_tells_its_progress_and_result,
    who_asks_twice_gets_one_job,
    of_a_document_that_changes_meanwhile_the_last_text_is_read,
    a_stranger_sees_neither_document_nor_job,
);

const TEXT: &str = "It was a dark night.\n\nThe gears stood motionless.";

async fn upload(client: &Client) -> String {
    let id = client.post("/documents", json!({ "title": "Night", "text": TEXT })).await.expect(201).id();
    format!("/documents/{id}")
}

/// Asks for a document to be read, and answers the path of the job.
async fn process(client: &Client, document: &str) -> String {
    let enqueued = client.post(&format!("{document}/process"), json!({})).await.expect(200).json();
    format!("/jobs/{}", enqueued["job_id"].as_str().expect("an id"))
}

async fn job(client: &Client, path: &str) -> Value {
    client.get(path).await.expect(200).json()
}

async fn a_document_is_read_by_a_job_that_tells_its_progress_and_result(database: TestDatabase) {
    let service = TestService::start_on(database, service).await;
    let ann = service.sign_up("ann").await;
    let document = upload(&ann).await;
    let path = process(&ann, &document).await;
    let waiting = job(&ann, &path).await;
    assert_eq!(
        (&waiting["state"], &waiting["progress"], &waiting["result"]),
        (&json!("ready"), &json!(null), &json!(null))
    );

    service.run_jobs().await;
    let done = job(&ann, &path).await;
    assert_eq!((&done["state"], &done["progress"]), (&json!("succeeded"), &json!({ "paragraphs": 2, "of": 2 })));
    assert_eq!(done["result"], json!({ "paragraphs": 2, "words": 9, "longest_word": "motionless." }));
    let read = ann.get(&document).await.expect(200).json();
    assert_eq!((&read["status"], &read["text"]), (&json!("processed"), &json!(TEXT)));
}

async fn who_asks_twice_gets_one_job(database: TestDatabase) {
    let service = TestService::start_on(database, service).await;
    let ann = service.sign_up("ann").await;
    let document = upload(&ann).await;
    let first = process(&ann, &document).await;
    assert_eq!(process(&ann, &document).await, first, "it is not done yet");
    service.run_jobs().await;
    let again = process(&ann, &document).await;
    assert_ne!(again, first, "the first is done");
    service.run_jobs().await;
    assert_eq!(job(&ann, &again).await["state"], "succeeded");
}

async fn of_a_document_that_changes_meanwhile_the_last_text_is_read(database: TestDatabase) {
    let service = TestService::start_on(database, service).await;
    let ann = service.sign_up("ann").await;
    let document = upload(&ann).await;
    let path = process(&ann, &document).await;
    let id = document.trim_start_matches("/documents/");
    let change = json!({ "id": id, "text": "Morning." });
    service.db().save_entity("documents", change).await.expect("a change");
    service.run_jobs().await;
    assert_eq!(job(&ann, &path).await["result"]["words"], 1);

    // Deleted meanwhile: the job is given up, and not tried again.
    let path = process(&ann, &document).await;
    service.db().delete_entity("documents", id).await.expect("gone");
    service.run_jobs().await;
    service.advance(Duration::from_secs(3600));
    assert_eq!(service.run_jobs().await, 0);
    assert_eq!((&job(&ann, &path).await["state"], &job(&ann, &path).await["attempt"]), (&json!("failed"), &json!(1)));
}

async fn a_stranger_sees_neither_document_nor_job(database: TestDatabase) {
    let service = TestService::start_on(database, service).await;
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    let document = upload(&ann).await;
    let path = process(&ann, &document).await;
    bob.get(&document).await.expect(404);
    bob.post(&format!("{document}/process"), json!({})).await.expect(404);
    bob.get(&path).await.expect(404);
    assert_eq!(bob.get("/documents").await.expect(200).json(), json!([]));
    service.run_jobs().await;
}
