//! Requests to other servers over HTTP. TLS is rustls with ring and the roots of the public web.
//!
//! - Each request has a time by which it must be answered, and whoever reads a whole answer says how long it may be.
//! - Redirects are not followed: they are answers like any other, so nobody sends us, or our credentials, elsewhere.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::base::error::{OrInternal as _, Result};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Outbound(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

/// Why there is no answer. Says nothing of what was asked.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// No connection, or it broke; in words.
    #[error("{0}")]
    Unreachable(String),
    /// Not within the time.
    #[error("it does not answer in time")]
    TooSlow,
    /// More than was allowed.
    #[error("its answer is too long")]
    TooLong,
}

impl Outbound {
    /// A client. Connects nowhere yet.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub fn new() -> Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Outbound(Client::builder(TokioExecutor::new()).build(connector)))
    }

    /// Sends a request; answers as soon as the answer's head is there. The body is the caller's to read.
    ///
    /// # Errors
    /// Where nobody answers within `patience`.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, OutboundError> {
        let answer = timeout(patience, self.0.request(request)).await.map_err(|_| OutboundError::TooSlow)?;
        answer.map_err(|cause| OutboundError::Unreachable(chain(&cause)))
    }

    /// Sends a request and reads its whole answer, of `most` bytes at most, within `patience` for all of it.
    ///
    /// # Errors
    /// Where the answer does not come in time, or is longer.
    pub async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        patience: Duration,
        most: usize,
    ) -> Result<Response<Bytes>, OutboundError> {
        let whole = async {
            let (head, body) = self.send(request, patience).await?.into_parts();
            let body = Limited::new(body, most).collect().await.map_err(|cause| match cause
                .downcast_ref::<http_body_util::LengthLimitError>(
            ) {
                Some(_) => OutboundError::TooLong,
                None => OutboundError::Unreachable(chain(&*cause)),
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        timeout(patience, whole).await.unwrap_or(Err(OutboundError::TooSlow))
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The roots of the public web, and ring.
fn tls() -> Result<rustls::ClientConfig> {
    use hyper_rustls::ConfigBuilderExt as _;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .or_internal("choosing the versions of TLS")?;
    Ok(config.with_webpki_roots().with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that says one thing to whoever comes, and then nothing more.
    async fn server(says: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(says.as_bytes()).await;
                open.push(stream);
            }
        });
        format!("http://{address}/")
    }

    async fn fetch(url: &str, patience: Duration, most: usize) -> Result<Response<Bytes>, String> {
        let request = Request::get(url).body(Full::default()).expect("a request");
        Outbound::new().expect("a client").fetch(request, patience, most).await.map_err(|problem| problem.to_string())
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_limit_and_a_redirect_is_an_answer() {
        let url = server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 5\r\n\r\nthere").await;
        let answer = fetch(&url, Duration::from_secs(20), 5).await.expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (302, b"there".as_ref()));
        assert_eq!(fetch(&url, Duration::from_secs(20), 4).await.expect_err("it is longer"), "its answer is too long");
    }

    #[tokio::test]
    async fn a_server_that_falls_silent_is_given_up() {
        for half in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nth"] {
            let url = server(half).await;
            let problem = fetch(&url, Duration::from_millis(50), 5).await.expect_err("half an answer");
            assert_eq!(problem, "it does not answer in time");
        }
    }
}
