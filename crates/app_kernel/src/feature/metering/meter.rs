//! Counts requests as they end.

use std::sync::Arc;

use super::model::{Today, write_kind};
use crate::base::caller::Caller;
use crate::base::clock::Clock;
use crate::engine::spool::{Mark, Spool};
use crate::web::meter::{Ended, Meter};

/// What answers beside the API.
const BESIDE_THE_API: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/docs", "/openapi.json"];

/// Counts each request, and notes it down before its answer leaves.
pub(crate) struct RequestMeter {
    spool: Arc<Spool>,
    clock: Clock,
    today: Today,
    prefix: String,
}

impl RequestMeter {
    pub(crate) fn new(spool: Arc<Spool>, clock: Clock, api_prefix: &str) -> Self {
        RequestMeter { spool, clock, today: Today::default(), prefix: api_prefix.to_owned() }
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
    fn count(&self, ended: &Ended<'_>) -> Option<Mark> {
        let endpoint = self.endpoint(ended.route)?;
        let caller = ended.caller;
        let who = [
            caller.and_then(Caller::user_id),
            ended.workspace_id.or_else(|| caller.and_then(Caller::workspace_id)),
            caller.and_then(Caller::api_key_id),
        ];
        let micros = u64::try_from(ended.duration.as_micros()).unwrap_or(u64::MAX);
        let mark = self.spool.add([micros, ended.bytes.unwrap_or(0)], |text| {
            self.today.with(self.clock.now(), |day| {
                write_kind(text, day, ended.status, who, ended.method.as_str(), endpoint);
            });
        });
        Some(mark)
    }

    fn settle(&self, mark: Mark) {
        self.spool.settle(mark);
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
