//! Databases that were opened by hand, and many relays at once.

use std::time::Duration;

use app_kernel::base::clock::Clock;
use app_kernel::base::secret::Secret;
use app_kernel::feature::audit::{self, enable_audit, get_audit_logs, verify};
use app_kernel::store::db::entity::{Entity, EntityDef};
use app_kernel::store::db::{Db, DbOptions};
use app_kernel::testing::{TestDatabase, on_every_database};
use futures_util::future::join_all;

use super::{Deployment, deployment};

on_every_database!(
    a_database_opened_by_hand_can_be_audited,
    what_has_become_a_secret_on_its_way_is_not_in_the_audit,
    many_relays_at_once_carry_each_change_once,
);

async fn open(database: &TestDatabase) -> Db {
    let entities = [vec![Deployment::definition()], audit::entities()].concat();
    let options = DbOptions { clock: Clock::system(), ..DbOptions::default() };
    let db = Db::open(database.url(), &entities, options).await.expect("the database opens");
    db.migrate().await.expect("a schema");
    db
}

/// Promise: P2
async fn a_database_opened_by_hand_can_be_audited(database: TestDatabase) {
    let db = open(&database).await;
    db.save(deployment("before", 1)).await.expect("a save");
    let auditing = enable_audit(&db, &db, "my_app");
    db.save(deployment("after", 1)).await.expect("a save");
    auditing.carry_now().await.expect("carried");
    let logs =
        get_audit_logs(&db).app("my_app").entity("deployments").since("2025-01-01").await.expect("entries").items;
    assert_eq!(logs.len(), 2);
    db.save(deployment("last", 1)).await.expect("a save");
    auditing.stop().await;
    assert_eq!(get_audit_logs(&db).await.expect("entries").items.len(), 3, "what was there is carried before it ends");
}

/// As it is declared first.
#[derive(Debug, Clone, Entity)]
#[entity(table = "badges")]
struct OpenBadge {
    code: String,
}

/// As it is declared once somebody has thought about it.
#[derive(Debug, Clone, Entity)]
#[entity(table = "badges")]
struct Badge {
    code: Secret,
}

/// Promise: R-32
async fn what_has_become_a_secret_on_its_way_is_not_in_the_audit(database: TestDatabase) {
    let opened = async |badge: &'static EntityDef| {
        let entities = [vec![badge], audit::entities()].concat();
        let options = DbOptions { clock: Clock::system(), ..DbOptions::default() };
        let db = Db::open(database.url(), &entities, options).await.expect("the database opens");
        db.migrate().await.expect("a schema");
        db
    };
    let before = opened(OpenBadge::definition()).await;
    before.save(OpenBadge { code: "hunter2".to_owned() }).await.expect("a save");
    before.close().await;
    let db = opened(Badge::definition()).await;
    let auditing = enable_audit(&db, &db, "my_app");
    auditing.carry_now().await.expect("carried");
    auditing.stop().await;
    let logs = get_audit_logs(&db).entity("badges").await.expect("entries").items;
    let changes = logs[0].changes.as_ref().expect("changes");
    assert_eq!((logs.len(), &changes["code"]["new"]), (1, &serde_json::json!("[redacted]")));
}

/// Promise
async fn many_relays_at_once_carry_each_change_once(database: TestDatabase) {
    const PROCESSES: usize = 4;
    const EACH: usize = 150;
    let processes = join_all((0..PROCESSES).map(|_| open(&database))).await;
    let relays: Vec<_> = processes.iter().map(|db| enable_audit(db, db, "my_app")).collect();
    let saves = processes.iter().map(|db| async {
        for n in 0..EACH {
            db.save(deployment("web", n as i64)).await.expect("a save");
            if n % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    join_all(saves).await;
    for relay in relays {
        relay.stop().await;
    }
    let db = &processes[0];
    let count = async |sql: &str| db.query(sql, ()).await.expect("a query")[0]["n"].as_int().expect("a number");
    let commits = (PROCESSES * EACH) as i64;
    assert_eq!(count("SELECT COUNT(*) AS [n] FROM [kernel_changes]").await, 0);
    assert_eq!(count("SELECT COUNT(*) AS [n] FROM [kernel_audit_log]").await, commits);
    let distinct =
        "SELECT COUNT(*) AS [n] FROM (SELECT DISTINCT [entity_id], [entity_version] FROM [kernel_audit_log]) [x]";
    assert_eq!(count(distinct).await, commits);
    assert_eq!(verify(db, "my_app", None).await.expect("a look").expect("nothing is wrong").entries, commits);
}
