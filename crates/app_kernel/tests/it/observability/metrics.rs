//! `/metrics`: what is told, to whom, and that Prometheus can read it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use app_kernel::base::secret::Secret;
use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestDatabase, TestRedis, TestService, on_every_database};
use serde_json::json;

use super::{lamps, make_lamp};
use crate::jobs::until;
use crate::support::repository;

const DOCUMENT: &str = "docs/observability.md";

async fn scrape(client: &Client) -> String {
    let answer = client.get("/metrics").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// The value of a series, as it is written before the space.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("there is no `{series}` in\n{text}"));
    line.parse().unwrap_or_else(|_| panic!("`{line}` of `{series}` is no number"))
}

/// A series of requests.
fn requests(method: &str, route: &str, status: u16) -> String {
    format!(
        "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",http_route=\"{route}\",http_response_status_code=\"{status}\"}}"
    )
}

on_every_database!(a_scrape_tells_what_happened,);

async fn a_scrape_tells_what_happened(database: TestDatabase) {
    let service = TestService::start_on(database, lamps).await;
    let ann = service.sign_up("ann").await;
    let lamp = make_lamp(&ann).await;
    let waiting = scrape(&service.anonymous()).await;
    assert_eq!(value(&waiting, "app_kernel_jobs{queue=\"default\",state=\"ready\"}"), 1.0);
    assert!(value(&waiting, "app_kernel_jobs_longest_wait_seconds{queue=\"default\"}") >= 0.0);

    service.run_jobs().await;
    ann.get(&format!("/lamps/{lamp}")).await.expect(200);
    ann.get("/lamps/none").await.expect(404);
    ann.get("/no/such/place").await.expect(404);
    let wrong = json!({ "email": "ann@example.com", "password": "wrong password" });
    ann.post("/auth/login", wrong).await.expect(401);

    let text = scrape(&service.anonymous()).await;
    assert_eq!(value(&text, &requests("GET", "/lamps/{id}", 200)), 1.0);
    assert_eq!(value(&text, &requests("GET", "/lamps/{id}", 404)), 1.0);
    assert_eq!(value(&text, &requests("GET", "none", 404)), 1.0);
    assert_eq!(value(&text, "http_server_active_requests"), 1.0, "the scrape itself");
    assert_eq!(value(&text, "lamps_read_total{room=\"hall\"}"), 2.0);
    assert_eq!(value(&text, "app_kernel_auth_failures_total"), 1.0);
    let runs = "app_kernel_job_try_duration_seconds_count{task=\"polish\",end=\"succeeded\"}";
    assert_eq!(value(&text, runs), 1.0);
    let inserts = text.lines().filter(|line| {
        line.starts_with("db_client_operation_duration_seconds_count{database=\"app\"")
            && line.contains("db_operation_name=\"INSERT\"")
            && !line.ends_with(" 0")
    });
    assert_eq!(inserts.count(), 1, "{text}");
    assert_eq!(value(&text, "app_kernel_scrape_unanswered{part=\"jobs\"}"), 0.0);
    assert!(text.contains("app_kernel_build_info{service=\"lamps\",version=\"1.2.3\","), "{text}");
    // Not an id, an address or a name of what people keep.
    for secret in [lamp.as_str(), "ann@example.com", "brass", "no/such/place"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
}

#[tokio::test]
async fn what_is_refused_cached_called_and_carried_is_counted() {
    let few = |config| ServiceConfig { rate_limit_enabled: Some(true), rate_limit_requests: 10, ..config };
    let service = TestService::start(|config| lamps(few(config))).await;
    let ann = service.sign_up("ann").await;
    make_lamp(&ann).await;
    let mut refused = 0;
    for _ in 0..15 {
        refused += u32::from(ann.get("/lamps/none").await.status == 429);
    }
    assert!(refused >= 5, "{refused} of 15 were refused");
    let cache = service.kernel().cache();
    cache.set("a", &1, Duration::from_secs(60)).await.expect("it is kept");
    for key in ["a", "a", "b"] {
        cache.get::<u32>(key).await.expect("a key");
    }
    let nobody = service.kernel().http_client("http://127.0.0.1:1").expect("a client");
    nobody.get("/").await.expect_err("nobody listens");

    let text = scrape(&service.anonymous()).await;
    assert_eq!(value(&text, "app_kernel_rate_limit_refusals_total"), f64::from(refused));
    assert_eq!(value(&text, "app_kernel_cache_reads_total{outcome=\"hit\"}"), 2.0);
    assert_eq!(value(&text, "app_kernel_cache_reads_total{outcome=\"miss\"}"), 1.0);
    assert_eq!(value(&text, "app_kernel_http_client_calls_total{server=\"http://127.0.0.1:1\"}"), 1.0);
    assert_eq!(value(&text, "app_kernel_worker_degraded{worker=\"audit\"}"), 0.0);
    let processed = "app_kernel_worker_processed_total{worker=\"audit\"}";
    until("the audit's worker tells what it carried", async || {
        value(&scrape(&service.anonymous()).await, processed) > 0.0
    })
    .await;
    service.run_jobs().await;
}

#[tokio::test]
async fn they_are_for_this_machine_or_for_whoever_has_the_token() {
    let service = TestService::start(lamps).await;
    let client = service.anonymous();
    client.get("/metrics").await.expect(200);
    client.clone().with_header("x-forwarded-for", "203.0.113.7").get("/metrics").await.expect(403);
    client.get("/api/v1/metrics").await.expect(404);

    let token = Some(Secret::new("a token of the tests"));
    let service = TestService::start(|config| lamps(ServiceConfig { metrics_token: token, ..config })).await;
    let client = service.anonymous();
    client.get("/metrics").await.expect_problem(401, "metrics_token");
    client.clone().with_token("another token").get("/metrics").await.expect_problem(401, "metrics_token");
    service.sign_up("ann").await.get("/metrics").await.expect_problem(401, "metrics_token");
    client.with_token("a token of the tests").get("/metrics").await.expect(200);
}

/// The roles without a port of their own open the same one.
#[tokio::test]
async fn another_port_answers_operators_and_nobody_else() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let service = TestService::start(|config| lamps(ServiceConfig { metrics_port: Some(port), ..config })).await;
    let client = Client::new(format!("http://127.0.0.1:{port}"));
    client.get("/healthz").await.expect(200);
    assert_eq!(client.get("/readyz").await.expect(200).json()["checks"]["database"], "ok");
    client.get("/lamps/none").await.expect(404);
    let text = scrape(&client).await;
    assert_eq!(value(&text, "http_server_active_requests"), 0.0, "its requests are not the service's");
    assert_eq!(text.lines().filter(|line| line.starts_with("http_server_request_duration_seconds_count")).count(), 0);
    drop(service);
}

/// All metrics there are, from services that have everything.
async fn everything() -> String {
    let mut databases = vec![TestDatabase::sqlite().await];
    if std::env::var_os("TEST_POSTGRES_URL").is_some() {
        databases.push(TestDatabase::postgres().await);
    }
    let mut all = String::new();
    for database in databases {
        let admin = TestDatabase::sqlite().await;
        let redis = TestRedis::shared().map(|redis| redis.url().clone());
        let build =
            |config| lamps(ServiceConfig { redis_url: redis, admin_db_url: Some(admin.url().clone()), ..config });
        let service = TestService::start_on(database, build).await;
        service.kernel().http_client("https://api.example.com").expect("a client");
        let ann = service.sign_up("ann").await;
        let lamp = make_lamp(&ann).await;
        all.push_str(&scrape(&ann).await);
        service.run_jobs().await;
        ann.get(&format!("/lamps/{lamp}")).await.expect(200);
        let text = scrape(&ann).await;
        check_by_promtool(&["check", "metrics"], &text);
        all.push_str(&text);
    }
    all
}

/// Has Prometheus' own tool look, where it is there; `./test` sees to that.
fn check_by_promtool(arguments: &[&str], text: &str) {
    let spawned = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = spawned else {
        eprintln!("promtool is not there; on Debian: apt-get install prometheus. This check is left out");
        return;
    };
    promtool.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let ended = promtool.wait_with_output().expect("it ends");
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "promtool {arguments:?}: {}\n{text}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn prometheus_reads_it_and_the_table_of_the_document_is_what_is_told() {
    let told: BTreeSet<String> = everything()
        .await
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        .filter(|name| !name.starts_with("lamps_"))
        .collect();
    let document = repository::read(DOCUMENT);
    let written: BTreeSet<String> =
        document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned)).collect();
    let written: BTreeSet<String> = written.into_iter().filter(|name| name.to_lowercase() == *name).collect();
    let missing: Vec<_> = told.difference(&written).collect();
    assert!(missing.is_empty(), "{DOCUMENT} does not have {missing:?}");
    let has_all = TestRedis::shared().is_some() && told.contains("app_kernel_db_connections");
    let invented: Vec<_> = written.difference(&told).collect();
    assert!(!has_all || invented.is_empty(), "{DOCUMENT} has what nobody tells: {invented:?}");
}

/// The example of alerts in the document is one that Prometheus takes, and names metrics that there are.
#[test]
fn the_alerts_of_the_document_are_rules() {
    let document = repository::read(DOCUMENT);
    let (_, rest) = document.split_once("<!-- alerts -->\n\n```yaml\n").expect("the document has alerts");
    let (rules, _) = rest.split_once("```").expect("they end");
    assert_eq!(rules.matches("- alert:").count(), 3);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), rules).expect("it can be written");
    check_by_promtool(&["check", "rules", &file.path().display().to_string()], "");
}
