//! The native form is what the database's own tools read, and where they are missing, it is made all the same.

use std::path::Path;
use std::process::{Command, Stdio};

use app_kernel::base::clock::Clock;
use app_kernel::base::secret::Secret;
use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::start::BringUp;
use app_kernel::store::db::{Backend, Db};
use app_kernel::testing::{TestDatabase, on_every_database};

use super::{Place, files};
use crate::db::{Widget, widget};

on_every_database!(
    without_the_tools_of_the_database_the_native_form_is_made_and_restored,
    the_tools_of_the_database_read_the_native_form,
    a_restore_that_was_killed_after_its_rename_is_finished_by_the_next_start,
);

#[derive(Debug, Clone, Entity)]
#[entity(table = "shelves")]
struct Shelf {
    #[entity(foreign_key = "widgets")]
    widget_id: String,
}

/// Where a backup is made without the tools: `URL|FOLDER`.
const WORK: &str = "APP_KERNEL_TEST_WITHOUT_TOOLS";

/// No test of its own: what this binary does when it is started again without a PATH.
#[tokio::test]
async fn backup_without_tools() {
    let Ok(work) = std::env::var(WORK) else { return };
    let (url, folder) = work.split_once('|').expect("two things");
    let options = super::options(Path::new(folder), &Clock::system());
    let db = Db::open(&Secret::new(url), &[Widget::definition()], options).await.expect("the database opens");
    db.backups().expect("a place for backups").make().await.expect("a backup");
    db.close().await;
}

async fn without_the_tools_of_the_database_the_native_form_is_made_and_restored(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    place.db.save(widget("it's\na \\ gear")).await.expect("a save");
    let mut again = Command::new(std::env::current_exe().expect("a test binary"));
    again.args(["--exact", "backup::native::backup_without_tools"]).env("PATH", "/nowhere");
    again.env(WORK, format!("{}|{}", database.url().expose(), place.folder.path().display()));
    assert!(again.stdout(Stdio::null()).status().expect("it ends").success());
    let [csv, native, _] = &place.names()[..] else { panic!("{:?}", place.names()) };
    let start = std::fs::read(place.folder.path().join(native)).expect("a file");
    if place.db.backend() != Backend::Sqlite {
        assert!(start.starts_with(b"-- Made by app_kernel"), "a dump as SQL");
    }
    place.db.save(widget("cog")).await.expect("a save");
    place.backups.restore(native, None).await.expect("a restore");
    let again = place.backups.make().await.expect("a backup").csv;
    assert!(files(&place.folder.path().join(&again)) == files(&place.folder.path().join(csv)));
    place.db.save(widget("new")).await.expect("life goes on");
    place.db.close().await;
}

async fn the_tools_of_the_database_read_the_native_form(database: TestDatabase) {
    if database.backend() != Backend::MySql {
        return; // PostgreSQL's tools made theirs; SQLite's file is opened by every restore
    }
    let place = Place::new(&database, &[Widget::definition(), Shelf::definition()]).await;
    let gear = place.db.save(widget("it's\na \\ gear")).await.expect("a save");
    place.db.save(Shelf { widget_id: gear.id }).await.expect("a save");
    let made = place.backups.make().await.expect("a backup");
    let empty = TestDatabase::mysql().await;
    let dump = std::fs::File::open(place.folder.path().join(&made.native)).expect("a file");
    let address = empty.url().expose();
    let (server, name) = address.rsplit_once('/').expect("an address has a database");
    let (_, host) = server.rsplit_once('@').expect("an address has a user");
    let (host, port) = host.split_once(':').expect("an address has a port");
    let client = ["mariadb", "mysql"].into_iter().find_map(|client| {
        let mut command = Command::new(client);
        command.args(["--host", host, "--port", port, "--user=root", "--protocol=tcp", name]);
        command.stdin(dump.try_clone().expect("a second handle")).stderr(Stdio::piped());
        command.spawn().ok()
    });
    let Some(client) = client else { return println!("no client of MySQL is installed here") };
    let ended = client.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let read = Place::new(&empty, &[Widget::definition(), Shelf::definition()]).await;
    assert!(read.db.save(Shelf { widget_id: "nobody".to_owned() }).await.is_err(), "its key holds");
    let again = read.backups.make().await.expect("a backup").csv;
    assert!(files(&read.folder.path().join(&again)) == files(&place.folder.path().join(&made.csv)));
    for db in [place.db, read.db] {
        db.close().await;
    }
}

/// Promise: R-16
async fn a_restore_that_was_killed_after_its_rename_is_finished_by_the_next_start(database: TestDatabase) {
    if database.backend() != Backend::MySql {
        return; // a restore is one transaction there
    }
    let place = Place::new(&database, &[Widget::definition(), Shelf::definition()]).await;
    let db = &place.db;
    // As it is then: the tables have their places, the old ones and the list are there, constraints are not.
    for statement in [
        "ALTER TABLE shelves DROP FOREIGN KEY `fk.shelves.widget_id`",
        "ALTER TABLE widgets DROP CONSTRAINT `ck.widgets.status`",
        "CREATE TABLE kernel_old_0 (n INT, CONSTRAINT `fk.shelves.widget_id` CHECK (n > 0))",
        "CREATE TABLE kernel_restore (n BIGINT PRIMARY KEY, in_table VARCHAR(64) NOT NULL, constraint_name VARCHAR(64) NOT NULL, statement TEXT NOT NULL)",
        "INSERT INTO kernel_restore VALUES \
         (0, 'shelves', 'fk.shelves.widget_id', 'ALTER TABLE shelves ADD CONSTRAINT `fk.shelves.widget_id` FOREIGN KEY (widget_id) REFERENCES widgets (id)'), \
         (1, 'widgets', 'ck.widgets.status', 'ALTER TABLE widgets ADD CONSTRAINT `ck.widgets.status` CHECK (status IN (''active'', ''archived''))')",
    ] {
        db.execute(statement, ()).await.expect(statement);
    }
    db.bring_up(&BringUp::default()).await.expect("a start");
    assert!(db.save(Shelf { widget_id: "nobody".to_owned() }).await.is_err(), "the key is back");
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'kernel_%'";
    assert_eq!(db.query(tables, ()).await.expect("a query").len(), 3, "nothing is left under other names");
    db.bring_up(&BringUp::default()).await.expect("and nothing is left to do");
    place.db.close().await;
}
