//! Requests to places that a user names: they reach only addresses that are admitted.
//!
//! A name is resolved here, every address that it has is looked at, and those very addresses are dialled: a name server that answers
//! something else the next time changes nothing. One address that is not admitted refuses the name.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

use super::CONNECT_TIMEOUT;
use crate::base::reach::{Reach, reach};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// Tells the addresses of a name.
type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The address is one that is not admitted. Does not say which it is: whoever named the place should learn nothing of our network.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("its address is not a public one")]
pub struct NotAdmitted;

/// Why a place can't be said to be admitted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It has an address that is not admitted.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// Its name has no address, or nobody could tell in time.
    #[error("its name can't be resolved")]
    Unknown,
}

/// Which addresses may be dialled, and who tells the addresses of a name. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    admits: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    lookup: Lookup,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

impl Guard {
    /// Admits addresses of the public internet; names are resolved by the system.
    #[must_use]
    pub fn public_only() -> Self {
        Guard::new(|address| reach(address) == Reach::Public, system_lookup)
    }

    /// Admits this machine and private networks too, for development. Metadata of clouds, multicast and the like stay out of reach.
    #[must_use]
    pub fn with_private() -> Self {
        Guard::new(|address| reach(address) != Reach::Never, system_lookup)
    }

    /// Admits what `admits` says; names are resolved by `lookup`.
    #[must_use]
    pub fn new<F>(
        admits: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
        lookup: impl Fn(String) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Guard { admits: Arc::new(admits), lookup: Arc::new(move |name| Box::pin(lookup(name))) }
    }

    /// Whether an address is admitted.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check(&self, address: IpAddr) -> Result<(), NotAdmitted> {
        if (self.admits)(address) { Ok(()) } else { Err(NotAdmitted) }
    }

    /// Whether a host, a name or an address as in a URI, would be admitted now. Whoever dials it looks again.
    ///
    /// # Errors
    /// Where it would not, or where its name is not resolved within `patience`.
    pub async fn check_host(&self, host: &str, patience: Duration) -> Result<(), Refusal> {
        if let Some(address) = literal(host) {
            return Ok(self.check(address)?);
        }
        let found = tokio::time::timeout(patience, self.resolve(host.to_owned())).await;
        let addresses = found.map_err(|_| Refusal::Unknown)?;
        let addresses = addresses.map_err(|error| match error.downcast::<NotAdmitted>() {
            Ok(refused) => Refusal::NotAdmitted(*refused),
            Err(_) => Refusal::Unknown,
        })?;
        if addresses.is_empty() { Err(Refusal::Unknown) } else { Ok(()) }
    }

    /// The addresses of a name, all of them admitted.
    async fn resolve(&self, name: String) -> Result<Vec<IpAddr>, BoxError> {
        let addresses = (self.lookup)(name).await?;
        addresses.iter().try_for_each(|address| self.check(*address))?;
        Ok(addresses)
    }
}

async fn system_lookup(name: String) -> io::Result<Vec<IpAddr>> {
    Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
}

/// The address that a host is, where it is no name.
fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Dials: anything, or only what a guard admits.
#[derive(Clone)]
pub(super) enum Dialer {
    Open(HttpConnector),
    Guarded(Guard, HttpConnector<Resolver>),
}

impl Dialer {
    pub(super) fn open() -> Self {
        Dialer::Open(with_limits(HttpConnector::new()))
    }

    pub(super) fn guarded(guard: Guard) -> Self {
        Dialer::Guarded(guard.clone(), with_limits(HttpConnector::new_with_resolver(Resolver(guard))))
    }
}

fn with_limits<R>(mut connector: HttpConnector<R>) -> HttpConnector<R> {
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.enforce_http(false);
    connector
}

impl Service<Uri> for Dialer {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Dialer::Open(connector) => connector.poll_ready(context).map_err(Into::into),
            Dialer::Guarded(_, connector) => connector.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, place: Uri) -> Self::Future {
        match self {
            Dialer::Open(connector) => {
                let dial = connector.call(place);
                Box::pin(async move { Ok(dial.await?) })
            }
            Dialer::Guarded(guard, connector) => {
                // The connector asks no resolver about a host that is an address.
                let refusal = place.host().and_then(literal).and_then(|address| guard.check(address).err());
                let dial = connector.call(place);
                Box::pin(async move {
                    match refusal {
                        Some(refusal) => Err(refusal.into()),
                        None => Ok(dial.await?),
                    }
                })
            }
        }
    }
}

/// Gives the connector the addresses of a name that a guard has looked at.
#[derive(Debug, Clone)]
pub(super) struct Resolver(Guard);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.0.clone();
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str().to_owned()).await?;
            Ok(addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(addresses: &'static [&'static str]) -> Guard {
        let admits = |address| reach(address) == Reach::Public;
        Guard::new(admits, move |_| async move {
            Ok(addresses.iter().map(|text| text.parse().expect("an address")).collect())
        })
    }

    async fn check(guard: &Guard, host: &str) -> String {
        guard
            .check_host(host, Duration::from_secs(20))
            .await
            .map_or_else(|refusal| refusal.to_string(), |()| "admitted".to_owned())
    }

    /// Promise: R-20
    #[tokio::test]
    async fn a_name_is_admitted_where_all_its_addresses_are() {
        let refused = "its address is not a public one";
        for (addresses, expected) in [
            (&["8.8.8.8", "2606:4700::1"][..], "admitted"),
            (&["8.8.8.8", "10.0.0.1"], refused),
            (&["::1", "8.8.8.8"], refused),
            (&["169.254.169.254"], refused),
            (&[], "its name can't be resolved"),
        ] {
            assert_eq!(check(&told(addresses), "example.com").await, expected, "{addresses:?}");
        }
        let public = told(&["8.8.8.8"]);
        for host in ["127.0.0.1", "[::1]", "::1", "[::ffff:10.0.0.1]"] {
            assert_eq!(check(&public, host).await, refused, "{host} is not resolved");
        }
        assert_eq!(check(&public, "8.8.4.4").await, "admitted");
    }

    #[tokio::test]
    async fn a_name_server_that_is_silent_is_given_up() {
        let silent = Guard::new(|_| true, |_| std::future::pending());
        let refusal = silent.check_host("example.com", Duration::from_millis(20)).await.expect_err("no answer");
        assert_eq!(refusal.to_string(), "its name can't be resolved");
    }
}
