//! Three processes of the quick start behind a balancer, replaced one after the other under load: nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use app_kernel::testing::service::{JWT_SECRET, PASSWORD};
use app_kernel::testing::{Client, TestDatabase};
use axum::http::Method;
use serde_json::json;

use super::balancer::{Balancer, free_port};
use super::load::{Load, p99, statuses};
use crate::support::figure;
use crate::support::program::{PATIENCE, Place, Serving};

const PROCESSES: usize = 3;

/// One process' place: a folder and a port that stay while processes come and go.
struct Slot {
    place: Place,
    port: u16,
    serving: Option<Serving>,
}

impl Slot {
    fn new(database: &TestDatabase) -> Self {
        let port = free_port();
        let place = Place::new()
            .with("APP_ENV", "production")
            .with("HOST", "127.0.0.1")
            .with("PORT", port.to_string())
            .with("DATABASE_URL", database.url().expose())
            .with("JWT_SECRET", JWT_SECRET)
            .with("BACKUP_ENABLED", "false");
        let serving = Some(place.serve());
        Slot { place, port, serving }
    }

    /// As an orchestrator does it: SIGTERM, and another one once it has ended.
    fn restart(&mut self) {
        let ended = self.serving.take().expect("it serves").stop();
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "it ends in order");
        let is_clean = |line: &String| line.contains("all connections are closed") && line.contains("\"cut\":0");
        assert!(ended.out.iter().any(is_clean), "it cuts nobody off: {:?}", ended.out);
        self.serving = Some(self.place.serve());
    }
}

/// Waits until `/readyz` of a process says so.
async fn until_ready(port: u16) {
    let (client, deadline) = (Client::new(format!("http://127.0.0.1:{port}")), Instant::now() + PATIENCE);
    while client.get("/readyz").await.status != 200 {
        assert!(Instant::now() < deadline, "it does not become ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The balancer asks as often as every 0.1 s.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Promise: R-30
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn nobody_notices_that_processes_are_replaced_one_after_the_other() {
    let (per_second, restarts) = (figure(40, 300), figure(3, 20));
    let database = TestDatabase::sqlite().await;
    let home = database.data_dir();
    std::fs::create_dir_all(&home).expect("a folder");
    let mut slots: Vec<Slot> = (0..PROCESSES).map(|_| Slot::new(&database)).collect();
    let ports: Vec<u16> = slots.iter().map(|slot| slot.port).collect();
    let balancer = Balancer::start(&ports, &home).await;
    for port in &ports {
        until_ready(*port).await;
    }
    let url = format!("http://{}", balancer.address());
    let client = Client::new(&url);
    let who = json!({ "email": "ann@example.com", "password": PASSWORD });
    client.post("/auth/register", &who).await.expect(201);
    let signed_in = client.post("/auth/login", &who).await.expect(200).json();
    let token = format!("Bearer {}", signed_in["access_token"].as_str().expect("a token"));

    let is_over = Arc::new(AtomicBool::new(false));
    let load = Load::new(vec![(Method::GET, format!("{url}/widgets"))]).without_reuse();
    let load = load.with_header("authorization", &token);
    let goes_on = Arc::clone(&is_over);
    let asking = tokio::spawn(async move { load.run_while(per_second, |_| !goes_on.load(Ordering::Relaxed)).await });
    for n in 0..restarts {
        let slot = &mut slots[n % PROCESSES];
        tokio::task::block_in_place(|| slot.restart());
        until_ready(slot.port).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let all = asking.await.expect("asking does not panic");
    assert_eq!(statuses(&all), [(200, all.len())].into(), "behind {}", balancer.name());
    println!(
        "R-30 held: {restarts} rolling restarts of {PROCESSES} processes behind {} under {per_second} requests/s, {} requests, 0 failed, \
         p99 {} ms",
        balancer.name(),
        all.len(),
        p99(&all).as_millis()
    );
}
