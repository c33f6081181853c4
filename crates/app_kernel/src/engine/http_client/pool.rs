//! What handles share: for each origin its connections, its breaker and its counts.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::HttpClient;
use super::base_url::BaseUrl;
use super::connect::Connector;
use super::error::{HttpError, HttpErrorKind};
use crate::base::breaker::{Admission, Breaker, BreakerRule};
use crate::base::error::{Error, OrInternal as _, Result as KernelResult};
use crate::base::metrics::Samples;
use crate::engine::outbound;

/// How long a connection stays open that nobody uses.
const IDLE: Duration = Duration::from_secs(300);

/// How many idle connections of HTTP/1.1 are kept to one origin.
const MOST_IDLE: usize = 64;

/// Failures in a row that end the asking, and for how long.
const BREAKER: BreakerRule = BreakerRule { failures: 5, pause: Duration::from_secs(10) };

pub(super) type Transport = Client<Connector, Full<Bytes>>;

/// Connections and breakers by origin. Cheap to clone; clones share them. A service has one in its kernel, and
/// [`http_client`](super::http_client) one for the process.
#[derive(Clone)]
pub struct HttpPools(Arc<Pools>);

struct Pools {
    trust: Trust,
    breaker: BreakerRule,
    /// None once they are closed.
    upstreams: Mutex<Option<HashMap<String, Arc<Upstream>>>>,
}

/// Whose certificates are believed.
enum Trust {
    /// The roots of the public web.
    Web,
    /// Only these.
    Given(Box<rustls::ClientConfig>),
}

impl HttpPools {
    /// Pools that believe the public web's certificates. Connects nowhere yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Trust::Web, BREAKER)
    }

    /// Pools that believe servers whose certificates come from one of these authorities, in PEM, and no others: for services inside a
    /// company, and for tests.
    ///
    /// # Errors
    /// `Invalid` where there is no certificate in the text, or it can't be read.
    pub fn trusting(pem: &[u8]) -> KernelResult<Self> {
        let unreadable =
            || Error::invalid("the authorities for the HTTP client hold no certificate that can be read; give PEM");
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|cause| unreadable().cause(cause))?;
            roots.add(certificate).map_err(|cause| unreadable().cause(cause))?;
        }
        if roots.is_empty() {
            return Err(unreadable());
        }
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .or_internal("choosing the versions of TLS")?;
        Ok(Self::with(Trust::Given(Box::new(config.with_root_certificates(roots).with_no_client_auth())), BREAKER))
    }

    /// The same with another rule for the breakers; forgets what was open.
    #[must_use]
    pub fn with_breaker(self, rule: BreakerRule) -> Self {
        let trust = match &self.0.trust {
            Trust::Web => Trust::Web,
            Trust::Given(config) => Trust::Given(config.clone()),
        };
        Self::with(trust, rule)
    }

    fn with(trust: Trust, breaker: BreakerRule) -> Self {
        HttpPools(Arc::new(Pools { trust, breaker, upstreams: Mutex::new(Some(HashMap::new())) }))
    }

    /// A handle to the service at `base`, such as `https://api.example.com/v2`.
    ///
    /// # Errors
    /// `Invalid` where `base` is no such URL, `Stopping` once these are closed.
    pub fn client(&self, base: &str) -> Result<HttpClient, HttpError> {
        let base = BaseUrl::parse(base).map_err(|kind| HttpError::new(kind, "", 0))?;
        let upstream = self.upstream(&base.origin()).map_err(|kind| HttpError::new(kind, base.origin(), 0))?;
        Ok(HttpClient::new(upstream, base))
    }

    /// What has been done, one line for each origin.
    #[must_use]
    pub fn stats(&self) -> Vec<HttpPoolStats> {
        let mut stats: Vec<_> = self.lock().iter().flat_map(HashMap::values).map(|upstream| upstream.stats()).collect();
        stats.sort_by(|a, b| a.origin.cmp(&b.origin));
        stats
    }

    pub(crate) fn tell(&self, samples: &mut Samples) {
        for stats in self.stats() {
            let labels = [("server", stats.origin.as_str())];
            let about = "Connections that are open to another server.";
            samples.gauge("app_kernel_http_client_connections", about, &labels, stats.connections_open as f64);
            let about = "Tries of calls to another server that are under way.";
            samples.gauge("app_kernel_http_client_active_tries", about, &labels, stats.in_flight as f64);
            for (name, about, count) in [
                ("calls", "Calls to another server, however often each was tried.", stats.requests),
                ("retries", "Tries after the first of a call.", stats.retries),
                ("failures", "Tries without an answer, or with a 5xx.", stats.failures),
                ("refusals", "Tries that the breaker refused.", stats.refused),
            ] {
                samples.counter(&format!("app_kernel_http_client_{name}_total"), about, &labels, count);
            }
            let about = "1 while a server counts as away, so that nobody asks it.";
            let is_open = if stats.is_breaker_open { 1.0 } else { 0.0 };
            samples.gauge("app_kernel_breaker_open", about, &labels, is_open);
        }
    }

    /// Closes what is idle, lets calls in flight finish, and makes no new ones.
    pub fn close(&self) {
        for upstream in self.lock().take().into_iter().flatten().map(|(_, upstream)| upstream) {
            upstream.transport.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    fn upstream(&self, origin: &str) -> Result<Arc<Upstream>, HttpErrorKind> {
        let mut upstreams = self.lock();
        let upstreams = upstreams.as_mut().ok_or(HttpErrorKind::Stopping)?;
        if let Some(upstream) = upstreams.get(origin) {
            return Ok(Arc::clone(upstream));
        }
        // However many hosts a service meets in its life, those that nobody holds and nobody is connected to are forgotten.
        upstreams.retain(|_, upstream| {
            Arc::strong_count(upstream) > 1 || upstream.counts.open() > 0 || upstream.breaker.is_open()
        });
        let upstream = Arc::new(Upstream::new(origin, self.tls()?, self.0.breaker));
        upstreams.insert(origin.to_owned(), Arc::clone(&upstream));
        Ok(upstream)
    }

    fn tls(&self) -> Result<rustls::ClientConfig, HttpErrorKind> {
        match &self.0.trust {
            Trust::Web => outbound::tls().map_err(|error| HttpErrorKind::Invalid(error.to_string())),
            Trust::Given(config) => Ok((**config).clone()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HashMap<String, Arc<Upstream>>>> {
        self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for HttpPools {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpPools").field(&self.stats()).finish()
    }
}

/// What was asked of one origin since the first handle for it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpPoolStats {
    /// Scheme, host and port: `https://api.example.com`.
    pub origin: String,
    /// Connections that are open now.
    pub connections_open: u64,
    /// Those of them that wait for something to do. A connection of HTTP/2 that carries several tries counts as busy for each.
    pub connections_idle: u64,
    /// Connections that were ever opened.
    pub connections_opened: u64,
    /// Tries that are under way now.
    pub in_flight: u64,
    /// Calls, however often each was tried.
    pub requests: u64,
    /// Tries after the first of a call.
    pub retries: u64,
    /// Tries without an answer, or with a 5xx.
    pub failures: u64,
    /// Tries that the breaker refused.
    pub refused: u64,
    /// Whether the breaker refuses now.
    pub is_breaker_open: bool,
}

/// The numbers behind [`HttpPoolStats`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    opened: AtomicU64,
    closed: AtomicU64,
    in_flight: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) failures: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    pub(super) fn opened(&self) {
        one_more(&self.opened);
    }

    pub(super) fn closed(&self) {
        one_more(&self.closed);
    }

    fn open(&self) -> u64 {
        // In this order, so that it is never less than none.
        let closed = self.closed.load(Ordering::Acquire);
        self.opened.load(Ordering::Acquire).saturating_sub(closed)
    }
}

pub(super) fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::AcqRel);
}

/// One origin.
pub(super) struct Upstream {
    pub(super) origin: String,
    /// None once it is closed.
    transport: Mutex<Option<Transport>>,
    breaker: Breaker,
    pub(super) counts: Arc<Counts>,
}

impl Upstream {
    fn new(origin: &str, tls: rustls::ClientConfig, breaker: BreakerRule) -> Self {
        let counts = Arc::new(Counts::default());
        let transport = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .build(Connector::new(tls, Arc::clone(&counts)));
        let (origin, transport) = (origin.to_owned(), Mutex::new(Some(transport)));
        Upstream { origin, transport, breaker: Breaker::new(breaker), counts }
    }

    pub(super) fn transport(&self) -> Result<Transport, HttpErrorKind> {
        let transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner);
        transport.clone().ok_or(HttpErrorKind::Stopping)
    }

    /// Lets a try begin, unless the breaker is open.
    pub(super) fn admit(&self) -> Result<Try<'_>, HttpErrorKind> {
        let now = Instant::now();
        let is_probe = match self.breaker.admit(now) {
            Admission::Ask => false,
            Admission::Probe => true,
            Admission::Refused => {
                one_more(&self.counts.refused);
                return Err(HttpErrorKind::Away { retry_after: self.breaker.pause_left(now) });
            }
        };
        one_more(&self.counts.in_flight);
        Ok(Try { upstream: self, is_probe, is_over: false })
    }

    pub(super) fn stats(&self) -> HttpPoolStats {
        let load = |count: &AtomicU64| count.load(Ordering::Acquire);
        let counts = &self.counts;
        let (open, in_flight) = (counts.open(), load(&counts.in_flight));
        HttpPoolStats {
            origin: self.origin.clone(),
            connections_open: open,
            connections_idle: open.saturating_sub(in_flight),
            connections_opened: load(&counts.opened),
            in_flight,
            requests: load(&counts.requests),
            retries: load(&counts.retries),
            failures: load(&counts.failures),
            refused: load(&counts.refused),
            is_breaker_open: self.breaker.is_open(),
        }
    }
}

/// A try under way. One that is dropped, because nobody waits any more, tells the breaker nothing; a probe makes room for another.
pub(super) struct Try<'a> {
    upstream: &'a Upstream,
    is_probe: bool,
    is_over: bool,
}

impl Try<'_> {
    /// The server is there.
    pub(super) fn answered(mut self) {
        self.is_over = true;
        if self.upstream.breaker.succeeded() {
            tracing::info!("{} is back", self.upstream.origin);
        }
    }

    /// The server is not there, or says that it can't.
    pub(super) fn failed(mut self) {
        self.is_over = true;
        if self.upstream.breaker.failed(Instant::now()) {
            let (origin, pause) = (&self.upstream.origin, self.upstream.breaker.rule().pause);
            tracing::warn!("{origin} failed several times in a row; it is asked again in {} s", pause.as_secs());
        }
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        self.upstream.counts.in_flight.fetch_sub(1, Ordering::AcqRel);
        if self.is_probe && !self.is_over {
            self.upstream.breaker.abandoned(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: L2, L3
    #[test]
    fn handles_for_one_origin_share_its_pool_and_others_do_not() {
        let pools = HttpPools::new();
        let client = |base: &str| pools.client(base).expect("a client");
        let one = client("https://api.example.com");
        for base in ["https://api.example.com/", "https://API.example.com:443/v2"] {
            assert!(Arc::ptr_eq(&one.upstream, &client(base).upstream), "{base}");
        }
        for base in ["http://api.example.com", "https://api.example.com:444", "https://example.com"] {
            assert!(!Arc::ptr_eq(&one.upstream, &client(base).upstream), "{base}");
        }
        assert!(!Arc::ptr_eq(
            &one.upstream,
            &HttpPools::new().client("https://api.example.com").expect("a client").upstream
        ));

        let token = client("https://api.example.com").with_bearer_token("hunter2");
        assert_eq!((token.headers.len(), one.headers.len()), (1, 0));
    }

    /// Promise: R-34
    #[test]
    fn origins_that_nobody_holds_are_forgotten() {
        let pools = HttpPools::new();
        let held = pools.client("http://held.example").expect("a client");
        for host in 0..1000 {
            pools.client(&format!("http://h{host}.example")).expect("a client");
        }
        let origins: Vec<String> = pools.stats().into_iter().map(|stats| stats.origin).collect();
        assert_eq!(origins, ["http://h999.example", "http://held.example"]);
        assert!(Arc::ptr_eq(&held.upstream, &pools.client("http://held.example").expect("a client").upstream));
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        for pem in ["", "hunter2", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"] {
            let error = HttpPools::trusting(pem.as_bytes()).expect_err(pem);
            assert!(error.to_string().contains("give PEM"), "{error}");
        }
    }
}
