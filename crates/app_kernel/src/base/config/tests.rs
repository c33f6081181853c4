use std::path::PathBuf;

use super::ServiceConfig;
use crate::base::error::Result;
use crate::base::secret::Secret;

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
    assert_eq!(refusal(&[("API_PREFIX", "api")]), "API_PREFIX is `api`; it must be empty or a path such as /api/v1");
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
    assert_eq!(refusal(&[("BODY_TIMEOUT_SECS", "0")]), "BODY_TIMEOUT_SECS is 0; it must be from 1 to 86400 seconds");
    assert!(
        refusal(&[("CORS_ORIGINS", "https://a.com,https://*.b.com")]).starts_with("CORS_ORIGINS has `https://*.b.com`")
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
