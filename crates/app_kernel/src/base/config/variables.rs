//! The table of all environment variables, and how one is shown.

use super::Surroundings;

/// What stands in the name of a variable for a word of the operator's.
const NAME: &str = "<NAME>";

/// One environment variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds where it is not set, in words.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

impl Variable {
    /// Its present value as people may see it: secrets are hidden, addresses come without credentials. None where it is not set.
    #[must_use]
    pub fn shown(&self, surroundings: &Surroundings) -> Option<String> {
        let is_set = |(name, value): &(&String, &String)| self.is_called(name) && !value.trim().is_empty();
        let mut set = surroundings.variables().iter().filter(is_set);
        if self.name.contains(NAME) {
            let shown: Vec<String> =
                set.map(|(name, value)| format!("{name}={}", self.without_secrets(value))).collect();
            return (!shown.is_empty()).then(|| shown.join(" "));
        }
        set.next().map(|(_, value)| self.without_secrets(value))
    }

    /// Whether it goes by this name: its own, or one that has a word in place of `<NAME>`.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        match self.name.split_once(NAME) {
            None => name == self.name,
            Some((start, end)) => {
                let word = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
                word.is_some_and(|word| !word.is_empty())
            }
        }
    }

    /// Goes by the name, so that a variable that is added later is hidden too.
    fn without_secrets(&self, value: &str) -> String {
        let value = value.trim();
        if ["SECRET", "PASSWORD", "TOKEN", "_KEY", "OTLP_HEADERS"].iter().any(|word| self.name.contains(word)) {
            "[secret]".to_owned()
        } else if self.name.contains("_URL") && !value.starts_with("sqlite:") {
            without_credentials(value)
        } else {
            value.to_owned()
        }
    }
}

/// An address without user, password and options; nothing of a text that is no address, because it may be anything.
fn without_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return "[not an address]".to_owned() };
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = place.split('?').next().unwrap_or_default();
    let host = place.split('/').next().unwrap_or_default();
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    if !port.bytes().all(|byte| byte.is_ascii_digit() || byte == b']') {
        // A user and a password without the host behind them.
        return format!("{scheme}://[not an address]");
    }
    format!("{scheme}://{place}")
}

/// Every variable that the kernel reads.
pub const VARIABLES: &[Variable] = &[
    variable("APP_ENV", "development", "`production` refuses weak secrets and listens on all addresses"),
    variable("DEBUG", "false", "more in the log; a development secret where none is set"),
    variable(
        "DEV_AUTOSTART",
        "true",
        "whether Docker starts what DATABASE_URL and REDIS_URL name on this machine, where nothing listens; never in production",
    ),
    variable("HOST", "127.0.0.1 (0.0.0.0 in production)", "the address to listen on"),
    variable("PORT", "8000", "the port to listen on; 0 takes a free one"),
    variable("API_PREFIX", "/api/v1", "the path that all routes of the kernel and the app start with"),
    variable("ROOT_ALIAS", "true", "whether the same routes answer without the prefix too"),
    variable(
        "DATABASE_URL",
        "none",
        "`sqlite:///./data/app.db`, `postgres://user:pass@host/db`, `mysql://user:pass@host/db`",
    ),
    variable(
        "DATABASE_URL_PREVIOUS",
        "none",
        "the last database's address, for the start that moves its data: needed where that has a password",
    ),
    variable("ADMIN_DB_URL", "DATABASE_URL", "where audit and usage lie; several services may share one"),
    variable(
        "ADMIN_WORKER_EMBEDDED",
        "true",
        "whether this process carries audit and usage to the admin database; `false` leaves it to `admin-worker`",
    ),
    variable("AUDIT_ENABLED", "true", "`false` records no changes: what happens then is not in the audit"),
    variable("METERING_ENABLED", "true", "`false` counts no requests and no usage"),
    variable(
        "AUDIT_KEEP_DAYS",
        "none: for ever",
        "after how many days entries of the audit are purged; usage never is",
    ),
    variable("DATABASE_POOL_SIZE", "10", "connections to PostgreSQL or MySQL, or reader threads on SQLite (2)"),
    variable("SQLITE_SYNCHRONOUS", "full", "`full` survives a power cut; `normal` may lose the last writes in one"),
    variable("SCHEMA_STRICT", "false", "`true` refuses entities that were not declared"),
    variable("MIGRATION_ENABLED", "true", "whether the schema is brought up to date at start"),
    variable("ALLOW_COLUMN_DELETION", "false", "`true` drops columns that are gone from the code, with their data"),
    variable("ALLOW_TABLE_DELETION", "false", "`true` drops tables that are gone from the code, with their data"),
    variable("SERVICE_RENAMED_FROM", "none", "the former name of the service, for the first start under a new one"),
    variable(
        "MIGRATIONS_DIR",
        "`migrations_audit` in DATA_DIR",
        "where each migration lies as a file, to be committed",
    ),
    variable(
        "DATA_DIR",
        ".data",
        "where backups and migrations lie, mail in development, and which database was the last one",
    ),
    variable(
        "BACKUP_ENABLED",
        "true",
        "a backup at each start where anything has changed, always before a migration; `false` leaves both to you",
    ),
    variable("BACKUP_DIR", "`backups` in DATA_DIR", "where backups lie"),
    variable("BACKUP_KEEP", "14", "how many backups are kept; older ones of the same service go"),
    variable("BACKUP_SCHEDULE", "none", "when to make backups besides: a cron expression in UTC, such as `0 3 * * *`"),
    variable("BACKUP_S3_BUCKET", "none", "a bucket of S3, or of a store like it, that each backup is copied to"),
    variable(
        "BACKUP_S3_ENDPOINT",
        "that of Amazon in the region",
        "the store's address, such as `https://s3.example.com`",
    ),
    variable("BACKUP_S3_REGION", "us-east-1", "where the bucket lies; many stores take any word"),
    variable("BACKUP_S3_PREFIX", "none", "what names in the bucket start with"),
    variable("AWS_ACCESS_KEY_ID", "none", "who asks for the bucket"),
    variable("AWS_SECRET_ACCESS_KEY", "none", "what signs these requests"),
    variable("JWT_SECRET", "none", "signs access tokens; 32 bytes or more in production. Without it auth is off"),
    variable("JWT_SECRET_PREVIOUS", "none", "former secrets, separated by commas: still accepted, never used to sign"),
    variable("JWT_EXPIRY_HOURS", "24", "how long an access token lives"),
    variable("AUTH_ENABLED", "true", "`false` leaves the auth routes out"),
    variable("ALLOW_SELF_SIGNUP", "true", "whether anybody may register"),
    variable("GOOGLE_CLIENT_ID", "none", "lets people sign in with Google; see docs/oauth.md"),
    variable("GOOGLE_CLIENT_SECRET", "none", "the secret that Google gave with it"),
    variable("GOOGLE_ISSUER", "https://accounts.google.com", "another server in Google's place, for tests"),
    variable("GITHUB_CLIENT_ID", "none", "lets people sign in with GitHub"),
    variable("GITHUB_CLIENT_SECRET", "none", "the secret that GitHub gave with it"),
    variable("GITHUB_URL", "https://github.com", "a GitHub Enterprise server"),
    variable("OIDC_<NAME>_ISSUER", "none", "lets people sign in at any OpenID provider, at /auth/oauth/name"),
    variable("OIDC_<NAME>_CLIENT_ID", "none", "who we are there"),
    variable("OIDC_<NAME>_CLIENT_SECRET", "none", "the secret that goes with it"),
    variable(
        "OAUTH_REDIRECT_ORIGINS",
        "none",
        "origins beside our own that people may return to from there, separated by commas: https://app.example.com",
    ),
    variable(
        "PUBLIC_URL",
        "http://HOST:PORT in development",
        "where people reach the service: the start of the links in mails, such as https://myapp.com",
    ),
    variable(
        "SMTP_URL",
        "none: files in DATA_DIR/mail, or no mail in production",
        "`smtps://user:pass@host`, `smtp://user:pass@host:587?tls=required`: the server that sends mail",
    ),
    variable("MAIL_FROM", "none", "who mail comes from: `My app <no-reply@myapp.com>`; SMTP_URL needs it"),
    variable(
        "WORKER_EMBEDDED",
        "true",
        "whether `serve` runs jobs too; `false` leaves them to processes in the role `worker`",
    ),
    variable("WORKER_CONCURRENCY", "20", "how many jobs a process runs side by side"),
    variable("WORKER_LEASE_SECS", "30", "after how long without a sign of life a worker's jobs are given to others"),
    variable(
        "WORKER_POLL_SECS",
        "2",
        "how long an idle worker waits at most, before it looks for jobs that nobody has told it of",
    ),
    variable("JOB_RETENTION_HOURS", "72", "how long jobs that succeeded or were cancelled are kept; failed ones stay"),
    variable(
        "WEBHOOK_ALLOW_PRIVATE",
        "false",
        "`true` lets webhooks reach this machine and private networks, by http too: for development",
    ),
    variable(
        "REDIS_URL",
        "none",
        "`redis://host:6379`, `rediss://…` with TLS: what processes share and may lose, such as the counts of limits",
    ),
    variable("CORS_ORIGINS", "*", "origins that browsers may call from, separated by commas"),
    variable("CORS_CREDENTIALS", "true", "whether listed origins may send cookies and tokens"),
    variable("TRUSTED_PROXIES", "none", "addresses or networks whose X-Forwarded-For is believed, separated by commas"),
    variable("MAX_CONNECTIONS", "10000", "open connections; more are answered 503"),
    variable("MAX_BODY_BYTES", "2097152", "the longest request body; a longer one is answered 413"),
    variable(
        "HEADER_TIMEOUT_SECS",
        "10",
        "how long a client may take to send a request's head, or stay idle between requests (6 times as long)",
    ),
    variable("BODY_TIMEOUT_SECS", "30", "how long a body may keep the other side waiting for 4 KiB, in and out"),
    variable("SHUTDOWN_TIMEOUT_SECS", "30", "how long requests in flight may take after SIGTERM"),
    variable(
        "LOG_LEVEL",
        "info",
        "`error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,app_kernel::store=debug`",
    ),
    variable("LOG_FORMAT", "json (pretty on a terminal)", "`json` or `pretty`"),
    variable(
        "METRICS_TOKEN",
        "none",
        "what `/metrics` asks for as a bearer token; without it, only this machine may read",
    ),
    variable(
        "METRICS_PORT",
        "none",
        "another port on HOST for `/healthz`, `/readyz` and `/metrics`, in every role: `worker` and `admin-worker` have no other",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "none",
        "where traces go by OTLP over HTTP, such as `http://localhost:4318`; needs the Cargo feature `otel`",
    ),
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "the endpoint with `/v1/traces`", "the same as the whole address"),
    variable(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "none",
        "what is sent with traces, such as `api-key=…`, with commas between",
    ),
    variable("OTEL_SERVICE_NAME", "the service's name", "what traces call the service"),
    variable(
        "OTEL_RESOURCE_ATTRIBUTES",
        "none",
        "what traces say of the service, such as `deployment.environment.name=production`",
    ),
    variable(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        "which traces are kept: `always_on`, `always_off`, `traceidratio`, or one of them after `parentbased_`",
    ),
    variable("OTEL_TRACES_SAMPLER_ARG", "1.0", "the share that `traceidratio` keeps, from 0 to 1"),
    variable("OTEL_SDK_DISABLED", "false", "`true` sends no traces, whatever else is set"),
    variable("NO_COLOR", "none", "set to anything, it keeps colours off the terminal"),
    variable(
        "RATE_LIMIT_ENABLED",
        "true with REDIS_URL, else false",
        "whether requests are limited; `true` without Redis limits in each process for itself. Logins always are",
    ),
    variable(
        "RATE_LIMIT_REQUESTS",
        "100",
        "how many requests a key, else a user, else an address may make in a window",
    ),
    variable("RATE_LIMIT_WINDOW", "60", "the window, in seconds: no stretch of time of this length has more"),
    variable(
        "EVENT_STREAMS_PER_USER",
        "8",
        "how many event streams a user, else an address, may have open at once; in all processes with Redis, else in each",
    ),
    variable(
        "CACHE_MAX_BYTES",
        "67108864",
        "how much memory a process' cache may take without Redis, or while it is away",
    ),
    variable("IDEMPOTENCY_ENABLED", "true", "whether writes that carry an `Idempotency-Key` are done once"),
];

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: R-32
    #[test]
    fn a_variable_is_shown_without_what_must_not_be_seen() {
        let shown = |name: &'static str, value: &str| variable(name, "", "").without_secrets(value);
        assert_eq!(shown("JWT_SECRET_PREVIOUS", "hunter2"), "[secret]");
        assert_eq!(shown("PORT", " 8000 "), "8000");
        assert_eq!(shown("DATABASE_URL", "sqlite:///./data/a@b.db"), "sqlite:///./data/a@b.db");
        for (url, wanted) in [
            ("postgres://ann:hunter2@h:5432/app?password=hunter2", "postgres://h:5432/app"),
            ("postgres://ann:hun?ter2@h/app", "postgres://h/app"),
            ("redis://:hunter2@localhost:6379", "redis://localhost:6379"),
            ("postgres:///app?host=/run", "postgres:///app"),
            ("postgres://u@[::1]/app", "postgres://[::1]/app"),
            ("mysql://ann:hunter2", "mysql://[not an address]"),
            ("hunter2", "[not an address]"),
        ] {
            assert_eq!(shown("DATABASE_URL", url), wanted);
        }
    }
}
