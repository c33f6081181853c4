//! Projects of a workspace, the services in them, and their deployments: by people in a browser, and by programs with API keys.

pub mod models;
pub mod routes;
pub mod tasks;

use app_kernel::prelude::*;

/// The service, for this configuration. Tests start the same one.
pub fn service(config: ServiceConfig) -> Service {
    Service::new("projects", config)
        .version(env!("CARGO_PKG_VERSION"))
        .entity::<models::Project>()
        .entity::<models::Service>()
        .entity::<models::Deployment>()
        .task(tasks::roll_out)
        .api_keys(["deployments:*"])
        .webhooks()
        .route("/projects", post(routes::projects::create).get(routes::projects::list))
        .route(
            "/projects/{id}",
            get(routes::projects::read).put(routes::projects::update).delete(routes::projects::remove),
        )
        .route("/projects/{id}/services", post(routes::services::create).get(routes::services::list))
        .route(
            "/services/{id}",
            get(routes::services::read).put(routes::services::update).delete(routes::services::remove),
        )
        .route("/services/{id}/deployments", post(routes::deployments::create).get(routes::deployments::list))
        .route("/costs", get(routes::costs::read))
}
