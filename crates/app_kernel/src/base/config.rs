//! Configuration. Every environment variable stands in one table, in `variables.rs`, with its default and its meaning;
//! a value that can't be used ends the start with one line that names the variable and the cure. `read.rs` reads them, `check.rs` refuses what does
//! not fit together.

mod check;
mod environment;
mod oauth;
mod read;
mod s3;
mod surroundings;
#[cfg(test)]
mod tests;
mod traces;
mod variables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cron::Cron;
use super::error::{Error, Result};
use super::secret::Secret;

pub use self::oauth::{OAuthKind, OAuthProvider};
pub(crate) use self::oauth::{secure_url, variable_of as oauth_variable};
pub use self::s3::S3Config;
pub use self::surroundings::{ENV_FILE, Surroundings, wants_no_colour};
pub use self::traces::{Sampler, TracesConfig};
pub use self::variables::{VARIABLES, Variable};

/// The secret that `DEBUG=true` falls back to. Known to everybody, so never in production.
pub const DEVELOPMENT_SECRET: &str = "dev-secret-change-me";
/// The shortest secret that production accepts, in bytes: as long as the hash (RFC 7518, 3.2).
pub const SHORTEST_PRODUCTION_SECRET: usize = 32;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Pretty,
}

/// Everything that can be chosen about a service. Start from [`ServiceConfig::from_env`], or from `default()` in code.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// `APP_ENV=production`.
    pub production: bool,
    /// `DEBUG`.
    pub debug: bool,
    /// The names of the variables that `.env` gave.
    pub from_env_file: Vec<String>,
    /// Whether development servers are started by Docker, where addresses on this machine lead to none.
    pub dev_autostart: bool,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one.
    pub port: u16,
    /// The path that all routes start with: `/api/v1`, or empty.
    pub api_prefix: String,
    /// Whether the routes answer without the prefix too.
    pub root_alias: bool,

    /// Where the data lies. Without it there is no store and no auth.
    pub database_url: Option<Secret>,
    /// The address of the last database, whose data is to come along to another one.
    pub database_url_previous: Option<Secret>,
    /// Where audit and usage lie. None: in the app's own database.
    pub admin_db_url: Option<Secret>,
    /// Whether this process carries them there.
    pub admin_worker_embedded: bool,
    /// Whether changes are recorded for the audit.
    pub audit_enabled: bool,
    /// Whether requests are metered.
    pub metering_enabled: bool,
    /// After how many days entries of the audit are purged; none are without it.
    pub audit_keep_days: Option<u32>,
    /// The database's name, or path for SQLite, where `database_url` is not set.
    pub database_name: Option<String>,
    /// `sqlite`, `postgres` or `mysql`, beside `database_name`.
    pub database_type: String,
    /// Connections, or reader threads on SQLite. None: 10 and 2.
    pub database_pool_size: Option<usize>,
    /// SQLite: whether each commit is on the disk before it is acknowledged (`synchronous=FULL`).
    pub sqlite_full_sync: bool,
    /// Refuses entities that were not declared.
    pub schema_strict: bool,
    /// Whether the schema is brought up to date at start.
    pub migration_enabled: bool,
    /// Whether columns that are gone from the code are dropped, with their data.
    pub allow_column_deletion: bool,
    /// Whether tables that are gone from the code are dropped, with their data.
    pub allow_table_deletion: bool,
    /// The former name of the service, whose database it takes over.
    pub service_renamed_from: Option<String>,
    /// Where migrations lie as files. None: `migrations_audit` in `data_dir`.
    pub migrations_dir: Option<String>,
    /// Where backups, migrations and markers lie.
    pub data_dir: String,
    /// Whether a backup is made at each start, where anything has changed since the last one.
    pub backup_enabled: bool,
    /// Where backups lie. None: `backups` in `data_dir`.
    pub backup_dir: Option<String>,
    /// How many backups are kept.
    pub backup_keep: usize,
    /// When backups are made while it serves: a cron expression in UTC.
    pub backup_schedule: Option<String>,
    /// Where each backup is copied to.
    pub backup_s3: Option<S3Config>,

    /// Signs access tokens.
    pub jwt_secret: Option<Secret>,
    /// Former secrets that still verify.
    pub jwt_secret_previous: Vec<Secret>,
    /// How long an access token lives, in hours.
    pub jwt_expiry_hours: u32,
    /// Whether the auth routes are there at all.
    pub auth_enabled: bool,
    /// Whether anybody may register. Closed in code, open from the environment.
    pub allow_self_signup: bool,
    /// Workspaces are always on; kept for the specification's sake.
    pub saas_enabled: bool,

    /// Where people may sign in elsewhere, by the names that stand in the paths.
    pub oauth_providers: BTreeMap<String, OAuthProvider>,
    /// Origins beside our own that people may return to from there, such as `https://app.example.com`.
    pub oauth_redirect_origins: Vec<String>,

    /// Where people reach the service: the start of the links in mails. None: its own address, in development only.
    pub public_url: Option<String>,
    /// The server that sends mail. None: mail is files in `data_dir`; in production there is none.
    pub smtp_url: Option<Secret>,
    /// Who mail comes from: an address, or a name and an address in angle brackets.
    pub mail_from: Option<String>,

    /// Whether the process that serves runs jobs too.
    pub worker_embedded: bool,
    /// How many jobs a process runs side by side.
    pub worker_concurrency: usize,
    /// After how long without a sign of life a worker's jobs are given to others.
    pub worker_lease: Duration,
    /// How long a worker that is idle waits at most, before it looks for jobs that nobody has told it of.
    pub worker_poll: Duration,
    /// How long jobs that succeeded or were cancelled are kept.
    pub job_retention: Duration,
    /// Whether webhooks may reach this machine and private networks.
    pub webhook_allow_private: bool,
    /// Redis: what several processes share and may lose.
    pub redis_url: Option<Secret>,
    /// Origins that browsers may call from; `*` is any, without credentials.
    pub cors_origins: Vec<String>,
    /// Whether listed origins may send credentials.
    pub cors_credentials: bool,
    /// Proxies whose `X-Forwarded-For` is believed: addresses or networks such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// Whether requests are limited. None: where there is a Redis to count in.
    pub rate_limit_enabled: Option<bool>,
    /// How many requests a caller may make in a window.
    pub rate_limit_requests: u32,
    /// The window, in seconds.
    pub rate_limit_window: u32,
    /// How many event streams a user may have open at once, in all processes.
    pub event_streams_per_user: u32,

    /// How much memory the cache of a process may take, in bytes, where there is no Redis or it is away.
    pub cache_max_bytes: u64,
    /// Whether writes with an `Idempotency-Key` are done once.
    pub idempotency_enabled: bool,

    /// Open connections; more are answered 503.
    pub max_connections: usize,
    /// The longest request body, in bytes.
    pub max_body_bytes: usize,
    /// How long a client may take to send a request's head.
    pub header_timeout: Duration,
    /// How long a body may keep the other side waiting for 4 KiB (or its end), in and out.
    pub body_timeout: Duration,
    /// How long requests in flight may take after SIGTERM.
    pub shutdown_timeout: Duration,

    /// The log's filter, such as `info`.
    pub log_level: String,
    /// How log lines look. None: pretty on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// `METRICS_TOKEN`: who may read `/metrics`. None: this machine only.
    pub metrics_token: Option<Secret>,
    /// `METRICS_PORT`: another port for `/healthz`, `/readyz` and `/metrics`.
    pub metrics_port: Option<u16>,
    /// The `OTEL_…` variables: where traces go. None: nowhere.
    pub traces: Option<TracesConfig>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        ServiceConfig {
            production: false,
            debug: false,
            from_env_file: Vec::new(),
            dev_autostart: true,
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8000,
            api_prefix: "/api/v1".to_owned(),
            root_alias: true,
            database_url: None,
            database_url_previous: None,
            admin_db_url: None,
            admin_worker_embedded: true,
            audit_enabled: true,
            metering_enabled: true,
            audit_keep_days: None,
            database_name: None,
            database_type: "sqlite".to_owned(),
            database_pool_size: None,
            sqlite_full_sync: true,
            schema_strict: false,
            migration_enabled: true,
            allow_column_deletion: false,
            allow_table_deletion: false,
            service_renamed_from: None,
            migrations_dir: None,
            data_dir: ".data".to_owned(),
            backup_enabled: true,
            backup_dir: None,
            backup_keep: 14,
            backup_schedule: None,
            backup_s3: None,
            jwt_secret: None,
            jwt_secret_previous: Vec::new(),
            jwt_expiry_hours: 24,
            auth_enabled: true,
            allow_self_signup: false,
            saas_enabled: true,
            oauth_providers: BTreeMap::new(),
            oauth_redirect_origins: Vec::new(),
            public_url: None,
            smtp_url: None,
            mail_from: None,
            worker_embedded: true,
            worker_concurrency: 20,
            worker_lease: Duration::from_secs(30),
            worker_poll: Duration::from_secs(2),
            job_retention: Duration::from_secs(72 * 3600),
            webhook_allow_private: false,
            redis_url: None,
            cors_origins: vec!["*".to_owned()],
            cors_credentials: true,
            trusted_proxies: Vec::new(),
            rate_limit_enabled: None,
            rate_limit_requests: 100,
            rate_limit_window: 60,
            event_streams_per_user: 8,
            cache_max_bytes: 64 << 20,
            idempotency_enabled: true,
            max_connections: 10_000,
            max_body_bytes: 2 << 20,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(30),
            log_level: "info".to_owned(),
            log_format: None,
            metrics_token: None,
            metrics_port: None,
            traces: None,
        }
    }
}

impl ServiceConfig {
    /// What is not set gets what a first try needs: `sqlite:///./data/app.db` and a development secret.
    /// Does nothing with `APP_ENV=production`.
    #[must_use]
    pub fn dev_defaults(mut self) -> Self {
        if !self.production {
            if self.database_name.is_none() {
                self.database_url.get_or_insert_with(|| Secret::new("sqlite:///./data/app.db"));
            }
            self.jwt_secret.get_or_insert_with(|| Secret::new(DEVELOPMENT_SECRET));
        }
        self
    }

    /// The database's address: `database_url`, else built from `database_type` and `database_name`.
    #[must_use]
    pub fn effective_database_url(&self) -> Option<Secret> {
        self.database_url.clone().or_else(|| {
            let name = self.database_name.as_deref()?;
            Some(Secret::new(match self.database_type.as_str() {
                "sqlite" => format!("sqlite:///{name}"),
                "postgres" | "postgresql" => format!("postgres://localhost:5432/{name}"),
                other => format!("{other}://localhost:3306/{name}"),
            }))
        })
    }

    /// The admin database's address, where it is another than the app's.
    #[must_use]
    pub fn separate_admin_db_url(&self) -> Option<Secret> {
        self.admin_db_url.clone().filter(|url| self.effective_database_url().as_ref() != Some(url))
    }

    /// Where backups lie: `backup_dir`, else `backups` in `data_dir`.
    #[must_use]
    pub fn effective_backup_dir(&self) -> PathBuf {
        self.backup_dir.as_ref().map_or_else(|| Path::new(&self.data_dir).join("backups"), PathBuf::from)
    }

    /// Where migrations lie as files: `migrations_dir`, else `migrations_audit` in `data_dir`.
    #[must_use]
    pub fn effective_migrations_dir(&self) -> PathBuf {
        self.migrations_dir.as_ref().map_or_else(|| Path::new(&self.data_dir).join("migrations_audit"), PathBuf::from)
    }

    /// When backups are made while it serves.
    ///
    /// # Errors
    /// Where `backup_schedule` is no cron expression; names the variable and says what is wrong.
    pub fn backup_cron(&self) -> Result<Option<Cron>> {
        let Some(text) = &self.backup_schedule else { return Ok(None) };
        let refused = |problem: Error| {
            Error::invalid(format!(
                "BACKUP_SCHEDULE is `{text}`: {problem}. Example: 0 3 * * * is each day at three, in UTC"
            ))
        };
        Cron::parse(text).map(Some).map_err(refused)
    }

    /// Where people reach the service, without a slash at the end: `public_url`, else its own address, which is of use in development only.
    #[must_use]
    pub fn effective_public_url(&self) -> String {
        let own = || format!("http://{}", std::net::SocketAddr::new(self.host, self.port));
        self.public_url.as_ref().map_or_else(own, |url| url.trim_end_matches('/').to_owned())
    }

    /// What signs, and what still verifies: today's secret first.
    pub(crate) fn signing_secrets(&self) -> Vec<&Secret> {
        self.jwt_secret.iter().chain(&self.jwt_secret_previous).collect()
    }

    /// Whether the signing secret is one that production would refuse.
    #[must_use]
    pub fn has_weak_secret(&self) -> bool {
        let is_weak = |secret: &Secret| {
            secret.expose().len() < SHORTEST_PRODUCTION_SECRET || secret.expose() == DEVELOPMENT_SECRET
        };
        self.jwt_secret.iter().chain(&self.jwt_secret_previous).any(is_weak)
    }
}
