//! Copies of backups in a bucket: each whole, only so many, and good for a restore where the folder is gone.

use std::sync::Arc;
use std::time::Duration;

use app_kernel::base::clock::Clock;
use app_kernel::base::config::S3Config;
use app_kernel::base::secret::Secret;
use app_kernel::engine::s3::S3;
use app_kernel::store::db::Db;
use app_kernel::store::db::entity::Entity;
use app_kernel::testing::TestDatabase;

use crate::db::{Widget, widget};
use crate::support::program;
use crate::support::s3_server::S3Server;

struct Place {
    db: Db,
    folder: tempfile::TempDir,
    clock: Clock,
    _database: TestDatabase,
}

impl Place {
    async fn new(config: &S3Config) -> Self {
        let database = TestDatabase::sqlite().await;
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let clock = Clock::manual("2026-01-30T12:00:00Z".parse().expect("a time"));
        let mut options = super::options(folder.path(), &clock);
        options.backups.as_mut().expect("there are options").keep = 2;
        options.remote = Some(Arc::new(S3::new(config).expect("a bucket").with_parts_of(1000)));
        let db = crate::db::open_with(&database, &[Widget::definition()], options).await;
        db.save(widget("gear")).await.expect("a save");
        Place { db, folder, clock, _database: database }
    }

    fn backups(&self) -> app_kernel::store::db::backup::Backups {
        self.db.backups().expect("a place for backups")
    }

    /// As after a fire.
    fn lose_the_folder(&self) {
        for entry in std::fs::read_dir(self.folder.path()).expect("the folder can be read") {
            let path = entry.expect("an entry").path();
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.expect("it goes");
        }
    }
}

#[tokio::test]
async fn a_backup_is_copied_away_once_and_restored_from_there() {
    let server = S3Server::start().await;
    let place = Place::new(&server.config()).await;
    let made = place.backups().make().await.expect("a backup");
    let both = [made.csv.clone(), made.native.clone()];
    assert_eq!(place.backups().copy_away().await.expect("a copy"), both);
    assert_eq!(place.backups().copy_away().await.expect("nothing to do"), Vec::<String>::new());
    assert!(server.multiparts() > 0, "the native form has more than a part");
    assert!(server.names().contains(&format!("some/where/shop/{}/manifest.json", made.csv)), "{:?}", server.names());
    assert_eq!(place.backups().list_remote().await.expect("a list"), Vec::<String>::new(), "both are here");

    for name in &both {
        place.lose_the_folder();
        assert_eq!(place.backups().list_remote().await.expect("a list"), both);
        place.db.save(widget(name)).await.expect("a save");
        place.backups().restore(name, None).await.expect("a restore");
        assert_eq!(place.db.count::<Widget>("", ()).await.expect("a count"), 1);
        place.backups().verify(name).await.expect("it is here, and good");
    }
    place.db.close().await;
}

#[tokio::test]
async fn a_copy_that_failed_is_no_backup_and_the_next_one_makes_up_for_it() {
    let server = S3Server::start().await;
    let place = Place::new(&server.config()).await;
    let made = place.backups().make().await.expect("a backup");
    // Each time a little further.
    for granted in 0..6 {
        server.grant(granted);
        let error = place.backups().copy_away().await.expect_err("a refusal").to_string();
        assert_eq!(
            error,
            "the backups' store refuses s3://backups/some/where: AccessDenied; let this key list, read, write and delete in the bucket"
        );
        place.backups().verify(&made.csv).await.expect("the one here is good");
        let names = server.names();
        let is_whole = names.iter().any(|name| name.ends_with(&format!("{}/manifest.json", made.csv)));
        let tables = names.iter().filter(|name| name.contains(&made.csv) && name.ends_with(".csv")).count();
        assert!(!is_whole || tables == 4, "a manifest before the tables: {names:?}");
    }
    server.grant(usize::MAX);
    place.backups().copy_away().await.expect("a copy");
    place.lose_the_folder();
    place.backups().restore(&made.csv, None).await.expect("a restore");
    place.db.close().await;
}

#[tokio::test]
async fn only_so_many_are_kept_elsewhere_and_other_files_stay() {
    let server = S3Server::start().await;
    let place = Place::new(&server.config()).await;
    let mut other = server.config();
    other.prefix = "some/where/shop".to_owned();
    let stranger = S3::new(&other).expect("a bucket");
    let letter = place.folder.path().join("letter");
    std::fs::write(&letter, "Dear Ann").expect("a file");
    use app_kernel::store::db::backup::Remote as _;
    stranger.put("letter", &letter).await.expect("a copy");
    let mut made = Vec::new();
    for _ in 0..4 {
        place.clock.advance(Duration::from_secs(60));
        made.push(place.backups().make().await.expect("a backup").csv);
        place.backups().copy_away().await.expect("a copy");
    }
    place.lose_the_folder();
    let there = place.backups().list_remote().await.expect("a list");
    let csvs: Vec<&String> = there.iter().filter(|name| name.starts_with("csv_")).collect();
    assert_eq!(csvs, [&made[2], &made[3]]);
    assert!(server.names().contains(&"some/where/shop/letter".to_owned()));
    place.db.close().await;
}

#[tokio::test]
async fn a_copy_that_was_changed_elsewhere_is_refused() {
    let server = S3Server::start().await;
    let place = Place::new(&server.config()).await;
    let made = place.backups().make().await.expect("a backup");
    place.backups().copy_away().await.expect("a copy");
    server.change(&format!("some/where/shop/{}/widgets.csv", made.csv), |bytes| bytes[20] ^= 1);
    place.lose_the_folder();
    let error = place.backups().restore(&made.csv, None).await.expect_err("a refusal");
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert_eq!(super::names(place.folder.path()), Vec::<String>::new(), "nothing is left of it");
    place.db.close().await;
}

#[tokio::test]
async fn a_wrong_key_or_bucket_is_named_with_the_cure() {
    let server = S3Server::start().await;
    let right = server.config();
    let wrong_secret = S3Config { secret_access_key: Secret::new("hunter2"), ..right.clone() };
    let wrong_bucket = S3Config { bucket: "attic".to_owned(), ..right.clone() };
    let wrong_region = S3Config { region: "us-east-1".to_owned(), ..right.clone() };
    let nobody = S3Config { endpoint: "http://127.0.0.1:1".to_owned(), ..right };
    for (config, wanted) in [
        (wrong_secret, "SignatureDoesNotMatch; correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (wrong_bucket, "NoSuchBucket; make the bucket, or correct BACKUP_S3_BUCKET"),
        (wrong_region, "AuthorizationHeaderMalformed; correct BACKUP_S3_REGION and BACKUP_S3_ENDPOINT"),
        (nobody, "Connection refused"),
    ] {
        let place = Place::new(&config).await;
        let error = place.backups().copy_away().await.expect_err("a refusal").to_string();
        assert!(error.contains(wanted) && !error.contains("hunter2"), "{error}");
        place.db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_and_a_start_copy_away() {
    let server = S3Server::start().await;
    let place = server.variables().iter().fold(program::Place::new(), |place, (name, value)| place.with(name, value));
    assert_eq!(place.run(&["migrate"]).code, Some(0));
    let made = place.run(&["backup"]);
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""), "{:?}", made.out);
    assert!(made.out.iter().any(|line| line.ends_with(": copied to s3://backups/some/where")), "{:?}", made.out);
    let name = made.out[0].split(':').next().expect("a name").to_owned();
    std::fs::remove_dir_all(place.folder().join(".data/backups")).expect("it goes");
    let listed = place.run(&["backup", "list"]);
    assert!(listed.out[0].starts_with(&format!("{name}: only in s3://backups/some/where")), "{:?}", listed.out);
    let restored = place.run(&["restore", &name]);
    assert_eq!(restored.code, Some(0), "{}", restored.err);

    let mut serving = place.serve();
    serving.wait_for_line(|line| line.contains("is copied away"));
    assert_eq!(serving.stop().code, Some(0));
    let incomplete = program::Place::new().with("BACKUP_S3_BUCKET", "backups").run(&[]);
    assert_eq!(incomplete.err, "Error: BACKUP_S3_BUCKET is set and AWS_ACCESS_KEY_ID is not; the bucket needs it\n");
}
