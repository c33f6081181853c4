//! Webhooks in the face of kills: every event reaches every receiver at least once, with one id over all tries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::feature::webhooks::NewWebhook;
use app_kernel::feature::workspaces::Workspace;
use app_kernel::prelude::*;
use app_kernel::testing::service::JWT_SECRET;
use app_kernel::testing::{TestDatabase, on_every_database};
use serde_json::json;

use super::moment;
use super::victim::{Victim, Work};
use crate::support::people::user;
use crate::support::receiver::{Received, Receiver, Way};
use crate::support::{Dice, figure, is_full, scale, seed};
use crate::webhooks::signed_by;

on_every_database!(killed_processes_lose_no_webhook, a_good_receiver_is_told_as_soon_beside_bad_ones_as_alone);

/// Processes that deliver.
const WORKERS: usize = 2;
/// Short, so that what a killed one had is soon taken back.
const LEASE: Duration = Duration::from_secs(5);
/// How often something happens, where it is about how soon a receiver is told.
const EVENTS_PER_SECOND: u32 = 25;
/// How long the rest may take once there are no more faults.
const PATIENCE: Duration = Duration::from_secs(240);

fn service(url: &Secret, home: &FilePath, worker_embedded: bool) -> Service {
    let config = ServiceConfig {
        port: 0,
        database_url: Some(url.clone()),
        jwt_secret: Some(Secret::new(JWT_SECRET)),
        backup_enabled: false,
        data_dir: home.join(app_kernel::base::id::new_id()).display().to_string(),
        worker_embedded,
        worker_lease: LEASE,
        webhook_allow_private: true,
        ..ServiceConfig::default()
    };
    Service::new("chaos_webhooks", config)
}

/// What a victim does: delivers until it is killed.
pub(super) async fn work(url: &Secret, home: &FilePath, ready: impl Fn()) {
    let running = service(url, home, true).start().await.expect("it starts").serve().await.expect("a free port");
    ready();
    std::future::pending::<()>().await;
    drop(running);
}

fn worker(url: &Secret, home: &FilePath) -> Victim {
    let victim = Victim::start(&Work::Webhooks, url, home);
    assert_eq!(victim.hear(), "ready");
    victim
}

/// How often each event came; none where one was not signed, or came with other bytes than before.
fn tries(requests: &[Received], webhook: &NewWebhook) -> Option<BTreeMap<String, usize>> {
    let (mut tries, mut bodies) = (BTreeMap::<String, usize>::new(), BTreeMap::<&str, &[u8]>::new());
    for request in requests {
        let is_signed = signed_by(request, &[&webhook.secret]).len() == 1;
        let is_same = *bodies.entry(request.id()).or_insert(&request.body) == request.body;
        if !(is_signed && is_same) {
            return None;
        }
        *tries.entry(request.id().to_owned()).or_default() += 1;
    }
    Some(tries)
}

/// A workspace that somebody has.
async fn workspace(db: &Db) -> String {
    let created_by_user_id = db.save(user("ann@example.com")).await.expect("a user").id;
    let workspace =
        Workspace { name: "Acme".to_owned(), is_personal: false, created_by_user_id, requires_second_factor: false };
    db.save(workspace).await.expect("a workspace").id
}

/// Promise: R-19
async fn killed_processes_lose_no_webhook(database: TestDatabase) {
    let (events, kills, seed) = (figure(60, 5000), scale(2), seed());
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let running = service(url, home.path(), false).start().await.expect("it starts").serve().await.expect("a port");
    let db = running.kernel().db().expect("a database");
    let workspace = workspace(&db).await;
    let good = Receiver::start().await;
    let seen = Mutex::new(BTreeSet::new());
    let failing = Receiver::that(move |request, _| {
        // Each event fails once; the second try finds it well.
        let is_first = seen.lock().expect("nobody panics").insert(request.id().to_owned());
        Way::Status(if is_first { 503 } else { 200 }, String::new())
    })
    .await;
    let hole = Receiver::always(Way::Silence).await;
    let mut webhooks = Vec::new();
    for receiver in [&good, &failing, &hole] {
        webhooks.push(create_webhook(&db, &workspace, receiver.url()).await.expect("a webhook"));
    }
    let mut dice = Dice::new(seed);
    let mut workers: Vec<Victim> = (0..WORKERS).map(|_| worker(url, home.path())).collect();
    let mut slowest = Duration::ZERO;
    let mut ids = BTreeSet::new();
    let between = events / (kills + 1);
    for n in 0..events {
        let asked = Instant::now();
        let data = json!({ "n": n });
        let told =
            db.transaction(async |tx| trigger_webhook_event(&tx, &workspace, "thing.happened", &data).await).await;
        slowest = slowest.max(asked.elapsed());
        ids.insert(told.expect("an event").id);
        if n % between.max(1) == between.max(1) - 1 && n / between.max(1) < kills {
            tokio::time::sleep(moment(&mut dice, Duration::from_millis(200))).await;
            workers.swap_remove(dice.below(WORKERS)).kill();
            workers.push(worker(url, home.path()));
        }
    }
    let deadline = Instant::now() + PATIENCE;
    let delivered = async |webhook: &NewWebhook| {
        let sql =
            "SELECT COUNT(*) AS [n] FROM [kernel_webhook_deliveries] WHERE [state] = 'delivered' AND [webhook_id] = ?";
        db.query(sql, [webhook.id.as_str()]).await.expect("a count")[0]["n"].as_int().expect("a number") as usize
    };
    while delivered(&webhooks[0]).await + delivered(&webhooks[1]).await < 2 * events {
        let (a, b) = (delivered(&webhooks[0]).await, delivered(&webhooks[1]).await);
        assert!(Instant::now() < deadline, "{a} and {b} of {events} are delivered, seed {seed}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let [to_good, to_failing] = [(&good, &webhooks[0]), (&failing, &webhooks[1])]
        .map(|(receiver, webhook)| tries(&receiver.received(), webhook).expect("signed, and the same in every try"));
    for tries in [&to_good, &to_failing] {
        assert_eq!(tries.keys().cloned().collect::<BTreeSet<_>>(), ids, "seed {seed}");
    }
    assert!(to_failing.values().all(|tries| *tries >= 2), "each failed once, seed {seed}");
    let twice = to_good.values().sum::<usize>() - events;
    assert!(twice <= kills * 13, "{twice} were sent once more by {kills} kills, seed {seed}");
    assert!(hole.received().iter().all(|request| signed_by(request, &[&webhooks[2].secret]).len() == 1));
    assert!(slowest < Duration::from_secs(15), "nobody waited for the black hole: {slowest:?}");
    println!(
        "R-19 held: {events} events × 3 receivers, {kills} × kill -9, each delivered to the good and the failing one, {twice} sent once more, \
         slowest event {} ms, seed {seed}",
        slowest.as_millis()
    );
    drop(workers);
    running.stop().await;
}

/// When each event came to a receiver for the first time.
type Arrivals = Arc<Mutex<BTreeMap<u64, Instant>>>;

/// A receiver that notes when.
async fn punctual() -> (Receiver, Arrivals) {
    let arrivals = Arrivals::default();
    let noted = Arc::clone(&arrivals);
    let receiver = Receiver::that(move |request, _| {
        let n = request.json()["data"]["n"].as_u64().expect("a number");
        noted.lock().expect("nobody panics").entry(n).or_insert_with(Instant::now);
        Way::Status(204, String::new())
    });
    (receiver.await, arrivals)
}

/// Tells of events at a steady pace, and gives what the 99th of a hundred deliveries took at most.
async fn p99_of(db: &Db, workspace: &str, events: std::ops::Range<u64>, arrivals: &Arrivals) -> Duration {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / EVENTS_PER_SECOND);
    let mut told = BTreeMap::new();
    for n in events {
        pace.tick().await;
        told.insert(n, Instant::now());
        trigger_webhook_event(db, workspace, "thing.happened", json!({ "n": n })).await.expect("an event");
    }
    let deadline = Instant::now() + PATIENCE;
    let has_come = |n: &u64| arrivals.lock().expect("nobody panics").contains_key(n);
    while !told.keys().all(has_come) {
        assert!(Instant::now() < deadline, "some events do not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let arrivals = arrivals.lock().expect("nobody panics");
    let mut took: Vec<Duration> = told.iter().map(|(n, told)| arrivals[n].duration_since(*told)).collect();
    took.sort();
    took[(took.len() * 99).div_ceil(100) - 1]
}

/// Promise: R-19
async fn a_good_receiver_is_told_as_soon_beside_bad_ones_as_alone(database: TestDatabase) {
    let events = figure(100, 5000) as u64;
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let deliverer = worker(database.url(), home.path());
    let running =
        service(database.url(), home.path(), false).start().await.expect("it starts").serve().await.expect("a port");
    let db = running.kernel().db().expect("a database");
    let workspace = workspace(&db).await;
    let (good, arrivals) = punctual().await;
    create_webhook(&db, &workspace, good.url()).await.expect("a webhook");
    // Whoever is asked for the first time takes longer.
    p99_of(&db, &workspace, 0..10, &arrivals).await;
    let alone = p99_of(&db, &workspace, 10..events + 10, &arrivals).await;

    let [failing, hole] =
        [Receiver::always(Way::Status(503, String::new())).await, Receiver::always(Way::Silence).await];
    for receiver in [&failing, &hole] {
        create_webhook(&db, &workspace, receiver.url()).await.expect("a webhook");
    }
    let beside = p99_of(&db, &workspace, events + 10..2 * events + 10, &arrivals).await;
    // A short run on a busy machine has few deliveries to take a percentile of.
    let allowance = if is_full() { Duration::ZERO } else { Duration::from_millis(500) };
    assert!(beside <= 2 * alone + allowance, "p99 {beside:?} beside bad ones, {alone:?} alone");
    println!(
        "R-19 held: {events} events alone and {events} beside a failing receiver and a black hole, {EVENTS_PER_SECOND}/s, p99 of the good one \
         {} ms and {} ms",
        alone.as_millis(),
        beside.as_millis()
    );
    drop(deliverer);
    running.stop().await;
}
