//! Every refusal and every failure has one shape, and says nothing of the inside.

use app_kernel::testing::{Answer, Wire};
use axum::http::Method;
use serde_json::{Value, json};

use super::{INSIDE, start};

/// What a problem document may have, and nothing else.
const MEMBERS: [&str; 7] = ["type", "title", "status", "detail", "code", "request_id", "errors"];

/// The whole shape: members, headers, no internals.
#[track_caller]
fn check(answer: Answer, status: u16, code: &str) -> Value {
    let answer = answer.expect_problem(status, code);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let problem = answer.json();
    let members = problem.as_object().expect("an object");
    assert!(members.keys().all(|name| MEMBERS.contains(&name.as_str())), "{problem}");
    assert_eq!(problem["type"], "about:blank");
    for (text, member) in [("title", &problem["title"]), ("detail", &problem["detail"])] {
        assert!(member.as_str().is_some_and(|text| !text.is_empty()), "no {text}: {problem}");
    }
    for inside in [INSIDE, "hunter2", "no_such_table", "SELECT", ".rs", "rusqlite", "panicked"] {
        assert!(!problem.to_string().contains(inside), "`{inside}` was told: {problem}");
    }
    problem
}

/// Promise: A4, U, R-29
#[tokio::test]
async fn every_refusal_is_a_problem_document_about_this_request() {
    let service = start().await;
    let (anonymous, ann) = (service.anonymous(), service.sign_up("ann").await);
    let post =
        async |media: Option<&str>, body: &[u8]| anonymous.send(Method::POST, "/widgets", media, body.to_vec()).await;
    let json = Some("application/json");

    check(post(json, b"{\"name\": ").await, 400, "malformed_json");
    check(anonymous.get("/me").await, 401, "unauthenticated");
    check(anonymous.get("/admin").await, 401, "unauthenticated");
    check(ann.get("/admin").await, 403, "forbidden");
    check(anonymous.get("/widgets/no-such-id").await, 404, "not_found");
    check(anonymous.get("/no/such/route").await, 404, "not_found");
    check(anonymous.get("/api/v1").await, 404, "not_found");
    let wrong_method = anonymous.delete("/widgets").await;
    assert_eq!(wrong_method.header("allow"), Some("POST,GET,HEAD"));
    check(wrong_method, 405, "method_not_allowed");
    check(post(json, &vec![b' '; 3 << 20]).await, 413, "body_too_large");
    check(post(Some("text/plain"), b"{}").await, 415, "unsupported_media_type");
    check(post(None, b"{}").await, 415, "unsupported_media_type");
    check(anonymous.post("/widgets", json!({})).await, 422, "invalid");
    check(anonymous.get("/widgets?limit=many").await, 422, "invalid");
    check(anonymous.get("/numbered/300").await, 422, "invalid");
    check(anonymous.get("/numbered/%ff").await, 400, "malformed_parameters");
    check(anonymous.get("/widgets?limit=20000").await, 400, "bad_limit");
}

/// Promise: A4, R-29, R-32
#[tokio::test]
async fn a_failure_tells_where_to_look_and_nothing_of_the_inside() {
    let service = start().await;
    for (path, detail) in [
        ("/panic", "something unexpected happened; it is in the log under this request's id"),
        ("/fail", "counting the widgets failed"),
    ] {
        let problem = check(service.anonymous().get(path).await, 500, "internal");
        assert_eq!(problem["detail"], detail);
    }
    check(service.anonymous().get("/broken-sql").await, 500, "internal");
    service.anonymous().get("/widgets").await.expect(200);
}

/// Promise: A4, C15, R-29
#[tokio::test]
async fn all_fields_that_are_wrong_are_named_at_once() {
    let service = start().await;
    let post = async |body: Value| check(service.anonymous().post("/widgets", body).await, 422, "invalid");
    let problem = post(json!({ "name": 7, "parts": [{ "unitPrice": 1 }, { "unitPrice": "x" }], "color": "red" })).await;
    let expected = json!([
        { "pointer": "/name", "detail": "must be a text" },
        { "pointer": "/size", "detail": "is required" },
        { "pointer": "/parts/1/unitPrice", "detail": "must be a whole number" },
        { "pointer": "/color", "detail": "is not a known field" },
    ]);
    let sorted = |errors: &Value| {
        let mut all: Vec<_> = errors.as_array().expect("errors").iter().map(ToString::to_string).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&problem["errors"]), sorted(&expected), "{problem}");

    // The rules of `Valid`, in the client's names.
    let broken = post(json!({ "name": "", "size": 10, "parts": [{ "unitPrice": 0 }] })).await;
    assert_eq!(pointers(&broken), ["/name", "/parts/0/unitPrice", "/size"]);

    let query = check(service.anonymous().get("/widgets?limit=-1&newest_first=perhaps").await, 422, "invalid");
    assert_eq!(pointers(&query), ["/limit", "/newest_first"]);
}

fn pointers(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().expect("errors");
    errors.iter().map(|error| error["pointer"].as_str().expect("a pointer")).collect()
}

/// Promise: A2
#[tokio::test]
async fn the_request_id_is_the_clients_where_it_is_fit_and_ours_where_it_is_not() {
    let service = start().await;
    let with_id = |id: &str| service.anonymous().with_header("x-request-id", id);
    for path in ["/healthz", "/no/such/route", "/panic", "/docs", "/openapi.json"] {
        assert_eq!(with_id("trace-1.2_3").get(path).await.header("x-request-id"), Some("trace-1.2_3"), "{path}");
    }
    for unfit in ["a b", "{}", &"a".repeat(129)] {
        let answer = with_id(unfit).get("/panic").await.expect_problem(500, "internal");
        let id = answer.header("x-request-id").expect("an id").to_owned();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{unfit} became {id}");
    }
}

/// Promise: A4, R-28, R-29
#[tokio::test]
async fn what_is_hardly_http_is_answered_in_the_same_shape() {
    let service = start().await;
    let ask = async |head: &[u8]| Wire::ask(&service.url(), head, b"").await;
    let long_header = [b"GET / HTTP/1.1\r\nx-long: ".as_slice(), &vec![b'a'; 200_000]].concat();
    let long_target = [b"GET /".as_slice(), &vec![b'a'; 100_000], b" HTTP/1.1"].concat();
    for (head, statuses) in [
        (b"BREW /pot HTTP/1.1".as_slice(), 404..=405),
        (b"GET /widgets HTTP/1.1\r\nno colon here", 400..=400),
        (b"GET http://[::1 HTTP/1.1", 400..=400),
        (b"GET /\x00 HTTP/1.1", 400..=404),
        (&long_header, 431..=431),
        (&long_target, 414..=431),
    ] {
        let answer = ask(head).await;
        assert!(statuses.contains(&answer.status), "{}: {}", answer.status, answer.text());
        let (status, code) = (answer.status, answer.json()["code"].as_str().expect("a code").to_owned());
        answer.expect_problem(status, &code);
    }
}
