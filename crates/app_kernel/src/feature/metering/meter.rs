//! Counts requests as they end.

use std::sync::Arc;

use super::model::{Record, What, Who, day_of};
use crate::base::clock::Clock;
use crate::engine::spool::Spool;
use crate::web::meter::{Ended, Meter};

/// What answers beside the API.
const BESIDE_THE_API: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"];

/// Notes each request down before its answer leaves.
pub(crate) struct RequestMeter {
    spool: Arc<Spool>,
    clock: Clock,
    prefix: String,
}

impl RequestMeter {
    pub(crate) fn new(spool: Arc<Spool>, clock: Clock, api_prefix: &str) -> Self {
        RequestMeter { spool, clock, prefix: api_prefix.to_owned() }
    }

    /// The route below the prefix, where it is one of the API: the same for both addresses that it has.
    fn endpoint<'a>(&self, route: &'a str) -> Option<&'a str> {
        let below = route.strip_prefix(&self.prefix).filter(|rest| rest.starts_with('/'));
        let is_beside = |route: &str| {
            BESIDE_THE_API
                .iter()
                .any(|beside| route.strip_prefix(beside).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        if self.prefix.is_empty() || below.is_none() {
            return Some(route).filter(|route| !is_beside(route));
        }
        below
    }
}

impl Meter for RequestMeter {
    fn count(&self, ended: &Ended<'_>) {
        let Some(endpoint) = self.endpoint(ended.route) else { return };
        let who = Who {
            user_id: ended.caller.and_then(|caller| caller.user_id()).map(str::to_owned),
            workspace_id: ended.workspace_id.or_else(|| ended.caller?.workspace_id()).map(str::to_owned),
            key_id: None,
        };
        let what = What::Request {
            endpoint: format!("{} {endpoint}", ended.method),
            status: ended.status,
            latency_us: i64::try_from(ended.duration.as_micros()).unwrap_or(i64::MAX),
            bytes: ended.bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        };
        let record = Record { day: day_of(self.clock.now()), who, what };
        self.spool.append(&serde_json::to_string(&record).expect("a record is always JSON"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: Q1
    #[test]
    fn both_addresses_of_a_route_are_one_endpoint_and_health_is_none() {
        let meter = |prefix| RequestMeter::new(Arc::new(Spool::new("unused")), Clock::system(), prefix);
        let prefixed = meter("/api/v1");
        assert_eq!(prefixed.endpoint("/api/v1/widgets/{id}"), Some("/widgets/{id}"));
        assert_eq!(prefixed.endpoint("/widgets/{id}"), Some("/widgets/{id}"));
        assert_eq!((prefixed.endpoint("/healthz"), prefixed.endpoint("/docs/page.js")), (None, None));
        assert_eq!(prefixed.endpoint("/api/v1/docs"), Some("/docs"), "one of the service's own");
        assert_eq!((meter("").endpoint("/widgets"), meter("").endpoint("/readyz")), (Some("/widgets"), None));
        assert_eq!(meter("").endpoint("/documents"), Some("/documents"));
    }
}
