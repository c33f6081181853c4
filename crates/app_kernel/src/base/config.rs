//! Configuration. Every environment variable stands in one table, in `variables.rs`, with its default and its meaning;
//! a value that can't be used ends the start with one line that names the variable and the cure.

mod environment;
mod oauth;
mod surroundings;
mod traces;
mod variables;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cron::Cron;
use super::error::{Error, Result};
use super::secret::Secret;

use self::environment::Environment;
pub use self::oauth::{OAuthKind, OAuthProvider};
pub(crate) use self::oauth::{secure_url, variable_of as oauth_variable};
pub use self::surroundings::{ENV_FILE, Surroundings};
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

/// A bucket of S3, or of a store that speaks its language.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Its name.
    pub bucket: String,
    /// The store's address, such as `https://s3.eu-central-1.amazonaws.com`.
    pub endpoint: String,
    /// Where it lies.
    pub region: String,
    /// What names in it start with, or nothing.
    pub prefix: String,
    /// Who asks.
    pub access_key_id: Secret,
    /// What signs requests.
    pub secret_access_key: Secret,
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
    /// Reads the environment and, unless it says `APP_ENV=production`, what `.env` in the working directory adds.
    ///
    /// # Errors
    /// Where a variable holds what it can't, or `.env` has a bad line; the message names it and the cure.
    pub fn from_env() -> Result<Self> {
        Self::from_surroundings(&Surroundings::find()?)
    }

    /// Reads what a process finds.
    ///
    /// # Errors
    /// Where a variable holds what it can't; the message names it and the cure.
    pub fn from_surroundings(surroundings: &Surroundings) -> Result<Self> {
        let config = Self::from_variables(surroundings.variables().clone())?;
        Ok(ServiceConfig { from_env_file: surroundings.from_file().to_vec(), ..config })
    }

    /// Reads these variables. An empty value counts as not set.
    ///
    /// # Errors
    /// Where a variable holds what it can't; the message names it and the cure.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let env = Environment(variables.into_iter().collect());
        let default = ServiceConfig::default();
        let production = match env.text("APP_ENV").as_deref() {
            Some("production") => true,
            None | Some("development" | "test" | "staging") => false,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "APP_ENV is `{other}`; it must be production, staging, development or test"
                )));
            }
        };
        let debug = env.flag("DEBUG", false)?;
        let default_host = if production { IpAddr::from([0, 0, 0, 0]) } else { default.host };
        let config = ServiceConfig {
            production,
            debug,
            from_env_file: Vec::new(),
            dev_autostart: env.flag("DEV_AUTOSTART", true)?,
            host: env.parsed("HOST", default_host, "an IP address such as 127.0.0.1")?,
            port: env.parsed("PORT", default.port, "a port from 0 to 65535")?,
            api_prefix: env.text_even_if_empty("API_PREFIX").unwrap_or(default.api_prefix),
            root_alias: env.flag("ROOT_ALIAS", true)?,
            database_url: env.secret("DATABASE_URL"),
            database_url_previous: env.secret("DATABASE_URL_PREVIOUS"),
            admin_db_url: env.secret("ADMIN_DB_URL"),
            admin_worker_embedded: env.flag("ADMIN_WORKER_EMBEDDED", true)?,
            audit_enabled: env.flag("AUDIT_ENABLED", true)?,
            metering_enabled: env.flag("METERING_ENABLED", true)?,
            audit_keep_days: env.optional("AUDIT_KEEP_DAYS", "a number of days from 1")?,
            database_name: None,
            database_type: default.database_type,
            database_pool_size: env.optional("DATABASE_POOL_SIZE", "a number from 1")?,
            sqlite_full_sync: env.one_of("SQLITE_SYNCHRONOUS", &[("full", true), ("normal", false)])?.unwrap_or(true),
            schema_strict: env.flag("SCHEMA_STRICT", false)?,
            migration_enabled: env.flag("MIGRATION_ENABLED", true)?,
            allow_column_deletion: env.flag("ALLOW_COLUMN_DELETION", false)?,
            allow_table_deletion: env.flag("ALLOW_TABLE_DELETION", false)?,
            service_renamed_from: env.text("SERVICE_RENAMED_FROM"),
            migrations_dir: env.text("MIGRATIONS_DIR"),
            data_dir: env.text("DATA_DIR").unwrap_or(default.data_dir),
            backup_enabled: env.flag("BACKUP_ENABLED", true)?,
            backup_dir: env.text("BACKUP_DIR"),
            backup_keep: env.parsed("BACKUP_KEEP", default.backup_keep, "a number from 1")?,
            backup_schedule: env.text("BACKUP_SCHEDULE"),
            backup_s3: env.s3()?,
            jwt_secret: env
                .secret("JWT_SECRET")
                .or_else(|| (debug && !production).then(|| Secret::new(DEVELOPMENT_SECRET))),
            jwt_secret_previous: env.list("JWT_SECRET_PREVIOUS").into_iter().map(Secret::new).collect(),
            jwt_expiry_hours: env.parsed("JWT_EXPIRY_HOURS", 24, "a number of hours")?,
            auth_enabled: env.flag("AUTH_ENABLED", true)?,
            allow_self_signup: env.flag("ALLOW_SELF_SIGNUP", true)?,
            saas_enabled: true,
            oauth_providers: env.oauth_providers()?,
            oauth_redirect_origins: env.list("OAUTH_REDIRECT_ORIGINS"),
            public_url: env.text("PUBLIC_URL"),
            smtp_url: env.secret("SMTP_URL"),
            mail_from: env.text("MAIL_FROM"),
            worker_embedded: env.flag("WORKER_EMBEDDED", true)?,
            worker_concurrency: env.parsed("WORKER_CONCURRENCY", default.worker_concurrency, "a number from 1")?,
            worker_lease: env.secs("WORKER_LEASE_SECS", default.worker_lease)?,
            worker_poll: env.secs("WORKER_POLL_SECS", default.worker_poll)?,
            job_retention: Duration::from_secs(
                env.parsed("JOB_RETENTION_HOURS", 72_u64, "a number of hours")?.saturating_mul(3600),
            ),
            webhook_allow_private: env.flag("WEBHOOK_ALLOW_PRIVATE", false)?,
            redis_url: env.secret("REDIS_URL"),
            cors_origins: match env.list("CORS_ORIGINS") {
                list if list.is_empty() => default.cors_origins,
                list => list,
            },
            cors_credentials: env.flag("CORS_CREDENTIALS", true)?,
            trusted_proxies: env.list("TRUSTED_PROXIES"),
            rate_limit_enabled: env.optional_flag("RATE_LIMIT_ENABLED")?,
            rate_limit_requests: env.parsed("RATE_LIMIT_REQUESTS", 100, "a number of requests from 1")?,
            rate_limit_window: env.parsed("RATE_LIMIT_WINDOW", 60, "a number of seconds from 1 to 86400")?,
            event_streams_per_user: env.parsed("EVENT_STREAMS_PER_USER", 8, "a number of streams from 1 to 1000")?,
            cache_max_bytes: env.parsed("CACHE_MAX_BYTES", default.cache_max_bytes, "a number of bytes from 1")?,
            idempotency_enabled: env.flag("IDEMPOTENCY_ENABLED", true)?,
            max_connections: env.parsed("MAX_CONNECTIONS", default.max_connections, "a number from 1")?,
            max_body_bytes: env.parsed("MAX_BODY_BYTES", default.max_body_bytes, "a number of bytes")?,
            header_timeout: env.secs("HEADER_TIMEOUT_SECS", default.header_timeout)?,
            body_timeout: env.secs("BODY_TIMEOUT_SECS", default.body_timeout)?,
            shutdown_timeout: env.secs("SHUTDOWN_TIMEOUT_SECS", default.shutdown_timeout)?,
            log_level: env.text("LOG_LEVEL").unwrap_or(default.log_level),
            log_format: env.one_of("LOG_FORMAT", &[("json", LogFormat::Json), ("pretty", LogFormat::Pretty)])?,
            metrics_token: env.secret("METRICS_TOKEN"),
            metrics_port: env.optional("METRICS_PORT", "a port from 0 to 65535")?,
            traces: env.traces()?,
        };
        config.check()?;
        Ok(config)
    }

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

    /// Refuses impossible combinations.
    ///
    /// # Errors
    /// One sentence with the variable and the cure.
    pub fn check(&self) -> Result<()> {
        let refuse = |sentence: String| Err(Error::invalid(sentence));
        if self.production && self.has_weak_secret() {
            return refuse(format!(
                "JWT_SECRET (or JWT_SECRET_PREVIOUS) is too weak for production: it needs at least {SHORTEST_PRODUCTION_SECRET} bytes \
                 that nobody can guess. Make one with `openssl rand -base64 48`"
            ));
        }
        let prefix = &self.api_prefix;
        let is_path = prefix.starts_with('/')
            && !prefix.ends_with('/')
            && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
        if !prefix.is_empty() && !is_path {
            return refuse(format!("API_PREFIX is `{prefix}`; it must be empty or a path such as /api/v1"));
        }
        if prefix.is_empty() && !self.root_alias {
            return refuse(
                "ROOT_ALIAS is false and API_PREFIX is empty, so no route would answer; set one of them".to_owned(),
            );
        }
        self.backup_cron()?;
        oauth::check(self)?;
        if let Some(url) = &self.public_url {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let is_place = |rest: &str| !rest.is_empty() && !rest.contains(['?', '#', '@', ' ', '\r', '\n']);
            if !rest.is_some_and(is_place) {
                return refuse(format!(
                    "PUBLIC_URL is `{url}`; it must be an address without user, query and fragment, such as https://myapp.com"
                ));
            }
        }
        for (name, value) in [
            ("DATABASE_POOL_SIZE", self.database_pool_size.unwrap_or(1)),
            ("AUDIT_KEEP_DAYS", self.audit_keep_days.unwrap_or(1) as usize),
            ("BACKUP_KEEP", self.backup_keep),
            ("MAX_CONNECTIONS", self.max_connections),
            ("MAX_BODY_BYTES", self.max_body_bytes),
            ("WORKER_CONCURRENCY", self.worker_concurrency),
            ("WORKER_LEASE_SECS", self.worker_lease.as_millis() as usize),
            ("CACHE_MAX_BYTES", usize::try_from(self.cache_max_bytes).unwrap_or(usize::MAX)),
            ("WORKER_POLL_SECS", self.worker_poll.as_millis() as usize),
            ("JWT_EXPIRY_HOURS", self.jwt_expiry_hours as usize),
            ("RATE_LIMIT_REQUESTS", self.rate_limit_requests as usize),
            ("RATE_LIMIT_WINDOW", self.rate_limit_window as usize),
            ("EVENT_STREAMS_PER_USER", self.event_streams_per_user as usize),
        ] {
            if value == 0 {
                return refuse(format!("{name} is 0; it must be at least 1"));
            }
        }
        if self.rate_limit_window > 86_400 {
            return refuse(format!(
                "RATE_LIMIT_WINDOW is {}; a window is a day at most: 86400",
                self.rate_limit_window
            ));
        }
        if self.event_streams_per_user > 1000 {
            let streams = self.event_streams_per_user;
            return refuse(format!("EVENT_STREAMS_PER_USER is {streams}; a user may have 1000 at most"));
        }
        if self.jwt_expiry_hours > 24 * 366 {
            return refuse(format!("JWT_EXPIRY_HOURS is {}; a token may live a year at most", self.jwt_expiry_hours));
        }
        for origin in self.cors_origins.iter().filter(|origin| *origin != "*") {
            let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if !rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' '])) {
                return refuse(format!(
                    "CORS_ORIGINS has `{origin}`; an origin is a scheme and a host, such as https://myapp.com"
                ));
            }
        }
        Ok(())
    }
}

/// Whether the person at the terminal asked for no colours (no-color.org).
#[must_use]
pub fn wants_no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<ServiceConfig> {
        ServiceConfig::from_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        config(variables).expect_err("a refusal").to_string()
    }

    /// Promise: T1, T2, T3, F4, R1
    #[test]
    fn an_empty_environment_gives_the_documented_defaults() {
        let config = config(&[]).expect("defaults");
        assert!(config.database_url.is_none() && config.jwt_secret.is_none() && config.redis_url.is_none());
        assert_eq!((config.jwt_expiry_hours, config.auth_enabled), (24, true));
        assert_eq!(config.cors_origins, ["*"]);
        assert_eq!((config.rate_limit_requests, config.rate_limit_window), (100, 60));
        assert!(!config.debug && config.cors_credentials && config.saas_enabled && config.admin_worker_embedded);
        assert_eq!(config.database_type, "sqlite");
        assert_eq!(config.host.to_string(), "127.0.0.1");
    }

    /// Promise: T1, T2, T3, J1
    #[test]
    fn what_is_set_is_what_the_configuration_says() {
        let config = config(&[
            ("DATABASE_URL", "sqlite:///./a.db"),
            ("JWT_SECRET", "hunter2"),
            ("JWT_EXPIRY_HOURS", "1"),
            ("AUTH_ENABLED", "false"),
            ("ALLOW_SELF_SIGNUP", "false"),
            ("REDIS_URL", "redis://h"),
            ("ADMIN_WORKER_EMBEDDED", "false"),
            ("ADMIN_DB_URL", "sqlite:///./b.db"),
            ("CORS_ORIGINS", "https://a.com, https://b.com"),
            ("CORS_CREDENTIALS", "false"),
            ("GOOGLE_CLIENT_ID", "us"),
            ("GOOGLE_CLIENT_SECRET", "hunter2"),
            ("RATE_LIMIT_ENABLED", "true"),
            ("RATE_LIMIT_REQUESTS", "7"),
            ("RATE_LIMIT_WINDOW", "8"),
            ("DEBUG", "true"),
        ])
        .expect("all of it is in order");
        let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
        assert_eq!(exposed(&config.database_url).as_deref(), Some("sqlite:///./a.db"));
        assert_eq!(exposed(&config.jwt_secret).as_deref(), Some("hunter2"));
        assert_eq!(exposed(&config.redis_url).as_deref(), Some("redis://h"));
        assert_eq!(exposed(&config.admin_db_url).as_deref(), Some("sqlite:///./b.db"));
        assert_eq!(config.jwt_expiry_hours, 1);
        assert!(!(config.auth_enabled || config.allow_self_signup || config.admin_worker_embedded));
        assert_eq!(
            (config.cors_origins, config.cors_credentials),
            (vec!["https://a.com".into(), "https://b.com".into()], false)
        );
        assert_eq!(config.oauth_providers.into_keys().collect::<Vec<_>>(), ["google"]);
        let limit = (config.rate_limit_enabled, config.rate_limit_requests, config.rate_limit_window);
        assert_eq!((limit, config.debug), ((Some(true), 7, 8), true));
    }

    /// Promise: D4
    #[test]
    fn backups_lie_in_the_data_folder_unless_told_otherwise() {
        let defaults = config(&[]).expect("defaults");
        assert!(defaults.backup_enabled && ServiceConfig::default().backup_enabled);
        assert!(!config(&[("BACKUP_ENABLED", "false")]).expect("off").backup_enabled);
        assert_eq!((defaults.effective_backup_dir(), defaults.backup_keep), (".data/backups".into(), 14));
        let there = config(&[("DATA_DIR", "/var/app")]).expect("a folder");
        assert_eq!(there.effective_backup_dir(), PathBuf::from("/var/app/backups"));
        let elsewhere = config(&[("DATA_DIR", "/var/app"), ("BACKUP_DIR", "/mnt/b")]).expect("a folder");
        assert_eq!(elsewhere.effective_backup_dir(), PathBuf::from("/mnt/b"));
        assert_eq!(refusal(&[("BACKUP_KEEP", "0")]), "BACKUP_KEEP is 0; it must be at least 1");
    }

    /// Promise: D4
    #[test]
    fn migrations_lie_in_the_data_folder_unless_told_otherwise() {
        assert!(config(&[]).expect("defaults").migration_enabled && ServiceConfig::default().migration_enabled);
        assert!(!config(&[("MIGRATION_ENABLED", "false")]).expect("off").migration_enabled);
        let folder = |variables: &[_]| config(variables).expect("a folder").effective_migrations_dir();
        assert_eq!(folder(&[]), PathBuf::from(".data/migrations_audit"));
        assert_eq!(folder(&[("DATA_DIR", "/var/app")]), PathBuf::from("/var/app/migrations_audit"));
        assert_eq!(folder(&[("MIGRATIONS_DIR", "migrations")]), PathBuf::from("migrations"));
    }

    /// Promise: F4
    #[test]
    fn what_is_said_of_tokens_is_kept() {
        let config = config(&[("JWT_EXPIRY_HOURS", "2"), ("AUTH_ENABLED", "false")]).expect("a configuration");
        assert_eq!((config.jwt_expiry_hours, config.auth_enabled), (2, false));
    }

    /// Promise: F4
    #[test]
    fn sign_up_is_open_from_the_environment_and_closed_in_code() {
        assert!(config(&[]).expect("defaults").allow_self_signup);
        assert!(!config(&[("ALLOW_SELF_SIGNUP", "false")]).expect("closed").allow_self_signup);
        assert!(!ServiceConfig::default().allow_self_signup);
    }

    #[test]
    fn a_refusal_names_the_variable_and_the_cure() {
        assert_eq!(refusal(&[("PORT", "eighty")]), "PORT is `eighty`; it must be a port from 0 to 65535");
        assert_eq!(refusal(&[("DEBUG", "maybe")]), "DEBUG is `maybe`; it must be true or false");
        assert_eq!(
            refusal(&[("APP_ENV", "prod")]),
            "APP_ENV is `prod`; it must be production, staging, development or test"
        );
        assert_eq!(refusal(&[("DATABASE_POOL_SIZE", "0")]), "DATABASE_POOL_SIZE is 0; it must be at least 1");
        assert_eq!(
            refusal(&[("API_PREFIX", "api")]),
            "API_PREFIX is `api`; it must be empty or a path such as /api/v1"
        );
        assert_eq!(
            refusal(&[("RATE_LIMIT_REQUESTS", "-5")]),
            "RATE_LIMIT_REQUESTS is `-5`; it must be a number of requests from 1"
        );
        assert_eq!(refusal(&[("RATE_LIMIT_WINDOW", "0")]), "RATE_LIMIT_WINDOW is 0; it must be at least 1");
        assert_eq!(
            refusal(&[("RATE_LIMIT_WINDOW", "90000")]),
            "RATE_LIMIT_WINDOW is 90000; a window is a day at most: 86400"
        );
        let refusals = ["0", "1001"].map(|streams| refusal(&[("EVENT_STREAMS_PER_USER", streams)]));
        assert_eq!(
            refusals,
            [
                "EVENT_STREAMS_PER_USER is 0; it must be at least 1",
                "EVENT_STREAMS_PER_USER is 1001; a user may have 1000 at most"
            ]
        );
        assert_eq!(
            refusal(&[("BODY_TIMEOUT_SECS", "0")]),
            "BODY_TIMEOUT_SECS is 0; it must be from 1 to 86400 seconds"
        );
        assert!(
            refusal(&[("CORS_ORIGINS", "https://a.com,https://*.b.com")])
                .starts_with("CORS_ORIGINS has `https://*.b.com`")
        );
    }

    #[test]
    fn production_refuses_a_weak_secret() {
        let production = ("APP_ENV", "production");
        assert!(refusal(&[production, ("JWT_SECRET", "short")]).starts_with("JWT_SECRET"));
        let long = "0123456789abcdef0123456789abcdef";
        assert!(config(&[production, ("JWT_SECRET", long)]).is_ok());
        assert!(refusal(&[production, ("JWT_SECRET", long), ("JWT_SECRET_PREVIOUS", "old")]).starts_with("JWT_SECRET"));
        assert!(config(&[production, ("DEBUG", "true")]).expect("no secret").jwt_secret.is_none());
        assert!(config(&[production]).expect("no secret").dev_defaults().jwt_secret.is_none());
    }

    /// Promise: T1
    #[test]
    fn the_url_wins_over_name_and_type() {
        let mut config = ServiceConfig { database_name: Some("./a.db".into()), ..ServiceConfig::default() };
        assert_eq!(config.effective_database_url().expect("a URL").expose(), "sqlite:///./a.db");
        config.database_url = Some(Secret::new("mysql://h/b"));
        assert_eq!(config.effective_database_url().expect("a URL").expose(), "mysql://h/b");
    }
}
