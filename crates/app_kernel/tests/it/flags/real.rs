//! Asked by OpenFeature's own SDK. `./test flags` brings it; elsewhere the test says that it is deselected.

use std::io::Write as _;
use std::process::Command;

use app_kernel::feature::flags::Variant;
use app_kernel::prelude::*;
use app_kernel::testing::TestDatabase;
use serde_json::{Value, json};

use super::start;
use crate::support::repository;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openfeatures_own_client_hears_what_the_flags_say() {
    let Some(tools) = std::env::var_os("TEST_FLAG_TOOLS") else {
        // Past the test harness, which would keep it for itself.
        let line = "OpenFeature's own client deselected: it comes from npm; run ./test flags\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    };
    let service = start(TestDatabase::sqlite().await).await;
    let kernel = service.kernel();
    let ann = service.sign_up("ann").await;
    let ann_id = ann.get("/auth/me").await.expect(200).id();
    set_flag(kernel, "new_dashboard").enabled(true).users([ann_id.as_str()]).await.expect("a flag");
    set_flag(kernel, "switched_off").enabled(false).await.expect("a flag");
    let colors = [Variant::new("red", "#f00", 1), Variant::new("grey", "#888", 0)];
    set_flag(kernel, "color").enabled(true).variants(colors, "grey").await.expect("a flag");
    let sizes = [Variant::new("small", 10, 0), Variant::new("large", 100, 1)];
    set_flag(kernel, "page_size").enabled(true).rollout_percent(0).variants(sizes, "small").await.expect("a flag");
    let themes = [Variant::new("dark", json!({ "background": "#000" }), 1)];
    set_flag(kernel, "theme").enabled(true).variants(themes, "dark").await.expect("a flag");
    let key = create_api_key(&service.db(), &ann_id).scopes(["flags:evaluate"]).await.expect("a key").key;

    // A program that names her, and she herself.
    for (token, targeting_key) in [(key.as_str(), ann_id.as_str()), (ann.token().expect("a token"), "")] {
        let script = repository::root().join("scripts/flags/client.mjs");
        let mut node = Command::new("node");
        node.arg(script).args([&format!("{}/api/v1", service.url()), token, targeting_key]).current_dir(&tools);
        let ended = tokio::task::spawn_blocking(move || node.output()).await.expect("no panic").expect("node starts");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{said}");
        let heard: Value = serde_json::from_slice(&ended.stdout).expect("one line of JSON");
        let wanted = json!({
            "dashboard": { "value": true, "variant": "on", "reason": "TARGETING_MATCH" },
            "color": { "value": "#f00", "variant": "red", "reason": "SPLIT" },
            "page": { "value": 10, "variant": "small", "reason": "STATIC" },
            "theme": { "value": { "background": "#000" }, "variant": "dark", "reason": "SPLIT" },
            "off": { "value": false, "variant": "off", "reason": "DISABLED" },
            "absent": { "value": true, "reason": "ERROR", "errorCode": "FLAG_NOT_FOUND" },
            "mistyped": { "value": -1, "reason": "ERROR", "errorCode": "TYPE_MISMATCH" },
            "all": ["color", "new_dashboard", "page_size", "switched_off", "theme"],
            "again": 304,
            "wrong": [400, "INVALID_CONTEXT", "color"],
        });
        assert_eq!(heard, wanted);
    }
}
