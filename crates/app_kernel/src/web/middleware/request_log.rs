//! One line per request: what was asked, by whom, how it ended, how long it took. The route's template stands for the path, so that no id
//! and no query, and with them no secret, gets into the log.

use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::Response;
use axum::routing::Route;
use tower::{Layer, Service};

use super::exchange::{Exchange, ExchangeSlot};
use crate::base::caller::Caller;
use crate::web::meter::{Ended, Meter};

/// The status that stands for a client that left before its answer, as proxies write it.
const CLIENT_LEFT: u16 = 499;
/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const LONGEST_ADDRESS: usize = 45;

/// Notes the route's template, which is known inside the router only. Adds no future of its own.
#[derive(Debug, Clone, Copy)]
pub(in crate::web) struct NoteRoute;

#[derive(Debug, Clone)]
pub(in crate::web) struct NotingRoute(Route);

impl Layer<Route> for NoteRoute {
    type Service = NotingRoute;

    fn layer(&self, route: Route) -> NotingRoute {
        NotingRoute(route)
    }
}

impl Service<Request> for NotingRoute {
    type Response = Response;
    type Error = Infallible;
    type Future = <Route as Service<Request>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if let (Some(ExchangeSlot(exchange)), Some(path)) =
            (request.extensions().get(), request.extensions().get::<MatchedPath>())
        {
            // A router within a router may note it twice: the outermost sees the same template.
            let _ = exchange.route.set(path.clone());
        }
        self.0.call(request)
    }
}

/// The line of one request. Written when it is told how the request ended, or, if the request is dropped, with status 499.
pub(in crate::web) struct RequestLine {
    pub(in crate::web) method: Method,
    pub(in crate::web) exchange: Arc<Exchange>,
    pub(in crate::web) caller: Option<Caller>,
    /// Counts it, where somebody does.
    pub(in crate::web) meter: Option<Arc<dyn Meter>>,
    is_written: bool,
}

impl RequestLine {
    pub(in crate::web) fn new(method: Method, exchange: Arc<Exchange>) -> Self {
        RequestLine { method, exchange, caller: None, meter: None, is_written: false }
    }

    pub(in crate::web) fn write(mut self, status: u16, bytes: Option<u64>) {
        self.is_written = true;
        self.emit(status, bytes);
    }

    fn emit(&self, status: u16, bytes: Option<u64>) {
        let caller = self.caller.as_ref();
        if let (Some(meter), Some(route)) = (&self.meter, self.exchange.route.get()) {
            let workspace_id = self.exchange.workspace.get().map(AsRef::as_ref);
            let (method, route, duration) = (&self.method, route.as_str(), self.exchange.arrived.elapsed());
            meter.count(&Ended { method, route, status, duration, bytes, caller, workspace_id });
        }
        tracing::info!(
            target: "app_kernel::request",
            method = self.method.as_str(),
            route = self.exchange.route.get().map_or("none", MatchedPath::as_str),
            status,
            duration_ms = self.exchange.arrived.elapsed().as_micros() as f64 / 1000.0,
            request_id = self.exchange.request_id.as_str(),
            caller = caller.map_or("anonymous", |caller| caller.kind().as_str()),
            user_id = caller.and_then(Caller::user_id),
            api_key_id = caller.and_then(Caller::api_key_id),
            workspace_id = self.exchange.workspace.get().map(AsRef::as_ref),
            client = AddressText::new(self.exchange.client).as_str(),
            bytes,
            "request"
        );
    }
}

/// An address as text without an allocation; nothing where it is not known.
struct AddressText {
    bytes: [u8; LONGEST_ADDRESS],
    length: usize,
}

impl AddressText {
    fn new(address: IpAddr) -> Self {
        let mut text = AddressText { bytes: [0; LONGEST_ADDRESS], length: 0 };
        match address {
            _ if address.is_unspecified() => {}
            IpAddr::V4(address) => text.push_v4(address),
            // It is long enough for the longest.
            IpAddr::V6(address) => drop(write!(text, "{address}")),
        }
        text
    }

    /// As the standard library writes it, in a fifth of the time.
    fn push_v4(&mut self, address: Ipv4Addr) {
        for (i, octet) in address.octets().into_iter().enumerate() {
            if i > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[..self.length]).ok().filter(|text| !text.is_empty())
    }
}

impl fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(fmt::Error)?;
        free.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        if !self.is_written {
            self.emit(CLIENT_LEFT, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for text in ["10.0.0.1", "127.0.0.1", "255.199.20.109", "2001:db8::7", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8"] {
            let address: IpAddr = text.parse().expect("an address");
            assert_eq!(AddressText::new(address).as_str(), Some(address.to_string().as_str()));
        }
        assert_eq!(AddressText::new(IpAddr::from([0, 0, 0, 0])).as_str(), None);
    }
}
