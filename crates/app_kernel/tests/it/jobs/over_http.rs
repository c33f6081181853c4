//! `/jobs` over HTTP: whose a job is sees it, admins see all, and nobody sees a payload.

use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::{app, behave, jobs, start};
use crate::support::people::admin;

on_every_database!(whoever_a_job_is_for_sees_how_it_is_and_strangers_see_nothing, admins_list_cancel_retry_and_delete,);

async fn whoever_a_job_is_for_sees_how_it_is_and_strangers_see_nothing(database: TestDatabase) {
    let service = start(database).await;
    let (ann, bob) = (service.sign_up("ann").await, service.sign_up("bob").await);
    let id = ann.post("/marks", "gear").await.expect(200).json().as_str().expect("an id").to_owned();
    let path = format!("/jobs/{id}");
    let waiting = ann.get(&path).await.expect(200).json();
    assert_eq!((&waiting["state"], &waiting["attempt"]), (&json!("ready"), &json!(0)));
    service.run_jobs().await;
    let done = ann.get(&path).await.expect(200).json();
    assert_eq!((&done["state"], &done["result"]), (&json!("succeeded"), &json!({ "left": "gear" })));
    for hidden in ["payload", "last_error", "worker_id", "user_id", "fence"] {
        assert!(done.get(hidden).is_none(), "{hidden} shows: {done}");
    }
    bob.get(&path).await.expect_problem(404, "not_found");
    service.anonymous().get(&path).await.expect_problem(401, "unauthenticated");
    bob.get("/jobs/none").await.expect_problem(404, "not_found");
    for path in ["/jobs".to_owned(), format!("{path}/cancel"), format!("{path}/retry")] {
        let answer = if path == "/jobs" { ann.get(&path).await } else { ann.post(&path, json!({})).await };
        answer.expect_problem(403, "forbidden");
    }
    ann.delete(&path).await.expect_problem(403, "forbidden");
}

async fn admins_list_cancel_retry_and_delete(database: TestDatabase) {
    let service = start(database).await;
    let root = admin(&service).await;
    // A process that does not remember root as she was.
    let other = service.beside(app).await;
    let root = other.anonymous().with_token(root.token().expect("she has one"));
    let jobs = jobs(&service);
    let mut ids = Vec::new();
    for tries in [["fail"], ["discard"], ["succeed"]] {
        ids.push(jobs.enqueue(behave, json!({ "tries": tries })).queue("slow").await.expect("enqueued").job_id);
    }
    service.run_jobs().await;
    let list = async |query: &str| -> Vec<String> {
        let page = root.get(&format!("/jobs?{query}")).await.expect(200).json();
        let items = page["items"].as_array().expect("a list").iter();
        items.map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(list("queue=slow").await, newest_first);
    assert_eq!(list("task=kernel.mail").await.len(), 1, "her own welcome: the kernel's jobs are seen too");
    assert_eq!(list("state=failed&task=behave&queue=slow").await, [ids[1].clone()]);
    assert_eq!(list("task=mark").await, Vec::<String>::new());
    let page = root.get("/jobs?queue=slow&limit=2").await.expect(200).json();
    let next = page["next"].as_str().expect("there is more");
    assert_eq!(list(&format!("queue=slow&limit=2&after={next}")).await, [ids[0].clone()]);
    root.get("/jobs?state=lost").await.expect(422);

    let failed = root.get(&format!("/jobs/{}", ids[1])).await.expect(200).json();
    assert_eq!((&failed["last_error"], &failed["queue"]), (&json!("nobody wants this"), &json!("slow")));
    assert!(failed.get("payload").is_none(), "{failed}");
    let scheduled = root.post(&format!("/jobs/{}/cancel", ids[0]), json!({})).await.expect(200).json();
    assert_eq!(scheduled["state"], "cancelled");
    root.post(&format!("/jobs/{}/cancel", ids[0]), json!({})).await.expect_problem(409, "wrong_state");
    assert_eq!(root.post(&format!("/jobs/{}/retry", ids[1]), json!({})).await.expect(200).json()["state"], "ready");
    root.post(&format!("/jobs/{}/retry", ids[2]), json!({})).await.expect_problem(409, "wrong_state");
    root.delete(&format!("/jobs/{}", ids[2])).await.expect(204);
    root.get(&format!("/jobs/{}", ids[2])).await.expect_problem(404, "not_found");
    for path in ["/jobs/none/cancel", "/jobs/none/retry"] {
        root.post(path, json!({})).await.expect_problem(404, "not_found");
    }
    root.delete("/jobs/none").await.expect_problem(404, "not_found");
    service.run_jobs().await;
}
