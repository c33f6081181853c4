//! Clients that go away in the middle of their request.

use std::sync::Arc;
use std::time::Duration;

use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, Wire, on_every_database};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use serde_json::json;

use crate::support::open_transactions::open_transactions;
use crate::support::{Dice, scale, seed};

on_every_database!(requests_whose_client_leaves_leave_nothing_half_done);

#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema)]
struct Order {
    #[entity(unique)]
    number: String,
    total: i64,
}

/// A line of an order: written in the same transaction, three for each order.
#[derive(Debug, Clone, Entity, Serialize, Deserialize, JsonSchema)]
struct Line {
    #[entity(index)]
    order_number: String,
    position: i64,
}

const LINES: i64 = 3;

async fn save(db: Db, Json(order): Json<Order>) -> Result<Created<Saved<Order>>> {
    db.save(order).await.map(Created::new)
}

/// A transaction with a pause, so that some clients leave right in its middle.
async fn place(db: Db, Json(order): Json<Order>) -> Result<Created<Saved<Order>>> {
    let placed = db.transaction(async |tx| {
        for position in 0..LINES {
            tx.save(Line { order_number: order.number.clone(), position }).await?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tx.save(order.clone()).await
    });
    placed.await.map(Created::new)
}

fn orders(config: ServiceConfig) -> Service {
    // The change records stay where they are, to be counted.
    let config = ServiceConfig { admin_worker_embedded: false, ..config };
    Service::new("order_service", config)
        .entity::<Order>()
        .entity::<Line>()
        .route("/orders", post(save))
        .route("/orders/placed", post(place))
}

/// What leaves its mark: rows, versions, change records.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    rows: i64,
    versions: i64,
    changes: i64,
}

async fn number(db: &Db, sql: &str) -> i64 {
    db.query(sql, ()).await.expect("a query")[0]["n"].as_int().expect("a number")
}

async fn marks(db: &Db, entity: &str) -> Marks {
    Marks {
        rows: number(db, &format!("SELECT COUNT(*) AS [n] FROM [{entity}]")).await,
        versions: number(db, &format!("SELECT COUNT(*) AS [n] FROM [{entity}_history]")).await,
        changes: number(db, &format!("SELECT COUNT(*) AS [n] FROM [kernel_changes] WHERE [entity] = '{entity}'")).await,
    }
}

/// Promise: R-07
async fn requests_whose_client_leaves_leave_nothing_half_done(database: TestDatabase) {
    const AT_ONCE: usize = 32;
    const FRESH: usize = 200;
    let (requests, seed) = (scale(1_000), seed());
    println!("seed {seed}");
    let service = Arc::new(TestService::start_on(database, orders).await);
    let mut dice = Dice::new(seed);
    let plans: Vec<(usize, Duration)> =
        (0..requests).map(|n| (n, Duration::from_micros(dice.below(20_000) as u64))).collect();
    let url = service.url();
    // The connections to the database are made before the storm: it is not about those.
    let warm = (0..AT_ONCE).map(|n| {
        let client = service.anonymous();
        async move { client.post("/orders", json!({ "number": format!("warm {n}"), "total": n })).await.expect(201) }
    });
    join_all(warm).await;
    stream::iter(plans).for_each_concurrent(AT_ONCE, |(n, patience)| leave_after(&url, n, patience)).await;

    // Nothing is waited for but the transactions that were under way: they end on their own.
    let db = service.db();
    assert_eq!(open_transactions(&db).await, 0, "transactions are still open");

    let client = service.anonymous();
    for n in 0..FRESH {
        let path = if n.is_multiple_of(2) { "/orders" } else { "/orders/placed" };
        client.post(path, json!({ "number": format!("fresh {n}"), "total": n })).await.expect(201);
    }
    let (orders, lines) = (marks(&db, "orders").await, marks(&db, "lines").await);
    for (marks, entity) in [(&orders, "orders"), (&lines, "lines")] {
        assert_eq!((marks.versions, marks.changes), (marks.rows, marks.rows), "of {entity}");
    }
    let placed = number(
        &db,
        "SELECT COUNT(*) AS [n] FROM [orders] WHERE [number] LIKE 'placed%' OR [number] LIKE 'fresh%' AND [total] % 2 = 1",
    );
    let placed = placed.await;
    assert_eq!(lines.rows, placed * LINES, "each placed order has all its lines, and no line is without its order");
    let done = orders.rows - (FRESH + AT_ONCE) as i64;
    assert!(
        done > 0 && done < requests as i64,
        "{done} of {requests}: either nobody left in time, or nobody was in time"
    );
    println!(
        "R-07 held: {requests} requests reset, {done} of them done whole, 0 transactions open, {FRESH} fresh requests 2xx, seed {seed}"
    );
}

/// Sends a request and resets the connection when patience ends.
async fn leave_after(url: &str, n: usize, patience: Duration) {
    let (path, kind) = if n.is_multiple_of(2) { ("/orders", "saved") } else { ("/orders/placed", "placed") };
    let body = json!({ "number": format!("{kind} {n}"), "total": n }).to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut wire = Wire::connect(url).await;
    wire.send(head.as_bytes()).await;
    // One in eight leaves between head and body.
    if n.is_multiple_of(8) {
        tokio::time::sleep(patience).await;
    }
    wire.send(body.as_bytes()).await;
    tokio::time::sleep(patience).await;
    wire.reset();
}
