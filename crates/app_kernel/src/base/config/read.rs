//! The configuration as the environment says it.

use std::net::IpAddr;
use std::time::Duration;

use super::environment::Environment;
use super::{DEVELOPMENT_SECRET, LogFormat, ServiceConfig, Surroundings};
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

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
}
