//! What is known of a request while it is answered: where it came from, and what the edge learns of it while the router has it. It lies once
//! in the request's extensions and once with the edge, which writes the request's line from it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::http::Extensions;

use super::client_address::ClientAddress;
use super::limits::BodyFate;
use super::request_id::RequestId;
use crate::web::rate_limit::RequestLimits;
use crate::web::traffic::Route;

/// A request and what becomes of it.
#[derive(Debug)]
pub(in crate::web) struct Exchange {
    pub(in crate::web) request_id: RequestId,
    pub(in crate::web) client: IpAddr,
    pub(in crate::web) arrived: Instant,
    /// For layers around routes, which reach nothing else of the service.
    pub(in crate::web) limits: Option<Arc<RequestLimits>>,
    pub(super) route: OnceLock<Arc<Route>>,
    pub(super) workspace: OnceLock<Box<str>>,
    body: BodyFate,
}

impl Exchange {
    pub(in crate::web) fn new(
        request_id: RequestId,
        client: IpAddr,
        arrived: Instant,
        limits: Option<Arc<RequestLimits>>,
    ) -> Self {
        let (route, workspace, body) = (OnceLock::new(), OnceLock::new(), BodyFate::default());
        Exchange { request_id, client, arrived, limits, route, workspace, body }
    }

    pub(in crate::web) fn body(&self) -> &BodyFate {
        &self.body
    }
}

impl AsRef<BodyFate> for Exchange {
    fn as_ref(&self) -> &BodyFate {
        &self.body
    }
}

/// Lies in the request's extensions. One for all, because each costs an allocation and a place in a map.
#[derive(Debug, Clone)]
pub(in crate::web) struct ExchangeSlot(pub(in crate::web) Arc<Exchange>);

fn exchange(extensions: &Extensions) -> Option<&Exchange> {
    extensions.get().map(|ExchangeSlot(exchange)| exchange.as_ref())
}

/// The id of a request; none where it did not come through the edge.
pub(crate) fn request_id(extensions: &Extensions) -> Option<RequestId> {
    Some(exchange(extensions)?.request_id.clone())
}

/// Where a request comes from; none where it did not come through the edge.
pub(crate) fn client_address(extensions: &Extensions) -> Option<ClientAddress> {
    Some(ClientAddress(exchange(extensions)?.client))
}

/// When a request arrived. For durations only: the time of day comes from the clock.
pub(crate) fn arrived(extensions: &Extensions) -> Option<Instant> {
    Some(exchange(extensions)?.arrived)
}

/// Has the request's line tell which workspace the request is about.
pub(crate) fn note_workspace(extensions: &Extensions, id: &str) {
    if let Some(exchange) = exchange(extensions) {
        // Of several that a request asks for, the line tells the first.
        let _ = exchange.workspace.set(id.into());
    }
}
