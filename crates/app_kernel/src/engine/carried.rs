//! What a request hands on to the servers that are asked on its behalf: the headers of every outgoing call.

use std::future::Future;

use hyper::header::{HeaderName, HeaderValue};

use crate::base::caller::Caller;
use crate::base::trace;

tokio::task_local! {
    static CALLER: Caller;
}

/// Runs a piece of work so that calls made in it carry what belongs to this caller's request. A task that it spawns carries nothing.
pub(crate) fn on_behalf_of<F: Future>(caller: Caller, work: F) -> impl Future<Output = F::Output> {
    CALLER.scope(caller, work)
}

/// The headers to add to a call that is made here: `X-Request-ID` within a request, and `traceparent` and `tracestate` within a trace.
pub(crate) fn headers() -> Vec<(HeaderName, HeaderValue)> {
    let id = CALLER.try_with(|caller| HeaderValue::from_str(caller.request_id()?).ok()).ok().flatten();
    let id = id.map(|id| (HeaderName::from_static("x-request-id"), id));
    let trace = trace::outgoing_headers()
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?)));
    id.into_iter().chain(trace).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::trace::{EndedSpan, SpanKind, Spans, TraceContext, Tracer};

    /// Somebody who collects spans.
    #[derive(Debug)]
    struct Anybody;

    impl Spans for Anybody {
        fn keeps(&self, _: Option<&TraceContext>, _: [u8; 16]) -> bool {
            true
        }

        fn take(&self, _: EndedSpan) {}

        fn close(&self) {}
    }

    #[tokio::test]
    async fn the_trace_is_carried_where_there_is_one() {
        let tracer = Tracer::default();
        tracer.send_to(Arc::new(Anybody));
        let span = tracer.begin("GET", SpanKind::Server, None).expect("somebody collects");
        let inside = trace::within(Some(span.as_current()), async { headers() }).await;
        let parent = HeaderValue::try_from(span.context().traceparent()).expect("a header");
        assert_eq!(inside, [(HeaderName::from_static("traceparent"), parent)]);
        assert_eq!(headers(), []);
    }

    #[tokio::test]
    async fn the_id_of_the_request_is_carried_as_long_as_it_is_answered() {
        let caller = Caller::anonymous().in_request("r-1");
        let inside = on_behalf_of(caller, async { headers() }).await;
        assert_eq!(inside, [(HeaderName::from_static("x-request-id"), HeaderValue::from_static("r-1"))]);
        assert_eq!(headers(), []);
    }
}
