//! Restores in the face of kills, of the process and of the server: the database is as it was, or as the backup says.

use std::time::Duration;

use app_kernel::base::clock::Clock;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::Backend;
use app_kernel::store::db::Db;
use app_kernel::store::db::entity::Entity as _;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::victim::{Victim, Work, time_of_a_run};
use super::{assert_whole, many_widgets, moment, save_widgets};
use crate::backup;
use crate::db::{Widget, widget};
use crate::support::servers::Servers;
use crate::support::{Dice, scale, seed};

const ROWS: usize = 1_000;

on_every_database!(a_restore_that_is_killed_leaves_one_state_or_the_other);

/// Everything, byte for byte.
type State = Vec<(String, Vec<u8>)>;

async fn state(url: &Secret) -> State {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = backup::options(folder.path(), &Clock::system());
    options.backups.as_mut().expect("there are options").keep = 1;
    let db = Db::open(url, &[Widget::definition()], options).await.expect("the database opens");
    let made = db.backups().expect("a place for backups").make().await.expect("a backup");
    assert_whole(&db).await;
    db.close().await;
    backup::files(&folder.path().join(made.csv))
}

/// How often each of the two was left.
#[derive(Debug, Default)]
struct Left {
    old: usize,
    new: usize,
}

impl Left {
    fn count(&mut self, kill: usize, left: &State, old: &State, new: &State) {
        assert!(left == old || left == new, "kill {kill} left neither the state before nor that of the backup");
        self.old += usize::from(left == old);
        self.new += usize::from(left == new);
    }
}

/// Promise: R-16
async fn a_restore_that_is_killed_leaves_one_state_or_the_other(database: TestDatabase) {
    let (kills, seed) = (scale(5), seed());
    let place = many_widgets(&database, ROWS).await;
    let made = place.backups.make().await.expect("a backup");
    let (url, folder) = (&place.url, place.folder.path());
    let then = backup::files(&folder.join(&made.csv));
    let forms = [made.csv.clone(), made.native].map(Work::Restore);
    let times: Vec<Duration> = forms.iter().map(|work| time_of_a_run(work, url, folder)).collect();
    let mut dice = Dice::new(seed);
    let mut left = Left::default();
    for kill in 0..kills {
        place.db.save(widget(&format!("new {kill}"))).await.expect("a save");
        let now = state(url).await;
        let form = kill % forms.len();
        let victim = Victim::start(&forms[form], url, folder);
        std::thread::sleep(times[form] / 8 + moment(&mut dice, times[form]));
        victim.kill();
        left.count(kill, &state(url).await, &now, &then);
    }
    place.backups.restore(&made.csv, None).await.expect("a restore");
    assert!(state(url).await == then, "a restore after all the kills");
    if database.backend() == Backend::MySql {
        let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'kernel_%'";
        assert_eq!(place.db.query(tables, ()).await.expect("a query").len(), 3, "nothing is left under other names");
    }
    let Left { old, new } = left;
    println!("R-16 held: {kills} kills, {old} times the state before, {new} times that of the backup, seed {seed}");
    place.db.close().await;
}

/// Promise: R-16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_whose_server_is_killed_leaves_one_state_or_the_other() {
    let (kills, seed) = (scale(2), seed());
    let Some(servers) = Servers::start(&[Backend::Postgres, Backend::MySql], None) else { return };
    for backend in servers.backends() {
        let url = servers.database(backend, "shop").await;
        let folder = tempfile::tempdir().expect("a folder");
        let options = backup::options(folder.path(), &Clock::system());
        let db = Db::open(&url, &[Widget::definition()], options).await.expect("the database opens");
        db.migrate().await.expect("the schema is made");
        save_widgets(&db, ROWS).await;
        let made = db.backups().expect("a place for backups").make().await.expect("a backup");
        let then = backup::files(&folder.path().join(&made.csv));
        let work = Work::Restore(made.csv);
        let time = time_of_a_run(&work, &url, folder.path());
        let mut dice = Dice::new(seed);
        let mut left = Left::default();
        for kill in 0..kills {
            // Its connections broke with the server; the pool makes new ones.
            for attempt in 0.. {
                match db.save(widget(&format!("new {kill} {attempt}"))).await {
                    Err(error) if attempt == 100 => panic!("the pool does not recover: {error:?}"),
                    Err(_) => {}
                    Ok(_) => break,
                }
            }
            let now = state(&url).await;
            let victim = Victim::start(&work, &url, folder.path());
            std::thread::sleep(time / 8 + moment(&mut dice, time));
            servers.kill(backend);
            victim.end();
            servers.start_again(backend, &url).await;
            left.count(kill, &state(&url).await, &now, &then);
        }
        db.close().await;
        let (Left { old, new }, name) = (left, backend.as_str());
        println!(
            "R-16 held: {kills} kills of {name}, {old} times the state before, {new} times that of the backup, seed {seed}"
        );
    }
}
