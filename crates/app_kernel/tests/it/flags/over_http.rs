//! `/flags` for admins, `/my-flags` and OFREP for whoever is signed in.

use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::{Value, json};

use super::start;
use crate::support::people::admin;

on_every_database!(admins_set_flags_and_people_get_theirs, openfeatures_protocol_is_spoken);

/// Promise: N2, N3
async fn admins_set_flags_and_people_get_theirs(database: TestDatabase) {
    let service = start(database).await;
    let (root, ann) = (admin(&service).await, service.sign_up("ann").await);
    let ann_id = ann.get("/auth/me").await.expect(200).id();
    let flag = root.put("/flags/beta", json!({ "enabled": true, "users": [ann_id] })).await.expect(200).json();
    assert_eq!((&flag["rollout_percent"], &flag["version"]), (&json!(0.0), &json!(1)), "it is for those that it lists");
    let on = |value: Value| json!({ "beta": value });
    let said = json!({ "is_on": true, "variant": "on", "value": true, "reason": "TARGETING_MATCH" });
    assert_eq!(ann.get("/my-flags").await.expect(200).json(), on(said));
    let said = json!({ "is_on": false, "variant": "off", "value": false, "reason": "STATIC" });
    assert_eq!(root.get("/my-flags").await.expect(200).json(), on(said));

    root.patch("/flags/beta", json!({ "rollout_percent": 100 })).await.expect(200);
    assert_eq!(root.get("/my-flags").await.expect(200).json()["beta"]["is_on"], true);
    assert_eq!(root.get("/flags/beta").await.expect(200).json()["users"], json!([ann_id]), "what is not given stays");
    let whole = root.put("/flags/beta", json!({ "enabled": true })).await.expect(200).json();
    assert_eq!((&whole["users"], &whole["rollout_percent"]), (&json!([]), &json!(100.0)), "PUT gives the whole flag");

    let wrong = root.put("/flags/beta", json!({ "enabled": true, "rollout_percent": 101 })).await.expect(422);
    assert_eq!(wrong.wrong_fields(), ["/rollout_percent"]);
    assert_eq!(root.put("/flags/a%20b", json!({ "enabled": true })).await.expect(422).wrong_fields(), ["/name"]);
    root.patch("/flags/gone", json!({ "enabled": true })).await.expect(404);
    assert_eq!(root.get("/flags").await.expect(200).json().as_array().map(Vec::len), Some(1));
    root.delete("/flags/beta").await.expect(204);
    root.delete("/flags/beta").await.expect(404);
    assert_eq!(ann.get("/my-flags").await.expect(200).json(), json!({}));
}

async fn openfeatures_protocol_is_spoken(database: TestDatabase) {
    let service = start(database).await;
    let ann = service.sign_up("ann").await;
    let ann_id = ann.get("/auth/me").await.expect(200).id();
    set_flag(service.kernel(), "beta").enabled(true).users(["u-1"]).await.expect("a flag");
    let one = "/ofrep/v1/evaluate/flags/beta";
    let said = ann.post(one, json!({})).await.expect(200).json();
    assert_eq!(said, json!({ "key": "beta", "reason": "STATIC", "variant": "off", "value": false }));
    ann.post(one, json!({ "context": { "targetingKey": ann_id } })).await.expect(200);

    // A person can't look through somebody else's eyes; a program with the scope can.
    let other = json!({ "context": { "targetingKey": "u-1", "plan": "gold" } });
    let refused = ann.post(one, &other).await.expect(400).json();
    assert_eq!((&refused["errorCode"], &refused["key"]), (&json!("INVALID_CONTEXT"), &json!("beta")));
    assert!(refused["errorDetails"].as_str().is_some_and(|text| text.contains("as themselves")), "{refused}");
    let key = create_api_key(&service.db(), &ann_id).scopes(["flags:evaluate"]).await.expect("a key").key;
    let program = service.anonymous().with_token(&key);
    let said = program.post(one, &other).await.expect(200).json();
    assert_eq!(said, json!({ "key": "beta", "reason": "TARGETING_MATCH", "variant": "on", "value": true }));

    let absent = program.post("/ofrep/v1/evaluate/flags/absent", &other).await.expect(404).json();
    assert_eq!((&absent["errorCode"], &absent["key"]), (&json!("FLAG_NOT_FOUND"), &json!("absent")));
    for (body, code) in
        [("{", "PARSE_ERROR"), ("[]", "PARSE_ERROR"), (r#"{"context": {"targetingKey": 7}}"#, "INVALID_CONTEXT")]
    {
        let sent = program.send(axum::http::Method::POST, one, Some("application/json"), body.into());
        assert_eq!(sent.await.expect(400).json()["errorCode"], code, "{body}");
    }

    let all = program.post("/ofrep/v1/evaluate/flags", &other).await.expect(200);
    assert_eq!(all.json()["flags"].as_array().map(Vec::len), Some(1));
    let tag = all.header("etag").expect("a tag").to_owned();
    let again = program.clone().with_header("if-none-match", &tag);
    let answer = again.post("/ofrep/v1/evaluate/flags", &other).await.expect(304);
    assert_eq!((answer.body.len(), answer.header("etag")), (0, Some(tag.as_str())));
    set_flag(service.kernel(), "beta").enabled(false).await.expect("a flag");
    again.post("/ofrep/v1/evaluate/flags", &other).await.expect(200);
}
