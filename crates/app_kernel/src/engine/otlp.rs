//! Where spans go: to a collector by OTLP over HTTP, with OpenTelemetry's own SDK and exporter. Cargo feature `otel`.
//!
//! Spans wait in a bounded queue and are sent many at a time by a thread of the SDK; what finds no room is left out, and a collector that is
//! away costs nobody a request. Requests go out by [`Outbound`], on the runtime that the service started on.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind as OtelKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanData, SpanEvents, SpanLinks, SpanProcessor,
};
use tokio::runtime::Handle;

use crate::base::clock::Timestamp;
use crate::base::config::TracesConfig;
use crate::base::error::{Error, Result};
use crate::base::trace::{Attribute, EndedSpan, SpanKind, Spans, TraceContext};
use crate::engine::outbound::Outbound;

/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 10;
/// How long sending the rest may take at the end.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Sends spans to a collector.
pub(crate) struct Collector {
    processor: BatchSpanProcessor,
    sampler: Sampler,
    scope: InstrumentationScope,
}

impl Collector {
    /// Begins to send what it is given, as the spans of this service. Connects nowhere yet.
    ///
    /// # Errors
    /// Where the configuration can't be used.
    pub(crate) fn start(config: &TracesConfig, service: &str, version: &str) -> Result<Arc<Self>> {
        let headers: HashMap<String, String> =
            config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Transport {
                outbound: Outbound::new()?,
                runtime: Handle::current(),
                is_failing: AtomicBool::new(false),
            })
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&config.endpoint)
            .with_timeout(PATIENCE)
            .with_headers(headers)
            .build()
            .map_err(|cause| Error::invalid("the OTEL_EXPORTER_OTLP_… variables can't be used").cause(cause))?;
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource(config, service, version));
        let share = Sampler::TraceIdRatioBased(config.sampler.share);
        let sampler = if config.sampler.follows_parent { Sampler::ParentBased(Box::new(share)) } else { share };
        Ok(Arc::new(Collector { processor, sampler, scope: InstrumentationScope::builder("app_kernel").build() }))
    }
}

/// What all spans say of the service. What the operator says counts before what we know.
fn resource(config: &TracesConfig, service: &str, version: &str) -> Resource {
    let name = config.service_name.clone().unwrap_or_else(|| service.to_owned());
    let ours = [("service.version", version.to_owned())].map(|(key, value)| KeyValue::new(key, value));
    let told = config.attributes.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let attributes: Vec<KeyValue> = ours.into_iter().chain(told).collect();
    let named = config.attributes.iter().any(|(key, _)| key == "service.name") && config.service_name.is_none();
    let resource = Resource::builder();
    let resource = if named { resource } else { resource.with_service_name(name) };
    resource.with_attributes(attributes).build()
}

impl Spans for Collector {
    fn keeps(&self, parent: Option<&TraceContext>, trace_id: [u8; 16]) -> bool {
        let parent = parent.map(|parent| Context::new().with_remote_span_context(span_context(parent, true)));
        let kind = OtelKind::Server;
        let result = self.sampler.should_sample(parent.as_ref(), TraceId::from_bytes(trace_id), "", &kind, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }

    fn take(&self, span: EndedSpan) {
        self.processor.on_end(SpanData {
            span_context: span_context(&span.context, false),
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: span.is_parent_elsewhere,
            span_kind: match span.kind {
                SpanKind::Server => OtelKind::Server,
                SpanKind::Client => OtelKind::Client,
                SpanKind::Producer => OtelKind::Producer,
                SpanKind::Consumer => OtelKind::Consumer,
                SpanKind::Internal => OtelKind::Internal,
            },
            name: span.name,
            start_time: system_time(span.began),
            end_time: system_time(span.ended),
            attributes: span
                .attributes
                .into_iter()
                .map(|(name, value)| match value {
                    Attribute::Text(text) => KeyValue::new(name, text),
                    Attribute::Number(number) => KeyValue::new(name, number),
                })
                .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if span.has_failed { Status::error("") } else { Status::Unset },
            instrumentation_scope: self.scope.clone(),
        });
    }

    fn close(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(LAST_PATIENCE) {
            tracing::warn!("the last spans could not be sent: {error}");
        }
    }
}

fn span_context(context: &TraceContext, is_remote: bool) -> SpanContext {
    let state = context.state.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    let flags = if context.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace_id, span_id) = (TraceId::from_bytes(context.trace_id), SpanId::from_bytes(context.span_id));
    SpanContext::new(trace_id, span_id, flags, is_remote, state)
}

fn system_time(time: Timestamp) -> SystemTime {
    time.into()
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// How the exporter, whose thread knows no runtime, reaches the collector.
struct Transport {
    outbound: Outbound,
    runtime: Handle,
    /// So that a collector that is away for an hour does not fill the log.
    is_failing: AtomicBool,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outbound = self.outbound.clone();
        let sent =
            self.runtime.spawn(async move { outbound.fetch(request.map(Full::new), PATIENCE, LONGEST_ANSWER).await });
        let answer: Result<Response<Bytes>, HttpError> = match sent.await {
            Ok(answer) => answer.map_err(Into::into),
            Err(ended) => Err(ended.into()),
        };
        let failure = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(failure) if !was_failing => {
                tracing::warn!("spans can't be sent and may be left out, requests go on: {failure}");
            }
            None if was_failing => tracing::info!("spans are sent again"),
            _ => {}
        }
        answer
    }
}
