//! Books on somebody's shelf. The service begins on SQLite and goes on wherever `DATABASE_URL` leads at its next start, with all its data.
//! Nothing in the code knows which database it is.

pub mod models;
pub mod routes;

use app_kernel::prelude::*;

/// The service, for this configuration. Tests start the same one.
pub fn service(config: ServiceConfig) -> Service {
    Service::new("two_databases", config)
        .version(env!("CARGO_PKG_VERSION"))
        .entity::<models::Book>()
        .route("/books", post(routes::create).get(routes::list))
        .route("/books/{id}", get(routes::read).put(routes::update).delete(routes::remove))
        .route("/books/{id}/history", get(routes::history))
}
