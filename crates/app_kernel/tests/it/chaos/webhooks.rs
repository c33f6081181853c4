//! Webhooks in the face of kills: every event reaches every receiver at least once, with one id over all tries.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;
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
use crate::support::receiver::{Received, Receiver, Way};
use crate::support::{Dice, figure, scale, seed};
use crate::webhooks::signed_by;

on_every_database!(killed_processes_lose_no_webhook);

/// Processes that deliver.
const WORKERS: usize = 2;
/// Short, so that what a killed one had is soon taken back.
const LEASE: Duration = Duration::from_secs(5);
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

/// Promise: R-19
async fn killed_processes_lose_no_webhook(database: TestDatabase) {
    let (events, kills, seed) = (figure(60, 5000), scale(2), seed());
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let running = service(url, home.path(), false).start().await.expect("it starts").serve().await.expect("a port");
    let db = running.kernel().db().expect("a database");
    let user = app_kernel::feature::auth::User {
        email: "ann@example.com".to_owned(),
        email_key: "ann@example.com".to_owned(),
        name: None,
        password_hash: None,
        role: app_kernel::feature::auth::Role::User,
        is_active: true,
        email_verified_at: None,
        password_changed_at: None,
        session_epoch: 0,
        personal_workspace_id: None,
        last_sign_in_at: None,
    };
    let created_by_user_id = db.save(user).await.expect("a user").id;
    let workspace =
        Workspace { name: "Acme".to_owned(), is_personal: false, created_by_user_id, requires_second_factor: false };
    let workspace = db.save(workspace).await.expect("a workspace").id;
    let good = Receiver::start().await;
    let seen = std::sync::Mutex::new(BTreeSet::new());
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
