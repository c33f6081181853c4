//! From an address to a pool, and from the first failure to one line for the person who starts the service.

use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::super::address::{Server, TLS_PARAMS, TlsMode, TlsWish, invalid, take_params};
use super::super::tls;
use super::pool::{self, Pool, PoolError};
use super::{DbError, Options};

/// How long a statement waits for another transaction's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long without a word the network is asked whether the server is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Where Debian, Fedora and the official images put their sockets.
const SOCKET_FOLDER: &str = "/var/run/postgresql";

/// An address that was understood.
pub(super) struct Address {
    config: Config,
    wish: TlsWish,
    /// pgbouncer lends a session for one transaction: see [`super::Limits`].
    pub(super) is_pooled: bool,
}

impl Address {
    pub(super) fn read(text: &str, options: &Options) -> Result<Self, DbError> {
        let (url, params) = take_params(text, &[&TLS_PARAMS[..], &[PGBOUNCER]].concat())?;
        let is_pooled = is_pooled(&params)?;
        let mut config: Config = url.parse().map_err(|error| not_an_address(&error))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            if Path::new(SOCKET_FOLDER).is_dir() {
                config.host_path(SOCKET_FOLDER);
            } else {
                config.host("localhost");
            }
        }
        // Encrypting towards the same machine costs and protects nothing; a server that insists gets it all the same.
        let default = if is_local(&config) { TlsMode::Allow } else { TlsMode::Prefer };
        let wish = TlsWish::from_params(&params, default)?;
        config.ssl_mode(match wish.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Allow | TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        set_defaults(&mut config, options);
        Ok(Address { config, wish, is_pooled })
    }

    /// A pool for this address. Connects nowhere yet.
    pub(super) fn pool(&self, options: &Options) -> Result<Pool, DbError> {
        Ok(pool::new(self.connector(self.set_up(options))?, options))
    }

    fn connector(&self, set_up: String) -> Result<Connector, DbError> {
        let tls = match self.wish.mode {
            TlsMode::Disable => None,
            _ => Some(Tls(MakeRustlsConnect::new(tls::client_config(&self.wish)?))),
        };
        let (config, is_plain_tried_first) = (self.config.clone(), self.wish.mode == TlsMode::Allow);
        Ok(Connector { config, tls, is_plain_tried_first, set_up, heard: None })
    }

    /// A connection beside the pool that calls `heard` for each notification on a channel, until the task ends because the connection broke.
    /// Dropping the client ends it too. None where sessions are lent for a transaction, and nobody could be told anything between two.
    pub(super) async fn listen(
        &self,
        channel: &str,
        heard: Heard,
    ) -> Result<Option<(Client, JoinHandle<()>)>, DbError> {
        if self.is_pooled {
            return Ok(None);
        }
        let connector = Connector { heard: Some(heard), ..self.connector(format!("LISTEN {channel};"))? };
        connector.connect().await.map(Some).map_err(super::error::from_postgres)
    }

    /// Makes one connection, and says in one line why it can't be made.
    pub(super) async fn check(&self, pool: &Pool, options: &Options) -> Result<(), DbError> {
        let server = Server { name: "PostgreSQL", at: places(&self.config) };
        match pool.get().await {
            Ok(_) => Ok(()),
            Err(PoolError::Backend(error)) => Err(explain(&error, &server, &self.config)),
            Err(_) => Err(server.silent(options.connect_timeout)),
        }
    }

    /// Whether the address sets this limit itself, in `options`.
    pub(super) fn has_limit(&self, name: &str) -> bool {
        let options = self.config.get_options().unwrap_or("").to_ascii_lowercase();
        options.contains(&format!("{name}="))
    }

    /// What each connection is told first. By statements, not by the start-up packet, which pgbouncer does not let through.
    fn set_up(&self, options: &Options) -> String {
        let mut settings = vec![
            ("timezone", "'UTC'".to_owned()),
            ("client_encoding", "'UTF8'".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
        ];
        // These three pgbouncer carries along from one session to the next, and no others.
        if !self.is_pooled {
            settings.extend(self.limits(options));
        }
        settings.into_iter().map(|(name, value)| format!("SET {name} = {value};")).collect()
    }

    /// What a transaction is told first where sessions are shared; they would forget it, or tell it to others.
    pub(super) fn begin(&self, options: &Options) -> String {
        if !self.is_pooled {
            return "BEGIN".to_owned();
        }
        let limits = self.limits(options).map(|(name, value)| match name {
            "default_transaction_isolation" => "; SET TRANSACTION ISOLATION LEVEL READ COMMITTED".to_owned(),
            _ => format!("; SET LOCAL {name} = {value}"),
        });
        limits.fold("BEGIN".to_owned(), |begin, limit| begin + &limit)
    }

    /// Those that the address sets itself are left out.
    fn limits(&self, options: &Options) -> impl Iterator<Item = (&'static str, String)> {
        let statement = options.statement_timeout.as_millis();
        let lock = options.statement_timeout.min(LOCK_TIMEOUT).as_millis();
        let limits = [
            ("default_transaction_isolation", "'read committed'".to_owned()),
            ("statement_timeout", statement.to_string()),
            ("lock_timeout", lock.to_string()),
            // Twice the longest statement: a transaction of ours that waits this long has lost its process.
            ("idle_in_transaction_session_timeout", (2 * statement).to_string()),
        ];
        limits.into_iter().filter(|(name, _)| !(name.ends_with("_timeout") && self.has_limit(name)))
    }
}

/// The parameter that says that there is a pooler in between.
const PGBOUNCER: &str = "pgbouncer";

fn is_pooled(params: &[(String, String)]) -> Result<bool, DbError> {
    match params.iter().find(|(name, _)| name == PGBOUNCER).map(|(_, value)| value.as_str()) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(invalid("DATABASE_URL: `pgbouncer` must be true or false")),
    }
}

fn not_an_address(error: &Error) -> DbError {
    // The parser names parameters, never their values.
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    invalid(format!(
        "DATABASE_URL is not a PostgreSQL address: {cause}. Example: postgres://user:password@localhost:5432/app"
    ))
}

fn set_defaults(config: &mut Config, options: &Options) {
    if config.get_application_name().is_none() {
        config.application_name("app_kernel");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(options.connect_timeout);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(options.statement_timeout);
    }
    if config.get_keepalives_idle() > KEEPALIVE_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
}

fn is_local(config: &Config) -> bool {
    let is_local_host = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(is_local_host) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// Makes connections and sets them up.
pub(super) struct Connector {
    config: Config,
    tls: Option<Tls>,
    is_plain_tried_first: bool,
    set_up: String,
    heard: Option<Heard>,
}

/// What is called for a notification.
pub(super) type Heard = Arc<dyn Fn() + Send + Sync>;

impl Connector {
    /// A connection, and the task that moves what goes over the wire.
    pub(super) async fn connect(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, mover) = self.open().await?;
        client.batch_execute(&self.set_up).await?;
        Ok((client, mover))
    }

    async fn open(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let Some(tls) = &self.tls else {
            return self.open_with(&self.config, NoTls).await;
        };
        if self.is_plain_tried_first {
            let mut plain = self.config.clone();
            plain.ssl_mode(SslMode::Disable);
            match self.open_with(&plain, NoTls).await {
                // What a server says that wants TLS, among other things.
                Err(error) if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {}
                outcome => return outcome,
            }
        }
        self.open_with(&self.config, tls.clone()).await
    }

    async fn open_with<T>(&self, config: &Config, tls: T) -> Result<(Client, JoinHandle<()>), Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, mut connection) = config.connect(tls).await?;
        let heard = self.heard.clone();
        let task = tokio::spawn(async move {
            let broke = match heard {
                None => connection.await.err(),
                Some(heard) => loop {
                    match poll_fn(|context| connection.poll_message(context)).await {
                        Some(Ok(AsyncMessage::Notification(_))) => heard(),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break Some(error),
                        None => break None,
                    }
                },
            };
            if let Some(error) = broke {
                tracing::debug!(error = %Chain(&error), "a PostgreSQL connection broke");
            }
        });
        Ok((client, task))
    }
}

/// `MakeRustlsConnect`, which refuses a socket's missing host name even where no TLS is spoken.
#[derive(Clone)]
struct Tls(MakeRustlsConnect);

impl MakeTlsConnect<Socket> for Tls {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, Self::Error> {
        let host = if host.is_empty() { "localhost" } else { host };
        MakeTlsConnect::<Socket>::make_tls_connect(&mut self.0, host)
    }
}

/// `localhost:5432`, or all of them.
fn places(config: &Config) -> String {
    let ports = config.get_ports();
    let port = |i: usize| ports.get(i).or(ports.first()).copied().unwrap_or(5432);
    let hosts = config.get_hosts().iter().enumerate().map(|(i, host)| match host {
        Host::Tcp(name) if name.contains(':') => format!("[{name}]:{}", port(i)),
        Host::Tcp(name) => format!("{name}:{}", port(i)),
        #[cfg(unix)]
        Host::Unix(folder) => format!("{}/.s.PGSQL.{}", folder.display(), port(i)),
    });
    let addresses = config.get_hostaddrs().iter().enumerate().map(|(i, address)| format!("{address}:{}", port(i)));
    let all: Vec<_> = if config.get_hosts().is_empty() { addresses.collect() } else { hosts.collect() };
    all.join(", ")
}

fn explain(error: &Error, server: &Server, config: &Config) -> DbError {
    if let Some(refusal) = error.as_db_error() {
        let cure = match refusal.code().code() {
            "3D000" => format!("make it: createdb {}", config.get_dbname().or(config.get_user()).unwrap_or("app")),
            "28P01" => "correct the user or the password, percent-encoded where it holds special characters".to_owned(),
            "28000" => "correct the user, or allow this machine in pg_hba.conf".to_owned(),
            "42501" => "give the user the right to connect".to_owned(),
            "53300" => {
                return server.unreachable(refusal.message(), "raise max_connections, or lower DATABASE_POOL_SIZE");
            }
            code if code.starts_with("57P") => {
                return server.unreachable(refusal.message(), "wait until it has started");
            }
            _ => "correct the address or the server's settings".to_owned(),
        };
        return server.refuses(refusal.message(), cure);
    }
    if let Some(error) = io_error(error) {
        return server.io(error);
    }
    match error.to_string().as_str() {
        text if text.contains("TLS") => server.tls(Chain(error)),
        "authentication error" => server.refuses(Chain(error), "give the password: postgres://user:password@host/name"),
        _ => server.unreachable(Chain(error), "is it PostgreSQL that listens there?"),
    }
}

fn io_error(error: &Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref() {
            return Some(io);
        }
        cause = inner.source();
    }
    None
}

/// An error and its causes in one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error as PublicError;

    fn read(url: &str) -> Address {
        Address::read(url, &Options::default()).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn refusal(url: &str) -> String {
        let Err(error) = Address::read(url, &Options::default()) else { panic!("{url} is good") };
        PublicError::from(error).to_string()
    }

    /// Promise: B9
    #[test]
    fn passwords_may_hold_every_character_when_percent_encoded() {
        let Address { config, .. } = read("postgres://ann:%40%2F%3F%23%25%3A+%26%C3%A9@db.example.com:5433/my%20app");
        assert_eq!(config.get_password(), Some("@/?#%:+&é".as_bytes()));
        assert_eq!(config.get_dbname(), Some("my app"));
        assert_eq!(places(&config), "db.example.com:5433");
    }

    #[test]
    fn sockets_and_several_hosts_are_understood() {
        let Address { config, wish, .. } = read("postgres:///app?host=/var/run/postgresql&user=ann");
        assert_eq!(config.get_hosts(), [Host::Unix("/var/run/postgresql".into())]);
        assert_eq!(places(&config), "/var/run/postgresql/.s.PGSQL.5432");
        assert_eq!(wish.mode, TlsMode::Allow);
        let Address { config, wish, .. } = read("postgresql://u@one:5432,two:5433/app?target_session_attrs=read-write");
        assert_eq!(places(&config), "one:5432, two:5433");
        assert_eq!(wish.mode, TlsMode::Prefer);
        assert_eq!(places(&read("postgres://u@[::1]/app").config), "[::1]:5432");
    }

    #[test]
    fn tls_is_left_out_on_the_same_machine_only() {
        for (url, mode, driver_mode) in [
            ("postgres://u@localhost/app", TlsMode::Allow, SslMode::Prefer),
            ("postgres://u@127.0.0.1/app", TlsMode::Allow, SslMode::Prefer),
            ("postgres://u@db/app", TlsMode::Prefer, SslMode::Prefer),
            ("postgres://u@localhost/app?sslmode=require", TlsMode::Require, SslMode::Require),
            ("postgres://u@db/app?sslmode=disable", TlsMode::Disable, SslMode::Disable),
            ("postgres://u@db/app?sslmode=verify-full&sslrootcert=system", TlsMode::VerifyFull, SslMode::Require),
        ] {
            let Address { config, wish, .. } = read(url);
            assert_eq!((wish.mode, config.get_ssl_mode()), (mode, driver_mode), "{url}");
        }
    }

    #[test]
    fn a_bad_address_is_one_line_without_the_password() {
        assert_eq!(
            refusal("postgres://u:hunter2@h:port/app"),
            "DATABASE_URL is not a PostgreSQL address: invalid value for option `port`. Example: postgres://user:password@localhost:5432/app"
        );
        assert_eq!(
            refusal("postgres://u:hunter2@h/app?schema=public"),
            "DATABASE_URL is not a PostgreSQL address: unknown option `schema`. Example: postgres://user:password@localhost:5432/app"
        );
    }

    #[test]
    fn limits_in_the_address_win_over_ours() {
        let address = read("postgres://u@h/app?options=-c%20statement_timeout%3D5000");
        let text = address.set_up(&Options::default());
        assert_eq!(
            text,
            "SET timezone = 'UTC';SET client_encoding = 'UTF8';SET standard_conforming_strings = on;\
             SET default_transaction_isolation = 'read committed';SET lock_timeout = 10000;\
             SET idle_in_transaction_session_timeout = 60000;"
        );
    }

    #[test]
    fn behind_pgbouncer_only_transactions_are_told_limits() {
        let address = read("postgres://u@h/app?pgbouncer=true&sslmode=disable");
        assert_eq!(
            address.set_up(&Options::default()),
            "SET timezone = 'UTC';SET client_encoding = 'UTF8';SET standard_conforming_strings = on;"
        );
        assert_eq!(
            address.begin(&Options::default()),
            "BEGIN; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 30000; \
             SET LOCAL lock_timeout = 10000; SET LOCAL idle_in_transaction_session_timeout = 60000"
        );
        assert_eq!(read("postgres://u@h/app?pgbouncer=false").begin(&Options::default()), "BEGIN");
        assert_eq!(refusal("postgres://u@h/app?pgbouncer=yes"), "DATABASE_URL: `pgbouncer` must be true or false");
    }
}
