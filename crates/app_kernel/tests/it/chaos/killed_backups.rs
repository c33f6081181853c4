//! Backups in the face of kills, power cuts and full disks: one that exists is whole and restorable, and the database is unharmed.

use std::time::{Duration, Instant};

use app_kernel::base::clock::Clock;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::Db;
use app_kernel::store::db::backup::Backups;
use app_kernel::store::db::entity::Entity as _;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::victim::{Victim, Work, time_of_a_run};
use super::{assert_whole, many_widgets, moment, save_widgets};
use crate::backup;
use crate::db::Widget;
use crate::support::disk::Disk;
use crate::support::{Dice, scale, seed};

const ROWS: usize = 1_000;
/// A row, its version and its change record; and the migration.
const RECORDS: u64 = 3 * ROWS as u64 + 6;

on_every_database!(a_backup_that_is_killed_is_not_there_and_leaves_nothing_to_the_next);

/// Reads every backup back, and answers how many there are.
async fn verify_all(backups: &Backups) -> usize {
    let listed = backups.list().expect("a list");
    for listed in &listed {
        match &listed.manifest {
            Ok(manifest) => {
                let verified =
                    backups.verify(&listed.name).await.unwrap_or_else(|error| panic!("{}: {error}", listed.name));
                assert_eq!((manifest.rows(), verified.rows()), (RECORDS, RECORDS), "{}", listed.name);
            }
            // A native one whose manifest has no name yet is none.
            Err(_) => assert!(listed.name.starts_with("native_"), "{listed:?}"),
        }
    }
    listed.iter().filter(|listed| listed.manifest.is_ok()).count()
}

/// Promise: R-15
async fn a_backup_that_is_killed_is_not_there_and_leaves_nothing_to_the_next(database: TestDatabase) {
    let (kills, seed) = (scale(8), seed());
    let place = many_widgets(&database, ROWS).await;
    let (url, folder) = (&place.url, place.folder.path());
    let time = time_of_a_run(&Work::Backup, url, folder);
    let mut dice = Dice::new(seed);
    let (mut unfinished, mut finished) = (0, 0);
    let is_at_work = || place.names().iter().any(|name| name.starts_with(".unfinished"));
    for number in 0.. {
        let victim = Victim::start(&Work::Backup, url, folder);
        // Starting takes a part of the time, in which there is nothing to interrupt.
        let (began, wait) = (Instant::now(), time / 8 + moment(&mut dice, time));
        // Where none of them met a backup at work, as where the machine was slower when it was timed, the next ones look.
        while began.elapsed() < wait && (number < kills || !is_at_work()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        victim.kill();
        unfinished += u32::from(is_at_work());
        finished = verify_all(&place.backups).await;
        if number + 1 >= kills && unfinished > 0 {
            break;
        }
        assert!(number < 4 * kills, "no kill met a backup at work: {time:?}");
    }
    let made = place.backups.make().await.expect("the next run");
    assert!(place.names().iter().all(|name| !name.starts_with('.')), "{:?}", place.names());
    assert_eq!(made.rows, RECORDS);
    assert_eq!(place.db.count::<Widget>("", ()).await.expect("a count"), ROWS as i64);
    assert_whole(&place.db).await;
    println!(
        "R-15 held: {kills} kills, {unfinished} backups met at work, {finished} finished, {finished} verify, seed {seed}"
    );
    place.db.close().await;
}

/// The database and its backups on one disk, as by default.
async fn on(disk: &Disk) -> (Db, Backups, Secret) {
    let url = Secret::new(format!("sqlite:///{}/app.db", disk.path().display()));
    let options = backup::options(&disk.path().join("backups"), &Clock::system());
    let db = Db::open(&url, &[Widget::definition()], options).await.expect("the database opens");
    let backups = db.backups().expect("a place for backups");
    (db, backups, url)
}

/// Promise: R-15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_finished_survives_a_power_cut() {
    let (cuts, seed) = (scale(4), seed());
    let Some(disk) = Disk::ext4("R-15", 256) else { return };
    let (db, _, url) = on(&disk).await;
    db.migrate().await.expect("the schema is made");
    save_widgets(&db, ROWS).await;
    db.close().await;
    let folder = disk.path().join("backups");
    let mut dice = Dice::new(seed);
    let (mut promised, mut finished) = (0, 0);
    for _ in 0..cuts {
        let started = Instant::now();
        let victim = Victim::start(&Work::Backups, &url, &folder);
        let mut made = vec![victim.hear()];
        std::thread::sleep(moment(&mut dice, started.elapsed()));
        let fuse = disk.fuse();
        made.extend(victim.heard());
        fuse.blow();
        victim.kill();
        disk.power_up();
        let (db, backups, _) = on(&disk).await;
        finished = verify_all(&backups).await;
        let names: Vec<String> = backups.list().expect("a list").into_iter().map(|listed| listed.name).collect();
        for name in &made {
            assert!(names.contains(name), "{name} was called a backup before it was on the disk: {names:?}");
        }
        promised += made.len();
        assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), ROWS as i64);
        assert_whole(&db).await;
        db.close().await;
    }
    println!("R-15 held: {cuts} power cuts, {promised} backups promised, {finished} kept and verify, seed {seed}");
}

/// Promise
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_finds_no_space_leaves_nothing_behind() {
    let (times, seed) = (scale(5), seed());
    let Some(disk) = Disk::tmpfs("R-15", 64) else { return };
    let (db, backups, _) = on(&disk).await;
    db.migrate().await.expect("the schema is made");
    save_widgets(&db, ROWS).await;
    let before = backups.make().await.expect("a backup while there is space");
    let size: u64 = [&before.csv, &before.native].map(|name| size_of(&disk, name)).iter().sum();
    let mut dice = Dice::new(seed);
    let (mut refused, mut made) = (0, 0);
    for _ in 0..times {
        disk.fill_but(dice.below(2 * size as usize) as u64);
        match backups.make().await {
            Ok(_) => made += 1,
            Err(error) => {
                assert_eq!((error.http_status(), error.error_code()), (507, "disk_full"), "{error:?}");
                refused += 1;
            }
        }
        let hidden: Vec<String> = backup::names(&disk.path().join("backups"));
        assert!(hidden.iter().all(|name| !name.starts_with('.')), "left behind: {hidden:?}");
        verify_all(&backups).await;
        assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), ROWS as i64);
        disk.free();
    }
    assert!(refused > 0, "the disk was never full");
    backups.make().await.expect("a backup once there is space");
    let finished = verify_all(&backups).await;
    assert_whole(&db).await;
    println!(
        "R-15 held: {times} times disk full, {refused} refused, {made} found space, {finished} verify, seed {seed}"
    );
    db.close().await;
}

/// What a backup takes, in bytes.
fn size_of(disk: &Disk, name: &str) -> u64 {
    let path = disk.path().join("backups").join(name);
    let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |file| file.len().next_multiple_of(4096));
    if path.is_dir() {
        std::fs::read_dir(path).expect("a folder").flatten().map(|entry| size(&entry.path())).sum()
    } else {
        size(&path)
    }
}
