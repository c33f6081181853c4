//! Whether spans are collected: where the variables of OpenTelemetry say so, and the binary has the Cargo feature `otel`.

use super::facts::Fact;
use crate::base::config::ServiceConfig;
use crate::base::error::Result;
use crate::kernel::Kernel;

pub(super) fn fact(config: &ServiceConfig) -> Fact {
    match &config.traces {
        None => Fact::off("traces", "OTEL_EXPORTER_OTLP_ENDPOINT is not set"),
        Some(_) if !cfg!(feature = "otel") => {
            Fact::off("traces", "this binary was built without the Cargo feature `otel` of app_kernel")
        }
        Some(traces) => Fact::on("traces", format!("sent to {}", traces.endpoint)),
    }
}

#[cfg(feature = "otel")]
pub(super) fn start(kernel: &Kernel, version: &str) -> Result<()> {
    if let Some(traces) = &kernel.config().traces {
        kernel.tracer().send_to(crate::engine::otlp::Collector::start(traces, kernel.service_name(), version)?);
    }
    Ok(())
}

#[cfg(not(feature = "otel"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it can fail")]
pub(super) fn start(_: &Kernel, _: &str) -> Result<()> {
    Ok(())
}

/// Sends what is left; that may block for some seconds.
pub(super) async fn close(kernel: &Kernel) {
    let Some(spans) = kernel.tracer().spans().cloned() else { return };
    if let Err(error) = tokio::task::spawn_blocking(move || spans.close()).await {
        tracing::warn!(%error, "the last spans could not be sent");
    }
}
