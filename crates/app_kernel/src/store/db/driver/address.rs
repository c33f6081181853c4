//! What the addresses of PostgreSQL and MySQL have in common: parameters that their parsers don't know,
//! and the one line that says why a database can't be reached. It names the variable, the cause and the cure, never the password.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::DbError;
use crate::base::error::Error;

/// Takes the named parameters out of an address, decoded, and leaves the rest as it was.
pub(super) fn take_params(url: &str, names: &[&str]) -> Result<(String, Vec<(String, String)>), DbError> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    if query.contains('@') || base.matches('@').count() > 1 {
        // The host would be read out of the password, and shown.
        return Err(invalid(
            "DATABASE_URL holds a special character that must be percent-encoded, likely in the password: @ as %40, / as %2F, ? as %3F",
        ));
    }
    let mut rest = Vec::new();
    let mut taken = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if names.contains(&name) {
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| invalid(format!("DATABASE_URL: `{name}` is not UTF-8 text")))?;
            taken.push((name.to_owned(), value.into_owned()));
        } else {
            rest.push(pair);
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, taken))
}

/// How a connection is encrypted: the words of libpq's `sslmode`, which MySQL's `ssl-mode` has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// Never.
    Disable,
    /// Only where the server insists.
    Allow,
    /// Where the server can; its certificate is not verified.
    Prefer,
    /// Always; verified where a root certificate is given.
    Require,
    /// Always; the certificate must be signed by a known root.
    VerifyCa,
    /// Always; and it must be for the host.
    VerifyFull,
}

/// What the address says about encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TlsWish {
    pub(super) mode: TlsMode,
    /// Root certificates in PEM; where not set, the roots of the public web.
    pub(super) roots: Option<PathBuf>,
}

/// The parameters that [`TlsWish::from_params`] reads.
pub(super) const TLS_PARAMS: [&str; 5] = ["sslmode", "ssl-mode", "ssl_mode", "sslrootcert", "ssl-ca"];

impl TlsWish {
    /// Reads the wish; without one, `default` holds.
    pub(super) fn from_params(params: &[(String, String)], default: TlsMode) -> Result<Self, DbError> {
        let mut wish = TlsWish { mode: default, roots: None };
        for (name, value) in params {
            match name.as_str() {
                "sslmode" | "ssl-mode" | "ssl_mode" => wish.mode = mode(name, value)?,
                "sslrootcert" | "ssl-ca" if value == "system" => {}
                "sslrootcert" | "ssl-ca" => wish.roots = Some(PathBuf::from(value)),
                _ => {}
            }
        }
        if wish.mode == TlsMode::Require && wish.roots.is_some() {
            wish.mode = TlsMode::VerifyCa; // as libpq does
        }
        Ok(wish)
    }
}

fn mode(name: &str, value: &str) -> Result<TlsMode, DbError> {
    Ok(match value.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => TlsMode::Disable,
        "allow" => TlsMode::Allow,
        "prefer" | "preferred" => TlsMode::Prefer,
        "require" | "required" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" | "verify-identity" => TlsMode::VerifyFull,
        _ => {
            return Err(invalid(format!(
                "DATABASE_URL: `{name}` must be disable, prefer, require, verify-ca or verify-full"
            )));
        }
    })
}

/// Which server, for messages.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// `PostgreSQL`.
    pub(super) name: &'static str,
    /// `db.example.com:5432`.
    pub(super) at: String,
}

impl Server {
    /// The server does not answer, or not now.
    pub(super) fn unreachable(&self, cause: impl Display, cure: impl Display) -> DbError {
        let Server { name, at } = self;
        DbError::Refused(Error::unavailable(format!("DATABASE_URL: cannot reach {name} at {at}: {cause}; {cure}")))
    }

    /// The server answers, and refuses what the address asks for.
    pub(super) fn refuses(&self, cause: impl Display, cure: impl Display) -> DbError {
        let Server { name, at } = self;
        invalid(format!("DATABASE_URL: {name} at {at} refuses: {cause}; {cure}"))
    }

    /// The network's reason.
    pub(super) fn io(&self, error: &io::Error) -> DbError {
        if let Some(tls) = error.get_ref().filter(|inner| inner.is::<rustls::Error>()) {
            return self.tls(tls);
        }
        let text = error.to_string();
        if text.contains("lookup address") {
            return self.unreachable("the host is unknown", "correct its name");
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                self.unreachable("nothing listens there", "start it, or correct the host and port")
            }
            io::ErrorKind::NotFound => self.unreachable("there is no such socket", "start it, or correct the path"),
            io::ErrorKind::TimedOut => {
                self.unreachable("no answer in time", "correct the host, or look at the firewall")
            }
            _ => self.unreachable(text, "is it a database, and may this machine reach it?"),
        }
    }

    /// Nothing came back in time.
    pub(super) fn silent(&self, waited: std::time::Duration) -> DbError {
        let cause = format_args!("no answer within {} s", waited.as_secs_f32());
        self.unreachable(cause, "correct the host and port, or look at the firewall")
    }

    /// TLS could not be agreed on.
    pub(super) fn tls(&self, cause: impl Display) -> DbError {
        self.refuses(
            format_args!("TLS failed ({cause})"),
            "give the root certificate by sslrootcert=FILE, or choose another sslmode",
        )
    }
}

/// An address that can't be used.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> DbError {
    DbError::Refused(Error::invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(error: DbError) -> String {
        Error::from(error).to_string()
    }

    #[test]
    fn named_parameters_are_taken_and_the_rest_stays() {
        let (url, taken) = take_params(
            "postgres://u:p%40s@h/db?sslmode=require&options=-c%20a%3Db&sslrootcert=%2Fca.pem",
            &TLS_PARAMS,
        )
        .expect("a good address");
        assert_eq!(url, "postgres://u:p%40s@h/db?options=-c%20a%3Db");
        assert_eq!(
            taken,
            [("sslmode".to_owned(), "require".to_owned()), ("sslrootcert".to_owned(), "/ca.pem".to_owned())]
        );
    }

    #[test]
    fn a_bare_at_sign_in_a_password_is_refused_without_showing_it() {
        for url in ["postgres://u:hun@ter2@h/db", "mysql://u:hunter2?x@h/db"] {
            let text = message(take_params(url, &[]).expect_err("ambiguous"));
            assert!(text.contains("percent-encoded") && !text.contains("ter2"), "{text}");
        }
    }

    #[test]
    fn requiring_tls_with_a_root_verifies_it() {
        let params =
            |list: &[(&str, &str)]| list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        let read = |list: &[(&str, &str)]| TlsWish::from_params(&params(list), TlsMode::Prefer);
        assert_eq!(read(&[]).expect("no wish").mode, TlsMode::Prefer);
        assert_eq!(read(&[("sslmode", "require")]).expect("known").mode, TlsMode::Require);
        assert_eq!(read(&[("sslmode", "require"), ("sslrootcert", "ca.pem")]).expect("known").mode, TlsMode::VerifyCa);
        assert_eq!(
            read(&[("ssl-mode", "VERIFY_IDENTITY"), ("ssl-ca", "ca.pem")]).expect("known").mode,
            TlsMode::VerifyFull
        );
        let text = message(read(&[("sslmode", "yes")]).expect_err("unknown"));
        assert_eq!(text, "DATABASE_URL: `sslmode` must be disable, prefer, require, verify-ca or verify-full");
    }

    #[test]
    fn the_reason_of_the_network_comes_with_its_cure() {
        let server = Server { name: "PostgreSQL", at: "localhost:5432".to_owned() };
        assert_eq!(
            message(server.io(&io::ErrorKind::ConnectionRefused.into())),
            "DATABASE_URL: cannot reach PostgreSQL at localhost:5432: nothing listens there; start it, or correct the host and port"
        );
    }
}
