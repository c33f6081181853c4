//! What is not a good backup of this service is refused in words, and nothing is changed.

use app_kernel::store::db::Db;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::{TestDatabase, on_every_database};

use super::Place;
use crate::db::{Widget, widget};

on_every_database!(
    a_byte_that_is_not_as_it_was_written_is_found,
    a_backup_of_another_service_is_refused,
    an_unknown_name_and_table_are_refused_with_those_there_are,
    a_folder_without_permission_is_named,
    a_native_backup_of_another_database_is_refused,
);

async fn refused(place: &Place, name: &str, with: &str) {
    let before = place.names();
    let error = place.backups.restore(name, None).await.expect_err("a refusal");
    assert!(error.to_string().contains(with), "{error}");
    assert_eq!(place.db.count::<Widget>("", ()).await.expect("a count"), 2, "nothing was changed");
    assert_eq!(place.names(), before, "and nothing was written");
}

async fn a_byte_that_is_not_as_it_was_written_is_found(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    place.db.save(widget("gear")).await.expect("a save");
    let made = place.backups.make().await.expect("a backup");
    place.db.save(widget("cog")).await.expect("a save");
    let folder = place.folder.path().join(&made.csv);
    for file in ["widgets.csv", "widgets_history.csv", "manifest.json"] {
        let path = folder.join(file);
        let good = std::fs::read(&path).expect("a file");
        for at in [0, good.len() / 3, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).expect("a write");
            refused(&place, &made.csv, "is damaged").await;
            std::fs::write(&path, &good[..at]).expect("a write");
            refused(&place, &made.csv, "is damaged").await;
        }
        std::fs::write(&path, [&good[..], b"x\n"].concat()).expect("a write");
        refused(&place, &made.csv, "is damaged").await;
        std::fs::remove_file(&path).expect("it goes");
        refused(&place, &made.csv, "can't be read").await;
        std::fs::write(&path, &good).expect("a write");
    }
    let native = &made.native;
    let path = place.folder.path().join(native);
    let good = std::fs::read(&path).expect("a file");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&path, &bad).expect("a write");
    refused(&place, native, "is damaged: its checksum").await;
    std::fs::write(&path, &good[..good.len() / 2]).expect("a write");
    refused(&place, native, "is damaged: its checksum").await;
    std::fs::write(&path, &good).expect("a write");
    // Somebody who edits a manifest, however well, is found out.
    let sidecar = place.folder.path().join(format!("{native}.json"));
    let text = std::fs::read_to_string(&sidecar).expect("a manifest");
    for (word, other) in
        [("\"shop\"", "\"bakery\""), ("\"rows\": 1", "\"rows\": 2"), ("\"format\": 1", "\"format\": 2")]
    {
        assert!(text.contains(word), "{text}");
        std::fs::write(&sidecar, text.replacen(word, other, 1)).expect("a write");
        refused(&place, native, "is damaged: its ").await;
    }
    std::fs::write(&sidecar, &text).expect("a write");
    place.backups.restore(&made.csv, None).await.expect("as it was written, it is good");
    assert_eq!(place.db.count::<Widget>("", ()).await.expect("a count"), 1);
    place.db.close().await;
}

async fn a_backup_of_another_service_is_refused(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let mut options = super::options(place.folder.path(), &place.clock);
    options.backups.as_mut().expect("there are options").service = "bakery".to_owned();
    let other = Db::open(database.url(), &[], options).await.expect("a database");
    let theirs = other.backups().expect("backups").make().await.expect("a backup").csv;
    other.close().await;
    for name in ["gear", "cog"] {
        place.db.save(widget(name)).await.expect("a save");
    }
    refused(&place, &theirs, "is a backup of the service `bakery`, and this is `shop`").await;
    place.db.close().await;
}

async fn an_unknown_name_and_table_are_refused_with_those_there_are(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let folder = place.folder.path().display().to_string();
    let error = place.backups.restore("csv_x", None).await.expect_err("no such backup");
    assert_eq!(error.to_string(), format!("there is no backup `csv_x` in {folder}; there are none"));
    let made = place.backups.make().await.expect("a backup");
    for name in ["", "..", "../../etc/passwd", ".lock"] {
        let error = place.backups.restore(name, None).await.expect_err("no such backup");
        assert!(error.to_string().contains(&format!("there are {}", made.csv)), "{error}");
    }
    let error = place.backups.restore(&made.csv, Some("gears")).await.expect_err("no such table");
    let tables = "kernel_changes, kernel_declared, kernel_migrations, widgets, widgets_history";
    assert_eq!(error.to_string(), format!("the backup has no table `gears`; it has {tables}"));
    place.db.close().await;
}

async fn a_folder_without_permission_is_named(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    // A file where the folder should be: root may write into any folder.
    let folder = place.folder.path().join("file");
    std::fs::write(&folder, "").expect("a file");
    let below = folder.join("backups");
    let db = Db::open(database.url(), &[], super::options(&below, &place.clock)).await.expect("a database");
    let error = db.backups().expect("backups").make().await.expect_err("no folder can be made");
    let message = error.to_string();
    assert!(message.starts_with(&format!("BACKUP_DIR: the folder {} can't be used: ", below.display())), "{message}");
    db.close().await;
    place.db.close().await;
}

async fn a_native_backup_of_another_database_is_refused(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    for name in ["gear", "cog"] {
        place.db.save(widget(name)).await.expect("a save");
    }
    let backend = app_kernel::store::db::Backend::Sqlite;
    let backend = if place.db.backend() == backend { app_kernel::store::db::Backend::Postgres } else { backend };
    let elsewhere = TestDatabase::fresh(backend).await;
    let other = crate::db::open_with(&elsewhere, &[], super::options(place.folder.path(), &place.clock)).await;
    let theirs = other.backups().expect("backups").make().await.expect("a backup").native;
    other.close().await;
    let is = format!("is native to {}, and this is {}", backend.as_str(), place.db.backend().as_str());
    refused(&place, &theirs, &is).await;
    place.db.close().await;
}
