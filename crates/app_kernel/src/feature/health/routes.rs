//! The two questions that an orchestrator asks.

use std::collections::BTreeMap;
use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::pulse::WorkerReport;
use crate::kernel::Kernel;
use crate::web::extract::Json;

/// How long the database may take to answer before it counts as away.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// The answer to both questions.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `ok`, `degraded` where something is away that work goes on without, `draining` or `unavailable`.
    status: &'static str,
    /// What was looked at, and whether it answers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<&'static str, &'static str>,
    /// The workers beside the requests, in numbers. One that is not well makes the whole `degraded`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    workers: BTreeMap<&'static str, WorkerReport>,
}

/// `/healthz` and `/readyz`, which live at the root only.
pub(crate) fn routes() -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route("/healthz", get_with(healthz, |operation| operation.summary("Whether the process answers")))
        .api_route("/readyz", get_with(readyz, |operation| operation.summary("Whether requests should be sent here")))
}

async fn healthz() -> Json<Health> {
    Json(Health { status: "ok", checks: BTreeMap::new(), workers: BTreeMap::new() })
}

/// What `/readyz` answers: 200, or 503 with the same shape.
struct Readiness(Health);

impl aide::OperationOutput for Readiness {
    type Inner = Health;

    fn operation_response(
        context: &mut aide::generate::GenContext,
        operation: &mut aide::openapi::Operation,
    ) -> Option<aide::openapi::Response> {
        Json::<Health>::operation_response(context, operation)
    }

    fn inferred_responses(
        context: &mut aide::generate::GenContext,
        operation: &mut aide::openapi::Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        [200, 503]
            .into_iter()
            .filter_map(|status| Some((Some(status), Self::operation_response(context, operation)?)))
            .collect()
    }
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let is_ready = matches!(self.0.status, "ok" | "degraded");
        let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self.0)).into_response()
    }
}

async fn readyz(kernel: Kernel) -> Readiness {
    let mut checks = BTreeMap::new();
    let mut status = "ok";
    let word = |is_there| if is_there { "ok" } else { "unavailable" };
    let workers: BTreeMap<_, _> = kernel.workers().into_iter().map(|worker| (worker.name, worker)).collect();
    if !workers.values().all(WorkerReport::is_well) {
        // Requests are served all the same.
        status = "degraded";
    }
    if let Some(redis) = kernel.redis() {
        let is_there = redis.ping().await.is_ok();
        checks.insert("redis", word(is_there));
        status = if is_there { status } else { "degraded" };
    }
    if let Ok(db) = kernel.db() {
        let answers = tokio::time::timeout(DATABASE_PATIENCE, db.ping()).await;
        let is_there = matches!(answers, Ok(Ok(())));
        checks.insert("database", word(is_there));
        status = if is_there { status } else { "unavailable" };
    }
    if kernel.is_draining() {
        status = "draining";
    }
    Readiness(Health { status, checks, workers })
}
