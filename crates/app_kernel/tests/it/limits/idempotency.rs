//! Writes that carry a key are done once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app_kernel::prelude::*;
use app_kernel::testing::{Client, TestDatabase, TestService, on_every_database};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

on_every_database!(
    a_write_is_done_once_and_answered_alike,
    a_key_belongs_to_its_caller_route_and_request,
    of_many_at_once_one_is_done,
    a_write_goes_on_when_its_client_leaves,
    what_nobody_knows_the_end_of_is_not_done_again,
    an_answer_is_kept_for_a_day_and_sealed,
    what_is_over_is_swept_out,
);

/// How long something may take. Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shop whose orders are told how to be answered.
#[derive(Clone)]
struct Orders {
    begun: Arc<AtomicUsize>,
    /// Orders that say so wait for one of these.
    go_on: Arc<Semaphore>,
}

async fn order(db: Db, orders: Orders, body: Value) -> Result<axum::response::Response> {
    let number = orders.begun.fetch_add(1, Ordering::SeqCst) + 1;
    if body["waits"] == true {
        orders.go_on.acquire().await.expect("it is open").forget();
    }
    let row = db.save_entity("orders", json!({ "number": number })).await?;
    let status = StatusCode::from_u16(body["status"].as_u64().map_or(201, |status| status as u16)).expect("a status");
    if body["panics"] == true {
        panic!("the order was too much");
    }
    let headers = [("location", format!("/orders/{}", row.id())), ("set-cookie", "a=b".to_owned())];
    let length = body["length"].as_u64().unwrap_or(0) as usize;
    Ok((status, headers, axum::Json(json!({ "number": number, "fill": "x".repeat(length), "token": "hunter2" })))
        .into_response())
}

struct Shop {
    service: TestService,
    orders: Orders,
}

impl Shop {
    async fn start(database: TestDatabase) -> Self {
        let orders = Orders { begun: Arc::default(), go_on: Arc::new(Semaphore::new(0)) };
        let taken = orders.clone();
        let build = |config| {
            let handler = {
                let orders = taken.clone();
                move |db: Db, axum::Json(body): axum::Json<Value>| order(db, orders, body)
            };
            let again = {
                let orders = taken.clone();
                move |db: Db, axum::Json(body): axum::Json<Value>| order(db, orders, body)
            };
            let routes = axum::Router::<Kernel>::new()
                .route("/orders", axum::routing::post(handler.clone()).put(handler))
                .route("/payments", axum::routing::post(again).layer(RequireIdempotencyKey));
            Service::new("shop", config).routes(routes)
        };
        Shop { service: TestService::start_on(database, build).await, orders }
    }

    fn begun(&self) -> usize {
        self.orders.begun.load(Ordering::SeqCst)
    }

    async fn saved(&self) -> i64 {
        self.service.db().count_entities("orders").await.expect("a count")
    }
}

fn keyed(client: &Client, key: &str) -> Client {
    client.clone().with_header("idempotency-key", key)
}

/// The answer to a write that was done before, against the first.
fn assert_replayed(first: &app_kernel::testing::Answer, again: &app_kernel::testing::Answer) {
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    for name in ["location", "content-type"] {
        assert_eq!(again.header(name), first.header(name));
    }
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!((first.header("idempotency-replayed"), again.header("set-cookie")), (None, None));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
}

async fn a_write_is_done_once_and_answered_alike(database: TestDatabase) {
    let shop = Shop::start(database).await;
    let ann = shop.service.sign_up("ann").await;
    let client = keyed(&ann, "order-1");
    let first = client.post("/orders", json!({})).await.expect(201);
    for path in ["/orders", "/api/v1/orders"] {
        assert_replayed(&first, &client.post(path, json!({})).await);
    }
    assert_eq!((shop.begun(), shop.saved().await), (1, 1));
    // Without a key each is done.
    ann.post("/orders", json!({})).await.expect(201);
    ann.post("/orders", json!({})).await.expect(201);
    assert_eq!(shop.saved().await, 3);
    // A refusal is an answer too.
    let conflict = json!({ "status": 409 });
    let first = keyed(&ann, "order-2").post("/orders", &conflict).await.expect(409);
    assert_replayed(&first, &keyed(&ann, "order-2").post("/orders", &conflict).await);
    assert_eq!(shop.begun(), 4);
    // What failed is done anew.
    for (key, body, status) in [
        ("order-3", json!({ "status": 503 }), 503),
        ("order-4", json!({ "panics": true }), 500),
        ("order-5", json!({ "status": 429 }), 429),
    ] {
        for _ in 0..2 {
            let before = shop.begun();
            keyed(&ann, key).post("/orders", &body).await.expect(status);
            assert_eq!(shop.begun(), before + 1, "{key}");
        }
    }
    // An answer too long to be kept is not told again, and nothing is done again.
    let long = json!({ "length": 2 << 20 });
    keyed(&ann, "order-6").post("/orders", &long).await.expect(201);
    let before = shop.begun();
    keyed(&ann, "order-6").post("/orders", &long).await.expect_problem(409, "idempotency_answer_not_kept");
    assert_eq!(shop.begun(), before);
}

async fn a_key_belongs_to_its_caller_route_and_request(database: TestDatabase) {
    let shop = Shop::start(database).await;
    let (ann, bob) = (shop.service.sign_up("ann").await, shop.service.sign_up("bob").await);
    keyed(&ann, "k").post("/orders", json!({})).await.expect(201);
    for (n, other) in [bob.clone(), shop.service.anonymous()].iter().enumerate() {
        let answer = keyed(other, "k").post("/orders", json!({})).await.expect(201);
        assert_eq!((answer.header("idempotency-replayed"), shop.begun()), (None, n + 2), "another caller");
    }
    keyed(&ann, "k").put("/orders", json!({})).await.expect(201);
    keyed(&ann, "k").post("/payments", json!({})).await.expect(201);
    assert_eq!(shop.begun(), 5, "another method, another route");
    let client = keyed(&ann, "k");
    for refused in [
        client.post("/orders", json!({ "status": 200 })).await,
        client.post("/orders?coupon=1", json!({})).await,
        client.clone().with_header("x-workspace-id", "another").post("/orders", json!({})).await,
    ] {
        refused.expect_problem(422, "idempotency_key_reused");
    }
    for bad in ["", "a b", &"x".repeat(256)] {
        keyed(&ann, bad).post("/orders", json!({})).await.expect_problem(400, "invalid_idempotency_key");
    }
    ann.post("/payments", json!({})).await.expect_problem(400, "idempotency_key_missing");
    assert_eq!(shop.begun(), 5);
    // What answers tokens is not kept.
    let who = json!({ "email": "ann@example.com", "password": app_kernel::testing::service::PASSWORD });
    let anonymous = keyed(&shop.service.anonymous(), "login");
    let tokens =
        [anonymous.post("/auth/login", &who).await.expect(200), anonymous.post("/auth/login", &who).await.expect(200)];
    assert_ne!(tokens[0].json()["refresh_token"], tokens[1].json()["refresh_token"]);
}

async fn of_many_at_once_one_is_done(database: TestDatabase) {
    let shop = Shop::start(database).await;
    let client = keyed(&shop.service.sign_up("ann").await, "k");
    shop.orders.go_on.add_permits(20);
    let answers = join_all((0..20).map(|_| client.post("/orders", json!({ "waits": true })))).await;
    assert_eq!((shop.begun(), shop.saved().await), (1, 1));
    let first = answers.iter().find(|answer| answer.header("idempotency-replayed").is_none() && answer.status == 201);
    let first = first.expect("one was the first");
    for answer in &answers {
        // On a busy machine one may have waited too long.
        if answer.status == 409 {
            answer.clone().expect_problem(409, "idempotency_in_progress");
        } else {
            assert_eq!((answer.status, &answer.body), (201, &first.body));
        }
    }
}

async fn a_write_goes_on_when_its_client_leaves(database: TestDatabase) {
    let shop = Shop::start(database).await;
    let client = keyed(&shop.service.sign_up("ann").await, "k");
    let waits = json!({ "waits": true });
    {
        let asked = client.post("/orders", &waits);
        let begun = async {
            while shop.begun() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            answer = asked => panic!("it waits: {answer:?}"),
            begun = tokio::time::timeout(PATIENCE, begun) => begun.expect("it begins"),
        }
        // Here the client hangs up.
    }
    let refused = client.post("/orders", &waits).await.expect_problem(409, "idempotency_in_progress");
    assert_eq!(refused.header("retry-after"), Some("1"));
    shop.orders.go_on.add_permits(1);
    let deadline = std::time::Instant::now() + PATIENCE;
    let answer = loop {
        let answer = client.post("/orders", &waits).await;
        if answer.status != 409 {
            break answer.expect(201);
        }
        assert!(std::time::Instant::now() < deadline, "it never ends");
    };
    assert_eq!((answer.json()["number"].clone(), shop.begun(), shop.saved().await), (json!(1), 1, 1));
}

async fn what_nobody_knows_the_end_of_is_not_done_again(database: TestDatabase) {
    let shop = Shop::start(database).await;
    let client = keyed(&shop.service.sign_up("ann").await, "k");
    client.post("/orders", json!({})).await.expect(201);
    // As a process leaves it that is killed before it has kept the answer.
    let long_ago = shop.service.now() - Duration::from_secs(3600);
    let killed = "UPDATE [kernel_idempotency_keys] SET [is_running] = ?, [answer] = NULL, [due_at] = ?";
    assert_eq!(shop.service.db().execute(killed, (true, long_ago)).await.expect("an update"), 1);
    for _ in 0..2 {
        client.post("/orders", json!({})).await.expect_problem(409, "idempotency_outcome_unknown");
    }
    assert_eq!((shop.begun(), shop.saved().await), (1, 1));
}

async fn an_answer_is_kept_for_a_day_and_sealed(database: TestDatabase) {
    let shop = Shop::start(database).await;
    let client = keyed(&shop.service.sign_up("ann").await, "a-key-that-nobody-guesses");
    client.post("/orders", json!({})).await.expect(201);
    let rows = shop.service.db().query("SELECT * FROM [kernel_idempotency_keys]", ()).await.expect("rows");
    let seen = format!("{rows:?}");
    assert_eq!(rows.len(), 1);
    for secret in ["hunter2", "nobody-guesses", "/orders"] {
        assert!(!seen.contains(secret), "{secret} shows: {seen}");
    }
    let hour = Duration::from_secs(3600);
    shop.service.advance(23 * hour);
    let again = client.post("/orders", json!({})).await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), shop.begun()), (Some("true"), 1));
    shop.service.advance(hour);
    // The token is as old as the answer.
    let ann = shop.service.sign_in("ann").await;
    keyed(&ann, "a-key-that-nobody-guesses").post("/orders", json!({})).await.expect(201);
    assert_eq!(shop.begun(), 2);
}

/// A key without anybody who looks after it protects from nothing, so a route that demands one says so.
#[tokio::test]
async fn a_route_that_must_be_done_once_is_not_done_where_keys_are_not_looked_after() {
    let build = |config: ServiceConfig| {
        let pay = axum::routing::post(async || "paid").layer(RequireIdempotencyKey);
        let config = ServiceConfig { idempotency_enabled: false, ..config };
        Service::new("shop", config).routes(axum::Router::<Kernel>::new().route("/payments", pay))
    };
    let service = TestService::start(build).await;
    let answer = keyed(&service.anonymous(), "k").post("/payments", json!({})).await.expect_problem(503, "unavailable");
    assert!(answer.text().contains("IDEMPOTENCY_ENABLED"));
}

/// A start sweeps, beside the requests, and then each hour.
async fn what_is_over_is_swept_out(database: TestDatabase) {
    let shop = Shop::start(database).await;
    // Nobody's token comes to its end meanwhile.
    let (service, client) = (&shop.service, shop.service.anonymous());
    let write = async |key: &str| keyed(&client, key).post("/orders", json!({})).await.expect(201);
    for key in ["old", "given-up"] {
        write(key).await;
    }
    let left = async || {
        let rows = service.db().query("SELECT COUNT(*) AS [n] FROM [kernel_idempotency_keys]", ()).await;
        rows.expect("a count")[0]["n"].as_int().expect("a number")
    };
    // As if the process of one had been killed before it answered, long ago.
    let killed = "UPDATE [kernel_idempotency_keys] SET [is_running] = ?, [due_at] = ? WHERE [id] = \
                  (SELECT [id] FROM (SELECT MIN([id]) AS [id] FROM [kernel_idempotency_keys]) [one])";
    service.db().execute(killed, (true, service.now() - Duration::from_secs(3600))).await.expect("an update");
    service.advance(Duration::from_secs(23 * 3600));
    let recent = write("recent").await;
    assert_eq!(left().await, 3);
    service.advance(Duration::from_secs(3600));
    let beside = service.beside(|config| Service::new("shop", config)).await;
    tokio::time::timeout(PATIENCE, async {
        while left().await > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("they are swept out");
    beside.stop().await;
    assert_replayed(&recent, &keyed(&client, "recent").post("/orders", json!({})).await);
    assert_eq!(left().await, 1);
}
