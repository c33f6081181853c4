//! `health`: asks the service on this machine whether it lives, where an image has no other program to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::say;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// The beginning of the answer of one that lives.
const WELL: &[u8] = b"HTTP/1.1 200 ";

/// Ends well where `/healthz` at this port, or else at `PORT`, answers 200.
pub(super) async fn health(config: &ServiceConfig, port: Option<u16>) -> Result<()> {
    let address = SocketAddr::new(reached_at(config.host), port.unwrap_or(config.port));
    match tokio::time::timeout(PATIENCE, ask(address)).await {
        Ok(Ok(true)) => say("ok\n"),
        Ok(Ok(false)) => Err(Error::unavailable(format!("what listens at {address} does not say that it is well"))),
        Ok(Err(cause)) => Err(Error::unavailable(format!("nothing answers at {address}: {cause}"))),
        Err(_) => Err(Error::unavailable(format!("no answer from {address} within {} s", PATIENCE.as_secs()))),
    }
}

/// Where this machine reaches what listens there.
fn reached_at(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        one => one,
    }
}

async fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut beginning = [0; WELL.len()];
    match connection.read_exact(&mut beginning).await {
        Ok(_) => Ok(beginning == WELL),
        Err(cause) if cause.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_listens_everywhere_is_reached_at_the_machine_itself() {
        for (host, reached) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.2", "127.0.0.2")] {
            assert_eq!(reached_at(host.parse().expect("an address")).to_string(), reached);
        }
    }
}
