//! Services that are killed while they serve: what they answered is in the audit and in the usage, once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app_kernel::feature::audit::verify;
use app_kernel::feature::metering::get_usage;
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};

use super::moment;
use super::victim::{Victim, Work};
use crate::audit::carried;
use crate::support::{Dice, scale, seed};

on_every_database!(killed_services_lose_nothing_of_the_audit_and_the_usage);

/// How many clients ask at once.
const CLIENTS: usize = 6;
/// How long a service may live at most once it serves.
const LONGEST_LIFE: Duration = Duration::from_millis(600);
/// How long the last one may take to count what the others left.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is saved.
#[derive(Debug, Clone, Entity)]
struct Thing {
    name: String,
}

async fn save(db: Db) -> Result<Created<String>> {
    Ok(Created::new(db.save(Thing { name: "gear".to_owned() }).await?.id))
}

/// The service that is killed.
pub(super) fn shop(config: ServiceConfig) -> Service {
    Service::new("shop", config).entity::<Thing>().route("/things", post(save))
}

/// Asks until the service is gone. Counts what was sent and what was answered.
fn ask(address: &str, sent: &AtomicUsize, answered: &AtomicUsize) {
    let request = "POST /things HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    while let Ok(mut connection) = TcpStream::connect(address) {
        sent.fetch_add(1, Ordering::Relaxed);
        let mut answer = Vec::new();
        // What comes of an answer counts, also where its end was cut off.
        let _cut = connection.write_all(request.as_bytes()).and_then(|()| connection.read_to_end(&mut answer));
        if answer.is_empty() {
            continue;
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn spools(folder: &Path) -> usize {
    let Ok(apps) = std::fs::read_dir(folder.join("usage")) else { return 0 };
    let folders = apps.map(|app| app.expect("an entry").path());
    folders.map(|folder| std::fs::read_dir(folder).expect("a folder").count()).sum()
}

/// Promise
async fn killed_services_lose_nothing_of_the_audit_and_the_usage(database: TestDatabase) {
    let (kills, seed) = (scale(3), seed());
    let mut dice = Dice::new(seed);
    let folder = database.data_dir();
    let (sent, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for _ in 0..kills {
        let victim = Victim::start(&Work::Serve, database.url(), &folder);
        let address = victim.hear();
        let life = moment(&mut dice, LONGEST_LIFE);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| ask(&address, &sent, &answered));
            }
            std::thread::sleep(life);
            victim.kill();
        });
    }
    let service = TestService::start_on(database, shop).await;
    let db = service.db();
    carried(&db).await;
    let counted = async {
        while spools(&folder) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("what was left is counted");
    let number =
        async |sql: &str| db.query(sql, ()).await.expect("a query")[0]["n"].as_int().expect("a number") as usize;
    let commits = number("SELECT COUNT(*) AS [n] FROM [things_history]").await;
    let entries = number("SELECT COUNT(*) AS [n] FROM [kernel_audit_log] WHERE [entity] = 'things'").await;
    let distinct = "SELECT COUNT(*) AS [n] FROM (SELECT DISTINCT [entity_id], [entity_version] FROM [kernel_audit_log] WHERE [entity] = 'things') [x]";
    assert_eq!((entries, number(distinct).await), (commits, commits), "seed {seed}");
    verify(&db, "shop", None).await.expect("a look").expect("nothing is wrong with the chain");
    let counted = get_usage(&db).app("shop").endpoint("POST /things").await.expect("usage").get("requests") as usize;
    let (sent, answered) = (sent.into_inner(), answered.into_inner());
    assert!(answered > 0 && answered <= commits && commits <= sent, "{answered} ≤ {commits} ≤ {sent}, seed {seed}");
    assert!(answered <= counted && counted <= sent, "{answered} ≤ {counted} ≤ {sent}, seed {seed}");
    println!("R-05 held: {kills} × kill -9, {commits} commits, {entries} audit rows, 0 duplicates, seed {seed}");
    println!("R-06 held: {kills} × kill -9, {answered} answered ≤ {counted} counted ≤ {sent} sent, seed {seed}");
}
