//! The part of a trace that travels: W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context-1/>).

use std::fmt;
use std::sync::Arc;

use crate::base::secret::fill_random;

/// The longest `tracestate` that is handed on, in bytes: what the standard asks for at least. A longer one is left out.
const LONGEST_STATE: usize = 512;

/// One place in one trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never all zero.
    pub trace_id: [u8; 16],
    /// The span; never all zero.
    pub span_id: [u8; 8],
    /// Whether whoever began the trace keeps it.
    pub is_sampled: bool,
    /// What tracing systems hand on; not read here.
    pub state: Option<Arc<str>>,
}

/// A header that tells the next one about the trace.
pub type TraceHeader = (&'static str, String);

impl TraceContext {
    /// Reads the two headers. None where `traceparent` is not valid: then a trace begins here. A `tracestate` that is too long or holds other
    /// than printable ASCII is left out.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = bytes::<1>(version)?;
        // Later versions may have more parts; `ff` is none.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let ([flags], trace_id, span_id) = (bytes::<1>(flags)?, bytes(trace_id)?, bytes(span_id)?);
        let is_fit = |state: &&str| {
            (1..=LONGEST_STATE).contains(&state.len()) && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        let state = tracestate.map(str::trim).filter(is_fit).map(Arc::from);
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(TraceContext { trace_id, span_id, is_sampled: flags & 1 == 1, state })
    }

    /// The beginning of a trace.
    pub(super) fn begin() -> Self {
        let mut random = [0; 16];
        fill_random(&mut random);
        TraceContext { trace_id: random, span_id: random_span(), is_sampled: true, state: None }
    }

    /// Another place in the same trace.
    pub(super) fn next(&self) -> Self {
        TraceContext { span_id: random_span(), ..self.clone() }
    }

    /// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id_hex(), self.span_id_hex(), u8::from(self.is_sampled))
    }

    /// What the next one is told.
    #[must_use]
    pub fn headers(&self) -> Vec<TraceHeader> {
        let state = self.state.as_ref().map(|state| ("tracestate", state.to_string()));
        [("traceparent", self.traceparent())].into_iter().chain(state).collect()
    }

    /// The trace as people and logs write it.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        Hex(&self.trace_id).to_string()
    }

    /// The span as people and logs write it.
    #[must_use]
    pub fn span_id_hex(&self) -> String {
        Hex(&self.span_id).to_string()
    }
}

fn random_span() -> [u8; 8] {
    let mut random = [0; 8];
    fill_random(&mut random);
    random
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lower-case hexadecimal digits, two for each byte; upper case is not valid here.
fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digits = hex.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut found = [0; N];
    for (byte, pair) in found.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_read_and_written_alike() {
        let context = TraceContext::parse(VALID, Some("vendor=a,other=b")).expect("it is the standard's example");
        assert_eq!((context.traceparent().as_str(), context.is_sampled), (VALID, true));
        let headers = context.headers();
        assert_eq!(headers, [("traceparent", VALID.to_owned()), ("tracestate", "vendor=a,other=b".to_owned())]);
        let later = TraceContext::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02-what-comes", None);
        let later = later.expect("a later version");
        assert_eq!((later.is_sampled, &*later.traceparent()), (false, &*VALID.replace("-01", "-00")));
        let next = context.next();
        assert_eq!((next.trace_id, next.state.clone()), (context.trace_id, context.state.clone()));
        assert_ne!(next.span_id, context.span_id);
    }

    /// The cases of the standard's own test suite.
    #[test]
    fn what_is_not_valid_begins_a_new_trace() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bz-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47é6-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(header, None), None, "{header}");
        }
    }

    #[test]
    fn a_state_that_does_not_fit_is_left_out_and_the_trace_goes_on() {
        for state in ["", " ", "a=\u{e9}", "a=\r\nx: y", &"a".repeat(LONGEST_STATE + 1)] {
            assert_eq!(TraceContext::parse(VALID, Some(state)).expect("the trace is valid").state, None, "{state:?}");
        }
    }
}
