//! How many requests there are, by route, method and status, and how long they take. Named as OpenTelemetry's semantic conventions for HTTP
//! name them, in Prometheus' spelling.
//!
//! A route's numbers are found once for each route, method and status; from then on a request costs a few atomics. What clients make up opens
//! no series: addresses without a route are one, and so are methods that nobody knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::Method;

use crate::base::metrics::{Gauge, Histogram, Metrics, SECONDS, Samples};

/// What stands for the template where no route was reached.
const NO_ROUTE: &str = "none";
/// What OpenTelemetry writes for a method that is none of the known ones.
const OTHER_METHOD: &str = "_OTHER";

const DURATIONS: &str = "http_server_request_duration_seconds";
const ABOUT_DURATIONS: &str = "Time from a request's head to its answer's head, by route template, method and status; 499 where the client left first.";
const ACTIVE: &str = "http_server_active_requests";
const ABOUT_ACTIVE: &str = "Requests that are being answered.";

/// The requests of one service.
#[derive(Debug)]
pub(crate) struct Traffic {
    active: Gauge,
    routes: Mutex<HashMap<Box<str>, Arc<Route>>>,
    elsewhere: Route,
}

/// A route by its template, and its numbers.
#[derive(Debug)]
pub(crate) struct Route {
    template: Box<str>,
    /// A chain that only grows, so that it is read without a lock. It is as long as there are methods and statuses.
    first: OnceLock<Box<Series>>,
}

#[derive(Debug)]
struct Series {
    method: &'static str,
    status: u16,
    durations: Histogram,
    next: OnceLock<Box<Series>>,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic { active: Gauge::default(), routes: Mutex::default(), elsewhere: Route::new(NO_ROUTE) }
    }
}

impl Traffic {
    /// Requests that `metrics` tells of.
    pub(crate) fn told_by(metrics: &Metrics) -> Arc<Self> {
        let traffic = Arc::new(Traffic::default());
        let told = Arc::clone(&traffic);
        metrics.collect(move |samples| told.tell(samples));
        traffic
    }

    /// The route of a template; always the same one.
    pub(super) fn route(&self, template: &str) -> Arc<Route> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(template) {
            return Arc::clone(route);
        }
        let route = Arc::new(Route::new(template));
        routes.insert(template.into(), Arc::clone(&route));
        route
    }

    pub(super) fn begins(&self) {
        self.active.add(1);
    }

    pub(super) fn ends(&self, route: Option<&Route>, method: &Method, status: u16, duration: Duration) {
        self.active.add(-1);
        route.unwrap_or(&self.elsewhere).durations(known(method), status).observe_duration(duration);
    }

    /// Whether requests are under way.
    pub(super) fn is_busy(&self) -> bool {
        self.active.get() > 0
    }

    fn tell(&self, samples: &mut Samples) {
        samples.gauge(ACTIVE, ABOUT_ACTIVE, &[], self.active.get() as f64);
        let routes: Vec<Arc<Route>> =
            self.routes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for route in routes.iter().map(AsRef::as_ref).chain([&self.elsewhere]) {
            let mut next = route.first.get();
            while let Some(Series { method, status, durations, next: following }) = next.map(AsRef::as_ref) {
                let status = status.to_string();
                let labels = [
                    ("http_request_method", *method),
                    ("http_route", &*route.template),
                    ("http_response_status_code", status.as_str()),
                ];
                samples.histogram(DURATIONS, ABOUT_DURATIONS, &labels, durations);
                next = following.get();
            }
        }
    }
}

impl Route {
    fn new(template: &str) -> Self {
        Route { template: template.into(), first: OnceLock::new() }
    }

    pub(super) fn template(&self) -> &str {
        &self.template
    }

    fn durations(&self, method: &'static str, status: u16) -> &Histogram {
        let mut place = &self.first;
        loop {
            // Where two threads add at once, the second goes on behind what the first has added.
            let series = place.get_or_init(|| {
                Box::new(Series { method, status, durations: Histogram::new(SECONDS), next: OnceLock::new() })
            });
            if series.status == status && series.method == method {
                return &series.durations;
            }
            place = &series.next;
        }
    }
}

/// The method, or what stands for those that nobody knows.
pub(super) fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics) -> Vec<String> {
        let text = metrics.samples().text();
        let wanted =
            |line: &&str| line.starts_with(ACTIVE) || line.starts_with("http_server_request_duration_seconds_count");
        text.lines().filter(wanted).map(str::to_owned).collect()
    }

    #[test]
    fn requests_are_told_by_route_method_and_status_and_what_clients_make_up_is_one() {
        let metrics = Metrics::default();
        let traffic = Traffic::told_by(&metrics);
        let widgets = traffic.route("/widgets/{id}");
        assert!(Arc::ptr_eq(&widgets, &traffic.route("/widgets/{id}")));
        for (route, method, status) in [
            (Some(&*widgets), "GET", 200),
            (Some(&*widgets), "GET", 404),
            (Some(&*widgets), "GET", 200),
            (Some(&*widgets), "BREW", 405),
            (None, "FROB", 404),
            (None, "GRAB", 404),
        ] {
            traffic.begins();
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            traffic.ends(route, &method, status, Duration::from_millis(3));
        }
        traffic.begins();
        let count = |method, route, status, count| {
            format!(
                "{DURATIONS}_count{{http_request_method=\"{method}\",http_route=\"{route}\",http_response_status_code=\"{status}\"}} {count}"
            )
        };
        let wanted = [
            "http_server_active_requests 1".to_owned(),
            count("GET", "/widgets/{id}", 200, 2),
            count("GET", "/widgets/{id}", 404, 1),
            count("_OTHER", "/widgets/{id}", 405, 1),
            count("_OTHER", "none", 404, 2),
        ];
        assert_eq!(lines(&metrics), wanted);
    }

    #[test]
    fn requests_on_many_threads_are_all_counted() {
        let traffic = Traffic::default();
        let route = traffic.route("/");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for status in (200..220).cycle().take(2000) {
                        traffic.begins();
                        traffic.ends(Some(&route), &Method::GET, status, Duration::ZERO);
                    }
                });
            }
        });
        let counts: Vec<u64> = (200..220).map(|status| route.durations("GET", status).count()).collect();
        assert_eq!((counts, traffic.active.get()), (vec![400; 20], 0));
    }
}
