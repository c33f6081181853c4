//! What a person with bad intentions, or a program with a bug, sends on purpose.

use app_kernel::testing::{Answer, Client, TestDatabase, Wire, on_every_database};
use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value as Any, json};

use super::{Census, Stage, census, check_answer, item};

on_every_database!(
    bodies_that_do_not_fit_change_nothing,
    values_that_no_column_can_hold_are_refused_by_name,
    long_and_deep_values_are_kept_or_refused_whole,
    large_batches_are_all_or_nothing,
    names_and_clauses_that_are_sql_are_only_names_and_clauses,
    an_entity_without_limits_has_limits,
    odd_targets_and_headers_are_the_clients_fault,
    of_twenty_equal_saves_one_wins,
);

/// A body as it stands, to both ways of saving.
async fn post_raw(client: &Client, body: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for path in ["/items", "/rows/items", "/items/many"] {
        let answer = client.send(Method::POST, path, Some("application/json"), body.to_vec()).await;
        check_answer(&answer);
        answers.push(answer);
    }
    answers
}

/// One wrong field in an item, to both ways of saving: both refuse it by name.
async fn post_with(client: &Client, field: &str, value: Any) -> Vec<Answer> {
    let mut body = item("wrong");
    body[field] = value;
    let mut answers = Vec::new();
    for path in ["/items", "/rows/items"] {
        let answer = client.post(path, &body).await;
        check_answer(&answer);
        answers.push(answer);
    }
    answers
}

/// Promise: R-29
async fn bodies_that_do_not_fit_change_nothing(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (client, before) = (stage.service.anonymous(), stage.check().await);
    for body in [
        &b""[..],
        b" ",
        b"null",
        b"3",
        b"\"text\"",
        b"true",
        b"[[]]",
        b"[null]",
        b"{",
        b"{}",
        b"[{}]",
        b"{\"name\"}",
        b"{\"name\": \"a\",}",
        b"{'name': 'a'}",
        b"{\"name\": NaN}",
        b"{\"name\": \"a\", \"weight\": NaN}",
        b"{\"name\": \"a\", \"weight\": 1e999}",
        b"{\"name\": \"a\", \"weight\": -1e999}",
        b"{\"name\": \"a\", \"size\": 1e400}",
        b"{\"name\": \"a\", \"size\": Infinity}",
        b"{\"name\": \"a\\ud800\"}",
        b"{\"name\": \"\\udc00a\"}",
        b"{\"name\": \"a\xff\"}",
        b"{\"name\": \"\xed\xa0\x80\"}",
        b"{\"name\": \"a\", \"name\": \"b\"}",
        b"{\"name\": \"a\"} {\"name\": \"b\"}",
        b"{\"name\": \"a\x00b\"}",
        b"{\"name\": \"line\nbreak\"}",
        b"\xef\xbb\xbf{\"name\": \"with a BOM\"}",
        b"name=a",
        b"<item/>",
        b"\x1f\x8b\x08\x00",
    ] {
        for answer in post_raw(&client, body).await {
            // Two names: the one that stands last counts where there is no struct. The rest is refused.
            let is_merge = body.starts_with(b"{\"name\": \"a\", \"name\"") && answer.status == 200;
            let says = || format!("{:?} was answered {answer:?}", String::from_utf8_lossy(body));
            assert!((400..=422).contains(&answer.status) || is_merge, "{}", says());
        }
    }
    for media in [None, Some("text/plain"), Some("application/xml"), Some(""), Some("application/json; charset=utf-16")]
    {
        let answer = client.send(Method::POST, "/items", media, item("typed").to_string().into_bytes()).await;
        check_answer(&answer);
        assert!(matches!(answer.status, 415 | 201), "{media:?}: {answer:?}");
    }
    let after = stage.check().await;
    assert!(after.rows - before.rows <= 2, "{before:?} became {after:?}");
}

/// Promise: R-29
async fn values_that_no_column_can_hold_are_refused_by_name(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (client, before) = (stage.service.anonymous(), stage.check().await);
    let huge = json!(1e308);
    let wrong: &[(&str, &[Any])] = &[
        ("name", &[json!(null), json!(3), json!(["a"]), json!({}), json!("a\u{0}b"), json!("\u{0}")]),
        ("owner", &[json!("\u{0}"), json!(false)]),
        ("note", &[json!("a\u{0}"), json!(0)]),
        ("status", &[json!("gone"), json!(""), json!("ACTIVE"), json!("active ")]),
        (
            "size",
            &[json!("3"), json!(1.5), json!(u64::MAX), json!(9_223_372_036_854_775_808_u64), huge.clone(), json!(true)],
        ),
        ("weight", &[json!("0.5"), json!([]), json!("NaN"), json!("inf")]),
        ("price", &[json!("a lot"), json!("1e999"), json!("NaN"), json!(""), json!("9".repeat(40)), json!(true)]),
        (
            "due",
            &[json!("soon"), json!("2026-02-30T00:00:00Z"), json!("0000-00-00T00:00:00Z"), json!("infinity"), json!(0)],
        ),
        (
            "day",
            &[json!("2025-02-29"), json!("0000-00-00"), json!("10000-01-01"), json!("-0001-01-01"), json!(20250101)],
        ),
        ("hour", &[json!("24:00:00"), json!("12:60"), json!("noon"), json!(12)]),
        ("code", &[json!("x"), json!(""), json!("0190b6c3-e5f3-7cc2-9d1e-2f6a4b8c0d1"), json!(1)]),
        ("meta", &[json!({ "a\u{0}": 1 }), json!({ "a": "\u{0}" }), json!(["\u{0}"])]),
        ("tags", &[json!(["\u{0}"])]),
        ("is_on", &[json!("true"), json!(1), json!("")]),
        ("no_such_field", &[json!(1), json!({})]),
        ("owner; DROP TABLE items", &[json!("x")]),
        ("na\"me", &[json!("x")]),
        ("", &[json!("x")]),
    ];
    for (field, values) in wrong {
        for value in *values {
            for answer in post_with(&client, field, value.clone()).await {
                let answer = answer.expect(422);
                let pointer = format!("/{field}");
                let is_named = answer.wrong_fields().iter().any(|named| named.starts_with(&pointer));
                assert!(is_named, "{field} = {value}: {}", answer.text());
            }
        }
    }
    for nobody in ["no-such-id", "\u{0}", "", &"x".repeat(5000)] {
        for answer in post_with(&client, "parent_id", json!(nobody)).await {
            assert!(matches!(answer.status, 409 | 422), "{nobody:?}: {answer:?}");
        }
    }
    for id in [json!(1), json!(""), json!("a\u{0}"), json!("x".repeat(5000)), json!(["a"])] {
        let answer = client.post("/rows/items", json!({ "id": id, "name": "odd" })).await.expect(422);
        assert_eq!(answer.wrong_fields(), ["/id"]);
    }
    assert_eq!(stage.check().await, before);
}

/// Promise
async fn long_and_deep_values_are_kept_or_refused_whole(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (client, before) = (stage.service.anonymous(), stage.check().await);
    let long = "x".repeat(1 << 20);
    for answer in post_with(&client, "owner", json!(long)).await {
        assert_eq!(answer.expect(422).wrong_fields(), ["/owner"], "an index holds no such value");
    }
    for answer in post_with(&client, "name", json!(long)).await {
        assert_eq!(answer.expect(422).wrong_fields(), ["/name"]);
    }
    let (mut kept, emoji) = (item("long"), "👩‍🚀".repeat(60_000));
    kept["note"] = json!(emoji);
    let saved = client.post("/items", &kept).await.expect(201);
    assert_eq!(client.get(&format!("/items/{}", saved.id())).await.expect(200).json()["note"], json!(emoji));
    let versions = client.get(&format!("/rows/items/by-id/{}/history", saved.id())).await.expect(200).json();
    assert_eq!(versions[0]["data"]["note"], json!(emoji));

    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let with_meta = |name: &str, depth| format!("{{\"name\": \"{name}\", \"meta\": {}}}", nested(depth));
    for (body, status) in [
        (with_meta("deep", 60), 201),
        (with_meta("deeper", 64), 400),
        (with_meta("deepest", 100_000), 400),
        (nested(100_000), 400),
        ("{\"a\":".repeat(100_000), 400),
    ] {
        let answer = client.send(Method::POST, "/items", Some("application/json"), body.into_bytes()).await;
        check_answer(&answer);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let too_long = format!("{{\"name\": \"{}\"}}", "x".repeat(3 << 20));
    let answer = client.send(Method::POST, "/items", Some("application/json"), too_long.into_bytes()).await;
    answer.expect_problem(413, "body_too_large");
    let after = stage.check().await;
    assert_eq!(after, Census { rows: before.rows + 2, versions: before.versions + 2 });
}

/// Promise: R-29
async fn large_batches_are_all_or_nothing(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (client, before) = (stage.service.anonymous(), stage.check().await);
    let batch = |wrong: Option<usize>| -> Vec<Any> {
        let name = |n| if Some(n) == wrong { "earlier 3".to_owned() } else { format!("one of many {n}") };
        (0..10_000).map(|n| json!({ "name": name(n), "size": n })).collect()
    };
    for body in [json!(vec![3; 1000]), json!(vec![json!({}); 10_000]), json!(batch(Some(7_777)))] {
        let answer = client.post("/items/many", &body).await;
        check_answer(&answer);
        assert!((400..500).contains(&answer.status), "{answer:?}");
        assert_eq!(stage.check().await, before);
    }
    assert_eq!(client.post("/items/many", batch(None)).await.expect(200).json(), 10_000);
    let after = stage.check().await;
    assert_eq!(after, Census { rows: before.rows + 10_000, versions: before.versions + 10_000 });
}

/// Promise: C3, R-26, R-29
async fn names_and_clauses_that_are_sql_are_only_names_and_clauses(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (client, before) = (stage.service.anonymous(), stage.check().await);
    let saved = client.post("/rows/items", item("'; DROP TABLE items; --")).await.expect(200);
    assert_eq!(saved.json()["name"], "'; DROP TABLE items; --");
    for name in [
        "items; DROP TABLE items",
        "items--",
        "\"items\"",
        "items]",
        "[items]",
        "kernel_users",
        "KERNEL_changes",
        "items_history",
        "pg_catalog.pg_class",
        "information_schema.tables",
        "sqlite_master",
        "sqlite_anything",
        "pg_class",
        "PG_anything",
        "a b",
        "ünïcödé",
        "1st",
        "\u{0}",
        "..",
        &"n".repeat(55),
        &"n".repeat(2000),
    ] {
        let path = format!("/rows/{}", encoded(name));
        for answer in [
            client.post(&path, json!({ "a": 1 })).await,
            client.get(&path).await,
            client.get(&format!("{path}/count")).await,
            client.get(&format!("{path}/by-id/x")).await,
            client.delete(&format!("{path}/by-id/x")).await,
            client.get(&format!("{path}/by-id/x/history")).await,
        ] {
            check_answer(&answer);
            assert!((400..500).contains(&answer.status), "{name:?}: {answer:?}");
        }
    }
    for twin in ["Items", "ITEMS"] {
        client.post(&format!("/rows/{twin}"), json!({ "a": 1 })).await.expect_problem(400, "bad_entity_name");
        check_answer(&client.get(&format!("/rows/{twin}")).await);
    }
    for clause in [
        "1 = 1; DROP TABLE items",
        "[name] = 'a' OR 1 = 1 --",
        "[name] = 'a' /* */",
        "[id] IN (SELECT [id] FROM [kernel_users])",
        "[name] = \"a\"",
        "[no_such] = 1",
        "[kernel_users].[email] = ''",
        "[name",
        "[name] = ",
        "[name] = ?",
        "[name] = ? AND [size] = ? AND [size] = ?",
        "(((",
        "[size] = 99999999999999999999999999",
        "[size] = 1e999",
        "[size] = 'three'",
        "[name] = '\u{0}'",
        "[name] LIKE '%' ESCAPE ''",
        "pg_sleep(10)",
        "SLEEP(10)",
        "randomblob(1000000000)",
        "[name] = 'a'' OR ''1'' = ''1",
        &"(".repeat(10_000),
        &"[size] = 1 OR ".repeat(2_000),
    ] {
        for path in ["/rows/items", "/rows/items/count"] {
            let answer = client.get(&format!("{path}?where={}", encoded(clause))).await;
            check_answer(&answer);
            assert!((400..500).contains(&answer.status), "{clause:?}: {answer:?}");
        }
    }
    for query in [
        "order=[size] DESC; DROP TABLE items",
        "order=(SELECT 1)",
        "order=[no_such]",
        "order=[size] SIDEWAYS",
        "order=[meta]",
        "limit=-1",
        "limit=99999999999999999999",
        "limit=10001",
        "limit=ten",
        "offset=-1",
        "offset=1.5",
        "after=nonsense",
        "after=AAAA",
        "after=%00",
        "where=[size] = ?&params=[1",
        "where=[size] = ?&params={}",
        "where=[size] = ?&params=[\"x\"]",
        "where=[name] = ?&params=[\"\\u0000\"]",
        "where=[name] = ?&params=[[]]",
        "include_deleted=perhaps",
        "limit=1&limit=2",
    ] {
        let answer = client.get(&format!("/rows/items?{}", encoded_query(query))).await;
        check_answer(&answer);
        // What is no order of its own, or no text to compare with, is an honest question on some columns.
        let is_harmless = ["order=[meta]"].contains(&query);
        assert!((400..500).contains(&answer.status) || is_harmless, "{query:?}: {answer:?}");
    }
    client.get("/rows/items?offset=4294967295&limit=10000").await.expect(200);
    let after = stage.check().await;
    assert_eq!(after, Census { rows: before.rows + 1, versions: before.versions + 1 });
}

/// Promise: R-29
async fn an_entity_without_limits_has_limits(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (client, before) = (stage.service.anonymous(), stage.check().await);
    client.post("/rows/notes", json!({ "text": "first", "count": 1 })).await.expect(200);
    for row in [
        json!({ "text": 3 }),
        json!({ "count": "many" }),
        json!({ "count": 1.5 }),
        json!({ "TEXT": "x" }),
        json!({ "a-b": 1 }),
        json!({ "a\u{0}": 1 }),
        json!({ "n".repeat(55): 1 }),
        json!({ "text": "a\u{0}" }),
        json!({ "extra": { "a\u{0}": 1 } }),
    ] {
        let answer = client.post("/rows/notes", &row).await;
        check_answer(&answer);
        assert_eq!(answer.status, 422, "{row}: {}", answer.text());
    }
    for (fields, status) in [(100, 200), (400, 422), (1_100, 422), (3_000, 422)] {
        // As long as a value can be that InnoDB keeps in the row itself.
        let row: serde_json::Map<String, Any> =
            (0..fields).map(|n| (format!("field_{n}"), json!("x".repeat(40)))).collect();
        for path in ["/rows/notes", "/rows/wide"] {
            let answer = client.post(path, &row).await;
            check_answer(&answer);
            assert_eq!(answer.status, status, "{fields}: {}", answer.text());
        }
    }
    client.post("/rows/notes", json!({ "text": "last", "count": 2 })).await.expect(200);
    census(&stage.service.db(), "notes").await;
    assert_eq!(stage.check().await, before);
}

/// Promise: R-29
async fn odd_targets_and_headers_are_the_clients_fault(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (url, before) = (stage.service.url(), stage.check().await);
    for target in [
        "/items/%00",
        "/items/%",
        "/items/%zz",
        "/items/%ff%fe",
        "/items/%ed%a0%80",
        "/items/..%2f..%2fetc%2fpasswd",
        "/items/%2e%2e",
        "/items//",
        "//items",
        "/items/a%2fb",
        "/items/a?b?c#d",
        "/items;v=1/x",
        "/rows/items/by-id/%F0%9F%92%A9",
        "/rows/items?where=%ff",
        "/rows/items?where=%00",
        "/rows/items?%ff=1",
        "/rows/items?=&&==&",
        "/rows/items?where=%u0041",
        "*",
        "http://other.example/items/x",
    ] {
        let answer = Wire::ask(&url, format!("GET {target} HTTP/1.1").as_bytes(), b"").await;
        check_answer(&answer);
    }
    for header in [
        &b"authorization: Bearer \x80\xff"[..],
        b"authorization: Bearer a\x01b",
        b"x-request-id: \xf0\x9f\x92\xa9",
        b"content-type: \xff",
        b"accept-encoding: \xff\xfe, gzip;q=nan",
        b"if-none-match: \xff",
        b"if-none-match: W/W/\"\"\"",
        b"origin: \xff",
        b"x-forwarded-for: not, an, address",
        b"user-agent: \xff\xfe",
        b"host: \xff",
        b"cookie: \xff=\xfe",
        b"range: bytes=-99999999999999999999",
        b"expect: the unexpected",
        b"content-length: 3, 4",
        b"content-length: -1",
        b"transfer-encoding: chunked, gzip",
        b"transfer-encoding: nonsense",
        b"x-null: a\x00b",
        b": nameless",
        b"na me: x",
    ] {
        let head = [b"GET /rows/items HTTP/1.1\r\n", header].concat();
        check_answer(&Wire::ask(&url, &head, b"").await);
        let head = [b"POST /items HTTP/1.1\r\ncontent-type: application/json\r\n", header].concat();
        check_answer(&Wire::ask(&url, &head, b"{\"name\": 3}").await);
    }
    // A user agent is kept with the session; whatever it is, signing in works.
    stage.service.sign_up("ann").await;
    let who = json!({ "email": "ann@example.com", "password": app_kernel::testing::service::PASSWORD }).to_string();
    for agent in [&b"\xff\xfe"[..], "é".as_bytes(), &vec![b'a'; 5000], b"'; DROP TABLE kernel_sessions"] {
        let head = [b"POST /auth/login HTTP/1.1\r\ncontent-type: application/json\r\nuser-agent: ", agent].concat();
        Wire::ask(&url, &head, who.as_bytes()).await.expect(200);
    }
    assert_eq!(stage.check().await, before);
}

/// Promise: R-29
async fn of_twenty_equal_saves_one_wins(database: TestDatabase) {
    let stage = Stage::set(database).await;
    let (client, before) = (stage.service.anonymous(), stage.check().await);
    client.post("/items", item("earlier 3")).await.expect_problem(409, "duplicate");
    for path in ["/items", "/rows/items"] {
        let body = item(&format!("twin of {path}"));
        let answers = join_all((0..20).map(|_| client.post(path, &body))).await;
        let made = answers.iter().filter(|answer| answer.status < 300).count();
        assert_eq!(made, 1);
        for answer in answers.into_iter().filter(|answer| answer.status >= 300) {
            assert_eq!(answer.expect_problem(409, "duplicate").wrong_fields(), ["/name"]);
        }
    }
    let after = stage.check().await;
    assert_eq!(after, Census { rows: before.rows + 2, versions: before.versions + 2 });
}

/// All bytes but the plain ones, in percent signs.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The values of `a=1&b=2` encoded, where they are not already.
fn encoded_query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) if !value.contains('%') => format!("{name}={}", encoded(value)),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}
