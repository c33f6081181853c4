//! What the audit tells.

use std::time::Duration;

use app_kernel::feature::audit::{get_audit_logs, purge_audit_logs, verify};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use serde_json::json;

use super::{Deployment, carried, deployment, deployments, entries};
use crate::jobs::until;

on_every_database!(
    a_change_is_told_with_what_it_changed_and_by_whom,
    a_secret_is_not_in_the_audit,
    deletions_are_told_also_where_the_history_is_gone,
    entries_are_narrowed_by_what_is_asked_and_come_in_pages,
    what_is_older_than_a_moment_can_be_purged,
    a_change_of_a_transaction_that_was_undone_is_not_there,
    undeclared_entities_are_audited_too,
    what_keeps_no_history_is_audited_without_fields,
    what_is_older_than_the_configuration_says_is_purged,
    an_audit_that_is_off_leaves_no_records,
);

async fn an_audit_that_is_off_leaves_no_records(database: TestDatabase) {
    let off = |config| {
        deployments(ServiceConfig { audit_enabled: false, metering_enabled: false, ..config }).entity::<Reading>()
    };
    let service = TestService::start_on(database, off).await;
    let ann = service.sign_up("ann").await;
    let db = service.db();
    let saved = db.save(deployment("web:1", 1)).await.expect("a save");
    let saved = db.save(saved).await.expect("a save");
    db.save(Reading { celsius: 1.0 }).await.expect("a save");
    db.save_many([deployment("web:2", 1), deployment("web:3", 1)]).await.expect("saves");
    db.save_entity("notes", json!({ "text": "a" })).await.expect("a save");
    assert!(db.delete::<Deployment>(&saved.id).await.expect("an answer"));
    assert!(db.delete::<Deployment>(&saved.id).permanent().await.expect("an answer"));
    let versions = db.history::<Deployment>(&saved.id).await.expect("the history is another matter");
    assert_eq!(versions.len(), 4);
    let rows = db.query("SELECT [seq] FROM [kernel_changes]", ()).await.expect("a query");
    assert_eq!(rows.len(), 0);
    let workers: Vec<_> = service.kernel().workers().iter().map(|worker| worker.name).collect();
    assert_eq!(workers, ["mail"], "nobody has any of it to carry");
    for path in ["/audit", "/usage"] {
        ann.get(path).await.expect(404);
    }
}

/// Promise: P4
async fn what_is_older_than_the_configuration_says_is_purged(database: TestDatabase) {
    let keeping = |config| deployments(ServiceConfig { audit_keep_days: Some(30), ..config });
    let service = TestService::start_on(database, keeping).await;
    for image in ["web:1", "web:2"] {
        service.db().save(deployment(image, 1)).await.expect("a save");
    }
    assert_eq!(entries(&service, "deployments").await.len(), 2, "they are young");
    service.advance(Duration::from_secs(31 * 24 * 3600));
    service.db().save(deployment("web:3", 1)).await.expect("a save");
    carried(&service.db()).await;
    let _next = service.beside(keeping).await;
    until("the old ones are purged", async || entries(&service, "deployments").await.len() == 1).await;
    let admin = service.kernel().admin_db().expect("an admin database");
    let verified = verify(&admin, "deployer", None).await.expect("a look").expect("the chain goes on from there");
    assert_eq!((verified.entries, verified.purged), (1, 2));
}

/// Something that changes too often to keep every version.
#[derive(Debug, Clone, Entity)]
#[entity(history = false)]
struct Reading {
    celsius: f64,
}

/// Promise: P1
async fn what_keeps_no_history_is_audited_without_fields(database: TestDatabase) {
    let service = TestService::start_on(database, |config| deployments(config).entity::<Reading>()).await;
    let db = service.db();
    let mut reading = db.save(Reading { celsius: 20.5 }).await.expect("a save");
    reading.celsius = 21.0;
    let reading = db.save(reading).await.expect("a save");
    db.save_entity("readings", json!({ "id": reading.id, "celsius": 22.0 })).await.expect("a save");
    assert!(db.delete::<Reading>(&reading.id).await.expect("an answer"));
    assert!(db.delete::<Reading>(&reading.id).permanent().await.expect("an answer"));
    db.save_many([Reading { celsius: 1.0 }, Reading { celsius: 2.0 }]).await.expect("saves");

    let entries = entries(&service, "readings").await;
    let told: Vec<_> = entries.iter().rev().map(|entry| (entry.action.as_str(), entry.entity_version)).collect();
    let expected = [
        ("created", 1),
        ("updated", 2),
        ("updated", 3),
        ("soft_deleted", 4),
        ("deleted", 5),
        ("created", 1),
        ("created", 1),
    ];
    assert_eq!(told, expected);
    assert!(entries.iter().all(|entry| entry.changes.is_none()), "{entries:?}");
}

/// Promise: B5, P1, P3, R1, C14
async fn a_change_is_told_with_what_it_changed_and_by_whom(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let ann = service.sign_up("ann").await;
    let made = ann.post("/deployments", json!({ "image": "web:1", "replicas": 2 })).await.expect(201);
    let request_id = made.header("x-request-id").expect("a request id").to_owned();
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let mut saved = service.db().get::<Deployment>(&id).await.expect("a read").expect("it is there");
    saved.replicas = 5;
    service.db().save(saved).await.expect("a save");

    let entries = entries(&service, "deployments").await;
    let me = ann.get("/auth/me").await.expect(200).json();
    let [update, creation] = &entries[..] else { panic!("two entries: {entries:?}") };
    assert_eq!((creation.action.as_str(), creation.entity_id.as_str()), ("created", id.as_str()));
    let before_and_after = json!({ "image": { "old": null, "new": "web:1" }, "replicas": { "old": null, "new": 2 } });
    assert_eq!(creation.changes, Some(before_and_after));
    assert_eq!(creation.user_id.as_deref(), me["id"].as_str());
    assert_eq!(creation.request_id.as_deref(), Some(request_id.as_str()));
    assert_eq!((creation.caller.as_str(), update.caller.as_str()), ("user", "system"));
    assert_eq!((update.action.as_str(), update.user_id.as_deref()), ("updated", None));
    assert_eq!(update.changes, Some(json!({ "replicas": { "old": 2, "new": 5 } })));
    assert_eq!((update.entity_version, update.timestamp), (2, service.now()));
}

/// Promise: R-32
async fn a_secret_is_not_in_the_audit(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let with_token = Deployment { token: Some("hunter2".to_owned()), ..deployment("web:1", 1) };
    service.db().save(with_token).await.expect("a save");
    service.sign_up("ann").await;
    let entries = entries(&service, "deployments").await;
    let token = &entries[0].changes.as_ref().expect("changes")["token"];
    assert_eq!(*token, json!({ "old": null, "new": "[redacted]" }));
    let admin = service.kernel().admin_db().expect("a database");
    let all = get_audit_logs(&admin).limit(1000).await.expect("entries").items;
    assert!(all.iter().any(|entry| entry.entity == "kernel_users"), "people are audited");
    let text = serde_json::to_string(&all).expect("JSON");
    assert!(!text.contains("hunter2") && !text.contains("$argon2"), "{text}");
}

/// Promise: P1
async fn deletions_are_told_also_where_the_history_is_gone(database: TestDatabase) {
    // Nobody carries them while this goes on.
    let stopped = |config| deployments(ServiceConfig { admin_worker_embedded: false, ..config });
    let service = TestService::start_on(database, stopped).await;
    let db = service.db();
    let mut ids = Vec::new();
    for image in ["soft", "permanent", "purged"] {
        ids.push(db.save(deployment(image, 1)).await.expect("a save").id);
    }
    db.delete::<Deployment>(&ids[0]).await.expect("a deletion");
    db.delete::<Deployment>(&ids[1]).permanent().await.expect("a deletion");
    db.delete::<Deployment>(&ids[2]).permanent().await.expect("a deletion");
    db.purge_history("deployments", &ids[2]).await.expect("a purge");
    let service = TestService::start_on(service.stop().await, deployments).await;
    let entries = entries(&service, "deployments").await;
    let told = |id: &str, action: &str| {
        let is_meant = |entry: &&_| {
            let entry: &&app_kernel::feature::audit::AuditEntry = entry;
            entry.entity_id == id && entry.action == action
        };
        entries.iter().find(is_meant).unwrap_or_else(|| panic!("{action} of {id} in {entries:?}")).changes.clone()
    };
    assert_eq!(entries.len(), 6);
    let soft = told(&ids[0], "soft_deleted").expect("changes");
    assert_eq!(soft.as_object().expect("an object").keys().collect::<Vec<_>>(), ["deleted_at"]);
    let gone = told(&ids[1], "deleted").expect("changes");
    assert_eq!(gone["image"], json!({ "old": "permanent", "new": null }));
    assert_eq!((told(&ids[2], "created"), told(&ids[2], "deleted")), (None, None));
}

/// Promise: P3
async fn entries_are_narrowed_by_what_is_asked_and_come_in_pages(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let ann = service.sign_up("ann").await;
    let first = service.now();
    let mut ids = Vec::new();
    for n in 0..5 {
        let made = ann.post("/deployments", json!({ "image": format!("web:{n}"), "replicas": n })).await.expect(201);
        ids.push(made.json()["id"].as_str().expect("an id").to_owned());
        service.advance(Duration::from_secs(60));
    }
    ann.delete(&format!("/deployments/{}", ids[0])).await.expect(200);
    carried(&service.db()).await;
    ann.get("/audit").await.expect(403);
    service.anonymous().get("/audit").await.expect(401);
    service.db().execute("UPDATE [kernel_users] SET [role] = 'admin'", ()).await.expect("a promotion");
    let root = service.sign_in("ann").await;

    let ask = async |query: &str| root.get(&format!("/audit?entity=deployments&{query}")).await.expect(200).json();
    let ids_of = |page: &serde_json::Value| -> Vec<String> {
        let items = page["items"].as_array().expect("items");
        items.iter().map(|item| item["entity_id"].as_str().expect("an id").to_owned()).collect()
    };
    let newest_first = [&ids[0], &ids[4], &ids[3], &ids[2], &ids[1], &ids[0]].map(String::clone);
    assert_eq!(ids_of(&ask("").await), newest_first);
    assert_eq!(ids_of(&ask("action=soft_deleted").await), [ids[0].clone()]);
    assert_eq!(ids_of(&ask(&format!("entity_id={}", ids[0])).await), [ids[0].clone(), ids[0].clone()]);
    let minute = |n: i64| first + jiff::SignedDuration::from_secs(60 * n);
    let between = format!("since={}&until={}", minute(1), minute(3));
    assert_eq!(ids_of(&ask(&between).await), [ids[2].clone(), ids[1].clone()]);
    assert_eq!(ids_of(&ask("user_id=nobody").await), Vec::<String>::new());
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(&format!("limit=4{cursor}")).await;
        paged.extend(ids_of(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, newest_first);
    let refused = root.get("/audit?since=yesterday").await.expect(422).json();
    assert_eq!(refused["errors"][0]["pointer"], "/since");
}

/// Promise: P4
async fn what_is_older_than_a_moment_can_be_purged(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let db = service.db();
    for n in 0..4 {
        db.save(deployment("web", n)).await.expect("a save");
        service.advance(Duration::from_secs(60));
    }
    assert_eq!(entries(&service, "deployments").await.len(), 4);
    let before = service.now() - jiff::SignedDuration::from_secs(2 * 60);
    let admin = service.kernel().admin_db().expect("a database");
    assert_eq!(purge_audit_logs(&admin, "deployer", before).await.expect("a purge"), 2);
    assert_eq!(purge_audit_logs(&admin, "deployer", before).await.expect("a purge"), 0);
    assert_eq!(purge_audit_logs(&admin, "another", before).await.expect("a purge"), 0);
    let left = entries(&service, "deployments").await;
    assert_eq!(
        left.iter().map(|entry| &entry.changes.as_ref().expect("changes")["replicas"]["new"]).collect::<Vec<_>>(),
        [3, 2]
    );
}

/// Promise: R-05
async fn a_change_of_a_transaction_that_was_undone_is_not_there(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let undone: Result<()> = service
        .db()
        .transaction(async |tx| {
            tx.save(deployment("undone", 1)).await?;
            Err(Error::conflict("on second thoughts"))
        })
        .await;
    undone.expect_err("it was undone");
    let db = service.db();
    let kept = db.transaction(async |tx| {
        tx.save(deployment("kept", 1)).await?;
        tx.save(deployment("kept too", 2)).await
    });
    kept.await.expect("a transaction");
    let mut images: Vec<String> = Vec::new();
    for entry in entries(&service, "deployments").await {
        images.push(entry.changes.expect("changes")["image"]["new"].as_str().expect("a text").to_owned());
    }
    assert_eq!(images, ["kept too", "kept"]);
}

/// Promise: P1, C4
async fn undeclared_entities_are_audited_too(database: TestDatabase) {
    let service = TestService::start_on(database, deployments).await;
    let db = service.db();
    let saved = db.save_entity("notes", json!({ "text": "a" })).await.expect("a save");
    db.save_entity("notes", json!({ "id": saved.id(), "text": "b", "tag": "x" })).await.expect("a save");
    db.delete_entity("notes", saved.id()).permanent().await.expect("a deletion");
    let told: Vec<_> =
        entries(&service, "notes").await.into_iter().map(|entry| entry.changes.expect("changes")).collect();
    assert_eq!(
        told,
        [
            json!({ "text": { "old": "b", "new": null }, "tag": { "old": "x", "new": null } }),
            json!({ "text": { "old": "a", "new": "b" }, "tag": { "old": null, "new": "x" } }),
            json!({ "text": { "old": null, "new": "a" } }),
        ]
    );
}
