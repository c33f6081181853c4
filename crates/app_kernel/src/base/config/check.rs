//! What no service can start with.

use super::{SHORTEST_PRODUCTION_SECRET, ServiceConfig, oauth};
use crate::base::error::{Error, Result};

impl ServiceConfig {
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
