//! One line per request: what was asked, by whom, how it ended, how long it took. The route's template stands for the path, so that no id
//! and no query, and with them no secret, gets into the log.

use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::Response;
use axum::routing;
use tower::{Layer, Service};

use super::exchange::{Exchange, ExchangeSlot};
use super::tracing_span;
use crate::base::caller::Caller;
use crate::base::trace::Span;
use crate::engine::spool::Mark;
use crate::web::meter::{Ended, Meter};
use crate::web::traffic::{Route, Traffic};

/// The status that stands for a client that left before its answer, as proxies write it.
const CLIENT_LEFT: u16 = 499;
/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const LONGEST_ADDRESS: usize = 45;

/// Notes the route's template, which is known inside the router only. Adds no future of its own.
#[derive(Debug, Clone)]
pub(in crate::web) struct NoteRoute(pub(in crate::web) Arc<Traffic>);

#[derive(Debug, Clone)]
pub(in crate::web) struct NotingRoute {
    inner: routing::Route,
    known: Arc<Known>,
}

/// What a route is found by, and once it was asked for, what it is.
#[derive(Debug)]
struct Known {
    traffic: Arc<Traffic>,
    route: OnceLock<Arc<Route>>,
}

impl Layer<routing::Route> for NoteRoute {
    type Service = NotingRoute;

    fn layer(&self, inner: routing::Route) -> NotingRoute {
        NotingRoute { inner, known: Arc::new(Known { traffic: Arc::clone(&self.0), route: OnceLock::new() }) }
    }
}

impl Service<Request> for NotingRoute {
    type Response = Response;
    type Error = Infallible;
    type Future = <routing::Route as Service<Request>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if let (Some(ExchangeSlot(exchange)), Some(path)) =
            (request.extensions().get(), request.extensions().get::<MatchedPath>())
        {
            let route = self.known.route.get_or_init(|| self.known.traffic.route(path.as_str()));
            // A router within a router may note it twice: the outermost sees the same template.
            let _ = exchange.route.set(Arc::clone(route));
        }
        self.inner.call(request)
    }
}

/// The line of one request. Written when it is told how the request ended, or, if the request is dropped, with status 499.
pub(in crate::web) struct RequestLine {
    pub(in crate::web) method: Method,
    pub(in crate::web) exchange: Arc<Exchange>,
    pub(in crate::web) caller: Option<Caller>,
    /// Counts it, where somebody does.
    pub(in crate::web) meter: Option<Arc<dyn Meter>>,
    /// The span of the request, where somebody collects spans.
    pub(in crate::web) span: Option<Span>,
    traffic: Arc<Traffic>,
    is_written: bool,
}

impl RequestLine {
    pub(in crate::web) fn new(
        method: Method,
        exchange: Arc<Exchange>,
        traffic: Arc<Traffic>,
        span: Option<Span>,
    ) -> Self {
        traffic.begins();
        RequestLine { method, exchange, caller: None, meter: None, span, traffic, is_written: false }
    }

    /// Tells up to where the meter is to be settled before the answer leaves.
    pub(in crate::web) fn write(mut self, status: u16, bytes: Option<u64>) -> Option<Mark> {
        self.is_written = true;
        self.emit(status, bytes)
    }

    fn emit(&mut self, status: u16, bytes: Option<u64>) -> Option<Mark> {
        let (caller, route, duration) =
            (self.caller.as_ref(), self.exchange.route.get(), self.exchange.arrived.elapsed());
        self.traffic.ends(route.map(AsRef::as_ref), &self.method, status, duration);
        let mark = self.meter.as_ref().zip(route).and_then(|(meter, route)| {
            let workspace_id = self.exchange.workspace.get().map(AsRef::as_ref);
            let (method, route) = (&self.method, route.template());
            meter.count(&Ended { method, route, status, duration, bytes, caller, workspace_id })
        });
        let place =
            self.span.take().map(|span| tracing_span::end(span, route.map(AsRef::as_ref), &self.method, status));
        tracing::info!(
            target: "app_kernel::request",
            method = self.method.as_str(),
            route = route.map_or("none", |route| route.template()),
            status,
            duration_ms = duration.as_micros() as f64 / 1000.0,
            request_id = self.exchange.request_id.as_str(),
            caller = caller.map_or("anonymous", |caller| caller.kind().as_str()),
            user_id = caller.and_then(Caller::user_id),
            api_key_id = caller.and_then(Caller::api_key_id),
            workspace_id = self.exchange.workspace.get().map(AsRef::as_ref),
            client = AddressText::new(self.exchange.client).as_str(),
            bytes,
            trace_id = place.as_ref().map(|place| place.trace_id_hex()),
            span_id = place.as_ref().map(|place| place.span_id_hex()),
            "request"
        );
        mark
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
            // Nobody waits for it: it is written down with the next one.
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
