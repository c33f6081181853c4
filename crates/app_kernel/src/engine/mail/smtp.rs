//! Mail by a server that speaks SMTP, over TLS by rustls with ring.

use std::fmt;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::{Mail, message};
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// How long one answer of the server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one mail may take, from the connection to the server's last word.
const MAIL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that are kept for the next mails.
const MOST_CONNECTIONS: u32 = 4;

pub(super) struct Smtp {
    from: Mailbox,
    server: String,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl Smtp {
    /// # Errors
    /// Where an address can't be used, or in production a password would travel in the clear.
    pub(super) fn new(url: &Secret, mail_from: Option<&str>, production: bool) -> Result<Self> {
        // The cause might tell a part of the password.
        let refused = || {
            Error::invalid(
                "SMTP_URL can't be used; it must be smtps://user:password@host or smtp://user:password@host:587?tls=required, \
                 with special characters of the password percent-encoded",
            )
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose()).map_err(|_| refused())?;
        let server = Server::parse(url.expose()).ok_or_else(refused)?;
        if production && server.has_password && !server.is_encrypted && !server.is_this_machine() {
            return Err(Error::invalid(
                "SMTP_URL has a password that would travel in the clear; use smtps://, or smtp:// with ?tls=required",
            ));
        }
        let pool = PoolConfig::new().max_size(MOST_CONNECTIONS);
        let transport = builder.timeout(Some(ANSWER_TIMEOUT)).pool_config(pool).build();
        Ok(Smtp { from: message::sender(mail_from)?, server: server.place.to_owned(), transport })
    }

    /// Host and port.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Greets the server and signs in there.
    pub(super) async fn check(&self) -> Result<()> {
        let refused = |cause: String| {
            let cure = "correct SMTP_URL, or look whether this machine may reach it";
            Error::unavailable(format!("SMTP_URL: the server at {} does not let us in: {cause}; {cure}", self.server))
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, self.transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(refused("it hangs up".to_owned())),
            Ok(Err(cause)) => Err(refused(crate::engine::outbound::chain(&cause))),
            Err(_) => Err(refused(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
        }
    }

    pub(super) async fn send(&self, mail: &Mail) -> Result<()> {
        let message = message::compose(&self.from, mail)?;
        let not_taken = || Error::unavailable(format!("SMTP_URL: the server at {} did not take the mail", self.server));
        match tokio::time::timeout(MAIL_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(_taken)) => Ok(()),
            Ok(Err(cause)) => Err(not_taken().cause(cause)),
            Err(late) => Err(not_taken().cause(late)),
        }
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What is told of a server, and decided by.
struct Server<'a> {
    place: &'a str,
    has_password: bool,
    is_encrypted: bool,
}

impl<'a> Server<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.split('/').next().unwrap_or_default();
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let is_encrypted = scheme == "smtps" || query.split('&').any(|pair| pair == "tls=required");
        (!place.is_empty()).then_some(Server { place, has_password: !user.is_empty(), is_encrypted })
    }

    fn is_this_machine(&self) -> bool {
        let host = self.place.rsplit_once(':').map_or(self.place, |(host, _)| host);
        matches!(host, "localhost" | "127.0.0.1" | "[::1]")
    }
}
