//! The quick start's binary as a person on the terminal, or an orchestrator, meets it: what it says when it can't start, how it stops, and
//! what its roles do.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::channel;

use app_kernel::base::config::ServiceConfig;
use app_kernel::store::db::Backend;
use app_kernel::testing::{Client, TestDatabase, on_every_database};
use serde_json::{Value, json};

use crate::support::program::{Ended, PATIENCE, Place, quickstart};
use crate::support::repository;

const PASSWORD: &str = "correct horse battery staple";
/// Long enough for production.
const SECRET: &str = "a secret of the tests, long enough for all";

// --- what it says when it can't start ------------------------------------------------------------------------------------------------

/// Runs the binary with these variables, which must not do, and gives the line that it says.
#[track_caller]
fn refusal(variables: &[(&str, &str)]) -> String {
    refusal_in(variables.iter().fold(Place::new(), |place, (name, value)| place.with(name, *value)))
}

#[track_caller]
fn refusal_in(place: Place) -> String {
    let Ended { code, err, .. } = place.run(&[]);
    assert_eq!(code, Some(1), "{err}");
    let line = err.strip_suffix('\n').unwrap_or(&err).strip_prefix("Error: ");
    let line = line.unwrap_or_else(|| panic!("it says:\n{err}"));
    assert!(!line.contains('\n'), "more than one line:\n{err}");
    assert!(!line.contains("hunter2"), "the password shows: {line}");
    line.to_owned()
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has one").port()
}

#[test]
fn an_unknown_database_is_refused() {
    assert_eq!(
        refusal(&[("DATABASE_URL", "mongodb://ann:hunter2@localhost/app")]),
        "DATABASE_URL has the scheme `mongodb`; it must be sqlite, postgres or mysql. Example: sqlite:///./data/app.db"
    );
}

#[test]
fn a_database_server_that_does_not_listen_is_named_with_the_cure() {
    let port = closed_port();
    for (scheme, name) in [("postgres", "PostgreSQL"), ("mysql", "MySQL")] {
        assert_eq!(
            refusal(&[("DATABASE_URL", &format!("{scheme}://ann:hunter2@127.0.0.1:{port}/app"))]),
            format!(
                "DATABASE_URL: cannot reach {name} at 127.0.0.1:{port}: nothing listens there; start it, or correct the host and port"
            )
        );
    }
}

on_every_database!(
    a_database_that_is_not_there_is_named_with_the_cure,
    a_wrong_user_or_password_is_named_with_the_cure,
    migrate_makes_the_schema_and_says_what_it_did,
    an_administrator_is_made_and_unmade_on_the_terminal,
    an_account_is_made_listed_and_shut_on_the_terminal,
    the_production_recipes_start,
);

async fn a_database_that_is_not_there_is_named_with_the_cure(database: TestDatabase) {
    let url = database.url().expose().to_owned();
    let cure = match database.backend() {
        Backend::Sqlite => return, // it is made, see below
        Backend::Postgres => "database \"no_such_database\" does not exist; make it: createdb no_such_database",
        Backend::MySql => "Unknown database 'no_such_database'; make it: CREATE DATABASE `no_such_database`",
    };
    let (server, _) = url.rsplit_once('/').expect("an address has a database");
    let line = refusal(&[("DATABASE_URL", &format!("{server}/no_such_database"))]);
    assert!(line.starts_with("DATABASE_URL: ") && line.ends_with(cure), "{line}");
}

async fn a_wrong_user_or_password_is_named_with_the_cure(database: TestDatabase) {
    if database.backend() == Backend::Sqlite {
        return; // a file has none
    }
    let url = database.url().expose().to_owned();
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let line = refusal(&[("DATABASE_URL", &format!("{scheme}://nobody_like_that:hunter2@{host}"))]);
    assert!(line.starts_with("DATABASE_URL: ") && line.contains(" refuses: "), "{line}");
    assert!(line.contains("nobody_like_that") && line.contains("; correct the user"), "{line}");
}

#[test]
fn a_database_file_that_can_not_be_made_is_named_with_the_cure() {
    let place = Place::new().with("DATABASE_URL", "sqlite:///./plain/app.db");
    std::fs::write(place.folder().join("plain"), "a file").expect("a file");
    let line = refusal_in(place);
    assert!(
        line.starts_with("DATABASE_URL: the SQLite file ./plain/app.db can't be used: can't make the folder ./plain"),
        "{line}"
    );
    assert!(line.ends_with("; make it, or give another path"), "{line}");
}

#[test]
fn a_file_that_is_no_database_is_left_as_it_is() {
    let place = Place::new().with("DATABASE_URL", "sqlite:///./letter.txt");
    let (path, letter) = (place.folder().join("letter.txt"), "Dear Ann, ".repeat(1000));
    std::fs::write(&path, &letter).expect("a file");
    let place_of_the_run = Place::new().with("DATABASE_URL", format!("sqlite:///{}", path.display()));
    let line = refusal_in(place_of_the_run);
    assert!(line.contains("letter.txt can't be used: file is not a database; is it a SQLite file"), "{line}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), letter);
}

#[test]
fn values_that_do_not_fit_are_named_with_the_cure() {
    let cases = [
        ("PORT", "eighty", "PORT is `eighty`; it must be a port from 0 to 65535"),
        ("HOST", "localhost", "HOST is `localhost`; it must be an IP address such as 127.0.0.1"),
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/99",
            "TRUSTED_PROXIES has `10.0.0.0/99`; it must list addresses or networks such as 10.0.0.0/8 or fd00::/8",
        ),
        (
            "LOG_LEVEL",
            "loud",
            "LOG_LEVEL is `loud`; it must be error, warn, info, debug, trace or off, or a filter such as `info,app_kernel::store=debug`",
        ),
        (
            "BACKUP_SCHEDULE",
            "daily",
            "BACKUP_SCHEDULE is `daily`: it has not five fields: minute, hour, day of the month, month, day of the week. \
             Example: 0 3 * * * is each day at three, in UTC",
        ),
        ("LOG_FORMAT", "xml", "LOG_FORMAT is `xml`; it must be json or pretty"),
        (
            "CORS_ORIGINS",
            "myapp",
            "CORS_ORIGINS has `myapp`; an origin is a scheme and a host, such as https://myapp.com",
        ),
    ];
    for (name, value, wanted) in cases {
        let place = Place::new().with(name, value);
        let folder = place.folder().to_owned();
        let Ended { code, out, err } = place.run(&[]);
        assert_eq!((code, err), (Some(1), format!("Error: {wanted}\n")));
        assert_eq!(out, Vec::<String>::new(), "{name}");
        assert!(!folder.join("data").exists(), "{name}: a start that fails for its configuration makes no database");
    }
}

#[test]
fn a_weak_secret_does_not_start_in_production() {
    let line = refusal(&[("APP_ENV", "production"), ("JWT_SECRET", "hunter2")]);
    assert_eq!(
        line,
        "JWT_SECRET (or JWT_SECRET_PREVIOUS) is too weak for production: it needs at least 32 bytes that nobody can guess. \
         Make one with `openssl rand -base64 48`"
    );
}

#[test]
fn a_port_that_is_taken_is_named_with_the_cure() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it has one").port();
    let Ended { code, out, err } = Place::new().with("PORT", port.to_string()).run(&[]);
    let wanted = format!(
        "Error: PORT: can't listen on 127.0.0.1:{port}: another program listens there; stop it, or set PORT to a free port\n"
    );
    assert_eq!((code, err), (Some(1), wanted));
    let told = out.iter().filter(|line| line.contains("\"feature\"") || line.contains("listening")).count();
    assert_eq!(told, 0, "it tells what is on before it is: {out:?}");
}

// --- how it starts, tells and stops --------------------------------------------------------------------------------------------------

/// Promise: B7, B8
#[test]
fn folders_of_the_database_file_are_made() {
    let place = Place::new().with("DATABASE_URL", "sqlite:///./a/new/folder/app.db");
    assert_eq!(place.serve().stop().code, Some(0));
    assert!(place.folder().join("a/new/folder/app.db").is_file());

    let absolute = place.folder().join("elsewhere/app.db");
    let place = Place::new().with("DATABASE_URL", format!("sqlite:///{}", absolute.display()));
    assert_eq!(place.serve().stop().code, Some(0));
    assert!(absolute.is_file());
}

#[test]
fn what_a_file_says_holds_in_development_and_is_told_by_name() {
    let place = Place::new();
    std::fs::write(
        place.folder().join(".env"),
        "# mine\nDATABASE_URL=sqlite:///./mine.db\nPORT=1\nJWT_SECRET=hunter2\n",
    )
    .expect("a file");
    let Ended { code, out, .. } = place.serve().stop();
    assert_eq!(code, Some(0));
    let told = r#""message":".env: on, gives DATABASE_URL, JWT_SECRET""#;
    assert!(out.iter().any(|line| line.contains(told)), "{out:?}");
    assert!(!out.concat().contains("hunter2") && place.folder().join("mine.db").is_file());

    std::fs::write(place.folder().join(".env"), "PORT=1\nhunter2\n").expect("a file");
    let Ended { code, err, .. } = place.run(&[]);
    let wanted = "Error: .env, line 2: this is no variable; write NAME=value, in quotes where the value has spaces, # or quotes itself\n";
    assert_eq!((code, err.as_str()), (Some(1), wanted));
    let production =
        place.with("APP_ENV", "production").with("JWT_SECRET", SECRET).with("DATABASE_URL", "sqlite:///./p.db");
    assert_eq!(production.serve().stop().code, Some(0));
}

#[test]
fn a_shell_learns_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let Ended { code, out, .. } = Place::new().run(&["completions", shell]);
        let script = out.join("\n");
        assert_eq!(code, Some(0));
        assert!(
            script.contains("quickstart") && script.contains("admin-worker") && script.contains("doctor"),
            "{script}"
        );
    }
}

/// Promise: A5
#[test]
fn the_log_is_one_json_object_a_line_from_the_first_fact_to_the_last() {
    let serving = Place::new().serve();
    let address = serving.url().trim_start_matches("http://").to_owned();
    let answer = ask(&address, "GET /healthz?token=hunter2 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let Ended { code, out, err } = serving.stop();
    assert_eq!((code, err.as_str()), (Some(0), ""));

    let lines: Vec<Value> = out
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}")))
        .collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "a line without `{field}`: {line}");
        }
    }
    let facts: Vec<(&str, &str)> = lines
        .iter()
        .filter_map(|line| Some((line["feature"].as_str()?, line["state"].as_str().expect("a fact is on or off"))))
        .collect();
    let (on, off): (Vec<_>, Vec<_>) = facts.into_iter().partition(|(_, state)| *state == "on");
    let wanted = [
        "database",
        "backups",
        "health",
        "metrics",
        "auth",
        "workspaces",
        "api keys",
        "jobs",
        "webhooks",
        "audit",
        "metering",
        "idempotency",
        "locks",
        "flags",
        "mail",
        "documents",
        "cors",
    ];
    assert_eq!(on, wanted.map(|name| (name, "on")));
    assert_eq!(off, ["oauth/google", "oauth/github", "redis", "rate limit", "traces"].map(|name| (name, "off")));
    let requests: Vec<&Value> = lines.iter().filter(|line| line["route"] == "/healthz").collect();
    assert_eq!(requests.len(), 1, "{out:?}");
    assert_eq!((requests[0]["method"].as_str(), requests[0]["status"].as_u64()), (Some("GET"), Some(200)));
    assert!(!out.concat().contains("hunter2"), "a query shows in the log: {out:?}");
}

/// Promise: R-30
#[test]
fn sigterm_lets_a_request_in_flight_finish_and_ends_with_0() {
    let place = Place::new();
    let mut serving = place.serve();
    let address = serving.url().trim_start_matches("http://").to_owned();
    let body = json!({ "email": "ann@example.com", "password": PASSWORD }).to_string();
    let mut connection = TcpStream::connect(&address).expect("it listens");
    let head = format!(
        "POST /auth/register HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).expect("it reads");
    // The handler asks for the body: the request is in flight.
    let mut go_on = [0; 25];
    connection.read_exact(&mut go_on).expect("it answers");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    serving.terminate();
    serving.wait_for_line(|line| line.contains("SIGTERM"));
    connection.write_all(body.as_bytes()).expect("it still reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers, then closes");
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    let Ended { code, out, err } = serving.end();
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.iter().any(|line| line.contains("all connections are closed")), "{out:?}");
    // The mail that the request asked for is a job: done before the end, or by the next start.
    if !out.iter().any(|line| line.contains(".eml")) {
        let mut again = place.serve();
        again.wait_for_line(|line| line.contains(".eml"));
        assert_eq!(again.stop().code, Some(0));
    }
    assert_eq!(std::fs::read_dir(place.folder().join(".data/mail")).expect("a folder").count(), 1);
    assert!(TcpStream::connect(&address).is_err());
}

/// One request on a connection of its own, and all that comes back.
fn ask(address: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Promise: D1, D4
#[test]
fn each_start_backs_up_what_has_changed_and_says_so() {
    let place = Place::new().with("DATA_DIR", "kept");
    let fact = |place: &Place| {
        let Ended { code, out, .. } = place.serve().stop();
        assert_eq!(code, Some(0));
        let lines = out.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let fact = lines.into_iter().find(|line| line["feature"] == "backups").expect("a fact about backups");
        fact["message"].as_str().expect("a text").to_owned()
    };
    assert_eq!(fact(&place), "backups: on, the next start makes the first one: there was nothing yet");
    let made = fact(&place);
    let name = made.trim_start_matches("backups: on, ").split(':').next().expect("a name");
    assert!(place.folder().join("kept/backups").join(name).join("manifest.json").is_file(), "{made}");
    assert_eq!(fact(&place), format!("backups: on, nothing has changed since {name}"));
    assert_eq!(place.run(&["backup", "verify", "--all"]).code, Some(0));
    let off = place.with("BACKUP_ENABLED", "false");
    assert_eq!(fact(&off), "backups: off, BACKUP_ENABLED is false");
}

/// Promise: D4
#[test]
fn backups_and_migrations_lie_where_they_are_told_to() {
    let place = Place::new().with("DATA_DIR", "kept").with("BACKUP_DIR", "copies").with("MIGRATIONS_DIR", "ways");
    for _ in 0..2 {
        assert_eq!(place.serve().stop().code, Some(0));
    }
    let starts = |folder: &str| {
        let files = std::fs::read_dir(place.folder().join(folder)).expect("a folder");
        let mut starts: Vec<String> = files
            .filter_map(|file| Some(file.expect("a file").file_name().to_str()?.split('_').next()?.to_owned()))
            .filter(|start| !start.starts_with('.'))
            .collect();
        starts.sort();
        starts
    };
    assert_eq!(starts("copies"), ["csv", "native", "native"]);
    assert_eq!(starts("ways").len(), 2, "{:?}", starts("ways"));
    assert!(!place.folder().join("kept/backups").exists() && !place.folder().join("kept/migrations_audit").exists());
}

/// Promise: D4
#[test]
fn without_migrations_a_start_leaves_the_schema_as_it_is() {
    let place = Place::new();
    let off = place.with("MIGRATION_ENABLED", "false");
    assert_eq!(off.serve().stop().code, Some(0));
    assert!(!off.folder().join(".data/migrations_audit").exists());
    let plan = off.run(&["migrate", "--plan"]).out;
    assert!(plan.iter().any(|line| line.starts_with("CREATE TABLE \"widgets\"")), "{plan:?}");
    assert_eq!(off.with("MIGRATION_ENABLED", "true").serve().stop().code, Some(0));
}

// --- its roles -----------------------------------------------------------------------------------------------------------------------

#[test]
fn help_and_version_speak_of_the_service() {
    let place = Place::new();
    let help = place.run(&["--help"]);
    assert_eq!((help.code, help.out[0].as_str()), (Some(0), "widget_service"));
    for role in ["serve", "migrate", "openapi", "doctor", "health", "completions", "user"] {
        assert!(help.out.iter().any(|line| line.trim_start().starts_with(role)), "{role}: {:?}", help.out);
    }
    assert_eq!(place.run(&["--version"]).out, ["widget_service 0.1.0"]);
    let mistake = place.run(&["sevre"]);
    assert_eq!(mistake.code, Some(2));
    assert!(mistake.err.starts_with("error: unrecognized subcommand 'sevre'"), "{}", mistake.err);
    assert!(!place.folder().join("data").exists(), "none of these touches the database");
}

#[test]
fn a_service_is_asked_for_its_health_by_its_own_program() {
    let place = Place::new();
    let serving = place.serve();
    let port = serving.url().rsplit_once(':').expect("an address has a port").1.to_owned();
    let well = place.run(&["health", "--port", &port]);
    assert_eq!((well.code, well.out, well.err.as_str()), (Some(0), vec!["ok".to_owned()], ""));
    serving.stop();
    let gone = Place::new().with("PORT", port.as_str()).run(&["health"]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.err.contains(&format!("nothing answers at 127.0.0.1:{port}")), "{}", gone.err);
}

#[test]
fn the_document_is_printed_without_a_database() {
    // Nothing listens there, and nothing is asked there.
    let place = Place::new().with("DATABASE_URL", format!("postgres://ann@127.0.0.1:{}/app", closed_port()));
    let Ended { code, out, err } = place.run(&["openapi"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let document: Value = serde_json::from_str(&out.join("\n")).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "widget_service");
    let paths = document["paths"].as_object().expect("paths");
    for path in ["/api/v1/widgets", "/api/v1/widgets/{id}/history", "/api/v1/auth/login", "/healthz"] {
        assert!(paths.contains_key(path), "{path} is not among {:?}", paths.keys().collect::<Vec<_>>());
    }
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let mut child = Place::new().command(quickstart()).args(["openapi"]).spawn().expect("it starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_command_that_waits_for_another_process_says_so() {
    let place = Place::new();
    let mut command = place.command(quickstart()); // built before anybody waits
    std::fs::create_dir(place.folder().join("data")).expect("a folder");
    let lock = File::create(place.folder().join("data/app.db.lock")).expect("a file");
    lock.lock().expect("nobody else has it");
    let (release, released) = channel::<()>();
    // Where the note does not come, the command goes on all the same, and ends.
    let holder = std::thread::spawn(move || {
        let _ = released.recv_timeout(PATIENCE);
        drop(lock);
    });
    let mut child = command.args(["user", "list"]).spawn().expect("it starts");
    let mut said = String::new();
    BufReader::new(child.stderr.take().expect("piped")).read_line(&mut said).expect("text");
    assert_eq!(said, "note: another process starts or restores on this database: waiting until it is done\n");
    release.send(()).expect("the lock is still held");
    holder.join().expect("it does not panic");
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(0));
}

async fn migrate_makes_the_schema_and_says_what_it_did(database: TestDatabase) {
    let place = Place::new().with("DATABASE_URL", database.url().expose());
    let made = |ended: &Ended| ended.out.iter().filter(|line| line.starts_with("CREATE TABLE")).count();
    let plan = place.run(&["migrate", "--plan"]);
    assert_eq!((plan.code, plan.err.as_str()), (Some(0), ""));
    assert!(plan.out.concat().contains("widgets_history"), "{:?}", plan.out);

    let migrated = place.run(&["migrate"]);
    assert_eq!(
        (migrated.code, &migrated.out),
        (Some(0), &plan.out),
        "what was planned is what was done: {}",
        migrated.err
    );
    assert!(made(&migrated) >= 8, "{:?}", migrated.out);

    for again in [place.run(&["migrate"]), place.run(&["migrate", "--plan"])] {
        assert_eq!((again.code, again.out), (Some(0), vec![NOTHING_TO_DO.to_owned()]));
    }
    let serving = place.serve();
    let ended = serving.stop();
    assert!(!ended.out.iter().any(|line| line.contains("schema: ")), "nothing was left to do: {:?}", ended.out);
}

const NOTHING_TO_DO: &str = "-- nothing to do: the database has the schema of the code";

/// Promise: F5
async fn an_administrator_is_made_and_unmade_on_the_terminal(database: TestDatabase) {
    let place = Place::new().with("DATABASE_URL", database.url().expose()).with("JWT_SECRET", SECRET);
    let serving = place.serve();
    let ann = sign_up(serving.url(), "ann@example.com").await;
    let role = async || ann.get("/auth/me").await.expect(200).json()["role"].clone();
    assert_eq!(role().await, "user");

    let promoted = place.run(&["user", "promote", "Ann@Example.com"]);
    assert_eq!((promoted.code, promoted.out), (Some(0), vec!["Ann@Example.com is an administrator".to_owned()]));
    // Another process: who asks is read anew after a second or so.
    let again = sign_in(serving.url(), "ann@example.com").await;
    assert_eq!(again.get("/auth/me").await.expect(200).json()["role"], "admin");

    let demoted = place.run(&["user", "demote", "ann@example.com"]);
    assert_eq!((demoted.code, demoted.out), (Some(0), vec!["ann@example.com is a user".to_owned()]));
    let again = sign_in(serving.url(), "ann@example.com").await;
    assert_eq!(again.get("/auth/me").await.expect(200).json()["role"], "user");

    let unknown = place.run(&["user", "promote", "bob@example.com"]);
    assert_eq!(
        (unknown.code, unknown.err.as_str()),
        (Some(1), "Error: there is no user with the address bob@example.com\n")
    );
    assert_eq!(serving.stop().code, Some(0));
}

/// Promise: R-22, F5
async fn an_account_is_made_listed_and_shut_on_the_terminal(database: TestDatabase) {
    let place = Place::new().with("DATABASE_URL", database.url().expose()).with("JWT_SECRET", SECRET);
    let place = place.with("ALLOW_SELF_SIGNUP", "false");
    let made = place.run(&["user", "create", "Ann@example.com", "--admin", "--name", "Ann"]);
    let [line] = made.out.as_slice() else { panic!("{:?} {}", made.out, made.err) };
    let password = line.strip_prefix("Ann@example.com is an administrator; password, shown once: ").expect(line);

    let bobs = {
        let mut child = place.command(quickstart());
        let mut child = child
            .args(["user", "create", "bob@example.com", "--password-stdin"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("piped").write_all(format!("{PASSWORD}\nnot this\n").as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    };
    assert_eq!(String::from_utf8_lossy(&bobs.stdout), "bob@example.com is a user\n");
    let nothing = place.run(&["user", "create", "carol@example.com", "--password-stdin"]);
    assert!(nothing.code == Some(1) && nothing.err.contains("no password on standard input"), "{}", nothing.err);
    let again = place.run(&["user", "create", "BOB@example.com"]);
    assert!(again.code == Some(1) && again.err.contains("already registered"), "{}", again.err);

    let serving = place.serve();
    let log_in = async |email: &str, password: &str| {
        Client::new(serving.url()).post("/auth/login", json!({ "email": email, "password": password })).await
    };
    let tokens = log_in("ann@example.com", password).await.expect(200).json();
    let ann = Client::new(serving.url()).with_token(tokens["access_token"].as_str().expect("a token"));
    let seen = ann.get("/auth/me").await.expect(200).json();
    assert_eq!((&seen["role"], &seen["name"]), (&json!("admin"), &json!("Ann")));
    assert!(seen["workspace_id"].is_string(), "{seen}");
    log_in("bob@example.com", PASSWORD).await.expect(200);

    let shut = place.run(&["user", "deactivate", "ann@example.com"]);
    assert_eq!(shut.out, ["ann@example.com may not sign in, and all sessions are ended"], "{}", shut.err);
    log_in("ann@example.com", password).await.expect(401);
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    Client::new(serving.url()).post("/auth/refresh", &refresh).await.expect(401);
    // Another process: it believes what it knew for a second at most.
    let ended = async { while ann.get("/auth/me").await.status == 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("her sessions end");

    let listed = place.run(&["user", "list"]);
    let rows: Vec<Vec<&str>> = listed.out.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["role", "active", "created", "last", "sign-in", "address"]);
    assert_eq!((rows.len(), &rows[1][..2], rows[1][4]), (3, &["admin", "no"][..], "Ann@example.com"));
    assert_eq!((&rows[2][..2], rows[2][4]), (&["user", "yes"][..], "bob@example.com"));
    assert!(rows[2][3].starts_with("20") && rows[2][3].ends_with('Z'), "{:?}", rows[2]);

    let open = place.run(&["user", "activate", "ann@example.com"]);
    assert_eq!(open.out, ["ann@example.com may sign in"], "{}", open.err);
    log_in("ann@example.com", password).await.expect(200);
    Client::new(serving.url()).post("/auth/refresh", &refresh).await.expect(401);
    let dropped = place.run(&["user", "drop-second-factor", "ann@example.com"]);
    assert_eq!(dropped.out, ["ann@example.com signs in by password alone"], "{}", dropped.err);
    assert_eq!(place.run(&["user", "deactivate", "nobody@example.com"]).code, Some(1));
    assert_eq!(serving.stop().code, Some(0));
}

async fn sign_up(url: &str, email: &str) -> Client {
    let registration = json!({ "email": email, "password": PASSWORD });
    Client::new(url).post("/auth/register", registration).await.expect(201);
    sign_in(url, email).await
}

async fn sign_in(url: &str, email: &str) -> Client {
    let credentials = json!({ "email": email, "password": PASSWORD });
    let tokens = Client::new(url).post("/auth/login", credentials).await.expect(200).json();
    Client::new(url).with_token(tokens["access_token"].as_str().expect("a token"))
}

// --- production ----------------------------------------------------------------------------------------------------------------------

/// The variables of a recipe, as the README writes them.
fn recipe(backend: Backend) -> Vec<(String, String)> {
    let readme = repository::read("README.md");
    let (_, part) = readme.split_once("<!-- production -->\n").expect("the README has recipes");
    let (part, _) = part.split_once("<!-- end of production -->").expect("and they end");
    let name = match backend {
        Backend::Sqlite => "# SQLite\n",
        Backend::Postgres => "# PostgreSQL\n",
        Backend::MySql => "# MySQL\n",
    };
    let (_, lines) = part.split_once(name).unwrap_or_else(|| panic!("no recipe says `{}`", name.trim()));
    let lines = lines.lines().take_while(|line| *line != "```");
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    lines.map(|line| pair(line).unwrap_or_else(|| panic!("`{line}` is no variable"))).collect()
}

/// Promise: T4
async fn the_production_recipes_start(database: TestDatabase) {
    let recipe = recipe(database.backend());
    assert!(recipe.len() <= 4, "three or four variables: {recipe:?}");
    let config = ServiceConfig::from_variables(recipe.clone()).expect("the recipe as it stands");
    assert!(config.production && config.jwt_secret.is_some());
    assert_eq!(config.host.to_string(), "0.0.0.0");

    // The same, on the database of the test.
    let start = recipe.iter().fold(Place::new(), |place, (name, value)| place.with(name, value));
    serves(&start.with("DATABASE_URL", database.url().expose()), "https://myapp.com").await;
    // Without APP_ENV, with a secret of the length that examples have, and with Redis: accepted, with a warning.
    let place = Place::new().with("DATABASE_URL", database.url().expose()).with("JWT_SECRET", "your-production-secret");
    let place = place.with("REDIS_URL", "redis://localhost:6379").with("CORS_ORIGINS", "https://myapp.com");
    serves(&place, "https://myapp.com").await;
}

/// Starts the service, asks whether it is ready for a page of this origin, and stops it.
async fn serves(place: &Place, origin: &str) {
    let serving = place.serve();
    let url = serving.url().replace("0.0.0.0", "127.0.0.1");
    let answer = Client::new(url).with_header("origin", origin).get("/readyz").await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    let ended = serving.stop();
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}
