//! What happens to every request, around the router, in one service: where it comes from, its id, who asks, how often, limits, panics, and on the way
//! back the headers, the compression and the line in the log. Whatever the router does, an answer leaves with all of them.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use axum::{BoxError, Router};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::Body as HttpBody;
use tower::Service;

use super::etag;
use super::idempotency::{self, Keyed};
use super::identity::Authenticate;
use super::meter::Meter;
use super::middleware::cors::{self, Cors, Grant};
use super::middleware::exchange::{Exchange, ExchangeSlot};
use super::middleware::limits::{BodyLimits, LimitedBody};
use super::middleware::request_log::{NoteRoute, RequestLine};
use super::middleware::standing_headers::StandingHeaders;
use super::middleware::tracing_span;
use super::middleware::{catch_panic, client_address::TrustedProxies, compression, limits, request_id};
use super::rate_limit::{Admission, RequestLimits};
use super::reply::{complete, problem};
use super::traffic::Traffic;
use crate::base::caller::Caller;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::metrics::Metrics;
use crate::base::trace::{self, Span, Tracer};
use crate::engine::carried;
use crate::engine::idempotency::Answers;
use crate::engine::spool::Mark;

pub use super::middleware::client_address::ClientAddress;
pub(crate) use super::middleware::client_address::subscriber;
pub(crate) use super::middleware::exchange::{arrived, client_address, note_workspace, request_id};
pub use super::middleware::request_id::RequestId;

/// What is in the paths of routes that answer API keys.
const API_KEYS: &str = "/api-keys";

/// What the configuration says about requests, in the form that costs least per request.
#[derive(Debug, Clone)]
pub struct EdgeRules {
    cors: Cors,
    standing_headers: StandingHeaders,
    trusted_proxies: TrustedProxies,
    body: BodyLimits,
    secret_paths: Vec<String>,
    api_prefix: String,
}

impl EdgeRules {
    /// Reads the configuration once.
    ///
    /// # Errors
    /// Where `TRUSTED_PROXIES` names what is no network.
    pub fn from_config(config: &ServiceConfig) -> Result<Self> {
        let cors = Cors::new(&config.cors_origins, config.cors_credentials);
        let mut secret_paths = vec!["/auth".to_owned()];
        if !config.api_prefix.is_empty() {
            secret_paths.push(format!("{}/auth", config.api_prefix));
        }
        Ok(EdgeRules {
            standing_headers: StandingHeaders::new(&cors),
            cors,
            trusted_proxies: TrustedProxies::parse(&config.trusted_proxies)?,
            body: BodyLimits { max_bytes: config.max_body_bytes as u64, timeout: config.body_timeout },
            secret_paths,
            api_prefix: config.api_prefix.clone(),
        })
    }

    /// A path as it is without the prefix.
    fn below_prefix<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(self.api_prefix.as_str()).filter(|below| below.starts_with('/')).unwrap_or(path)
    }

    /// Whether answers from here hold tokens: they are neither stored nor compressed.
    pub(in crate::web) fn is_secret(&self, path: &str) -> bool {
        let is_below = |base: &String| {
            path.strip_prefix(base.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.secret_paths.iter().any(is_below) || path.contains(API_KEYS)
    }
}

/// The service around a router. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    router: Router,
    rules: Arc<EdgeRules>,
    authenticate: Option<Arc<dyn Authenticate>>,
    meter: Option<Arc<dyn Meter>>,
    limits: Option<Arc<RequestLimits>>,
    answers: Option<Arc<Answers>>,
    traffic: Arc<Traffic>,
    tracer: Tracer,
}

impl Edge {
    /// Puts the edge around `router`, whose state is given already. Without `authenticate` every caller is anonymous.
    #[must_use]
    pub fn new(router: Router, rules: Arc<EdgeRules>, authenticate: Option<Arc<dyn Authenticate>>) -> Self {
        Self::with_traffic(router, rules, authenticate, Arc::default())
    }

    /// The same, with requests that `metrics` tells of.
    #[must_use]
    pub fn told_by(
        metrics: &Metrics,
        router: Router,
        rules: Arc<EdgeRules>,
        authenticate: Option<Arc<dyn Authenticate>>,
    ) -> Self {
        Self::with_traffic(router, rules, authenticate, Traffic::told_by(metrics))
    }

    fn with_traffic(
        router: Router,
        rules: Arc<EdgeRules>,
        authenticate: Option<Arc<dyn Authenticate>>,
        traffic: Arc<Traffic>,
    ) -> Self {
        catch_panic::install_hook();
        let noting = NoteRoute(Arc::clone(&traffic));
        let router = if router.has_routes() { router.route_layer(noting) } else { router };
        let tracer = Tracer::default();
        Edge(Arc::new(Inner { router, rules, authenticate, meter: None, limits: None, answers: None, traffic, tracer }))
    }

    /// Has each request that reaches a route counted.
    #[must_use]
    pub fn metered(self, meter: Option<Arc<dyn Meter>>) -> Self {
        Edge(Arc::new(Inner { meter, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// Has each request traced, where somebody collects spans.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Edge(Arc::new(Inner { tracer, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// Has writes that carry an `Idempotency-Key` done once.
    #[must_use]
    pub(crate) fn answering_again(self, answers: Option<Arc<Answers>>) -> Self {
        Edge(Arc::new(Inner { answers, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// Has requests limited.
    #[must_use]
    pub(crate) fn limited(self, limits: RequestLimits) -> Self {
        Edge(Arc::new(Inner { limits: Some(Arc::new(limits)), ..Arc::unwrap_or_clone(self.0) }))
    }
}

impl<B> Service<Request<B>> for Edge
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move { Ok(inner.answer(request).await) })
    }
}

/// What is kept of a request for its answer.
struct Visit {
    line: RequestLine,
    grant: Grant,
    over_tls: bool,
    is_secret: bool,
    accepts_gzip: bool,
    /// How it was counted, where it was.
    admission: Option<Admission>,
}

impl Inner {
    async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = request.into_parts();
        let mut visit = self.receive(&mut parts);
        visit.line.meter.clone_from(&self.meter);
        let response = if cors::is_preflight(&parts.method, &parts.headers) {
            visit.grant.preflight(&parts.headers)
        } else if let Some(error) = limits::refusal(&parts, &self.rules.body) {
            problem(&error, Some(visit.line.exchange.request_id.as_str()))
        } else {
            let current = visit.line.span.as_ref().map(Span::as_current);
            let asked = pin!(self.ask_router(parts, body, &mut visit));
            trace::within(current, asked).await
        };
        let (response, mark) = self.send_off(response, visit);
        self.settle(mark).await;
        response
    }

    /// Returns once the request is written down. Where others are under way, those that end in the same turn are written with it.
    async fn settle(&self, mark: Option<Mark>) {
        let (Some(mark), Some(meter)) = (mark, &self.meter) else { return };
        if self.traffic.is_busy() {
            tokio::task::yield_now().await;
        }
        meter.settle(mark);
    }

    /// Takes in what the head says.
    fn receive(&self, parts: &mut Parts) -> Visit {
        let arrived = Instant::now();
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip());
        let (client, over_tls) = self.rules.trusted_proxies.client(peer, &parts.headers);
        let request_id = RequestId::take(&mut parts.headers);
        let exchange = Arc::new(Exchange::new(request_id, client, arrived, self.limits.clone()));
        parts.extensions.insert(ExchangeSlot(exchange.clone()));
        let span = tracing_span::begin(&self.tracer, parts, client, over_tls);
        let line = RequestLine::new(parts.method.clone(), exchange, Arc::clone(&self.traffic), span);
        Visit {
            grant: self.rules.cors.grant(&parts.headers),
            over_tls,
            is_secret: self.rules.is_secret(parts.uri.path()),
            accepts_gzip: compression::accepts_gzip(&parts.headers),
            admission: None,
            line,
        }
    }

    async fn ask_router<B>(&self, mut parts: Parts, body: B, visit: &mut Visit) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let line = &mut visit.line;
        let exchange = line.exchange.clone();
        let (caller_slot, admission_slot) = (&mut line.caller, &mut visit.admission);
        let (request_id, is_secret) = (exchange.request_id.as_str(), visit.is_secret);
        let answered = pin!(async {
            let caller = self.identify(&mut parts).await.in_request(request_id);
            *caller_slot = Some(caller.clone());
            if let Some(limits) = self.limits.as_ref().filter(|limits| limits.counts(parts.uri.path())) {
                // Boxed, as is what seldom happens below: else each request would carry the room for it.
                *admission_slot = Box::pin(limits.admit(&caller, exchange.client)).await;
                if let Some(refusal) = admission_slot.as_ref().and_then(Admission::refusal) {
                    return problem(&refusal, Some(request_id));
                }
            }
            let keyed = match self.keyed(&parts, &caller, &exchange, is_secret) {
                Ok(keyed) => keyed,
                Err(refusal) => return problem(&refusal, Some(request_id)),
            };
            let on_behalf_of = caller.clone();
            let wish = etag::Wish::of(&parts.method, &parts.headers);
            parts.extensions.insert(caller);
            let request = self.limit(parts, body, &exchange);
            if let Some((answers, keyed)) = keyed {
                let once = idempotency::once(answers, &self.router, request, keyed);
                return Box::pin(carried::on_behalf_of(on_behalf_of, once)).await;
            }
            let Ok(response) = carried::on_behalf_of(on_behalf_of, self.router.clone().call(request)).await;
            etag::tag(response, &wish).await
        });
        let response = match catch_panic::catch(answered).await {
            Ok(response) => response,
            Err(panic) => panic.answer(request_id),
        };
        match exchange.body().get() {
            Some(failure) if !response.status().is_success() => {
                problem(&failure.error(&self.rules.body), Some(request_id))
            }
            _ => with_words(response, request_id),
        }
    }

    async fn identify(&self, parts: &mut Parts) -> Caller {
        match &self.authenticate {
            Some(authenticate) if authenticate.has_credentials(&parts.headers) => {
                authenticate.authenticate(parts).await
            }
            _ => Caller::anonymous(),
        }
    }

    /// Who answers a write again that carries a key, and what that belongs to.
    fn keyed(
        &self,
        parts: &Parts,
        caller: &Caller,
        exchange: &Exchange,
        is_secret: bool,
    ) -> Result<Option<(&Arc<Answers>, Keyed)>> {
        let Some(answers) = self.answers.as_ref().filter(|_| !is_secret) else { return Ok(None) };
        let Some(key) = idempotency::key_of(parts)? else { return Ok(None) };
        let who = idempotency::owner(caller, exchange.client);
        let (path, request_id) = (self.rules.below_prefix(parts.uri.path()), exchange.request_id.as_str().to_owned());
        Ok(Some((answers, Keyed { key, who, path: path.to_owned(), request_id })))
    }

    fn limit<B>(&self, parts: Parts, body: B, exchange: &Arc<Exchange>) -> Request<Body>
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Request::from_parts(parts, Body::empty());
        }
        let mut request =
            Request::from_parts(parts, Body::new(LimitedBody::new(body, &self.rules.body, exchange.clone())));
        // Ours is the limit, not axum's of 2 MB.
        DefaultBodyLimit::disable().apply(&mut request);
        request
    }

    /// Gives an answer what every answer has, and counts the request.
    fn send_off(&self, response: Response, visit: Visit) -> (Response, Option<Mark>) {
        let Visit { line, grant, over_tls, is_secret, accepts_gzip, admission } = visit;
        let is_head = line.method == Method::HEAD;
        let response = complete(response, line.exchange.request_id.as_str());
        let mut response = if is_secret || is_head { response } else { compression::compress(response, accepts_gzip) };
        let headers = response.headers_mut();
        self.rules.standing_headers.apply(headers, over_tls, is_secret);
        headers.insert(&request_id::X_REQUEST_ID, line.exchange.request_id.header());
        if let (Some(admission), Some(limits)) = (admission, &self.limits) {
            admission.tell(headers, limits.clock());
        }
        grant.apply(headers);
        if is_head && !response.body().is_end_stream() {
            *response.body_mut() = Body::empty();
        }
        let mark = line.write(response.status().as_u16(), response.body().size_hint().exact());
        (response, mark)
    }
}

/// Errors that say nothing, such as the router's own 404 and 405, get words. What else they carry (`Allow`) stays.
fn with_words(response: Response, request_id: &str) -> Response {
    let status = response.status();
    let is_wordless = (status.is_client_error() || status.is_server_error())
        && response.body().is_end_stream()
        && !response.headers().contains_key(CONTENT_TYPE);
    if !is_wordless {
        return response;
    }
    let error = match status {
        StatusCode::NOT_FOUND => Error::not_found("there is nothing at this address"),
        StatusCode::METHOD_NOT_ALLOWED => {
            Error::invalid("this address does not know that method; see the `Allow` header").code("method_not_allowed")
        }
        StatusCode::UNAUTHORIZED => Error::unauthenticated("sign in first"),
        StatusCode::FORBIDDEN => Error::forbidden("that is not allowed"),
        StatusCode::CONFLICT => Error::conflict("that is against the present state"),
        StatusCode::TOO_MANY_REQUESTS => Error::too_many_requests("too many requests; try again later"),
        StatusCode::SERVICE_UNAVAILABLE => Error::unavailable("the service is not available; try again later"),
        _ if status.is_server_error() => Error::internal("something unexpected happened"),
        _ => Error::invalid(status.canonical_reason().unwrap_or("the request was refused")),
    };
    let mut worded = problem(&error.status(status.as_u16()), Some(request_id));
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    for (name, value) in &parts.headers {
        worded.headers_mut().append(name, value.clone());
    }
    worded.extensions_mut().extend(parts.extensions);
    worded
}

#[cfg(test)]
mod tests;
