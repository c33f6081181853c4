//! How many requests somebody may make: in all, and of single routes. Counted by API key, else by user, else by client address, where an IPv6
//! subscriber's network counts as one; whoever proves nothing, or proves it wrongly, is an address. Refused with 429, `Retry-After` and words.
//!
//! Every answer that was counted says where its caller stands, in `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10)
//! and in the older `X-RateLimit-Limit`, `-Remaining` and `-Reset`, a Unix time. `t` and the reset say when the next one comes back.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use super::extract::caller_of;
use super::middleware::client_address::subscriber;
use super::middleware::exchange::ExchangeSlot;
use crate::base::caller::Caller;
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::Error;
use crate::base::metrics::{Counter, Metrics};
use crate::engine::rate_limit::window::{Standing, Subject, Window, WindowLimiter};
use crate::store::redis::Redis;

static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The limit on all requests of somebody goes by this name.
const DEFAULT: &str = "default";
/// What orchestrators and monitoring ask is never refused.
const EXEMPT: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// A limit on the requests to some routes, as a layer around them. It counts beside the limit on all requests; `RATE_LIMIT_ENABLED=false` lifts
/// both. With `REDIS_URL` all processes count together, else each for itself.
///
/// ```no_run
/// use std::time::Duration;
///
/// use app_kernel::prelude::*;
///
/// async fn search() -> &'static str {
///     "found"
/// }
///
/// fn main() -> Result<()> {
///     let ten_a_minute = RateLimit::new(10, Duration::from_secs(60));
///     Service::new("finder", ServiceConfig::from_env()?).route("/search", get(search).layer(ten_a_minute)).run()
/// }
/// ```
///
/// Around a router, each of its routes has its own count, unless [`RateLimit::together`] gives them one.
#[derive(Debug, Clone)]
pub struct RateLimit {
    window: Window,
    name: Option<Arc<str>>,
}

impl RateLimit {
    /// At most so many requests of one caller in any stretch of time of this length.
    ///
    /// # Panics
    /// Where it is no request, or the time is shorter than a millisecond or longer than a day: such a limit is a slip of the pen.
    #[must_use]
    pub fn new(requests: u32, window: Duration) -> Self {
        let day = Duration::from_secs(24 * 3600);
        assert!(requests > 0, "RateLimit::new(0, ..) would refuse every request; leave the route out instead");
        assert!(
            window >= Duration::from_millis(1) && window <= day,
            "RateLimit::new(.., {window:?}): the time must be from a millisecond to a day"
        );
        RateLimit { window: Window { most: requests, length: window }, name: None }
    }

    /// One count for all the routes that it is put around, under this name: also those that it is put around elsewhere.
    #[must_use]
    pub fn together(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }
}

/// What a service limits.
#[derive(Debug)]
pub(crate) struct RequestLimits {
    limiter: WindowLimiter,
    clock: Clock,
    everywhere: Option<Window>,
    of_routes: bool,
    api_prefix: String,
    refused: Counter,
}

impl RequestLimits {
    pub(crate) fn new(config: &ServiceConfig, clock: &Clock, redis: Option<&Redis>) -> Self {
        let window = Window {
            most: config.rate_limit_requests,
            length: Duration::from_secs(u64::from(config.rate_limit_window)),
        };
        RequestLimits {
            limiter: WindowLimiter::new(clock, redis),
            clock: clock.clone(),
            everywhere: is_on(config, redis.is_some()).then_some(window),
            of_routes: config.rate_limit_enabled != Some(false),
            api_prefix: config.api_prefix.clone(),
            refused: Counter::default(),
        }
    }

    /// The same, with refusals that `metrics` tells of.
    pub(crate) fn told_by(self, metrics: &Metrics) -> Self {
        let refused = self.refused.clone();
        metrics.collect(move |samples| {
            let about = "Requests that were refused with 429, because their caller made too many.";
            samples.counter("app_kernel_rate_limit_refusals_total", about, &[], refused.get());
        });
        self
    }

    /// Whether all requests are limited, beside those that a route limits.
    pub(in crate::web) fn are_on(&self) -> bool {
        self.everywhere.is_some()
    }

    /// Whether requests to this path are counted at all.
    pub(in crate::web) fn counts(&self, path: &str) -> bool {
        self.everywhere.is_some() && !EXEMPT.contains(&path)
    }

    /// Counts a request. None where nothing limits it.
    pub(in crate::web) async fn admit(&self, caller: &Caller, client: IpAddr) -> Option<Admission> {
        let window = self.everywhere?;
        let standing = self.take(DEFAULT, window, caller, client).await;
        Some(Admission { standing, window, policy: None })
    }

    /// The same for a limit of a route.
    async fn admit_to_route(&self, name: String, window: Window, caller: &Caller, client: IpAddr) -> Admission {
        let standing = self.take(&format!("route {name}"), window, caller, client).await;
        Admission { standing, window, policy: Some(name) }
    }

    async fn take(&self, name: &str, window: Window, caller: &Caller, client: IpAddr) -> Standing {
        let standing = self.limiter.take(name, subject(caller, client), window).await;
        if !standing.admitted {
            self.refused.inc();
        }
        standing
    }

    /// The time that answers tell.
    pub(in crate::web) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A route by its method and template. It is the same at the prefix and at the root.
    fn name_of(&self, request: &Request) -> String {
        let method = if *request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let template = request.extensions().get().map_or("", MatchedPath::as_str);
        let below = template.strip_prefix(self.api_prefix.as_str()).filter(|below| below.starts_with('/'));
        format!("{method} {}", below.unwrap_or(template))
    }
}

/// Whether all requests are limited: where the configuration says so, and where it says nothing if processes can count together.
fn is_on(config: &ServiceConfig, has_redis: bool) -> bool {
    config.rate_limit_enabled.unwrap_or(has_redis)
}

/// What the table at start tells of it: whether it is on, and how, or what would turn it on.
pub(crate) fn describe(config: &ServiceConfig, has_redis: bool) -> (bool, String) {
    let is_on = is_on(config, has_redis);
    let detail = match (is_on, has_redis) {
        (true, _) => {
            let (requests, window) = (config.rate_limit_requests, config.rate_limit_window);
            let place = if has_redis { "in all processes together" } else { "in each process for itself" };
            format!("{requests} requests in {window} s for each key, user or address, {place}")
        }
        (false, _) if config.rate_limit_enabled.is_some() => "RATE_LIMIT_ENABLED is false".to_owned(),
        (false, _) => "REDIS_URL is not set; RATE_LIMIT_ENABLED=true limits in each process for itself".to_owned(),
    };
    (is_on, detail)
}

fn subject(caller: &Caller, client: IpAddr) -> Subject<'_> {
    match (caller.api_key_id(), caller.user_id()) {
        (Some(key), _) => Subject::ApiKey(key),
        (None, Some(user)) => Subject::User(user),
        (None, None) => Subject::Address(subscriber(client)),
    }
}

/// What becomes of a request that was counted.
#[derive(Debug)]
pub(in crate::web) struct Admission {
    standing: Standing,
    window: Window,
    /// The name of a route's limit; none for the one on all requests.
    policy: Option<String>,
}

impl Admission {
    /// The refusal, where it is one.
    pub(in crate::web) fn refusal(&self) -> Option<Error> {
        if self.standing.admitted {
            return None;
        }
        let Window { most, length } = self.window;
        let message = format!("too many requests: {most} in {} s are allowed; wait a little", length.as_secs_f64());
        Some(Error::too_many_requests(message).retry_after_secs(self.standing.back_in_secs()))
    }

    /// Says in an answer where its caller stands. Of two limits both are listed, and the one that was said first is in the older headers.
    pub(in crate::web) fn tell(&self, headers: &mut HeaderMap, clock: &Clock) {
        let Standing { left, .. } = self.standing;
        let (name, back_in) = (self.policy.as_deref().unwrap_or(DEFAULT), self.standing.back_in_secs());
        let most = self.window.most;
        let window = self.window.length.as_millis().div_ceil(1000).max(1);
        headers.append(&RATE_LIMIT_POLICY, item(name, format_args!(";q={most};w={window}")));
        headers.append(&RATE_LIMIT, item(name, format_args!(";r={left};t={back_in}")));
        headers.entry(&X_RATE_LIMIT_LIMIT).or_insert_with(|| HeaderValue::from(most));
        headers.entry(&X_RATE_LIMIT_REMAINING).or_insert_with(|| HeaderValue::from(left));
        let reset = clock.now().as_second().saturating_add(i64::from(back_in));
        headers.entry(&X_RATE_LIMIT_RESET).or_insert_with(|| HeaderValue::from(reset));
    }
}

/// A text with parameters, as RFC 9651 writes it.
fn item(name: &str, parameters: std::fmt::Arguments<'_>) -> HeaderValue {
    let mut text = String::with_capacity(name.len() + 32);
    text.push('"');
    text.extend(name.chars().map(|c| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '?' }));
    text.push('"');
    // A text takes what it is given.
    let _ = text.write_fmt(parameters);
    HeaderValue::try_from(text).expect("visible letters make a header")
}

impl Layer<Route> for RateLimit {
    type Service = RateLimited;

    fn layer(&self, route: Route) -> RateLimited {
        RateLimited { limit: self.clone(), route }
    }
}

/// A route with a limit of its own.
#[derive(Debug, Clone)]
pub struct RateLimited {
    limit: RateLimit,
    route: Route,
}

impl Service<Request> for RateLimited {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let RateLimited { limit, mut route } = self.clone();
        Box::pin(async move {
            let exchange = request.extensions().get().map(|ExchangeSlot(exchange)| Arc::clone(exchange));
            let counts = exchange.and_then(|exchange| Some((exchange.limits.clone()?, exchange.client)));
            // What did not come through the edge has no address to count by.
            let Some((limits, client)) = counts.filter(|(limits, _)| limits.of_routes) else {
                return route.call(request).await;
            };
            let name = limit.name.as_deref().map_or_else(|| limits.name_of(&request), str::to_owned);
            let caller = caller_of(request.extensions());
            let admission = limits.admit_to_route(name, limit.window, &caller, client).await;
            let mut response = match admission.refusal() {
                Some(refusal) => refusal.into_response(),
                None => {
                    let Ok(response) = route.call(request).await;
                    response
                }
            };
            admission.tell(response.headers_mut(), &limits.clock);
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_structured_text() {
        assert_eq!(item("default", format_args!(";q=100;w=60")), "\"default\";q=100;w=60");
        assert_eq!(item("GET /a\"b\\c/é\n", format_args!("")), "\"GET /a?b?c/??\"");
    }

    /// Promise: J2
    #[test]
    fn a_caller_is_counted_by_key_then_user_then_address() {
        let client: IpAddr = "2001:db8:1:2:3::4".parse().expect("an address");
        assert_eq!(subject(&Caller::api_key("k", "u"), client), Subject::ApiKey("k"));
        assert_eq!(subject(&Caller::user("u"), client), Subject::User("u"));
        let network = "2001:db8:1:2::".parse().expect("an address");
        assert_eq!(subject(&Caller::anonymous(), client), Subject::Address(network));
    }

    /// Promise: B3, J1
    #[test]
    fn it_is_on_with_redis_and_off_without_unless_it_is_said() {
        let told = |said, has_redis| {
            let config = ServiceConfig { rate_limit_enabled: said, ..ServiceConfig::default() };
            describe(&config, has_redis)
        };
        let on = |place: &str| (true, format!("100 requests in 60 s for each key, user or address, {place}"));
        let (together, alone) = (on("in all processes together"), on("in each process for itself"));
        assert_eq!(
            [told(None, true), told(Some(true), true), told(Some(true), false)],
            [together.clone(), together, alone]
        );
        assert!(told(None, false).1.starts_with("REDIS_URL is not set"));
        for has_redis in [true, false] {
            assert_eq!(told(Some(false), has_redis), (false, "RATE_LIMIT_ENABLED is false".to_owned()));
        }
    }
}
