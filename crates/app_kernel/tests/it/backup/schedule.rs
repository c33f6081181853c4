//! Backups by the clock: each time that the schedule comes round, in one of many processes.

use std::time::Duration;

use app_kernel::base::config::ServiceConfig;
use app_kernel::prelude::*;
use app_kernel::store::db::Db;
use app_kernel::store::db::backup::BackedUp;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};

use super::Place;
use crate::db::{Widget, widget};

on_every_database!(of_many_processes_one_makes_the_backup_that_is_due);

async fn of_many_processes_one_makes_the_backup_that_is_due(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    place.db.save(widget("gear")).await.expect("a save");
    let due = place.clock.now();
    place.clock.advance(Duration::from_secs(1));
    let mut schedules = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let options = super::options(place.folder.path(), &place.clock);
        let db = Db::open(&place.url, &[Widget::definition()], options).await.expect("the database opens");
        schedules.spawn(async move {
            let made = db.backups().expect("backups").make_scheduled(due).await.expect("a backup");
            db.close().await;
            made
        });
    }
    let made = schedules.join_all().await;
    let count = made.iter().filter(|made| matches!(made, BackedUp::Made(_))).count();
    assert_eq!(count, 1, "{made:?}");
    place.clock.advance(Duration::from_secs(60));
    place.db.save(widget("cog")).await.expect("a save");
    let next = place.backups.make_scheduled(place.clock.now()).await.expect("a backup");
    assert!(matches!(next, BackedUp::Made(_)), "the next time is another one: {next:?}");
    place.db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_backs_up_each_time_that_the_schedule_comes_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let backup_dir = folder.path().display().to_string();
    let service = TestService::start(move |config| {
        let schedule = Some("0 3 * * *".to_owned());
        Service::new("shop", ServiceConfig { backup_schedule: schedule, backup_dir: Some(backup_dir), ..config })
    });
    let service = service.await;
    let csvs = || super::names(folder.path()).into_iter().filter(|name| name.starts_with("csv_")).count();
    assert_eq!(csvs(), 0, "none before the time");
    for day in 1..=2 {
        service.sign_up(&format!("ann{day}")).await;
        service.advance(Duration::from_secs(24 * 3600));
        let started = std::time::Instant::now();
        while csvs() < day {
            assert!(started.elapsed() < Duration::from_secs(30), "no backup on day {day}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    service.stop().await;
}
