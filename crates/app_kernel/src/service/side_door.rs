//! The port of `METRICS_PORT`: `/healthz`, `/readyz` and `/metrics`, and nothing else. The roles without a port of their own have it to be looked
//! at; beside `serve` it keeps the questions of operators off the port of clients.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::lifecycle::cannot_listen;
use super::tasks::Task;
use crate::base::error::Result;
use crate::feature::{health, metrics};
use crate::kernel::Kernel;
use crate::web::edge::{Edge, EdgeRules};
use crate::web::server::{self, Limits, Turnstile};

/// Connections at once: there are few who ask.
const MOST_CONNECTIONS: usize = 64;

/// Takes the port, where one is configured. It is open until it is told to stop.
pub(super) async fn open(kernel: &Kernel) -> Result<Option<Task>> {
    let config = kernel.config();
    let Some(port) = config.metrics_port else { return Ok(None) };
    let address = SocketAddr::new(config.host, port);
    let refused = |cause: std::io::Error| {
        let error = cannot_listen(address, &cause).to_string();
        crate::base::error::Error::unavailable(error.replacen("PORT", "METRICS_PORT", 2))
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    tracing::info!("metrics and health on http://{address}");
    let router = axum::Router::from(health::routes().merge(metrics::routes())).with_state(kernel.clone());
    // Its own requests are not among the service's.
    let edge = Edge::new(router, Arc::new(EdgeRules::from_config(config)?), None);
    let limits = Limits { max_connections: MOST_CONNECTIONS, ..Limits::from(config) };
    Ok(Some(Box::new(move |mut stop| {
        Box::pin(async move {
            let told = async move {
                // A sender that is gone has stopped too.
                let _ = stop.wait_for(|stopped| *stopped).await;
            };
            server::serve(listener, edge, limits, Turnstile::default(), told).await;
        })
    })))
}
