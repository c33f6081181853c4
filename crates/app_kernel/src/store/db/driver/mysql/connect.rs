//! From an address to a pool, and from the first failure to one line for the person who starts the service.

use std::time::Duration;

use mysql_async::{Conn, DriverError, Error, IoError, Opts, OptsBuilder, SslOpts};
use rustls::crypto::{CryptoProvider, ring};
use tokio::time::timeout;

use super::super::address::{Server, TLS_PARAMS, TlsMode, TlsWish, invalid, take_params};
use super::pool::{self, Pool};
use super::{DatabaseUrl, DbError, Options};

/// How long a statement waits for another transaction's row.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long without a word the network is asked whether the server is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// "Connections using insecure transport are prohibited"
const SECURE_TRANSPORT_REQUIRED: u16 = 3159;
/// Said too to a user who must use TLS and does not.
const ACCESS_DENIED: u16 = 1045;

/// A pool whose first connection stands. Whether it is encrypted is decided here, once.
pub(super) async fn pool(url: &DatabaseUrl, options: &Options) -> Result<Pool, DbError> {
    let (address, wish) = read_address(url.text.expose())?;
    let server = Server { name: "MySQL", at: place(&address) };
    let mut choices = choices(&wish).into_iter().peekable();
    while let Some(tls) = choices.next() {
        if tls.is_some() {
            choose_provider();
        }
        let opts = opts(&address, tls, options);
        match timeout(options.connect_timeout, Conn::new(opts.clone())).await {
            Ok(Ok(connection)) => {
                connection.disconnect().await.map_err(|error| explain(&error, &server, &address))?;
                return Ok(pool::new(opts, options));
            }
            Ok(Err(error)) if choices.peek().is_some() && is_about_tls(&error) => {}
            Ok(Err(error)) => return Err(explain(&error, &server, &address)),
            Err(_) => return Err(server.silent(options.connect_timeout)),
        }
    }
    Err(server.tls("no way of encryption is left"))
}

fn read_address(text: &str) -> Result<(Opts, TlsWish), DbError> {
    let (url, params) = take_params(text, &[&TLS_PARAMS[..], &["charset"]].concat())?;
    if let Some((_, charset)) = params.iter().find(|(name, value)| name == "charset" && !value.starts_with("utf8")) {
        return Err(invalid(format!(
            "DATABASE_URL: `charset` is {charset}; the kernel speaks utf8mb4 only, leave it out"
        )));
    }
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    // A socket needs no host, but the parser wants one.
    let rest = rest.strip_prefix("///").map_or_else(|| rest.to_owned(), |path| format!("//localhost/{path}"));
    let opts = Opts::from_url(&format!("mysql:{rest}")).map_err(|error| {
        invalid(format!(
            "DATABASE_URL is not a MySQL address: {error}; special characters in the password must be percent-encoded. \
             Example: mysql://user:password@localhost:3306/app"
        ))
    })?;
    if opts.db_name().is_none() {
        return Err(invalid("DATABASE_URL names no database. Example: mysql://user:password@localhost:3306/app"));
    }
    // Encrypting towards the same machine costs and protects nothing; a server that insists gets it all the same.
    let is_local = opts.socket().is_some() || opts.addr_is_loopback();
    let wish = TlsWish::from_params(&params, if is_local { TlsMode::Allow } else { TlsMode::Prefer })?;
    Ok((opts, wish))
}

/// What to try, in order; `None` is without TLS.
fn choices(wish: &TlsWish) -> Vec<Option<SslOpts>> {
    let roots = wish.roots.iter().map(|path| path.clone().into()).collect();
    let verified = SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(wish.roots.is_some());
    let unverified = SslOpts::default().with_danger_accept_invalid_certs(true);
    match wish.mode {
        TlsMode::Disable => vec![None],
        TlsMode::Allow => vec![None, Some(unverified)],
        TlsMode::Prefer => vec![Some(unverified), None],
        TlsMode::Require => vec![Some(unverified)],
        TlsMode::VerifyCa => vec![Some(verified.with_danger_skip_domain_validation(true))],
        TlsMode::VerifyFull => vec![Some(verified)],
    }
}

/// mysql_async asks rustls for the provider of the process, and rustls panics where several are compiled in and none is chosen.
/// So the choice is made here, for MySQL over TLS only, and only where the program has made none.
fn choose_provider() {
    if CryptoProvider::get_default().is_none() {
        // Where another thread was faster, its choice is as good.
        let _ = ring::default_provider().install_default();
    }
}

fn opts(address: &Opts, tls: Option<SslOpts>, options: &Options) -> Opts {
    OptsBuilder::from_opts(address.clone())
        .prefer_socket(false)
        .client_found_rows(true) // rows touched are rows matched, as in the other databases
        .stmt_cache_size(0) // the pool remembers them
        .tcp_keepalive(Some(KEEPALIVE))
        .ssl_opts(tls)
        .setup(vec![set_up(options)])
        .into()
}

/// What each connection is told first.
fn set_up(options: &Options) -> String {
    let lock = options.statement_timeout.min(LOCK_TIMEOUT).as_secs().max(1);
    format!(
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET autocommit = 1, time_zone = '+00:00', innodb_lock_wait_timeout = {lock}, sql_mode = \
         'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'; {}",
        statement_limit(options.statement_timeout)
    )
}

/// Sets the longest time of a statement; zero is no limit. MySQL reads the first comment as text, and MariaDB the second.
/// MySQL limits reads only.
pub(super) fn statement_limit(limit: Duration) -> String {
    let (millis, secs) = (limit.as_millis(), limit.as_secs_f64());
    format!(
        "SET autocommit = 1 /*!50708 , max_execution_time = {millis} */ /*M!100101 , max_statement_time = {secs} */"
    )
}

/// `localhost:3306`, or the socket.
fn place(opts: &Opts) -> String {
    match opts.socket() {
        Some(socket) => socket.to_owned(),
        None => format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port()),
    }
}

fn is_about_tls(error: &Error) -> bool {
    match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) => true,
        Error::Server(server) => matches!(server.code, SECURE_TRANSPORT_REQUIRED | ACCESS_DENIED),
        _ => false,
    }
}

fn explain(error: &Error, server: &Server, opts: &Opts) -> DbError {
    match error {
        Error::Server(refusal) => {
            let name = opts.db_name().unwrap_or("app");
            let cure = match refusal.code {
                1049 => format!("make it: CREATE DATABASE `{name}`"),
                1045 | 1698 => {
                    "correct the user or the password, percent-encoded where it holds special characters".to_owned()
                }
                1044 => format!("allow it: GRANT ALL ON `{name}`.* TO the user"),
                SECURE_TRANSPORT_REQUIRED => "add ?ssl-mode=REQUIRED".to_owned(),
                1040 | 1203 => {
                    return server.unreachable(&refusal.message, "raise max_connections, or lower DATABASE_POOL_SIZE");
                }
                1053 => return server.unreachable(&refusal.message, "wait until it has started"),
                _ => "correct the address or the server's settings".to_owned(),
            };
            server.refuses(&refusal.message, cure)
        }
        Error::Io(IoError::Io(error)) => server.io(error),
        Error::Io(IoError::Tls(error)) => server.tls(error),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            server.refuses("it speaks no TLS", "turn TLS on in the server, or choose ssl-mode=PREFERRED")
        }
        error => server.unreachable(error, "is it MySQL or MariaDB that listens there?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error as PublicError;

    fn read(url: &str) -> (Opts, TlsWish) {
        read_address(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn refusal(url: &str) -> String {
        PublicError::from(read_address(url).expect_err("a bad address")).to_string()
    }

    /// Promise: B9
    #[test]
    fn passwords_may_hold_every_character_when_percent_encoded() {
        let (opts, _) = read("mysql://ann:%40%2F%3F%23%25%3A+%26%C3%A9@db.example.com:3307/my%20app");
        assert_eq!(opts.pass(), Some("@/?#%:+&é"));
        assert_eq!(opts.user(), Some("ann"));
        assert_eq!(opts.db_name(), Some("my app"));
        assert_eq!(place(&opts), "db.example.com:3307");
    }

    #[test]
    fn sockets_and_the_scheme_of_mariadb_are_understood() {
        let (opts, wish) = read("mariadb:///app?socket=/run/mysqld/mysqld.sock");
        assert_eq!(opts.socket(), Some("/run/mysqld/mysqld.sock"));
        assert_eq!(opts.db_name(), Some("app"));
        assert_eq!(wish.mode, TlsMode::Allow);
        assert_eq!(place(&opts), "/run/mysqld/mysqld.sock");
    }

    #[test]
    fn each_mode_of_tls_tries_what_it_says() {
        let tried = |url: &str| choices(&read(url).1).iter().map(Option::is_some).collect::<Vec<_>>();
        assert_eq!(tried("mysql://u@localhost/app"), [false, true]);
        assert_eq!(tried("mysql://u@db/app"), [true, false]);
        assert_eq!(tried("mysql://u@db/app?ssl-mode=DISABLED"), [false]);
        assert_eq!(tried("mysql://u@db/app?ssl-mode=REQUIRED"), [true]);
        let verified = choices(&read("mysql://u@db/app?ssl-mode=VERIFY_IDENTITY&ssl-ca=/ca.pem").1);
        let [Some(verified)] = &verified[..] else { panic!("one choice") };
        assert!(!verified.accept_invalid_certs() && !verified.skip_domain_validation());
        assert!(verified.disable_built_in_roots() && verified.root_certs().len() == 1);
        let chain = choices(&read("mysql://u@db/app?ssl-mode=VERIFY_CA&ssl-ca=/ca.pem").1);
        let [Some(chain)] = &chain[..] else { panic!("one choice") };
        assert!(!chain.accept_invalid_certs() && chain.skip_domain_validation());
    }

    #[test]
    fn a_bad_address_is_one_line_without_the_password() {
        assert_eq!(
            refusal("mysql://u:hunter2#@h/app"),
            "DATABASE_URL is not a MySQL address: URL parse error: invalid port number; special characters in the \
             password must be percent-encoded. Example: mysql://user:password@localhost:3306/app"
        );
        assert_eq!(
            refusal("mysql://u:hunter2@h"),
            "DATABASE_URL names no database. Example: mysql://user:password@localhost:3306/app"
        );
        assert_eq!(
            refusal("mysql://u:hunter2@h/app?charset=latin1"),
            "DATABASE_URL: `charset` is latin1; the kernel speaks utf8mb4 only, leave it out"
        );
    }

    #[test]
    fn limits_of_time_are_for_both_servers() {
        assert_eq!(
            statement_limit(Duration::from_millis(1500)),
            "SET autocommit = 1 /*!50708 , max_execution_time = 1500 */ /*M!100101 , max_statement_time = 1.5 */"
        );
    }
}
