//! The route that Prometheus scrapes.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::access;
use crate::base::error::Result;
use crate::kernel::Kernel;
use crate::web::edge::client_address;

/// The version of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/metrics`, which lives at the root only.
pub(crate) fn routes() -> ApiRouter<Kernel> {
    let about = "What Prometheus scrapes: with METRICS_TOKEN as a bearer token, or without one from this machine only";
    ApiRouter::new().api_route("/metrics", get_with(metrics, move |operation| operation.summary(about)))
}

async fn metrics(kernel: Kernel, request: Request) -> Result<Metrics> {
    let client = client_address(request.extensions()).map(|client| client.0);
    access::check(kernel.config().metrics_token.as_ref(), client, request.headers())?;
    Ok(Metrics(kernel.scrape().text().await))
}

/// Numbers as text.
struct Metrics(String);

impl IntoResponse for Metrics {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, TEXT)], self.0).into_response()
    }
}

impl aide::OperationOutput for Metrics {
    type Inner = String;

    fn operation_response(
        context: &mut aide::generate::GenContext,
        operation: &mut aide::openapi::Operation,
    ) -> Option<aide::openapi::Response> {
        String::operation_response(context, operation)
    }

    fn inferred_responses(
        context: &mut aide::generate::GenContext,
        operation: &mut aide::openapi::Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        let mut answers = Vec::new();
        for status in [200, 401, 403] {
            answers.extend(Self::operation_response(context, operation).map(|answer| (Some(status), answer)));
        }
        answers
    }
}
