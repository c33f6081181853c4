//! Processes that are killed while they back up or restore. The victim is this test binary itself, started again to run one function.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use app_kernel::base::clock::Clock;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::Db;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::TestDatabase;

use super::{Place, files, names};
use crate::db::{Widget, widget};

/// What a victim does: `backup`, or `restore` and a name; then where.
const WORK: &str = "APP_KERNEL_TEST_VICTIM";
const KILLS: u32 = 20;
const ROWS: usize = 1_000;

/// No test of its own: what a victim runs.
#[tokio::test]
async fn victim() {
    let Ok(work) = std::env::var(WORK) else { return };
    let [what, url, folder] = work.split('|').collect::<Vec<_>>()[..] else { panic!("three things: {work}") };
    let options = super::options(Path::new(folder), &Clock::system());
    let db = Db::open(&Secret::new(url), &[Widget::definition()], options).await.expect("the database opens");
    let backups = db.backups().expect("a place for backups");
    match what {
        "backup" => drop(backups.make().await.expect("a backup")),
        name => drop(backups.restore(name, None).await.expect("a restore")),
    }
    db.close().await;
}

fn start_victim(what: &str, database: &TestDatabase, folder: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("a test binary"));
    command.args(["--exact", "backup::crash::victim"]);
    command.env(WORK, format!("{what}|{}|{}", database.url().expose(), folder.display()));
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("this binary can be started again")
}

/// Lets a victim work to its end, and answers how long that takes.
fn time_of_a_run(what: &str, database: &TestDatabase, folder: &Path) -> Duration {
    let started = Instant::now();
    let ended = start_victim(what, database, folder).wait().expect("it ends");
    assert!(ended.success());
    started.elapsed()
}

/// Kills a victim after the share `kill / of` of the time that it needs.
fn kill_at(what: &str, database: &TestDatabase, folder: &Path, time: Duration, kill: u32, of: u32) {
    let mut victim = start_victim(what, database, folder);
    std::thread::sleep(time * kill / of);
    // It may have ended by itself.
    let _gone = victim.kill();
    victim.wait().expect("it ends");
}

async fn many_widgets(database: &TestDatabase) -> Place {
    let place = Place::new(database, &[Widget::definition()]).await;
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(500) {
        let new: Vec<Widget> = chunk.iter().map(|i| widget(&format!("w{i}"))).collect();
        place.db.save_many(new).await.expect("saves");
    }
    place
}

async fn integrity(db: &Db) -> String {
    let answer = db.query("PRAGMA integrity_check", ()).await.expect("an answer");
    answer[0].iter().next().and_then(|(_, value)| value.as_str()).unwrap_or_default().to_owned()
}

/// Promise: R-15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_killed_is_not_there_and_leaves_nothing_to_the_next() {
    let database = TestDatabase::sqlite().await;
    let place = many_widgets(&database).await;
    let time = time_of_a_run("backup", &database, place.folder.path());
    let mut unfinished = 0;
    for kill in 1..=KILLS {
        kill_at("backup", &database, place.folder.path(), time, kill, KILLS);
        unfinished += u32::from(place.names().iter().any(|name| name.starts_with(".unfinished")));
        for listed in place.backups.list().expect("a list") {
            // A native one whose manifest has no name yet is none.
            if let Ok(manifest) = &listed.manifest {
                assert_eq!(manifest.rows(), place.backups.verify(&listed.name).await.expect("a good one").rows());
            } else {
                assert!(listed.name.starts_with("native_"), "{listed:?}");
            }
        }
    }
    assert!(unfinished > 0, "no kill met a backup at work: {time:?}");
    let made = place.backups.make().await.expect("the next run");
    assert!(place.names().iter().all(|name| !name.starts_with('.')), "{:?}", place.names());
    for listed in place.backups.list().expect("a list") {
        place.backups.verify(&listed.name).await.expect("what is left is good");
    }
    let rows = place.backups.verify(&made.csv).await.expect("a good one").rows();
    assert_eq!(rows, 3 * ROWS as u64 + 1);
    assert_eq!(integrity(&place.db).await, "ok");
    place.db.close().await;
}

/// Promise: R-16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_leaves_one_state_or_the_other() {
    let database = TestDatabase::sqlite().await;
    let place = many_widgets(&database).await;
    let made = place.backups.make().await.expect("a backup");
    let then = files(&place.folder.path().join(&made.csv));
    let forms = [made.csv, made.native.expect("a native one")];
    let times: Vec<Duration> = forms.iter().map(|name| time_of_a_run(name, &database, place.folder.path())).collect();
    let (mut old, mut new) = (0, 0);
    for kill in 1..=KILLS {
        place.db.save(widget(&format!("new{kill}"))).await.expect("a save");
        let now = state(&place).await;
        let form = kill as usize % 2;
        kill_at(&forms[form], &database, place.folder.path(), times[form], kill, KILLS);
        let left = state(&place).await;
        assert!(left == now || left == then, "kill {kill} of {KILLS}");
        old += u32::from(left == now);
        new += u32::from(left == then);
        assert_eq!(integrity(&place.db).await, "ok");
    }
    assert!(old > 0 && new <= KILLS, "{old} times the state before, {new} times that of the backup");
    place.db.close().await;
}

/// Promise: R-16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_on_mysql_that_is_killed_leaves_one_state_or_the_other() {
    if std::env::var("DATABASES").is_ok_and(|list| !list.contains("mysql")) {
        return println!("deselected by DATABASES");
    }
    let database = TestDatabase::mysql().await;
    let place = many_widgets(&database).await;
    let made = place.backups.make().await.expect("a backup");
    let then = files(&place.folder.path().join(&made.csv));
    let time = time_of_a_run(&made.csv, &database, place.folder.path());
    for kill in (1..=KILLS).step_by(3) {
        place.db.save(widget(&format!("new{kill}"))).await.expect("a save");
        let now = state(&place).await;
        kill_at(&made.csv, &database, place.folder.path(), time, kill, KILLS);
        let left = state(&place).await;
        assert!(left == now || left == then, "kill {kill} of {KILLS}");
    }
    place.backups.restore(&made.csv, None).await.expect("a restore");
    assert!(state(&place).await == then);
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'kernel_%'";
    assert_eq!(place.db.query(tables, ()).await.expect("a query").len(), 2, "nothing is left under other names");
    place.db.close().await;
}

/// Everything, byte for byte.
async fn state(place: &Place) -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = super::options(folder.path(), &Clock::system());
    options.backups.as_mut().expect("there are options").keep = 1;
    let db = Db::open(&place.url, &[Widget::definition()], options).await.expect("the database opens");
    let made = db.backups().expect("a place for backups").make().await.expect("a backup");
    db.close().await;
    assert!(names(folder.path()).contains(&made.csv));
    files(&folder.path().join(made.csv))
}
