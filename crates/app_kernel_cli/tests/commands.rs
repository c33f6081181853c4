//! The tool as a person on the terminal meets it.
#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use app_kernel::base::config::VARIABLES;
use app_kernel::base::secret::Secret;
use app_kernel::prelude::*;
use app_kernel::store::db::DbOptions;
use app_kernel::store::db::backup::{BackupOptions, Made};

/// What a run of the tool did.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the tool in an empty folder, with these variables and no others, and gives the names of what lies in the folder afterwards too.
fn app_kernel(arguments: &[&str], variables: &[(&str, &str)]) -> (Ended, Vec<String>) {
    let folder = tempfile::tempdir().expect("the temporary folder can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_app-kernel"));
    command.args(arguments).env_clear().envs(variables.iter().copied()).current_dir(folder.path());
    let output = command.stdin(Stdio::null()).output().expect("the tool starts");
    let entries = std::fs::read_dir(folder.path()).expect("the folder is there");
    let left = entries.map(|entry| entry.expect("a name").file_name().to_string_lossy().into_owned()).collect();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the tool writes text");
    (Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }, left)
}

const SECRET: &str = "a secret of the tests, long enough for all";

#[test]
fn the_version_is_told() {
    let (ended, _) = app_kernel(&["--version"], &[]);
    assert_eq!((ended.code, ended.out), (Some(0), format!("app-kernel {}\n", env!("CARGO_PKG_VERSION"))));
}

/// Promise: T3
#[test]
fn every_variable_is_listed_with_its_present_value_and_secrets_are_hidden() {
    let variables = [
        ("PORT", "8123"),
        ("JWT_SECRET", "hunter2"),
        ("DATABASE_URL", "postgres://ann:hunter2@db.example.com/app?sslmode=verify-full"),
    ];
    let (ended, _) = app_kernel(&["variables"], &variables);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(!ended.out.contains("hunter2"), "{}", ended.out);
    let value_of = |name: &str| {
        let line = ended.out.lines().find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not listed:\n{}", ended.out));
        line[name.len()..].trim_start().split("  ").next().unwrap_or_default().to_owned()
    };
    for variable in VARIABLES {
        let wanted = match variable.name {
            "PORT" => "8123".to_owned(),
            "JWT_SECRET" => "[secret]".to_owned(),
            "DATABASE_URL" => "postgres://db.example.com/app".to_owned(),
            _ => format!("({})", variable.default),
        };
        assert_eq!(value_of(variable.name), wanted, "{}", variable.name);
    }
}

#[test]
fn an_empty_environment_is_sound_and_the_table_says_what_is_missing() {
    let (ended, left) = app_kernel(&["check"], &[]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let wanted = "\n  a service here\n\n  \
        database      off  DATABASE_URL is not set. Example: sqlite:///./data/app.db\n  \
        health        on   /healthz, /readyz\n  \
        metrics       on   /metrics: for this machine only; METRICS_TOKEN lets others read\n  \
        auth          off  DATABASE_URL is not set\n  \
        workspaces    off  DATABASE_URL is not set\n  \
        api keys      off  DATABASE_URL is not set\n  \
        oauth/google  off  GOOGLE_CLIENT_ID is not set\n  \
        oauth/github  off  GITHUB_CLIENT_ID is not set\n  \
        jobs          off  DATABASE_URL is not set\n  \
        webhooks      off  DATABASE_URL is not set\n  \
        audit         off  DATABASE_URL is not set\n  \
        metering      off  DATABASE_URL is not set\n  \
        idempotency   off  DATABASE_URL is not set\n  \
        locks         off  DATABASE_URL is not set\n  \
        flags         off  DATABASE_URL is not set\n  \
        mail          on   files in .data/mail; SMTP_URL sends them\n  \
        redis         off  REDIS_URL is not set; logins and mails are limited by each process for itself\n  \
        rate limit    off  REDIS_URL is not set; RATE_LIMIT_ENABLED=true limits in each process for itself\n  \
        traces        off  OTEL_EXPORTER_OTLP_ENDPOINT is not set\n  \
        documents     on   /docs, /openapi.json\n  \
        cors          on   any origin, without credentials; CORS_ORIGINS narrows it\n\n";
    assert_eq!(ended.out, wanted);
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_database_file_that_is_still_to_come_is_not_made() {
    let variables = [("DATABASE_URL", "sqlite:///./data/app.db"), ("JWT_SECRET", "short")];
    let (ended, left) = app_kernel(&["check"], &variables);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended.out.contains("database      on   sqlite:///./data/app.db, made at the first start\n"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("auth          on   "), "{}", ended.out);
    assert!(
        ended.err.starts_with("Warning: JWT_SECRET is a development secret or shorter than 32 bytes"),
        "{}",
        ended.err
    );
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn what_keeps_a_service_from_starting_is_a_line_with_the_cure_and_exit_code_1() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it has one").port();
    drop(listener); // nobody listens there now
    let url = format!("postgres://ann:hunter2@127.0.0.1:{port}/app");
    let variables = [("DATABASE_URL", url.as_str()), ("JWT_SECRET", SECRET), ("TRUSTED_PROXIES", "10.0.0.0/99")];
    let (ended, _) = app_kernel(&["check"], &variables);
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("database      off  it can't be used, see below\n"), "{}", ended.out);
    assert_eq!(
        ended.err,
        format!(
            "Error: TRUSTED_PROXIES has `10.0.0.0/99`; it must list addresses or networks such as 10.0.0.0/8 or fd00::/8\n\
             Error: DATABASE_URL: cannot reach PostgreSQL at 127.0.0.1:{port}: nothing listens there; start it, or correct the host and port\n"
        )
    );

    let (ended, _) = app_kernel(&["check"], &[("PORT", "eighty")]);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (Some(1), "Error: PORT is `eighty`; it must be a port from 0 to 65535\n")
    );
}

#[test]
fn the_doctor_names_every_bad_value_at_once_and_what_is_almost_right() {
    let variables =
        [("PORT", "eighty"), ("DEBUG", "maybe"), ("DATABSE_URL", "postgres://ann:hunter2@h/app"), ("HOME", "/nowhere")];
    let (ended, left) = app_kernel(&["doctor"], &variables);
    assert_eq!((ended.code, left.len()), (Some(1), 0), "{}", ended.out);
    assert_eq!(ended.err, "Error: a service would not work here: 2 checks failed\n");
    let line = |start: &str| {
        let mut lines = ended.out.lines().skip_while(|line| !line.starts_with(start));
        let words = [lines.next(), lines.next()].map(|line| line.unwrap_or_default().trim().to_owned());
        words.join(" ")
    };
    assert_eq!(line("  FAIL  PORT "), "FAIL  PORT              PORT is `eighty` → it must be a port from 0 to 65535");
    assert_eq!(line("  FAIL  DEBUG "), "FAIL  DEBUG             DEBUG is `maybe` → it must be true or false");
    assert!(line("  warn  DATABSE_URL ").ends_with("→ did you mean DATABASE_URL?"), "{}", ended.out);
    assert!(!ended.out.contains("hunter2") && !ended.out.contains("\x1b"), "{}", ended.out);
}

/// What is backed up.
#[derive(Debug, Clone, Entity)]
struct Widget {
    name: String,
}

/// A folder with a backup in both forms, of a database that is gone.
async fn backed_up(home: &Path) -> Made {
    let url = Secret::new(format!("sqlite:///{}", home.join("app.db").display()));
    let backups = BackupOptions { service: "shop".to_owned(), folder: home.join("backups"), keep: 3 };
    let options = DbOptions { backups: Some(backups), ..DbOptions::default() };
    let db = Db::open(&url, &[Widget::definition()], options).await.expect("the database opens");
    db.migrate().await.expect("a table");
    db.save(Widget { name: "gear".to_owned() }).await.expect("saved");
    let made = db.backups().expect("a place").make().await.expect("a backup");
    db.close().await;
    std::fs::remove_file(home.join("app.db")).expect("it goes");
    made
}

/// Promise: R-15
#[tokio::test]
async fn backups_are_verified_without_their_database() {
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let made = backed_up(home.path()).await;
    let folder = home.path().join("backups");
    let folder_text = folder.display().to_string();
    let variables = [("BACKUP_DIR", folder_text.as_str())];
    let good = |name: &str| format!("{name}: good: ");

    let (all, _) = app_kernel(&["backup", "verify"], &variables);
    assert_eq!((all.code, all.err.as_str()), (Some(0), ""), "{}", all.out);
    assert!([&made.csv, &made.native].iter().all(|name| all.out.contains(&good(name))), "{}", all.out);
    let (one, left) = app_kernel(&["backup", "verify", &made.csv, "--folder", &folder_text], &[]);
    assert_eq!((one.code, one.out.lines().count(), left.len()), (Some(0), 1, 0), "{}", one.err);
    assert!(one.out.starts_with(&good(&made.csv)), "{}", one.out);

    let (none, _) = app_kernel(&["backup", "verify", "csv_nothing", "--folder", &folder_text], &[]);
    assert_eq!(none.code, Some(1));
    assert!(none.out.contains("there is no backup `csv_nothing`"), "{}{}", none.out, none.err);
    let (empty, left) = app_kernel(&["backup", "verify"], &[]);
    assert_eq!((empty.code, left.len()), (Some(1), 0), "{}", empty.out);
    assert!(empty.err.starts_with("Error: there are no backups in .data/backups; "), "{}", empty.err);

    let table = folder.join(&made.csv).join("widgets.csv");
    let text = std::fs::read_to_string(&table).expect("a table").replace("gear", "gaer");
    std::fs::write(&table, text).expect("it can be written");
    let (damaged, _) = app_kernel(&["backup", "verify"], &variables);
    assert_eq!((damaged.code, damaged.err.as_str()), (Some(1), "Error: 1 of 2 backups are damaged\n"));
    assert!(damaged.out.contains("widgets.csv is damaged: its checksum"), "{}", damaged.out);
    assert!(damaged.out.contains(&good(&made.native)), "{}", damaged.out);
}

#[test]
fn a_shell_learns_the_commands_and_a_mistake_is_answered_with_what_may_be_meant() {
    for shell in ["bash", "zsh", "fish"] {
        let (ended, _) = app_kernel(&["completions", shell], &[]);
        assert_eq!(ended.code, Some(0));
        assert!(["app-kernel", "doctor", "kernel-path"].iter().all(|word| ended.out.contains(word)), "{}", ended.out);
    }
    let (ended, _) = app_kernel(&["docter"], &[]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("a similar subcommand exists: 'doctor'"), "{}", ended.err);
}

#[test]
fn what_can_not_be_a_service_is_refused_and_nothing_is_left() {
    for name in ["match", "My-Shop", "../shop", "app-kernel"] {
        let (ended, left) = app_kernel(&["new", name], &[]);
        assert_eq!((ended.code, left), (Some(1), Vec::new()));
        assert!(ended.err.starts_with(&format!("Error: `{name}` can't be the name of a service: ")), "{}", ended.err);
    }
    let (ended, left) = app_kernel(&["new", "shop", "--kernel-path", "../no/such"], &[]);
    assert_eq!((ended.code, left), (Some(1), Vec::new()));
    assert!(ended.err.starts_with("Error: --kernel-path ../no/such: there is no such folder; "), "{}", ended.err);
}
