//! Traces, as a collector gets them: a server that decodes them with OpenTelemetry's own types.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use app_kernel::base::config::{Sampler, TracesConfig};
use app_kernel::base::secret::Secret;
use app_kernel::prelude::ServiceConfig;
use app_kernel::testing::{TestDatabase, TestService, on_every_database};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;

use super::{lamps, make_lamp};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector, and what it was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let router = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/v1/traces")
    }

    fn spans(&self) -> Vec<Span> {
        let sent = self.0.lock().expect("no panic").clone();
        sent.into_iter()
            .flat_map(|sent| sent.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["api-key"], "hunter2");
    let sent = ExportTraceServiceRequest::decode(body).expect("it is what OpenTelemetry says");
    collector.0.lock().expect("no panic").push(sent);
    StatusCode::OK
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    match value {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn traced(endpoint: String, sampler: Sampler) -> impl FnOnce(ServiceConfig) -> ServiceConfig {
    let headers = vec![("api-key".to_owned(), Secret::new("hunter2"))];
    let attributes = vec![("deployment.environment.name".to_owned(), "tests".to_owned())];
    let traces = TracesConfig { headers, attributes, sampler, ..TracesConfig::to(endpoint) };
    |config| ServiceConfig { traces: Some(traces), ..config }
}

on_every_database!(one_trace_goes_through_request_statements_and_job,);

async fn one_trace_goes_through_request_statements_and_job(database: TestDatabase) {
    let collector = Collector::default();
    let traced = traced(collector.start().await, Sampler::default());
    let service = TestService::start_on(database, |config| lamps(traced(config))).await;
    let ann = service.sign_up("ann").await;
    make_lamp(&ann.with_header("traceparent", PARENT).with_header("tracestate", "vendor=1")).await;
    service.run_jobs().await;
    service.stop().await;

    let mut spans = collector.spans();
    spans.retain(|span| hex(&span.trace_id) == TRACE);
    let of = |kind: SpanKind| spans.iter().filter(move |span| span.kind == kind as i32).collect::<Vec<_>>();
    let [request] = of(SpanKind::Server)[..] else { panic!("one request: {spans:#?}") };
    assert_eq!((request.name.as_str(), hex(&request.parent_span_id).as_str()), ("POST /lamps", "00f067aa0ba902b7"));
    assert_eq!(text(&request.attributes, "http.route"), Some("/lamps"));
    let [job] = of(SpanKind::Consumer)[..] else { panic!("one job: {spans:#?}") };
    assert_eq!((job.name.as_str(), &job.parent_span_id), ("process polish", &request.span_id));
    assert_eq!(text(&job.attributes, "app_kernel.job.end"), Some("succeeded"));
    let statements = of(SpanKind::Client);
    let below = |parent: &Span, name: &str| {
        statements.iter().any(|span| span.parent_span_id == parent.span_id && span.name == name)
    };
    assert!(below(request, "INSERT lamps") && below(request, "INSERT kernel_jobs"), "{statements:#?}");
    assert!(below(job, "SELECT lamps"), "{statements:#?}");
    let said = format!("{spans:?}");
    assert!(!said.contains("brass"), "a value is in a span: {said}");
    let sent = collector.0.lock().expect("no panic").clone();
    let resource = sent[0].resource_spans[0].resource.as_ref().expect("it says who it is");
    assert_eq!(text(&resource.attributes, "service.name"), Some("lamps"));
    assert_eq!(text(&resource.attributes, "service.version"), Some("1.2.3"));
    assert_eq!(text(&resource.attributes, "deployment.environment.name"), Some("tests"));
}

#[tokio::test]
async fn the_sampler_decides_or_whoever_began_the_trace() {
    let collector = Collector::default();
    let traced = traced(collector.start().await, Sampler { share: 0.0, follows_parent: true });
    let service = TestService::start(|config| lamps(traced(config))).await;
    let client = service.anonymous();
    client.get("/healthz").await.expect(200);
    client.clone().with_header("traceparent", PARENT).get("/healthz").await.expect(200);
    client.clone().with_header("traceparent", &PARENT.replace("-01", "-00")).get("/healthz").await.expect(200);
    client.clone().with_header("traceparent", "not valid").get("/healthz").await.expect(200);
    service.stop().await;
    let traces: Vec<String> = collector.spans().iter().map(|span| hex(&span.trace_id)).collect();
    assert_eq!(traces, [TRACE]);
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_request() {
    let traced = traced("http://127.0.0.1:1/v1/traces".to_owned(), Sampler::default());
    let service = TestService::start(|config| lamps(traced(config))).await;
    for _ in 0..50 {
        service.anonymous().get("/healthz").await.expect(200);
    }
    tokio::time::timeout(Duration::from_secs(60), service.stop()).await.expect("it stops all the same");
}
