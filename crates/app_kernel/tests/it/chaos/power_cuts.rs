//! Power cuts under load: what was acknowledged is there afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use app_kernel::base::secret::Secret;
use app_kernel::store::db::entity::Entity as _;
use app_kernel::store::db::{Backend, Db, DbOptions};

use super::victim::{Victim, Work};
use super::{assert_whole, moment};
use crate::db::Widget;
use crate::support::disk::Disk;
use crate::support::servers::Servers;
use crate::support::{Dice, scale, seed};

/// How long there is load before each cut, at most.
const LOAD: Duration = Duration::from_millis(300);

async fn open(url: &Secret) -> Db {
    Db::open(url, &[Widget::definition()], DbOptions::default()).await.expect("the database opens")
}

/// Looks for everything that was acknowledged, and for rows that lack their version or change record.
async fn assert_kept(url: &Secret, acknowledged: &BTreeSet<String>) {
    let db = open(url).await;
    let rows = db.query("SELECT [name] FROM [widgets]", ()).await.expect("a query");
    let kept: BTreeSet<String> = rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect();
    let lost: Vec<&String> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "{} of {} were acknowledged and are lost: {lost:?}", lost.len(), acknowledged.len());
    for table in ["widgets_history", "kernel_changes"] {
        let count = db.query(format!("SELECT COUNT(*) AS [n] FROM [{table}]"), ()).await.expect("a query");
        assert_eq!(count[0]["n"].as_int(), Some(kept.len() as i64), "{table}");
    }
    assert_whole(&db).await;
    db.close().await;
}

/// Promise: R-17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sqlite_acknowledged_is_there_after_a_power_cut() {
    let (cuts, seed) = (scale(5), seed());
    let Some(disk) = Disk::ext4("R-17", 1024) else { return };
    let mut dice = Dice::new(seed);
    let (mut url, mut acknowledged, mut saved) = (Secret::new(""), BTreeSet::new(), 0);
    for cut in 0..cuts {
        // A file lives through several cuts, but not through so many that looking at all of it takes the time.
        if cut % 10 == 0 {
            url = Secret::new(format!("sqlite:///{}/{cut}.db", disk.path().display()));
            saved += std::mem::take(&mut acknowledged).len();
            let db = open(&url).await;
            db.migrate().await.expect("the schema is made");
            db.close().await;
        }
        let victim = Victim::start(&Work::Save(format!("cut {cut}")), &url, &disk.path());
        acknowledged.insert(victim.hear());
        std::thread::sleep(moment(&mut dice, LOAD));
        let fuse = disk.fuse();
        acknowledged.extend(victim.heard());
        fuse.blow();
        victim.kill();
        disk.power_up();
        assert_kept(&url, &acknowledged).await;
    }
    saved += acknowledged.len();
    println!("R-17 held: {cuts} power cuts on SQLite, {saved} acknowledged, 0 lost, integrity_check ok, seed {seed}");
}

/// Promise: R-17
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_acknowledged_is_there_after_a_power_cut() {
    let (cuts, seed) = (scale(2), seed());
    let Some(disk) = Disk::ext4("R-17", 2048) else { return };
    let Some(servers) = Servers::start(&[Backend::Postgres, Backend::MySql], Some(&disk.path())) else { return };
    let mut databases = Vec::new();
    for backend in servers.backends() {
        let url = servers.database(backend, "shop").await;
        let db = open(&url).await;
        db.migrate().await.expect("the schema is made");
        db.close().await;
        databases.push((backend, url, BTreeSet::new()));
    }
    disk.sync();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut dice = Dice::new(seed);
    for cut in 0..cuts {
        let work = Work::Save(format!("cut {cut}"));
        let victims: Vec<Victim> =
            databases.iter().map(|(_, url, _)| Victim::start(&work, url, elsewhere.path())).collect();
        for ((_, _, acknowledged), victim) in databases.iter_mut().zip(&victims) {
            acknowledged.insert(victim.hear());
        }
        std::thread::sleep(moment(&mut dice, LOAD));
        let fuse = disk.fuse();
        for ((_, _, acknowledged), victim) in databases.iter_mut().zip(&victims) {
            acknowledged.extend(victim.heard());
        }
        fuse.blow();
        victims.into_iter().for_each(Victim::kill);
        databases.iter().for_each(|(backend, ..)| servers.kill(*backend));
        disk.power_up();
        for (backend, url, acknowledged) in &databases {
            servers.start_again(*backend, url).await;
            assert_kept(url, acknowledged).await;
        }
    }
    for (backend, _, acknowledged) in &databases {
        let (name, saved) = (backend.as_str(), acknowledged.len());
        println!("R-17 held: {cuts} power cuts on {name}, {saved} acknowledged, 0 lost, seed {seed}");
    }
}
