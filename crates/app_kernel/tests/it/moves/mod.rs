//! The data comes along where DATABASE_URL names another database.

mod crash;
mod directions;
mod program;
mod refusals;

use std::path::{Path, PathBuf};

use app_kernel::base::clock::Clock;
use app_kernel::base::error::Result;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::backup::BackupOptions;
use app_kernel::store::db::entity::EntityDef;
use app_kernel::store::db::moves::Moves;
use app_kernel::store::db::start::BringUp;
use app_kernel::store::db::{Db, DbOptions};
use app_kernel::testing::TestDatabase;

/// A service's DATA_DIR, which stays while its database changes.
struct Desk {
    data_dir: PathBuf,
    /// Removes itself when dropped.
    _folder: Option<tempfile::TempDir>,
    entities: Vec<&'static EntityDef>,
    service: &'static str,
    previous_url: Option<Secret>,
}

impl Desk {
    fn new(entities: &[&'static EntityDef]) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let desk = Desk::at(folder.path(), entities);
        Desk { _folder: Some(folder), ..desk }
    }

    /// One that is there already.
    fn at(data_dir: impl Into<PathBuf>, entities: &[&'static EntityDef]) -> Self {
        Desk {
            data_dir: data_dir.into(),
            _folder: None,
            entities: entities.to_vec(),
            service: "shop",
            previous_url: None,
        }
    }

    fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    fn backups(&self) -> PathBuf {
        self.data_dir.join("backups")
    }

    fn marker(&self) -> PathBuf {
        self.data_dir.join(format!("last_database_{}.json", self.service))
    }

    async fn open(&self, url: &Secret) -> Db {
        let backups = BackupOptions { service: self.service.to_owned(), folder: self.backups(), keep: 14 };
        let options = DbOptions { backups: Some(backups), clock: Clock::system(), ..DbOptions::default() };
        Db::open(url, &self.entities, options).await.expect("the database opens")
    }

    /// Starts on a database as a service does, and answers what was told of a move.
    async fn start(&self, database: &TestDatabase) -> (Db, Vec<String>) {
        let (db, told) = self.try_start(database).await;
        let told = told.unwrap_or_else(|error| panic!("the start is refused: {error:?}"));
        (db, told)
    }

    async fn try_start(&self, database: &TestDatabase) -> (Db, Result<Vec<String>>) {
        let db = self.open(database.url()).await;
        let brought_up = db.bring_up(&self.how()).await;
        (db, brought_up.map(|done| done.moved))
    }

    fn how(&self) -> BringUp {
        let moves = Moves { data_dir: self.data_dir.clone(), previous_url: self.previous_url.clone() };
        BringUp { moves: Some(moves), ..BringUp::default() }
    }

    /// A start that must be refused, with what it says.
    async fn refused(&self, database: &TestDatabase) -> String {
        let marker = std::fs::read(self.marker()).ok();
        let (db, told) = self.try_start(database).await;
        let message = told.expect_err("a refusal").to_string();
        db.close().await;
        assert_eq!(std::fs::read(self.marker()).ok(), marker, "the marker stays: {message}");
        message
    }

    /// Every table of a database, as bytes.
    async fn contents(&self, database: &TestDatabase) -> Vec<(String, Vec<u8>)> {
        let folder = tempfile::tempdir().expect("a folder");
        let backups = BackupOptions { service: "look".to_owned(), folder: folder.path().to_owned(), keep: 14 };
        let options = DbOptions { backups: Some(backups), ..DbOptions::default() };
        let db = Db::open(database.url(), &self.entities, options).await.expect("the database opens");
        let made = db.backups().expect("a place").make().await.expect("a backup");
        db.close().await;
        crate::backup::files(&folder.path().join(made.csv))
    }
}
