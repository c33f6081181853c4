//! Making backups: both forms, at the start where anything has changed, and only so many.

use app_kernel::store::db::Backend;
use app_kernel::store::db::backup::BackedUp;
use app_kernel::store::db::entity::Entity;
use app_kernel::store::db::start::BringUp;
use app_kernel::testing::{TestDatabase, on_every_database};
use std::time::Duration;

use super::Place;
use crate::db::{Widget, widget};

on_every_database!(
    a_backup_has_a_name_a_manifest_and_every_row,
    the_name_of_a_backup_tells_its_schema,
    one_snapshot_is_backed_up_whoever_writes_meanwhile,
    a_backup_does_not_wait_for_a_transaction_that_is_open,
    a_start_backs_up_what_has_changed_and_nothing_else,
    only_so_many_are_kept_and_those_of_others_stay,
);

/// Promise: D5
async fn a_backup_has_a_name_a_manifest_and_every_row(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let gear = place.db.save(widget("gear")).await.expect("a save");
    place.db.delete::<Widget>(&gear.id).await.expect("a deletion");
    place.db.execute("CREATE TABLE [somebody_elses] ([n] INTEGER)", ()).await.expect("a table");
    let made = place.backups.make().await.expect("a backup");
    let schema = &made.csv["csv_20260130_120000_".len()..];
    assert_eq!(made.csv, format!("csv_20260130_120000_{schema}"));
    let mut wanted = vec![made.csv.clone()];
    let native = format!("native_20260130_120000_{schema}.backup");
    assert_eq!(made.native, native);
    wanted.extend([native.clone(), format!("{native}.json")]);
    assert_eq!(place.names(), wanted);
    let tables = ["kernel_changes", "kernel_declared", "kernel_migrations", "widgets", "widgets_history"];
    assert_eq!(
        super::names(&place.folder.path().join(&made.csv)),
        [
            "kernel_changes.csv",
            "kernel_declared.csv",
            "kernel_migrations.csv",
            "manifest.json",
            "widgets.csv",
            "widgets_history.csv"
        ]
    );
    #[cfg(unix)]
    for name in place.names() {
        let metadata = std::fs::metadata(place.folder.path().join(&name)).expect("it is there");
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        assert_eq!(mode & 0o077, 0, "{name} is for its owner only");
    }
    for listed in place.backups.list().expect("a list") {
        let manifest = place.backups.verify(&listed.name).await.expect("a good one");
        let rows: Vec<_> = manifest.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
        let counted: Vec<_> = tables.into_iter().zip([2, 5, 1, 1, 2]).collect();
        assert_eq!(rows, counted, "{}", listed.name);
        assert_eq!((manifest.service.as_str(), manifest.backend.as_str()), ("shop", place.db.backend().as_str()));
    }
    place.db.close().await;
}

/// Promise: D5
async fn the_name_of_a_backup_tells_its_schema(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let schema = async || {
        let name = place.backups.make().await.expect("a backup").csv;
        name.rsplit('_').next().expect("a hash").to_owned()
    };
    let empty = schema().await;
    assert!(empty.len() == 8 && empty.bytes().all(|byte| byte.is_ascii_hexdigit()), "{empty}");
    place.db.save(widget("gear")).await.expect("a save");
    assert_eq!(schema().await, empty, "rows are not the schema");
    place.db.save_entity("notes", serde_json::json!({ "text": "a" })).await.expect("a save that makes a table");
    assert_ne!(schema().await, empty);
    place.db.close().await;
}

async fn one_snapshot_is_backed_up_whoever_writes_meanwhile(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let db = place.db.clone();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let writer = tokio::spawn(async move {
        let mut count = 0_u32;
        while !*stopped.borrow_and_update() {
            db.save(widget(&format!("w{count}"))).await.expect("a save");
            count += 1;
        }
        count
    });
    for _ in 0..5 {
        let made = place.backups.make().await.expect("a backup");
        let manifest = place.backups.verify(&made.csv).await.expect("a good one");
        let rows = |name: &str| manifest.tables.iter().find(|table| table.name == name).map(|table| table.rows);
        assert_eq!(rows("widgets"), rows("widgets_history"), "a row and its version are there together");
        assert_eq!(rows("widgets"), rows("kernel_changes"));
    }
    let last = place.backups.make().await.expect("a backup");
    stop.send(true).expect("the writer listens");
    assert!(writer.await.expect("no panic") > 0);
    // Both forms say the same, to the byte.
    place.backups.restore(&last.native, None).await.expect("a restore");
    let again = place.backups.make().await.expect("a backup").csv;
    assert!(super::files(&place.folder.path().join(&again)) == super::files(&place.folder.path().join(&last.csv)));
    place.db.close().await;
}

async fn a_backup_does_not_wait_for_a_transaction_that_is_open(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let made = place.db.transaction(async |tx| {
        tx.save(widget("gear")).await?;
        let started = std::time::Instant::now();
        let made = place.backups.make().await?;
        // Less than anybody waits for a lock.
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        Ok(made)
    });
    let made = made.await.expect("a backup");
    let manifest = place.backups.verify(&made.csv).await.expect("a good one");
    let widgets = manifest.tables.iter().find(|table| table.name == "widgets").map(|table| table.rows);
    assert_eq!(widgets, Some(0), "what is not committed is not there");
    place.db.close().await;
}

async fn a_start_backs_up_what_has_changed_and_nothing_else(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    place.db.save(widget("gear")).await.expect("a save");
    let start = || async {
        match place.db.bring_up(&BringUp::default()).await.expect("a start").backup {
            BackedUp::Made(made) => Some(made),
            BackedUp::Unchanged(_) => None,
            other => panic!("{other:?}"),
        }
    };
    assert!(start().await.is_some());
    // PostgreSQL tells what was committed on the whole server, where other tests are at work: only a quiet moment counts.
    let commits = async || match place.db.backend() {
        Backend::Postgres => {
            let rows = place.db.query("SELECT pg_current_snapshot()::text", ()).await.expect("a query");
            rows[0].iter().next().map(|(_, value)| value.clone())
        }
        Backend::Sqlite | Backend::MySql => None,
    };
    for _ in 0..100 {
        let before = commits().await;
        start().await;
        let skipped = start().await.is_none();
        let is_quiet = commits().await == before;
        // The others tell times, so some has to pass.
        if skipped || (is_quiet && place.db.backend() == Backend::Postgres) {
            assert!(skipped, "nothing has changed");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if place.db.backend() != Backend::Postgres {
        assert_eq!(start().await, None, "nothing has changed");
    }
    place.db.save(widget("cog")).await.expect("a save");
    assert!(start().await.is_some(), "a save is a change");
    place.db.execute("UPDATE [widgets] SET [color] = 'x'", ()).await.expect("an update");
    assert!(start().await.is_some(), "and so is one behind the store's back");
    place.db.close().await;
}

async fn only_so_many_are_kept_and_those_of_others_stay(database: TestDatabase) {
    let place = Place::new(&database, &[Widget::definition()]).await;
    let open = |service: &str, keep: usize| {
        let mut options = super::options(place.folder.path(), &place.clock);
        let backups = options.backups.as_mut().expect("there are options");
        (backups.service, backups.keep) = (service.to_owned(), keep);
        app_kernel::store::db::Db::open(database.url(), &[], options)
    };
    let other = open("bakery", 2).await.expect("a database");
    let theirs = other.backups().expect("backups").make().await.expect("a backup");
    let shop = open("shop", 2).await.expect("a database");
    let damaged = "csv_20200101_000000_00000000";
    std::fs::create_dir(place.folder.path().join(damaged)).expect("a folder");
    let mut made = Vec::new();
    for _ in 0..4 {
        place.clock.advance(Duration::from_secs(60));
        made.push(shop.backups().expect("backups").make().await.expect("a backup"));
    }
    let there: Vec<String> = place.backups.list().expect("a list").into_iter().map(|listed| listed.name).collect();
    assert_eq!(made[0].removed, Vec::<String>::new());
    assert!(made[2].removed.contains(&made[0].csv) && made[3].removed.contains(&made[1].csv));
    for kept in [&theirs.csv, &made[2].csv, &made[3].csv, &damaged.to_owned()] {
        assert!(there.contains(kept), "{kept} in {there:?}");
    }
    assert!(!there.contains(&made[0].csv) && !there.contains(&made[1].csv), "{there:?}");
    for db in [other, shop, place.db] {
        db.close().await;
    }
}
