use std::sync::{Mutex, mpsc};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{get, post};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tracing::subscriber::DefaultGuard;

use super::line::is_plain;
use super::*;
use crate::base::clock::Timestamp;
use crate::web::edge::{Edge, EdgeRules};

#[derive(Clone, Default)]
struct Sheet(Arc<Mutex<Vec<u8>>>);

impl Write for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of this thread, on a sheet, at a standing clock.
struct TestLog {
    sheet: Sheet,
    guard: LogGuard,
    _default: DefaultGuard,
}

impl TestLog {
    fn start(style: Style) -> Self {
        let (sheet, queue) = (Sheet::default(), Arc::new(Queue::default()));
        let guard = LogGuard::start(queue.clone(), style, sheet.clone()).expect("a thread");
        let time: Timestamp = "2026-01-30T12:00:00.5Z".parse().expect("a time");
        let layer = LineLayer { style, queue, clock: Clock::manual(time) };
        let subscriber = registry().with(filter("info").expect("a filter")).with(layer);
        TestLog { sheet, guard, _default: tracing::subscriber::set_default(subscriber) }
    }

    fn text(&self) -> String {
        self.guard.flush();
        String::from_utf8(self.sheet.0.lock().expect("no panic").clone()).expect("UTF-8")
    }

    fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

/// Promise: A5
#[test]
fn a_line_is_one_json_object_with_its_fields_beside_the_message() {
    let log = TestLog::start(Style::Json);
    tracing::info!(target: "shop", count = 3, share = 0.25, ready = true, name = "a", "an order came in");
    assert_eq!(
        log.text(),
        "{\"timestamp\":\"2026-01-30T12:00:00.500000Z\",\"level\":\"INFO\",\"target\":\"shop\",\
         \"message\":\"an order came in\",\"count\":3,\"share\":0.25,\"ready\":true,\"name\":\"a\"}\n"
    );
}

/// Promise: A5
#[test]
fn nothing_that_is_logged_can_break_a_line() {
    let log = TestLog::start(Style::Json);
    let nasty = "\"}\n{\"level\":\"FAKE\"}\\ \u{0}\u{1b}[31m \u{7f} \u{2028} é 🙂 \r\t";
    tracing::info!(text = nasty, debug = ?nasty, level = "mine", float = f64::NAN, "said {nasty}");
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["text"], &lines[0]["message"]), (&json!(nasty), &json!(format!("said {nasty}"))));
    assert_eq!((&lines[0]["debug"], &lines[0]["float"]), (&json!(format!("{nasty:?}")), &json!("NaN")));
    assert_eq!((&lines[0]["level"], &lines[0]["field.level"]), (&json!("INFO"), &json!("mine")));
}

#[test]
fn a_line_carries_the_fields_of_its_spans_and_the_nearest_wins() {
    let log = TestLog::start(Style::Json);
    let job = tracing::info_span!("job", job = 7, attempt = 1, tenant = tracing::field::Empty, seen = "outer");
    let _in_job = job.enter();
    job.record("attempt", 2);
    job.record("tenant", "acme");
    let _in_step = tracing::info_span!("step", seen = "inner").entered();
    tracing::info!(job = 8, "working");
    let line = &log.lines()[0];
    assert_eq!(
        *line,
        json!({
            "timestamp": "2026-01-30T12:00:00.500000Z", "level": "INFO", "target": "app_kernel::service::log::tests", "message": "working",
            "job": 8, "seen": "inner", "attempt": 2, "tenant": "acme",
        })
    );
    assert_eq!(log.text().matches("\"job\":").count(), 1);
}

#[test]
fn people_read_columns() {
    let log = TestLog::start(Style::Pretty { is_colored: false });
    tracing::info!(path = "data/app.db", note = "two words", rows = 3, "the store is open");
    tracing::warn!("mind \u{1b}[2J the\ngap");
    assert_eq!(
        log.text(),
        "2026-01-30T12:00:00.500000Z  INFO the store is open path=data/app.db note=\"two words\" rows=3\n\
         2026-01-30T12:00:00.500000Z  WARN mind \\u{1b}[2J the\n    gap\n"
    );
    let log = TestLog::start(Style::Pretty { is_colored: true });
    tracing::error!("red");
    assert_eq!(log.text(), "2026-01-30T12:00:00.500000Z \x1b[31mERROR\x1b[0m red\n");
}

#[test]
fn a_filter_that_is_none_is_refused_by_name() {
    for good in
        ["info", "WARN", "off", "info,app_kernel::store=debug", "warn, app_kernel = trace", "app_kernel::web", ""]
    {
        assert!(filter(good).is_ok(), "{good}");
    }
    for bad in ["inof", "verbose", "info,app_kernel::store=loud", "info;debug", "5x"] {
        let refusal = filter(bad).expect_err("a refusal").to_string();
        assert!(refusal.starts_with(&format!("LOG_LEVEL is `{bad}`; it must be")), "{refusal}");
    }
}

fn service() -> Edge {
    let router = Router::new()
        .route("/api/v1/widgets/{id}", get(async || "a gear"))
        .route("/api/v1/panic", post(async || -> &str { panic!("out of gears") }))
        .route("/api/v1/never", get(async || std::future::pending::<&str>().await));
    Edge::new(router, Arc::new(EdgeRules::from_config(&ServiceConfig::default()).expect("rules")), None)
}

fn request(method: &str, path: &str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path).header("x-request-id", "r1");
    builder.header("authorization", "Bearer canary-token").body(Body::empty()).expect("a request")
}

fn without(mut line: Value, names: &[&str]) -> Value {
    let fields = line.as_object_mut().expect("an object");
    for name in names {
        assert!(fields.remove(*name).is_some(), "no {name} in {fields:?}");
    }
    line
}

/// Promise: A5
#[tokio::test]
async fn every_request_is_one_line_without_a_secret() {
    let log = TestLog::start(Style::Json);
    for (method, path) in [
        ("GET", "/api/v1/widgets/canary-id?token=canary-query"),
        ("DELETE", "/api/v1/widgets/canary-id"),
        ("GET", "/canary-path?token=canary-query"),
    ] {
        let Ok(_) = service().oneshot(request(method, path)).await;
    }
    assert!(!log.text().contains("canary"), "{}", log.text());
    let line = |method: &str, route: &str, status: u16, bytes: Option<u64>| {
        let mut line = json!({
            "level": "INFO", "target": "app_kernel::request", "message": "request",
            "method": method, "route": route, "status": status, "request_id": "r1", "caller": "anonymous",
        });
        if let Some(bytes) = bytes {
            line["bytes"] = bytes.into();
        }
        line
    };
    let lines = log.lines();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| { line["duration_ms"].as_f64().is_some_and(|ms| (0.0..10_000.0).contains(&ms)) }));
    let kept: Vec<Value> = lines.into_iter().map(|line| without(line, &["timestamp", "duration_ms"])).collect();
    assert_eq!(kept[0], line("GET", "/api/v1/widgets/{id}", 200, Some(6)));
    assert_eq!(without(kept[1].clone(), &["bytes"]), line("DELETE", "/api/v1/widgets/{id}", 405, None));
    assert_eq!(without(kept[2].clone(), &["bytes"]), line("GET", "none", 404, None));
}

#[tokio::test]
async fn a_panic_is_logged_with_its_place_beside_the_request() {
    let log = TestLog::start(Style::Json);
    let Ok(response) = service().oneshot(request("POST", "/api/v1/panic")).await;
    assert_eq!(response.status(), 500);
    let lines = log.lines();
    assert_eq!(
        (&lines[0]["level"], &lines[0]["message"]),
        (&json!("ERROR"), &json!("a handler panicked: out of gears"))
    );
    assert!(lines[0]["place"].as_str().is_some_and(|place| place.contains("log/tests.rs:")), "{}", lines[0]);
    assert_eq!(
        (&lines[0]["request_id"], &lines[1]["request_id"], &lines[1]["status"]),
        (&json!("r1"), &json!("r1"), &json!(500))
    );
}

#[tokio::test]
async fn a_client_that_leaves_is_in_the_log() {
    let log = TestLog::start(Style::Json);
    let left = service().call(request("GET", "/api/v1/never")).now_or_never();
    assert!(left.is_none());
    let line = &log.lines()[0];
    assert_eq!((&line["status"], &line["route"]), (&json!(499), &json!("/api/v1/never")));
}

#[test]
fn lines_of_many_threads_stay_whole_and_none_is_lost() {
    let (sheet, queue) = (Sheet::default(), Arc::new(Queue::default()));
    let guard = LogGuard::start(queue.clone(), Style::Json, sheet.clone()).expect("a thread");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let queue = &queue;
            scope.spawn(move || {
                for n in 0..20_000 {
                    queue.push(&format!("{thread} {n} {}\n", "x".repeat(100)), false);
                }
            });
        }
    });
    drop(guard);
    let text = String::from_utf8(sheet.0.lock().expect("no panic").clone()).expect("UTF-8");
    assert_eq!(text.lines().count(), 80_000);
    assert!(text.lines().all(|line| line.ends_with(&"x".repeat(100)) && line.len() <= 108));
}

/// A stdout that takes nothing until it is told to.
struct Blocked(mpsc::Receiver<()>, Sheet);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A test that dropped its end lets everything through.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stdout_that_nobody_reads_costs_a_moment_and_the_losses_are_told() {
    let (sheet, queue) = (Sheet::default(), Arc::new(Queue::default()));
    let (let_go, blocked) = mpsc::channel();
    let guard = LogGuard::start(queue.clone(), Style::Json, Blocked(blocked, sheet.clone())).expect("a thread");
    let line = format!("{}\n", "x".repeat(64 << 10));
    for _ in 0..100 {
        queue.push(&line, false);
    }
    drop(let_go);
    while !queue.is_written() {
        guard.flush();
    }
    queue.push("{\"after\":true}\n", false);
    guard.flush();
    let text = String::from_utf8(sheet.0.lock().expect("no panic").clone()).expect("UTF-8");
    let kept = text.lines().filter(|line| line.starts_with('x')).count();
    let told: Value = text
        .lines()
        .find(|line| line.contains("\"lost\""))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .expect("a line");
    assert_eq!(kept + told["lost"].as_u64().expect("a number") as usize, 100);
    assert!(text.ends_with("{\"after\":true}\n"));
}

/// A stdout that is closed.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_stdout_stops_nobody() {
    let queue = Arc::new(Queue::default());
    let guard = LogGuard::start(queue.clone(), Style::Json, Closed).expect("a thread");
    for _ in 0..1000 {
        queue.push(&"x".repeat(10_000), true);
    }
    drop(guard);
    assert!(queue.is_written());
}

#[test]
fn whatever_needs_an_escape_is_found_wherever_it_stands() {
    for length in 1..=25 {
        for at in 0..length {
            for byte in 0..=u8::MAX {
                let mut text = vec![b'a'; length];
                text[at] = byte;
                let is_special = byte < 0x20 || [b'"', b'\\', 0x7f].contains(&byte);
                assert_eq!(is_plain(&text), !is_special, "byte {byte:#x} at {at} of {length}");
            }
        }
    }
}
