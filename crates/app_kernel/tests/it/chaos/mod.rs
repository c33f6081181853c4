//! Faults while the service works: what was promised holds, and each test says so in a line.

#[cfg(target_os = "linux")]
mod api;
#[cfg(target_os = "linux")]
mod balancer;
#[cfg(target_os = "linux")]
mod crowded_limits;
mod dropped_clients;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(target_os = "linux")]
mod jobs;
#[cfg(target_os = "linux")]
mod killed_backups;
#[cfg(target_os = "linux")]
mod killed_restores;
#[cfg(target_os = "linux")]
mod killed_services;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod lost_database;
#[cfg(target_os = "linux")]
mod lost_redis;
#[cfg(target_os = "linux")]
mod power_cuts;
#[cfg(target_os = "linux")]
mod rolling_restarts;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(target_os = "linux")]
mod starts;
#[cfg(target_os = "linux")]
mod victim;
#[cfg(target_os = "linux")]
mod webhooks;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
mod without_redis;

use std::time::Duration;

use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::{Backend, Db};
use app_kernel::testing::TestDatabase;

use crate::backup::Place;
use crate::db::{Widget, widget};
use crate::support::Dice;

/// A database with so many widgets, and a place for its backups.
async fn many_widgets(database: &TestDatabase, rows: usize) -> Place {
    let place = Place::new(database, &[Widget::definition()]).await;
    save_widgets(&place.db, rows).await;
    place
}

async fn save_widgets(db: &Db, rows: usize) {
    for chunk in (0..rows).collect::<Vec<_>>().chunks(500) {
        let new: Vec<Widget> = chunk.iter().map(|i| widget(&format!("w{i}"))).collect();
        db.save_many(new).await.expect("saves");
    }
}

/// Fails unless SQLite finds nothing wrong with its file.
async fn assert_whole(db: &Db) {
    if db.backend() == Backend::Sqlite {
        let answer = db.query("PRAGMA integrity_check", ()).await.expect("an answer");
        let found: Vec<_> = answer.iter().flat_map(|row| row.iter().filter_map(|(_, value)| value.as_str())).collect();
        assert_eq!(found, ["ok"]);
    }
}

/// A moment out of this time.
fn moment(dice: &mut Dice, time: Duration) -> Duration {
    Duration::from_micros(dice.below(time.as_micros().max(1) as usize) as u64)
}
