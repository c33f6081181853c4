//! Secrets that nobody may find again: a service is given some through every door, and then all that it left is searched for them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use app_kernel::base::breaker::BreakerRule;
use app_kernel::base::secret::Secret;
use app_kernel::prelude::*;
use app_kernel::service::log;
use app_kernel::store::db::{Backend, DbOptions};
use app_kernel::store::redis::{Redis, RedisOptions};
use app_kernel::testing::{Answer, Client, TestDatabase, TestRedis, on_every_database};
use serde_json::json;

use super::second_factor::App;
use super::{Tokens, auth_only};
use crate::support::smtp::SmtpServer;

on_every_database!(no_secret_is_in_a_log_an_answer_or_a_table);

/// Set for the process that serves; the test's own process asks.
const SERVES: &str = "APP_KERNEL_TEST_SERVES_CANARIES";
/// Set for it too: the name of the service, which nobody else on the Redis has.
const NAME: &str = "APP_KERNEL_TEST_NAME";
const SECRET: &str = "canary-of-the-signing-key-0123456789";
const FORMER_SECRET: &str = "canary-of-the-former-key-0123456789";
const SMTP_PASSWORD: &str = "canary-of-the-mail-server";

/// Promise: R-32
async fn no_secret_is_in_a_log_an_answer_or_a_table(database: TestDatabase) {
    if std::env::var_os(SERVES).is_some() {
        return serve().await;
    }
    let url = with_password(database.url().expose());
    let backend = database.backend().as_str();
    let name = format!("auth::canaries::{backend}::no_secret_is_in_a_log_an_answer_or_a_table");
    let mut smtp = SmtpServer::start().await;
    let smtp_url = format!("smtp://app:{SMTP_PASSWORD}@{}", smtp.address());
    let redis = TestRedis::shared();
    let redis_url = redis.as_ref().map(|redis| redis.url().expose().to_owned()).unwrap_or_default();
    let mut server = Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--exact", &name, "--nocapture"])
        .envs([(SERVES, "1"), ("DATABASE_URL", &url), ("JWT_SECRET", SECRET), ("JWT_SECRET_PREVIOUS", FORMER_SECRET)])
        .env("DATA_DIR", database.data_dir())
        .envs([("REDIS_URL", redis_url.as_str()), (NAME, &app_kernel::base::id::new_id())])
        .env("RATE_LIMIT_REQUESTS", "100000")
        .envs([("PORT", "0"), ("LOG_LEVEL", "trace"), ("LOG_FORMAT", "json"), ("ALLOW_SELF_SIGNUP", "true")])
        .envs([("SMTP_URL", smtp_url.as_str()), ("MAIL_FROM", "no-reply@example.com")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the test starts itself");
    let (stdout, mut stderr) = (server.stdout.take().expect("piped"), server.stderr.take().expect("piped"));
    let (tell, address) = mpsc::channel();
    let reader = std::thread::spawn(move || read_log(stdout, &tell));
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let address = tokio::task::spawn_blocking(move || address.recv()).await.expect("no panic");
    let canaries = match address {
        Ok(address) => release(&Client::new(address), &mut smtp).await,
        Err(_) => Vec::new(),
    };
    drop(server.stdin.take()); // tells it to stop
    let status = tokio::task::spawn_blocking(move || server.wait()).await.expect("no panic").expect("it ends");
    let log = reader.join().expect("no panic");
    let complaints = complaints.join().expect("no panic").expect("text");
    assert!(status.success() && !canaries.is_empty(), "the service ended with {status}: {log}{complaints}");

    let requests = log.lines().filter(|line| line.contains("app_kernel::request")).count();
    assert!(requests >= 20, "only {requests} requests are in the log: {log}");
    let tables = tables(&database).await;
    assert!(tables.contains("$argon2id$"), "the tables were read: {tables}");
    let (files, redis) = (readable_files(&database), redis_of(redis.as_ref(), &log).await);
    for (name, secret) in &canaries {
        for (place, text) in [
            ("the log or the table at start", &log),
            ("standard error", &complaints),
            ("a table", &tables),
            ("a file that others read", &files),
            ("Redis", &redis),
        ] {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None, "{name} is in {place}");
        }
    }
    println!(
        "R-32 held: {} secrets through {requests} requests at LOG_LEVEL=trace, 0 found on {backend}",
        canaries.len()
    );
}

/// The other process: a service until its standard input ends.
async fn serve() {
    let config = ServiceConfig::from_env().expect("a configuration");
    let log = log::init(&config).expect("a log");
    let url = config.redis_url.clone();
    let report = app_kernel::service::check(&config).await;
    println!("{}{:?}{:?}", report.table("canaries", false), report.warnings, report.problems);
    let name = std::env::var(NAME).expect("the test names it");
    let redis = url.map(|url| Redis::new(&url, &name, PATIENT).expect("an address"));
    let service = redis.into_iter().fold(auth_only(config), |service, redis| {
        println!("\nkeys in Redis start with {}", redis.prefix());
        service.redis(redis)
    });
    let running = service.start().await.expect("a start").serve().await.expect("a port");
    println!("\nserving at http://{}", running.address());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .expect("no panic")
        .expect("an end");
    running.stop().await;
    log.flush();
}

fn read_log(stdout: impl std::io::Read, tell: &mpsc::Sender<String>) -> String {
    let mut log = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.expect("the log is text");
        if let Some(address) = line.strip_prefix("serving at ") {
            tell.send(address.to_owned()).expect("the test waits");
        }
        log += &line;
        log.push('\n');
    }
    log
}

/// Lets a secret fly through each door. Answers all of them, with the names of their doors.
async fn release(client: &Client, smtp: &mut SmtpServer) -> Vec<(&'static str, String)> {
    let mut canaries = vec![("the signing key", SECRET.to_owned()), ("the former key", FORMER_SECRET.to_owned())];
    let mut canary = |door: &'static str| {
        let secret = format!("canary-{}-of-{}", canaries.len(), app_kernel::base::secret::random_token());
        canaries.push((door, secret.clone()));
        secret
    };
    let (password, next) = (canary("a password"), canary("a new password"));
    let said = |answer: Answer, secrets: &[&str]| {
        for secret in secrets {
            assert!(!answer.text().contains(secret), "an answer repeats a secret: {}", answer.text());
        }
        answer
    };
    let who = json!({ "email": "ann@example.com", "password": password });
    said(client.post("/auth/register", &who).await.expect(201), &[&password]);
    let documents =
        client.get("/openapi.json").await.expect(200).text() + &client.get("/docs").await.expect(200).text();
    for secret in [SECRET, FORMER_SECRET, SMTP_PASSWORD, DATABASE_PASSWORD] {
        assert!(!documents.contains(secret), "the documents tell {secret}");
    }
    said(client.post("/auth/register", &who).await.expect(409), &[&password]);
    let tokens = Tokens::of(&said(client.post("/auth/login", &who).await.expect(200), &[&password]));
    let ann = client.clone().with_token(&tokens.access);
    ann.get("/auth/me").await.expect(200);

    let change = json!({ "current_password": password, "new_password": next });
    said(ann.post("/auth/change-password", &change).await.expect(204), &[]);
    let wrong = canary("a wrong password");
    let mistyped = json!({ "current_password": wrong, "new_password": canary("a password that was not taken") });
    said(ann.post("/auth/change-password", &mistyped).await.expect(400), &[&wrong]);
    let wrong = json!({ "email": "ann@example.com", "password": canary("a wrong password at login") });
    client.post("/auth/login", &wrong).await.expect(401);
    let form = format!("username=ann%40example.com&password={}", canary("a password in a form"));
    client.post_form("/auth/login", &form).await.expect(401);
    let refused = json!({ "email": "no address", "password": canary("a password beside a wrong address") });
    client.post("/auth/register", &refused).await.expect(422);
    let unknown = json!({ "email": "b@example.com", "pasword": canary("a password under a wrong name") });
    client.post("/auth/register", &unknown).await.expect(422);
    let broken = format!("{{\"email\": \"ann@example.com\", \"password\": \"{}\"", canary("a password in broken JSON"));
    let post = axum::http::Method::POST;
    client.send(post, "/auth/login", Some("application/json"), broken.into_bytes()).await.expect(400);

    let answer = client.post("/auth/refresh", json!({ "refresh_token": tokens.refresh })).await.expect(200);
    let renewed = Tokens::of(&answer);
    client.post("/auth/refresh", json!({ "refresh_token": canary("a made-up refresh token") })).await.expect(401);
    let bearer = canary("a made-up access token");
    said(client.clone().with_token(&bearer).get("/auth/me").await.expect(401), &[&bearer]);
    for header in ["authorization", "cookie", "x-api-key", "proxy-authorization"] {
        let secret = canary("a header");
        said(client.clone().with_header(header, &secret).get("/maybe").await, &[&secret]);
    }
    for path in ["/maybe?access_token=", "/healthz?api_key=", "/no/such/route/", "/maybe?a=1&password="] {
        let secret = canary("a target");
        said(client.get(&format!("{path}{secret}")).await, &[&secret]);
    }
    ann.clone()
        .with_token(&renewed.access)
        .post("/auth/logout", json!({ "refresh_token": renewed.refresh }))
        .await
        .expect(204);
    client.post("/auth/login", json!({ "email": "ann@example.com", "password": next })).await.expect(200);
    for (door, token) in [("an access token", tokens.access), ("a renewed access token", renewed.access)] {
        // Its end is the signature, without which it is worth nothing.
        let signature = token.rsplit('.').next().unwrap_or_default().to_owned();
        canaries.push((door, signature));
    }
    for (door, token) in [("a refresh token", tokens.refresh), ("a renewed refresh token", renewed.refresh)] {
        // What follows the session's id.
        canaries.push((door, token[40..].to_owned()));
    }
    canaries.push(("the database's password", DATABASE_PASSWORD.to_owned()));
    canaries.push(("the mail server's password", SMTP_PASSWORD.to_owned()));
    canaries.extend(smtp.credentials().into_iter().map(|said| ("what the mail server was told", said)));
    release_by_mail(client, smtp, &mut canaries).await;
    release_invitations(client, smtp, &mut canaries).await;
    release_api_keys(client, &mut canaries).await;
    release_second_factor(client, &mut canaries).await;
    canaries
}

/// Keys: used in both headers, rotated, revoked, mistyped.
async fn release_api_keys(client: &Client, canaries: &mut Vec<(&'static str, String)>) {
    let password = canaries.last().expect("the password that was set by mail").1.clone();
    let who = json!({ "email": "ann@example.com", "password": password });
    let tokens = Tokens::of(&client.post("/auth/login", &who).await.expect(200));
    let ann = client.clone().with_token(&tokens.access);
    let made = ann.post("/api-keys", json!({ "name": "CI", "scopes": ["*"] })).await.expect(201);
    let rotated = ann.post(&format!("/api-keys/{}/rotate", made.id()), json!({})).await.expect(201);
    let of = |answer: &Answer| answer.json()["key"].as_str().expect("a key").to_owned();
    for (door, key, id) in [("an API key", of(&made), made.id()), ("a rotated API key", of(&rotated), rotated.id())] {
        let program = client.clone().with_token(&key);
        for answer in [
            program.get("/auth/me").await.expect(403),
            client.clone().with_header("x-api-key", &key).get("/maybe").await.expect(403),
            client.clone().with_header("x-api-key", &format!("{key}0")).get("/maybe").await.expect(401),
            program.clone().with_header("x-api-key", &key).get("/maybe").await.expect(401),
        ] {
            assert!(!answer.text().contains(&key[12..]), "{}", answer.text());
        }
        ann.delete(&format!("/api-keys/{id}")).await.expect(204);
        program.get("/maybe").await.expect(401);
        // What follows the hint.
        canaries.push((door, key[12..].to_owned()));
    }
    // Last, so that it is found there again.
    canaries.push(("a password that was set by mail", password));
}

/// Links from mails: used, made up and never used.
async fn release_by_mail(client: &Client, smtp: &mut SmtpServer, canaries: &mut Vec<(&'static str, String)>) {
    let mut link = async |page: &str| loop {
        let text = smtp.next().await.data.replace("=\r\n", "").replace("=3D", "=");
        if let Some((_, rest)) = text.split_once(&format!("/{page}?token=")) {
            return rest.lines().next().expect("a token").to_owned();
        }
    };
    let ask = async || {
        let body = json!({ "email": "ann@example.com" });
        client.post("/auth/password-reset/request", body).await.expect(202);
    };
    let to_verify = link("verify-email").await;
    client.post("/auth/verify-email", json!({ "token": to_verify })).await.expect(204);
    ask().await;
    let used = link("reset-password").await;
    let password = format!("canary-by-mail-{}", app_kernel::base::secret::random_token());
    let body = json!({ "token": used, "new_password": password });
    client.post("/auth/password-reset", &body).await.expect(204);
    let again = client.post("/auth/password-reset", &body).await.expect(400);
    assert!(!again.text().contains(&password) && !again.text().contains(&used), "{}", again.text());
    ask().await;
    let unused = link("reset-password").await;
    for (door, token) in [("a used link", used), ("a link that was not used", unused), ("a link to confirm", to_verify)]
    {
        // What follows the row's id.
        canaries.push((door, token[40..].to_owned()));
    }
    canaries.push(("a password that was set by mail", password));
}

/// Invitations: one that was told and mailed, one that was used, and one that was made up.
async fn release_invitations(client: &Client, smtp: &mut SmtpServer, canaries: &mut Vec<(&'static str, String)>) {
    let password = canaries.last().expect("the password that was set by mail").1.clone();
    let owner = json!({ "email": "ann@example.com", "password": password });
    let tokens = Tokens::of(&client.post("/auth/login", &owner).await.expect(200));
    let ann = client.clone().with_token(&tokens.access);
    let id = ann.post("/workspaces", json!({ "name": "Acme" })).await.expect(201).id();
    let mut invite = async |who: &str| {
        let told = ann.post(&format!("/workspaces/{id}/invite"), json!({ "email": who })).await.expect(201).json();
        let token = told["token"].as_str().expect("a token").to_owned();
        loop {
            let text = smtp.next().await.data.replace("=\r\n", "").replace("=3D", "=");
            if text.contains("/join?token=") {
                assert!(text.contains(&token), "the token is mailed: {text}");
                return token;
            }
        }
    };
    let (waiting, used) = (invite("cy@example.com").await, invite("bob@example.com").await);
    let body = json!({ "email": "bob@example.com", "password": password, "invite_token": used });
    client.post("/auth/register", body).await.expect(201);
    let made_up = format!("canary-{}", app_kernel::base::secret::random_token());
    ann.post(&format!("/workspaces/join/{made_up}"), json!({})).await.expect(404);
    ann.post(&format!("/workspaces/join/{waiting}"), json!({})).await.expect(404);
    let listed = ann.get(&format!("/workspaces/{id}/invites")).await.expect(200).text();
    assert!(!listed.contains(&waiting), "{listed}");
    canaries.splice(0..0, [("an invitation", waiting), ("a used invitation", used), ("a made-up invitation", made_up)]);
}

/// The secret of an app, recovery codes and a challenge.
async fn release_second_factor(client: &Client, canaries: &mut Vec<(&'static str, String)>) {
    let password = canaries.last().expect("the password that was set by mail").1.clone();
    let who = json!({ "email": "ann@example.com", "password": password });
    let tokens = Tokens::of(&client.post("/auth/login", &who).await.expect(200));
    let ann = client.clone().with_token(&tokens.access);
    let added = ann.post("/auth/second-factor", json!({ "password": password })).await.expect(201).json();
    let secret = added["secret"].as_str().expect("a secret");
    let code = App::new(secret).code_at(app_kernel::base::clock::Clock::system().now());
    let answer = ann.post("/auth/second-factor/confirm", json!({ "code": code })).await.expect(200).json();
    let codes = answer["recovery_codes"].as_array().expect("codes");
    let codes: Vec<String> = codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect();
    let challenge = client.post("/auth/login", &who).await.expect(401).json();
    let challenge = challenge["challenge"].as_str().expect("a challenge");
    let half = json!({ "challenge": challenge, "code": codes[0] });
    client.post("/auth/login/second-factor", half).await.expect(200);
    canaries.push(("the secret of an app", secret.to_owned()));
    canaries.push(("a challenge", challenge.rsplit('.').next().unwrap_or_default().to_owned()));
    canaries.extend(codes.into_iter().map(|code| ("a recovery code", code)));
}

const DATABASE_PASSWORD: &str = "canary-of-the-database";

/// A password where the server asks for none: it is not looked at, but it is in the address.
fn with_password(url: &str) -> String {
    match url.strip_prefix("postgres://").and_then(|rest| rest.split_once('@')) {
        Some((user, rest)) if !user.contains(':') => format!("postgres://{user}:{DATABASE_PASSWORD}@{rest}"),
        _ => url.to_owned(),
    }
}

/// As long as a busy machine may take.
const PATIENT: RedisOptions = RedisOptions {
    patience: Duration::from_secs(30),
    breaker: BreakerRule { failures: 3, pause: Duration::from_secs(2) },
};

/// All that all tables hold, as text: those of the entities, their history, and whatever else there is.
async fn tables(database: &TestDatabase) -> String {
    let db = Db::open(database.url(), &[], DbOptions::default()).await.expect("a database");
    let names = match database.backend() {
        Backend::Sqlite => "SELECT name AS table_name FROM sqlite_master WHERE type = 'table'",
        Backend::Postgres => {
            "SELECT table_name::text AS table_name FROM information_schema.tables WHERE table_schema = 'public'"
        }
        Backend::MySql => {
            "SELECT CAST(table_name AS CHAR) AS table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
    };
    let mut text = String::new();
    let mut count = 0;
    for name in db.query(names, ()).await.expect("names") {
        let (_, table) = name.iter().next().expect("a name");
        let table = table.as_str().expect("a text").to_owned();
        count += 1;
        for row in db.query(format!("SELECT * FROM [{table}]"), ()).await.expect("rows") {
            text += &format!("{table}: {}\n", row.to_json());
        }
    }
    db.close().await;
    assert!(count >= 10 && text.contains("kernel_users_history: "), "{count} tables: {text}");
    text
}

/// What others on the machine can read of the service's files: the text of those that all may read. Those with data in them never may.
fn readable_files(database: &TestDatabase) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let mut folders = vec![database.data_dir()];
    if database.backend() == Backend::Sqlite {
        folders.extend(database.data_dir().parent().map(std::path::Path::to_path_buf));
    }
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, about) = (entry.path(), entry.metadata().expect("it is there"));
            let others_read = about.permissions().mode() & 0o007 != 0;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_lock = name.ends_with("lock");
            let has_data =
                name.starts_with("app.db") && !is_lock || name.ends_with(".backup") || name.ends_with(".eml");
            assert!(!(has_data && others_read), "{} is readable by everybody", path.display());
            if about.is_dir() && others_read {
                folders.push(path);
            } else if about.is_file() && others_read {
                text += &String::from_utf8_lossy(&std::fs::read(&path).expect("a file"));
                text.push('\n');
            }
        }
    }
    text
}

/// All that the service has in Redis, as text.
async fn redis_of(redis: Option<&TestRedis>, log: &str) -> String {
    let Some(redis) = redis else { return String::new() };
    let prefix = log.lines().find_map(|line| line.strip_prefix("keys in Redis start with ")).expect("it was said");
    let contents = redis.contents_below(prefix).await;
    assert!(contents.len() >= 4, "limits are in Redis: {contents:?}");
    contents.into_iter().map(|(key, value)| format!("{key} {value}\n")).collect()
}

/// Promise: R-32
#[tokio::test]
async fn a_start_that_fails_does_not_tell_the_password_of_the_database() {
    for url in [
        "postgres://ann:canary@127.0.0.1:1/app",
        "mysql://ann:canary@127.0.0.1:1/app",
        "postgres://ann:canary@no such host/app",
        "oracle://ann:canary@127.0.0.1/app",
        "mysql://ann:canary@127.0.0.1:99999/app",
    ] {
        let config = ServiceConfig {
            database_url: Some(Secret::new(url)),
            jwt_secret: Some(Secret::new("canary")),
            ..ServiceConfig::default()
        };
        assert!(!format!("{config:?}").contains("canary"), "{config:?}");
        let error = auth_only(config).start().await.err().expect("no such database");
        let told = format!("{error} {error:?}");
        assert!(!told.contains("canary"), "{url}: {told}");
    }
}
