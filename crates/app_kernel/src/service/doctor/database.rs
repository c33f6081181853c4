//! The databases: whether they answer, what they are, what we may do there, and how their clocks go; and the backups.

use std::time::Duration;

use super::super::database;
use super::Finding;
use crate::base::clock::{Clock, Timestamp, format_timestamp};
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::store::db::url::DatabaseUrl;
use crate::store::db::{Backend, Db, DbOptions, Options};

/// How long a connection may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// How much clocks may differ without anybody noticing, in seconds.
const CLOCKS: f64 = 5.0;
/// The oldest PostgreSQL and MySQL that are tested with.
const OLDEST_POSTGRES: u32 = 13;
const OLDEST_MYSQL: u32 = 8;
const OLDEST_MARIADB: u32 = 10;

/// What a server tells of itself.
const ABOUT_POSTGRES: &str = "SELECT split_part(version(), ' on ', 1) AS version, \
    extract(epoch FROM clock_timestamp())::float8 AS time, \
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)::int AS may_create";
const ABOUT_MYSQL: &str = "SELECT VERSION() AS version, UNIX_TIMESTAMP(NOW(6)) + 0E0 AS time, \
    (SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'CREATE' \
        AND grantee = CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')) \
    + (SELECT COUNT(*) FROM information_schema.schema_privileges WHERE privilege_type = 'CREATE' \
        AND DATABASE() LIKE table_schema) AS may_create";
const ABOUT_SQLITE: &str = "SELECT 'SQLite ' || sqlite_version() AS version, NULL AS time, 1 AS may_create";

/// `DATABASE_URL`, and the backups of it.
pub(super) async fn examine(config: &ServiceConfig) -> Vec<Finding> {
    const NAME: &str = "database";
    let Some(url) = config.effective_database_url() else {
        return vec![Finding::warn(
            NAME,
            "DATABASE_URL is not set, so there is no store and nobody can sign in",
            "set it. Example: sqlite:///./data/app.db",
        )];
    };
    if let Some(finding) = still_to_come(NAME, &url) {
        return vec![finding];
    }
    match open(config).await {
        Ok(db) => {
            let mut findings = about(NAME, &db).await;
            findings.push(backups(&db, config));
            findings.extend(copies(&db, config).await);
            db.close().await;
            findings
        }
        Err(error) => vec![Finding::of(NAME, &error)],
    }
}

/// `ADMIN_DB_URL`, where it is another one.
pub(super) async fn examine_admin(config: &ServiceConfig) -> Vec<Finding> {
    const NAME: &str = "admin database";
    let Some(url) = config.separate_admin_db_url() else { return Vec::new() };
    if let Some(finding) = still_to_come(NAME, &url) {
        return vec![finding];
    }
    match Db::open(&url, &[], DbOptions { driver: looking(), ..DbOptions::default() }).await {
        Ok(db) => {
            let findings = about(NAME, &db).await;
            db.close().await;
            findings
        }
        Err(error) => vec![Finding::of(NAME, &database::of_the_admin(error))],
    }
}

fn looking() -> Options {
    Options { pool_size: Some(1), read_only: true, connect_timeout: CONNECTING, ..Options::default() }
}

async fn open(config: &ServiceConfig) -> Result<Db> {
    let db = database::open_with("doctor", config, &Clock::system(), &[], &[], looking()).await?;
    db.ok_or_else(|| Error::invalid("DATABASE_URL is not set"))
}

/// A file that is not there yet: opening it would say nothing.
fn still_to_come(name: &str, url: &Secret) -> Option<Finding> {
    let url = DatabaseUrl::parse(url).ok().filter(|url| url.backend == Backend::Sqlite)?;
    let file = url.sqlite_file().ok()?;
    (!file.exists()).then(|| Finding::ok(name, format!("{}, made at the first start", url.without_credentials())))
}

/// Version, rights and clock of a database that answers.
async fn about(name: &str, db: &Db) -> Vec<Finding> {
    let (backend, clock) = (db.backend(), db.clock());
    let sql = match backend {
        Backend::Postgres => ABOUT_POSTGRES,
        Backend::MySql => ABOUT_MYSQL,
        Backend::Sqlite => ABOUT_SQLITE,
    };
    let asked = seconds(clock.now());
    let row = match db.query(sql, ()).await.map(|rows| rows.into_iter().next()) {
        Ok(Some(row)) => row.to_json(),
        Ok(None) => return vec![Finding::fail(name, "it answers nothing", "look at its log")],
        Err(error) => return vec![Finding::of(name, &error)],
    };
    let ours = f64::midpoint(asked, seconds(clock.now()));
    let version = row["version"].as_str().unwrap_or_default();
    let mut findings = vec![match is_too_old(backend, version) {
        false => Finding::ok(name, format!("answers: {version}")),
        true => Finding::warn(
            name,
            format!("answers, but {version} is older than what this is tested with"),
            "bring it up to date",
        ),
    }];
    if row["may_create"].as_i64().is_none_or(|rights| rights <= 0) {
        findings.push(may_not_create(name, backend));
    }
    if let Some(theirs) = row["time"].as_f64().filter(|theirs| (theirs - ours).abs() > CLOCKS) {
        let by = format!("its clock differs from ours by {:.0} s", theirs - ours);
        findings.push(Finding::warn(name, by, "let NTP set both: tokens, leases and schedules go by them"));
    }
    findings
}

fn may_not_create(name: &str, backend: Backend) -> Finding {
    let missing = "this user may not make tables there";
    match backend {
        Backend::Postgres => {
            Finding::fail(name, missing, "GRANT CREATE ON SCHEMA public TO the user, as the owner of the database")
        }
        // A right that comes by a role is not seen.
        _ => Finding::warn(
            name,
            "no right of this user to make tables was found",
            "GRANT ALL ON the database TO the user, as root",
        ),
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_microsecond() as f64 / 1e6
}

/// `PostgreSQL 15.19`, `8.0.36`, `10.11.19-MariaDB-…`
fn is_too_old(backend: Backend, version: &str) -> bool {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let Some(major) = digits.split('.').next().and_then(|major| major.parse::<u32>().ok()) else { return false };
    match backend {
        Backend::Postgres => major < OLDEST_POSTGRES,
        Backend::MySql if version.contains("MariaDB") => major < OLDEST_MARIADB,
        Backend::MySql => major < OLDEST_MYSQL,
        Backend::Sqlite => false,
    }
}

/// The newest backup, and whether one should have been made since.
fn backups(db: &Db, config: &ServiceConfig) -> Finding {
    const NAME: &str = "backups";
    const MAKE: &str = "make one by the command `backup`, and set BACKUP_SCHEDULE";
    let listed = match db.backups().and_then(|backups| backups.list()) {
        Ok(listed) => listed,
        Err(error) => return Finding::of(NAME, &error),
    };
    let newest = listed.iter().rev().find_map(|listed| Some((&listed.name, listed.manifest.as_ref().ok()?.created_at)));
    let folder = config.effective_backup_dir();
    let Some((name, made)) = newest else {
        let detail = format!("there is none in {}", folder.display());
        return if config.production { Finding::warn(NAME, detail, MAKE) } else { Finding::ok(NAME, detail) };
    };
    let detail = format!("the newest in {} is {name} of {}", folder.display(), format_timestamp(made));
    let due = config.backup_cron().ok().flatten().and_then(|cron| cron.next_after(made));
    match due.filter(|due| seconds(db.clock().now()) - seconds(*due) > LATE.as_secs_f64()) {
        Some(due) => Finding::warn(
            NAME,
            format!("{detail}, and by BACKUP_SCHEDULE one was due at {}", format_timestamp(due)),
            "look in the log of the service for why it was not made",
        ),
        None => Finding::ok(NAME, detail),
    }
}

/// How late a backup may be: a large one takes its time.
const LATE: Duration = Duration::from_secs(6 * 3600);

/// The bucket for copies, where there is one.
async fn copies(db: &Db, config: &ServiceConfig) -> Option<Finding> {
    const NAME: &str = "copies";
    config.backup_s3.as_ref()?;
    let backups = match db.backups() {
        Ok(backups) => backups,
        Err(error) => return Some(Finding::of(NAME, &error)),
    };
    let place = backups.remote_place().unwrap_or_default();
    Some(match backups.list_remote().await {
        Ok(names) => Finding::ok(NAME, format!("{place} answers; {} backups are there only", names.len())),
        Err(error) => Finding::of(NAME, &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_known_by_their_version() {
        for (backend, version, is_old) in [
            (Backend::Postgres, "PostgreSQL 15.19 (Debian 15.19-0+deb12u1)", false),
            (Backend::Postgres, "PostgreSQL 9.6.1", true),
            (Backend::MySql, "8.0.36", false),
            (Backend::MySql, "5.7.44-log", true),
            (Backend::MySql, "10.11.19-MariaDB-0+deb12u1", false),
            (Backend::MySql, "5.5.5-MariaDB", true),
            (Backend::MySql, "?", false),
        ] {
            assert_eq!(is_too_old(backend, version), is_old, "{version}");
        }
    }
}
