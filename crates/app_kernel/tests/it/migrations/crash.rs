//! A process that is killed while it migrates: the schema and its files are whole after the next start, whenever it died.

use std::time::{Duration, Instant};

use super::names;
use crate::support::program::{Place, quickstart};

const KILLS: u32 = 8;

fn migrate(place: &Place, patience: Option<Duration>) -> Duration {
    let started = Instant::now();
    let mut child = place.command(quickstart()).arg("migrate").spawn().expect("it starts");
    if let Some(patience) = patience {
        // The moment of the kill, not a wait for something.
        std::thread::sleep(patience);
        // It may have ended by itself.
        let _gone = child.kill();
    }
    child.wait().expect("it ends");
    started.elapsed()
}

/// Promise: R-12, D8
#[test]
fn a_migration_that_is_killed_leaves_its_files_to_the_next_start() {
    let place = || Place::new().with("DATABASE_URL", "sqlite:///./data/app.db");
    let time = migrate(&place(), None);
    for kill in 1..=KILLS {
        let place = place();
        migrate(&place, Some(time * kill / KILLS));
        assert_eq!(place.run(&["migrate"]).code, Some(0));
        let files = names(&place.folder().join(".data/migrations_audit"));
        assert_eq!(files.len(), 2, "kill {kill} of {KILLS}: {files:?}");
        let again = place.run(&["migrate"]);
        assert_eq!((again.code, again.err.as_str()), (Some(0), ""), "kill {kill} of {KILLS}");
    }
}
