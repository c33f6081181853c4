//! `doctor` in broken environments: each thing is broken for real, and found with its cause and its cure. The quick start's binary runs it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use app_kernel::store::db::Backend;
use app_kernel::testing::{TestDatabase, TestRedis, on_every_database};
use serde_json::Value;

use crate::support::program::Place;

/// Long enough for production, and no example.
const SECRET: &str = "4xB0p7Qk1sN9vT2dLmZ8yHc5RfWjGa3E";

/// What was found: for each subject and verdict, the details and cures.
struct Found {
    code: Option<i32>,
    ok: bool,
    findings: BTreeMap<(String, String), Vec<String>>,
}

impl Found {
    /// What is said where there is one such finding.
    #[track_caller]
    fn only(&self, subject: &str, verdict: &str) -> &str {
        match self.findings.get(&(subject.to_owned(), verdict.to_owned())).map(Vec::as_slice) {
            Some([text]) => text,
            other => panic!("{subject} {verdict}: {other:?} of {:#?}", self.findings),
        }
    }

    fn subjects(&self, verdict: &str) -> Vec<&str> {
        self.findings.keys().filter(|(_, found)| found == verdict).map(|(subject, _)| subject.as_str()).collect()
    }
}

/// Runs it, and looks whether anything was made.
#[track_caller]
fn doctor(place: &Place) -> Found {
    let entries = || std::fs::read_dir(place.folder()).expect("a folder").count();
    let before = entries();
    let ended = place.run(&["doctor", "--json"]);
    let text = ended.out.join("\n");
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{}", ended.err));
    assert!(!text.contains("hunter2") && !ended.err.contains("hunter2"), "a password shows: {text}");
    assert_eq!(entries(), before, "it made something");
    let mut findings: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for finding in document["findings"].as_array().expect("a list") {
        let word = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let text = [word("detail"), word("cure")].join(" → ");
        findings.entry((word("subject"), word("verdict"))).or_default().push(text);
    }
    Found { code: ended.code, ok: document["ok"] == Value::Bool(true), findings }
}

fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has one").port()
}

/// A server that lets everybody in and says nothing.
fn silent_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has one").port();
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    port
}

on_every_database!(a_sound_environment_is_told_so, a_wrong_password_is_found);

async fn a_sound_environment_is_told_so(database: TestDatabase) {
    let place = Place::new().with("DATABASE_URL", database.url().expose()).with("JWT_SECRET", SECRET);
    assert_eq!(place.run(&["migrate"]).code, Some(0), "a file of SQLite is made by the first start");
    let found = doctor(&place);
    assert_eq!((found.code, found.ok), (Some(0), true), "{:#?}", found.findings);
    assert_eq!(found.subjects("fail"), Vec::<&str>::new());
    for subject in ["database", "backups", "DATA_DIR", "mail", "open files", "port", "secrets"] {
        assert!(found.subjects("ok").contains(&subject), "{subject}: {:#?}", found.findings);
    }
}

async fn a_wrong_password_is_found(database: TestDatabase) {
    let url = database.url().expose();
    let Some((scheme, rest)) = url.split_once("://").filter(|_| database.backend() != Backend::Sqlite) else {
        return; // a file has none
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let place = Place::new().with("DATABASE_URL", format!("{scheme}://nobody_like_that:hunter2@{host}"));
    let found = doctor(&place);
    assert_eq!((found.code, found.ok), (Some(1), false));
    let text = found.only("database", "fail");
    assert!(text.contains(" refuses: ") && text.contains(" → correct the user"), "{text}");
}

#[test]
fn servers_that_do_not_listen_are_found_each_with_its_cure() {
    let port = closed_port();
    let at = format!("127.0.0.1:{port}");
    let place = Place::new()
        .with("DATABASE_URL", format!("postgres://ann:hunter2@{at}/app"))
        .with("ADMIN_DB_URL", format!("mysql://ann:hunter2@{at}/app"))
        .with("REDIS_URL", format!("redis://:hunter2@{at}"))
        .with("SMTP_URL", format!("smtp://ann:hunter2@{at}"))
        .with("MAIL_FROM", "app@example.com")
        .with("OIDC_OKTA_ISSUER", format!("http://{at}"))
        .with("OIDC_OKTA_CLIENT_ID", "x")
        .with("OIDC_OKTA_CLIENT_SECRET", "hunter2");
    let found = doctor(&place);
    assert_eq!((found.code, found.ok), (Some(1), false));
    let cure = "start it, or correct the host and port";
    assert_eq!(
        found.only("database", "fail"),
        format!("DATABASE_URL: cannot reach PostgreSQL at {at}: nothing listens there → {cure}")
    );
    assert_eq!(
        found.only("admin database", "fail"),
        format!("ADMIN_DB_URL: cannot reach MySQL at {at}: nothing listens there → {cure}")
    );
    assert_eq!(
        found.only("redis", "fail"),
        format!("REDIS_URL: cannot reach redis://{at}: nothing listens there → {cure}")
    );
    let mail = found.only("mail", "fail");
    assert!(mail.starts_with(&format!("SMTP_URL: the server at {at} does not let us in: ")), "{mail}");
    assert!(mail.ends_with(" → correct SMTP_URL, or look whether this machine may reach it"), "{mail}");
    let issuer = found.only("oauth/okta", "fail");
    assert!(issuer.starts_with(&format!("http://{at} does not answer: ")), "{issuer}");
    assert!(issuer.ends_with(" → correct OIDC_OKTA_ISSUER, or look whether this machine may reach it"), "{issuer}");
}

#[test]
fn servers_that_hang_keep_nobody_waiting() {
    let at = format!("127.0.0.1:{}", silent_server());
    let place = Place::new()
        .with("DATABASE_URL", format!("postgres://ann:hunter2@{at}/app"))
        .with("REDIS_URL", format!("redis://{at}"))
        .with("GITHUB_URL", format!("http://{at}"))
        .with("GITHUB_CLIENT_ID", "x")
        .with("GITHUB_CLIENT_SECRET", "x");
    let found = doctor(&place);
    assert_eq!(found.code, Some(1));
    for subject in ["database", "redis", "oauth/github"] {
        let text = found.only(subject, "fail");
        let in_time = ["no answer within", "does not answer in time", "timed out"];
        assert!(in_time.iter().any(|words| text.contains(words)), "{text}");
    }
}

#[test]
fn redis_tells_what_it_is_and_a_wrong_password_is_found() {
    let Some(redis) = TestRedis::shared() else { return };
    let url = redis.url().expose().to_owned();
    let right = doctor(&Place::new().with("REDIS_URL", &url));
    assert!(right.only("redis", "ok").starts_with("answers: Redis "), "{:#?}", right.findings);
    let (scheme, rest) = url.split_once("://").expect("an address");
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let wrong = doctor(&Place::new().with("REDIS_URL", format!("{scheme}://nobody:hunter2@{host}")));
    let text = wrong.only("redis", "fail");
    assert!(text.contains(" refuses: ") && text.contains(" → correct the user or the password"), "{text}");
}

#[test]
fn a_weak_secret_a_misspelt_name_and_a_taken_port_are_warned_of() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it has one").port();
    let place = Place::new()
        .with("PORT", port.to_string())
        .with("JWT_SECRET", "hunter2")
        .with("DATABSE_URL", "postgres://ann:hunter2@localhost/app");
    let found = doctor(&place);
    assert_eq!((found.code, found.ok), (Some(0), true), "{:#?}", found.findings);
    assert_eq!(found.only("DATABSE_URL", "warn"), "is set, but nothing reads it → did you mean DATABASE_URL?");
    let secret = found.only("JWT_SECRET", "warn");
    assert!(secret.ends_with(" → make one with `openssl rand -base64 48`"), "{secret}");
    let port = found.only("port", "warn");
    assert!(port.ends_with(" → if it is not, stop it, or set PORT to a free port"), "{port}");
    assert_eq!(found.only("JWT_SECRET", "ok"), "[secret] → ");
}

#[test]
fn folders_that_can_not_be_written_are_found() {
    let place = Place::new().with("DATA_DIR", "./plain/data").with("BACKUP_DIR", "./locked/backups");
    std::fs::write(place.folder().join("plain"), "a file").expect("a file");
    let locked = place.folder().join("locked");
    std::fs::create_dir(&locked).expect("a folder");
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o500)).expect("it is ours");
    let may_all_the_same = std::fs::File::create(locked.join("x")).is_ok(); // root
    let found = doctor(&place);
    assert_eq!(found.code, Some(1));
    assert_eq!(found.only("DATA_DIR", "fail"), "./plain/data can't be a folder: ./plain is a file → give another path");
    if may_all_the_same {
        println!("half of it deselected: root may write everywhere");
    } else {
        assert!(found.only("BACKUP_DIR", "fail").starts_with("./locked may not be written by this user → "));
    }
}

#[test]
fn to_a_person_it_is_lines_and_a_last_word() {
    let place = Place::new().with("DATABASE_URL", format!("mysql://ann:hunter2@127.0.0.1:{}/app", closed_port()));
    let ended = place.run(&["doctor"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), "Error: a service would not work here: 1 check failed\n"));
    let at = ended.out.iter().position(|line| line.starts_with("  FAIL  database ")).expect("a line");
    assert_eq!(ended.out[at + 1].trim_start(), "→ start it, or correct the host and port");
    assert!(ended.out.iter().any(|line| line.starts_with("  ok    PORT              0")), "{:?}", ended.out);
}
