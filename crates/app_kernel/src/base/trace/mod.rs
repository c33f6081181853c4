//! Traces: what happened for one request, across processes, as spans that know their parent. Named as OpenTelemetry's semantic conventions
//! name them; what sends them away is handed in from above, and where nothing does, no span is made.
//!
//! - A span begins with [`Tracer::begin`] or, for a part of what is under way, [`span`]; it ends when it is dropped.
//! - Within [`within`], [`current`] knows the span that is under way: statements, jobs and outgoing requests find their parent there.
//! - A span holds words of the code and ids, never values of the data.

mod context;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub use self::context::{TraceContext, TraceHeader};
use super::clock::{Clock, Timestamp};

/// What a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that is answered.
    Server,
    /// A request to another: a database, a server.
    Client,
    /// Something that is left for later.
    Producer,
    /// Something that was left for later.
    Consumer,
    /// Work within the process.
    Internal,
}

/// What a span says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A word.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Attribute {
    fn from(text: &'static str) -> Self {
        Attribute::Text(text.into())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Attribute::Text(text.into())
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Attribute::Number(number)
    }
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct EndedSpan {
    /// Where it is.
    pub context: TraceContext,
    /// Below which span of the same trace.
    pub parent: Option<[u8; 8]>,
    /// Whether that is another process'.
    pub is_parent_elsewhere: bool,
    /// What it is called: few names, never an id.
    pub name: Cow<'static, str>,
    /// What it stands for.
    pub kind: SpanKind,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it says.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Whether it failed.
    pub has_failed: bool,
}

/// Takes what has ended. Called in the middle of requests, so it must be quick.
pub trait Spans: fmt::Debug + Send + Sync + 'static {
    /// Whether a trace that begins here, or comes from elsewhere, is kept.
    fn keeps(&self, parent: Option<&TraceContext>, trace_id: [u8; 16]) -> bool;

    /// Takes a span.
    fn take(&self, span: EndedSpan);

    /// Sends what it has, and takes nothing more. May block for a while.
    fn close(&self);
}

/// Begins spans, where somebody collects them. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Arc<OnceLock<Arc<dyn Spans>>>);

impl Tracer {
    /// From now on spans go there. Only the first call counts.
    pub fn send_to(&self, spans: Arc<dyn Spans>) {
        let _first = self.0.set(spans);
    }

    /// Whether somebody collects spans.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.get().is_some()
    }

    /// Begins a span below one of another process or time, or a trace of its own. None where nobody collects spans.
    #[must_use]
    pub fn begin(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: Option<&TraceContext>,
    ) -> Option<Span> {
        let spans = self.0.get()?;
        let mut context = parent.map_or_else(TraceContext::begin, TraceContext::next);
        context.is_sampled = spans.keeps(parent, context.trace_id);
        Some(Span::begin(spans, context, parent.map(|parent| parent.span_id), true, name.into(), kind))
    }

    /// What collects them.
    pub(crate) fn spans(&self) -> Option<&Arc<dyn Spans>> {
        self.0.get()
    }
}

/// A span that is under way. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    spans: Arc<dyn Spans>,
    context: TraceContext,
    since: Instant,
    /// None where the trace is not kept, or it has ended.
    record: Option<Box<EndedSpan>>,
}

impl Span {
    fn begin(
        spans: &Arc<dyn Spans>,
        context: TraceContext,
        parent: Option<[u8; 8]>,
        is_parent_elsewhere: bool,
        name: Cow<'static, str>,
        kind: SpanKind,
    ) -> Self {
        let (since, began) = (Instant::now(), Clock::system().now());
        let record = context.is_sampled.then(|| {
            let (context, attributes) = (context.clone(), Vec::new());
            let is_parent_elsewhere = is_parent_elsewhere && parent.is_some();
            let (ended, has_failed) = (began, false);
            Box::new(EndedSpan {
                context,
                parent,
                is_parent_elsewhere,
                name,
                kind,
                began,
                ended,
                attributes,
                has_failed,
            })
        });
        Span { spans: Arc::clone(spans), context, since, record }
    }

    /// Where it is.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Another name, now that more is known.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(record) = &mut self.record {
            record.name = name.into();
        }
    }

    /// Says something.
    pub fn set(&mut self, name: &'static str, value: impl Into<Attribute>) {
        if let Some(record) = &mut self.record {
            record.attributes.push((name, value.into()));
        }
    }

    /// It failed.
    pub fn fail(&mut self) {
        if let Some(record) = &mut self.record {
            record.has_failed = true;
        }
    }

    /// It, as what is under way for [`within`].
    #[must_use]
    pub fn as_current(&self) -> Current {
        Current { spans: Arc::clone(&self.spans), context: self.context.clone() }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            // By the clock that never goes back.
            let took = jiff::SignedDuration::try_from(self.since.elapsed()).unwrap_or(jiff::SignedDuration::ZERO);
            record.ended = record.began.saturating_add(took).unwrap_or(record.began);
            self.spans.take(*record);
        }
    }
}

/// The span that is under way. Cheap enough to take along to another thread.
#[derive(Debug, Clone)]
pub struct Current {
    spans: Arc<dyn Spans>,
    context: TraceContext,
}

impl Current {
    /// Where it is.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Begins a part of it.
    #[must_use]
    pub fn begin(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Span {
        let (context, parent) = (self.context.next(), Some(self.context.span_id));
        Span::begin(&self.spans, context, parent, false, name.into(), kind)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The span that is under way in this task; none outside of [`within`], and where nobody collects spans.
#[must_use]
pub fn current() -> Option<Current> {
    CURRENT.with_borrow(Clone::clone)
}

/// Begins a part of what is under way: `let _span = trace::span("resize", SpanKind::Internal);`.
#[must_use]
pub fn span(name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Option<Span> {
    current().map(|current| current.begin(name, kind))
}

/// The headers that tell another server of what is under way: `traceparent`, and `tracestate` where there is one. None where there is no trace.
#[must_use]
pub fn outgoing_headers() -> Vec<TraceHeader> {
    CURRENT.with_borrow(|current| current.as_ref().map(|current| current.context.headers()).unwrap_or_default())
}

/// Runs a future in which `current` is what is under way. Without one, the future runs as if this were not here.
pub async fn within<F: Future>(current: Option<Current>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let Some(current) = &current else { return future.as_mut().poll(cx) };
        let _outer = Outer(CURRENT.replace(Some(current.clone())));
        future.as_mut().poll(cx)
    })
    .await
}

/// What was under way outside; it is again when this is dropped, also by a panic.
struct Outer(Option<Current>);

impl Drop for Outer {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<EndedSpan>>);

    impl Spans for Kept {
        fn keeps(&self, parent: Option<&TraceContext>, _: [u8; 16]) -> bool {
            parent.is_none_or(|parent| parent.is_sampled)
        }

        fn take(&self, span: EndedSpan) {
            self.0.lock().expect("no panic").push(span);
        }

        fn close(&self) {}
    }

    fn traced() -> (Tracer, Arc<Kept>) {
        let (tracer, kept) = (Tracer::default(), Arc::new(Kept::default()));
        tracer.send_to(kept.clone());
        (tracer, kept)
    }

    #[tokio::test]
    async fn a_part_knows_its_parent_and_only_within() {
        let (tracer, kept) = traced();
        let whole = tracer.begin("whole", SpanKind::Server, None).expect("somebody collects");
        let place = whole.context().clone();
        assert!(current().is_none() && outgoing_headers().is_empty());
        let part = async {
            tokio::task::yield_now().await;
            let mut part = span("part", SpanKind::Client).expect("it is within");
            part.set("n", 7);
            part.fail();
            assert_eq!(outgoing_headers(), [("traceparent", place.traceparent())]);
        };
        let beside = async {
            tokio::task::yield_now().await;
            assert!(current().is_none(), "another future of the same thread is not within");
        };
        tokio::join!(within(Some(whole.as_current()), part), beside);
        drop(whole);
        let spans = kept.0.lock().expect("no panic").clone();
        let [part, whole] = spans.as_slice() else { panic!("two spans: {spans:?}") };
        assert_eq!((part.parent, part.context.trace_id), (Some(whole.context.span_id), whole.context.trace_id));
        assert_eq!((&*part.name, part.has_failed, part.is_parent_elsewhere), ("part", true, false));
        assert_eq!((part.attributes.as_slice(), whole.parent), (&[("n", Attribute::Number(7))][..], None));
        assert!(whole.began <= part.began && part.ended <= whole.ended);
    }

    #[test]
    fn a_trace_that_is_not_kept_is_handed_on_and_makes_no_span() {
        let (tracer, kept) = traced();
        let parent =
            TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", None).expect("valid");
        let span = tracer.begin("whole", SpanKind::Server, Some(&parent)).expect("somebody collects");
        let part = span.as_current().begin("part", SpanKind::Client);
        assert_eq!(part.context().trace_id, parent.trace_id);
        assert!(part.context().traceparent().ends_with("-00"));
        drop((part, span));
        assert!(kept.0.lock().expect("no panic").is_empty());
    }

    #[test]
    fn where_nobody_collects_there_is_no_span() {
        assert!(Tracer::default().begin("whole", SpanKind::Server, None).is_none());
        assert!(span("part", SpanKind::Client).is_none());
    }
}
