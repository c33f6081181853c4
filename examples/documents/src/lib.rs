//! Documents that are read by jobs: a request answers at once, `/jobs/{id}` tells how far the work is and what came of it.

pub mod models;
pub mod routes;
pub mod tasks;

use app_kernel::prelude::*;

/// The service, for this configuration. Tests start the same one.
pub fn service(config: ServiceConfig) -> Service {
    Service::new("documents", config)
        .version(env!("CARGO_PKG_VERSION"))
        .entity::<models::Document>()
        .task(tasks::process_document)
        // However many are waiting, two of one person's run at once.
        .queue(tasks::QUEUE, QueueLimits::default().per_key(2))
        .route("/documents", post(routes::create).get(routes::list))
        .route("/documents/{id}", get(routes::read))
        .route("/documents/{id}/process", post(routes::process))
}
