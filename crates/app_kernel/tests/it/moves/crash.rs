//! Processes that are killed while they move: the next start goes on, and the data is the same. The victim is this test binary itself.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::store::db::Backend;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::Desk;
use crate::db::{Widget, widget};
use crate::support::scale;

on_every_database!(a_move_that_is_killed_goes_on);

/// What a victim does: the address of the new database, and DATA_DIR.
const WORK: &str = "APP_KERNEL_TEST_MOVE_VICTIM";
const KILLS: usize = 4;
const ROWS: usize = 1_000;

/// No test of its own: what a victim runs.
#[tokio::test]
async fn victim() {
    let Ok(work) = std::env::var(WORK) else { return };
    let (url, folder) = work.split_once('|').expect("two things");
    let desk = Desk::at(folder, &[Widget::definition()]);
    let db = desk.open(&Secret::new(url)).await;
    db.bring_up(&desk.how()).await.expect("a start");
    db.close().await;
}

fn start_victim(to: &TestDatabase, desk: &Desk) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("a test binary"));
    command.args(["--exact", "moves::crash::victim"]);
    command.env(WORK, format!("{}|{}", to.url().expose(), desk.data_dir().display()));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("this binary can be started again")
}

/// Promise: E1, R-14
async fn a_move_that_is_killed_goes_on(first: TestDatabase) {
    // From a database to one of the next kind, so that each kind is once where the data goes.
    let from = match first.backend() {
        Backend::Sqlite => TestDatabase::mysql().await,
        Backend::Postgres => TestDatabase::sqlite().await,
        Backend::MySql => TestDatabase::postgres().await,
    };
    let desk = Desk::new(&[Widget::definition()]);
    let (db, _) = desk.start(&from).await;
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(500) {
        db.save_many(chunk.iter().map(|i| widget(&format!("w{i}"))).collect::<Vec<_>>()).await.expect("saves");
    }
    db.close().await;
    let wanted = desk.contents(&from).await;
    let marker = std::fs::read(desk.marker()).expect("a marker");

    let begun = Instant::now();
    assert!(start_victim(&first, &desk).wait().expect("it ends").success(), "a move that nobody disturbs");
    let time = begun.elapsed();
    assert_eq!(desk.contents(&first).await, wanted);

    let kills = scale(KILLS);
    let (mut interrupted, mut to) = (0, TestDatabase::fresh(first.backend()).await);
    std::fs::write(desk.marker(), &marker).expect("a write");
    for kill in 1..=kills {
        let mut victim = start_victim(&to, &desk);
        std::thread::sleep(share(time, kill, kills));
        // It may have ended by itself.
        let _gone = victim.kill();
        victim.wait().expect("it ends");
        if std::fs::read(desk.marker()).expect("a marker") == marker {
            interrupted += 1;
            // Every second one goes on at once, so that there are moves that were killed more than once.
            if kill % 2 == 0 {
                continue;
            }
        }
        let (db, _) = desk.start(&to).await;
        assert_eq!(db.count::<Widget>("", ()).await.expect("a count"), ROWS as i64);
        db.close().await;
        assert_eq!(desk.contents(&to).await, wanted, "kill {kill} of {kills}");
        std::fs::write(desk.marker(), &marker).expect("a write");
        to = TestDatabase::fresh(first.backend()).await;
    }
    assert!(interrupted > 0, "no kill met a move at work: {time:?}");
    let (db, _) = desk.start(&to).await;
    db.close().await;
    assert_eq!(desk.contents(&to).await, wanted, "the last one");
    println!("R-14 held: {kills} kills, {interrupted} of them inside of a move, {} rows equal", ROWS);
}

fn share(time: Duration, kill: usize, of: usize) -> Duration {
    time * u32::try_from(kill).expect("few") / u32::try_from(of).expect("few")
}
