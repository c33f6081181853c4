//! The span of a request: the one place where a `traceparent` is read. Its attributes are those of OpenTelemetry's semantic conventions for HTTP
//! servers; the template stands for the path, and there is no query, so that no id and no secret gets there.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Version};

use crate::base::trace::{Span, SpanKind, TraceContext, Tracer};
use crate::web::traffic::{Route, known};

/// Begins the span of a request, below the one that the client tells of. A client may choose its trace, and whether it is kept, as
/// `OTEL_TRACES_SAMPLER` says; nothing else.
pub(in crate::web) fn begin(tracer: &Tracer, parts: &Parts, client: IpAddr, over_tls: bool) -> Option<Span> {
    if !tracer.is_on() {
        return None;
    }
    let method = known(&parts.method);
    let mut span = tracer.begin(method, SpanKind::Server, parent(&parts.headers).as_ref())?;
    span.set("http.request.method", method);
    span.set("url.scheme", if over_tls { "https" } else { "http" });
    let version = match parts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    span.set("network.protocol.version", version);
    if !client.is_unspecified() {
        span.set("client.address", client.to_string());
    }
    Some(span)
}

/// Says how a request ended. Answers where its span was.
pub(super) fn end(mut span: Span, route: Option<&Route>, method: &Method, status: u16) -> TraceContext {
    if let Some(route) = route {
        span.rename(format!("{} {}", known(method), route.template()));
        span.set("http.route", route.template().to_owned());
    }
    span.set("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set("error.type", status.to_string());
        span.fail();
    }
    span.context().clone()
}

fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    let mut lines = headers.get_all("traceparent").iter();
    let (first, None) = (lines.next()?, lines.next()) else {
        // Two parents are none.
        return None;
    };
    // Several lines are one list; as the standard says, in their order.
    let states: Vec<&str> = headers.get_all("tracestate").iter().filter_map(|line| line.to_str().ok()).collect();
    TraceContext::parse(first.to_str().ok()?, Some(&states.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn one_parent_counts_and_states_are_joined() {
        let mut headers = HeaderMap::new();
        assert_eq!(parent(&headers), None);
        headers.append("traceparent", VALID.parse().expect("a header value"));
        headers.append("tracestate", "a=1".parse().expect("a header value"));
        headers.append("tracestate", "b=2".parse().expect("a header value"));
        let found = parent(&headers).expect("it is valid");
        assert_eq!((found.traceparent().as_str(), found.state.as_deref()), (VALID, Some("a=1,b=2")));
        headers.append("traceparent", VALID.parse().expect("a header value"));
        assert_eq!(parent(&headers), None, "two are none");
    }
}
