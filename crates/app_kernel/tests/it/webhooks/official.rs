//! What receivers get, verified by the official libraries. `./test webhooks` brings them; elsewhere this test says that it is deselected.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use app_kernel::testing::TestService;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{app, make, owner, thing, trigger};
use crate::support::receiver::{Received, Receiver};

/// Where the libraries are; nothing where this test was not asked for.
fn tools() -> Option<PathBuf> {
    let tools = std::env::var_os("TEST_WEBHOOK_TOOLS").map(PathBuf::from);
    if tools.is_none() {
        let line = "R-19 by the official libraries deselected: it takes libraries from npm, PyPI and crates.io; run ./test webhooks\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    tools
}

/// A request as the libraries get it, and whether they must accept it.
fn case(request: &Received, secret: &str, is_genuine: bool) -> Value {
    let headers: Value = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .map(|name| (name.to_owned(), json!(request.header(name))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({ "secret": secret, "headers": headers, "body": STANDARD.encode(&request.body), "is_genuine": is_genuine })
}

/// Each program reads the cases, and says of each whether the library accepts it.
fn verify(program: &mut Command, cases: &Path) -> Vec<bool> {
    let output = program.arg(cases).output().expect("the program starts");
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| line == "accepted").collect()
}

/// Promise: O3, R-19
#[tokio::test]
async fn the_official_libraries_accept_what_we_send_and_nothing_else() {
    let Some(tools) = tools() else { return };
    let service = TestService::start(app).await;
    let (ann, ours) = owner(&service, "ann").await;
    let receiver = Receiver::start().await;
    let first = make(&service, &ours, &receiver.url()).await;
    let datas = [
        json!({}),
        thing(1),
        json!({ "text": "größe 😀 \u{0} \" \\ \r\n \u{2028}", "number": 9_007_199_254_740_993_i64 }),
    ];
    let mut cases = Vec::new();
    for data in &datas {
        trigger(&service, &ours, data.clone()).await;
    }
    service.run_jobs().await;
    for request in receiver.received() {
        cases.push(case(&request, &first.secret, true));
        let mut changed = request.clone();
        changed.body[10] ^= 1;
        cases.push(case(&changed, &first.secret, false));
        for (header, value) in
            [("webhook-id", "another"), ("webhook-timestamp", "1700000000"), ("webhook-signature", "v1,AAAA")]
        {
            let mut changed = request.clone();
            changed.headers.insert(header.to_owned(), value.to_owned());
            cases.push(case(&changed, &first.secret, false));
        }
    }
    let rotate = format!("/workspaces/{ours}/webhooks/{}/rotate", first.id);
    let second = ann.post(&rotate, json!({})).await.expect(200).json()["secret"].as_str().expect("a secret").to_owned();
    let other = make(&service, &ours, &receiver.url()).await;
    app_kernel::feature::webhooks::delete_webhook(&service.db(), &ours, &other.id).await.expect("deleted");
    trigger(&service, &ours, thing(2)).await;
    service.run_jobs().await;
    let request = receiver.received().pop().expect("a request");
    for (secret, is_genuine) in [(&first.secret, true), (&second, true), (&other.secret, false)] {
        cases.push(case(&request, secret, is_genuine));
    }
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let file = folder.path().join("cases.json");
    std::fs::write(&file, json!(cases).to_string()).expect("it can be written");
    let expected: Vec<bool> = cases.iter().map(|case| case["is_genuine"] == true).collect();
    let mut javascript = Command::new("node");
    javascript.current_dir(tools.join("npm")).arg("verify.mjs");
    let mut python = Command::new(tools.join("python/bin/python"));
    python.arg(tools.join("verify.py"));
    let mut rust = Command::new(tools.join("rust/target/debug/verify"));
    for (language, program) in [("JavaScript", &mut javascript), ("Python", &mut python), ("Rust", &mut rust)] {
        assert_eq!(verify(program, &file), expected, "{language}");
    }
    println!(
        "R-19 held: {} requests, genuine and forged, judged alike by the official libraries of 3 languages",
        cases.len()
    );
}
