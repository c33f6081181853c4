//! Requests to other servers over HTTP. TLS is rustls with ring and the roots of the public web.
//!
//! - Each request has a time by which it must be answered, and whoever reads a whole answer says how long it may be.
//! - Redirects are not followed: they are answers like any other, so nobody sends us, or our credentials, elsewhere.
//! - Where a user names the place, the client is a guarded one ([`Guard`]), which dials public addresses only. No proxy of the environment is used.

mod guard;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use self::guard::Dialer;
pub use self::guard::{Guard, NotAdmitted, Refusal};
use crate::base::error::{OrInternal as _, Result};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Outbound(Client<HttpsConnector<Dialer>, Full<Bytes>>);

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
    /// A place that the client's guard does not admit.
    #[error(transparent)]
    NotAdmitted(NotAdmitted),
}

impl Outbound {
    /// A client. Connects nowhere yet.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub fn new() -> Result<Self> {
        Self::dialling_by(Dialer::open())
    }

    /// A client that reaches only what a guard admits.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub fn guarded(guard: Guard) -> Result<Self> {
        Self::dialling_by(Dialer::guarded(guard))
    }

    fn dialling_by(dialer: Dialer) -> Result<Self> {
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1().wrap_connector(dialer);
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
        answer.map_err(|cause| match refusal_in(&cause) {
            Some(refusal) => OutboundError::NotAdmitted(refusal),
            None => OutboundError::Unreachable(chain(&cause)),
        })
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

/// The guard's word among the causes of an error.
fn refusal_in(error: &(dyn std::error::Error + 'static)) -> Option<NotAdmitted> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|cause| cause.downcast_ref().copied())
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
pub(in crate::engine) fn tls() -> Result<rustls::ClientConfig> {
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

    /// Promise: R-20
    #[tokio::test]
    async fn a_guarded_client_dials_what_is_admitted_and_nothing_else() {
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let named = url.replace("127.0.0.1", "receiver.test");
        let here = || async { Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()]) };
        let ask = async |guard: Guard, url: &str| {
            let request = Request::get(url).body(Full::default()).expect("a request");
            let answer = Outbound::guarded(guard).expect("a client").send(request, Duration::from_secs(20)).await;
            answer.map(|answer| answer.status().as_u16()).map_err(|problem| problem.to_string())
        };
        let refused = Err("its address is not a public one".to_owned());
        for url in [&url, &named] {
            assert_eq!(ask(Guard::new(|_| true, move |_| here()), url).await, Ok(200), "{url}");
            assert_eq!(ask(Guard::new(|_| false, move |_| here()), url).await, refused, "{url}");
            assert_eq!(ask(Guard::public_only(), &url.replace("receiver.test", "localhost")).await, refused, "{url}");
        }
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
