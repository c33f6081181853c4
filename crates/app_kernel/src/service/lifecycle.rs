//! The life of a service: start, serve, drain, stop. A start that fails has served nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aide::axum::ApiRouter;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::facts::Fact;
use super::features::{self, Mounted, Shared, features, key_routes, webhook_routes};
use super::tasks::{Task, Tasks};
use super::worker::{self, Handlers, WorkerShare};
use super::{Service, database, numbers, report, schedule, side_door, traces};
use crate::base::config::{ENV_FILE, ServiceConfig};
use crate::base::error::{Error, Result};
use crate::engine::mail::Mailer;
use crate::engine::spool::Spool;
use crate::feature::api_keys::Offered;
use crate::feature::metering;
use crate::kernel::Kernel;
use crate::store::redis::Redis;
use crate::web::edge::{Edge, EdgeRules};
use crate::web::openapi::{self, Before, Document};
use crate::web::rate_limit::{self, RequestLimits};
use crate::web::server::{self, Limits, Turnstile};

/// How long `/readyz` says 503 before the doors close, so that a load balancer can turn away first.
const DRAIN_NOTICE: Duration = Duration::from_millis(500);

/// How long background work may take to end, where the requests in flight have used all of the time.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// A service that is ready to serve.
pub struct Started {
    kernel: Kernel,
    router: Router,
    edge: Edge,
    document: Document,
    facts: Vec<Fact>,
    /// What carries onward what requests and jobs leave, in whichever process.
    carriers: Vec<Task>,
    /// What runs besides where requests are served.
    tasks: Vec<Task>,
    handlers: Handlers,
    name: String,
}

/// A service that serves.
pub struct Running {
    kernel: Kernel,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
    tasks: Tasks,
    #[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "tests run jobs when they want"))]
    handlers: Handlers,
}

/// Opens the database, brings it up, and puts the routes together.
pub(super) async fn start(service: Service) -> Result<Started> {
    let Service {
        name,
        version,
        config,
        clock,
        mailer,
        redis,
        entities,
        api_key_scopes,
        webhook_routes: wants_webhook_routes,
        webhook_guard,
        mut tasks,
        routes: add_routes,
    } = service;
    config.check()?;
    tasks.absorb(features::tasks(&config));
    let catalogue = tasks.catalogue()?;
    // What the configuration alone can get wrong comes first: a start that fails for it has changed nothing.
    let rules = Arc::new(EdgeRules::from_config(&config)?);
    let mailer = mailer.map_or_else(|| Mailer::from_config(&config), Ok)?;
    let redis = redis.map_or_else(|| Redis::from_config(&name, &config), |redis| Ok(Some(redis)))?;
    let offered = api_key_scopes.map(Offered::new).transpose()?;
    let features = features(&config);
    let mut facts = Vec::from_iter(env_file_fact(&config));
    facts.push(database::fact(&config)?);
    let db = database::open(&name, &config, &clock, &features, &entities).await?;
    if let Some(db) = &db {
        facts.push(database::bring_up(db, &config, &clock).await?);
    }
    let admin_db = database::open_admin(&config, &clock).await?;
    let usage = (db.is_some() && config.metering_enabled).then(|| Spool::new(metering::spool_folder(&config, &name)));
    let kernel = Kernel::with_engines(config, clock, db, redis, mailer, catalogue).of_service(&name, admin_db, usage);
    numbers::of_the_kernel(&kernel, &version);
    traces::start(&kernel, &version)?;
    let handlers = tasks.handlers(&kernel);
    let add_all = || add_routes.into_iter().fold(ApiRouter::new(), |api, add| add(api, &kernel));
    let mut routes = openapi::without_conflicts(add_all)?;
    let (mut at_root, mut authenticate, mut meter, mut answers) = (ApiRouter::new(), None, None, None);
    let (mut background, mut shared) = (Vec::<Task>::new(), Shared::new(webhook_guard));
    for feature in features {
        let mounted = (feature.mount)(&kernel, &mut shared)?;
        let Mounted { routes: theirs, at_root: rooted, authenticate: finds_out, meter: counts, .. } = mounted;
        meter = meter.or(counts);
        answers = answers.or(mounted.answers);
        routes = openapi::without_conflicts(|| theirs.merge(routes))?;
        at_root = at_root.merge(rooted);
        authenticate = authenticate.or(finds_out);
        background.extend(mounted.tasks);
        facts.push(feature.fact);
    }
    routes = openapi::without_conflicts(|| key_routes(&kernel, offered).merge(routes))?;
    routes = openapi::without_conflicts(|| webhook_routes(&kernel, wants_webhook_routes).merge(routes))?;
    facts.push(mail_fact(kernel.mailer()));
    facts.push(redis_fact(kernel.redis()).await);
    facts.push(rate_limit_fact(kernel.config(), kernel.redis().is_some()));
    let carriers = std::mem::take(&mut background);
    background.extend(schedule::task(&kernel)?);
    background.extend(worker::embedded(&kernel, &handlers)?);
    background.extend(worker::messenger(&kernel, &handlers));
    let limits = RequestLimits::new(kernel.config(), kernel.clock(), kernel.redis()).told_by(kernel.metrics());
    let before = Before { limits: &limits, rules: &rules, keeps_answers: answers.is_some() };
    let (router, document) = openapi::assemble(routes, at_root, &kernel, &name, &version, &before)?;
    facts.push(traces::fact(kernel.config()));
    facts.extend(facts_of_the_edge(kernel.config()));
    let edge = Edge::told_by(kernel.metrics(), router.clone(), rules, authenticate)
        .metered(meter)
        .traced(kernel.tracer().clone())
        .limited(limits)
        .answering_again(answers);
    Ok(Started { kernel, router, edge, document, facts, carriers, tasks: background, handlers, name })
}

/// That variables came from `.env`, by their names: whoever wonders where a value is from finds it here.
pub(super) fn env_file_fact(config: &ServiceConfig) -> Option<Fact> {
    let names = &config.from_env_file;
    (!names.is_empty()).then(|| Fact::on(ENV_FILE, format!("gives {}", names.join(", "))))
}

pub(super) fn mail_fact(mailer: &Mailer) -> Fact {
    if mailer.is_on() { Fact::on("mail", mailer.describe()) } else { Fact::off("mail", mailer.describe()) }
}

/// Asks it once: whoever starts a service with a wrong address should hear it then.
pub(super) async fn redis_fact(redis: Option<&Redis>) -> Fact {
    let Some(redis) = redis else {
        return Fact::off("redis", "REDIS_URL is not set; logins and mails are limited by each process for itself");
    };
    let place = redis.place();
    match redis.ping().await {
        Ok(()) => Fact::on("redis", format!("{place}, keys start with {}", redis.prefix())),
        Err(_) => Fact::off("redis", format!("{place} of REDIS_URL does not answer; served without it until it does")),
    }
}

pub(super) fn rate_limit_fact(config: &ServiceConfig, has_redis: bool) -> Fact {
    let (is_on, detail) = rate_limit::describe(config, has_redis);
    if is_on { Fact::on("rate limit", detail) } else { Fact::off("rate limit", detail) }
}

pub(super) fn facts_of_the_edge(config: &ServiceConfig) -> Vec<Fact> {
    let cors = if config.cors_origins.iter().any(|origin| origin == "*") {
        Fact::on("cors", "any origin, without credentials; CORS_ORIGINS narrows it")
    } else {
        Fact::on("cors", config.cors_origins.join(", "))
    };
    vec![Fact::on("documents", "/docs, /openapi.json"), cors]
}

/// What everybody should hear before the first request.
pub(super) fn warnings(config: &ServiceConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.jwt_secret.is_some() && config.has_weak_secret() {
        warnings.push(format!(
            "JWT_SECRET is a development secret or shorter than {} bytes: anybody who guesses it can be anybody. \
             Set one made by `openssl rand -base64 48`",
            crate::base::config::SHORTEST_PRODUCTION_SECRET
        ));
    }
    if !config.admin_worker_embedded && config.redis_url.is_none() && config.effective_database_url().is_some() {
        warnings.push(
            "ADMIN_WORKER_EMBEDDED is false and REDIS_URL is not set, so audit and usage stay where they are until one of them changes".to_owned(),
        );
    }
    if config.production && config.webhook_allow_private {
        warnings.push(
            "WEBHOOK_ALLOW_PRIVATE is true in production: whoever may make a webhook can send requests to this machine and its private networks".to_owned(),
        );
    }
    if config.jwt_secret.is_none() && config.auth_enabled && config.effective_database_url().is_some() {
        warnings.push("JWT_SECRET is not set, so the auth routes are not mounted".to_owned());
    }
    warnings
}

impl Started {
    /// The engines.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The OpenAPI document, as JSON.
    #[must_use]
    pub fn openapi(&self) -> &[u8] {
        &self.document.json
    }

    /// The routes alone, without what happens at the edge.
    pub(super) fn into_router(self) -> Router {
        let tasks = Tasks::start(self.carriers.into_iter().chain(self.tasks).collect());
        tokio::spawn(async move {
            // Nobody tells when it is over, so it lasts as long as the runtime.
            let _tasks = tasks;
            std::future::pending::<()>().await;
        });
        self.router
    }

    pub(super) fn facts(&self) -> (&str, &[Fact]) {
        (&self.name, &self.facts)
    }

    /// Runs jobs instead of serving, until the process is told to end (SIGTERM, or Ctrl-C); then finishes what is under way, or hands it back.
    ///
    /// # Errors
    /// Where there are no such tasks; names them.
    pub async fn work(self, share: WorkerShare) -> Result<()> {
        let worker = worker::worker(&self.kernel, &self.handlers, share)?;
        if worker.tasks() == 0 {
            return Err(Error::invalid("this service has no tasks to run; add them: .task(send_email)"));
        }
        let told_to_stop = told_to_stop();
        tracing::info!(tasks = worker.tasks(), "running jobs");
        let told = async {
            let reason = told_to_stop.await;
            tracing::info!("{reason}: finishing the jobs that are under way");
        };
        let patience = self.kernel.config().shutdown_timeout;
        let kernel = self.kernel.clone();
        let (stop, stopped) = watch::channel(false);
        let side_door = side_door::open(&self.kernel).await?;
        let mut work = tokio::spawn(worker.run(stopped));
        let mut beside = self.carriers;
        let reports = kernel.clone();
        beside.push(Box::new(move |stop| Box::pin(report::each_minute(move || reports.workers(), stop))));
        beside.extend(worker::messenger(&self.kernel, &self.handlers));
        beside.extend(side_door);
        let beside = Tasks::start(beside);
        tokio::select! {
            () = told => {}
            ended = &mut work => return ended.map_err(|cause| Error::internal("the worker ended badly").cause(cause)),
        }
        kernel.drain();
        let began = Instant::now();
        stop.send_replace(true);
        if tokio::time::timeout(patience, work).await.is_err() {
            tracing::warn!("jobs did not end in SHUTDOWN_TIMEOUT_SECS and are given up; their leases will end");
        }
        // Those came last: the jobs may have left them something to do.
        beside.stop(patience.saturating_sub(began.elapsed()).max(LEAST_PATIENCE)).await;
        close(&kernel).await;
        Ok(())
    }

    /// Opens the door at the configured address.
    ///
    /// # Errors
    /// Where the address can't be had; names it.
    pub async fn serve(self) -> Result<Running> {
        let listener = self.bind().await?;
        self.serve_on(listener).await
    }

    /// Takes the configured address, without serving yet.
    pub(super) async fn bind(&self) -> Result<TcpListener> {
        let address = SocketAddr::new(self.kernel.config().host, self.kernel.config().port);
        TcpListener::bind(address).await.map_err(|cause| cannot_listen(address, &cause))
    }

    /// Serves whom the listener lets in.
    pub(super) async fn serve_on(mut self, listener: TcpListener) -> Result<Running> {
        self.tasks.extend(side_door::open(&self.kernel).await?);
        let config = self.kernel.config();
        let address =
            listener.local_addr().map_err(|cause| Error::internal("the listener has no address").cause(cause))?;
        for warning in warnings(config) {
            tracing::warn!("{warning}");
        }
        let (stop, mut stopped) = watch::channel(false);
        let (limits, turnstile) = (Limits::from(config), Turnstile::told_by(self.kernel.metrics()));
        let kernel = self.kernel.clone();
        let served = tokio::spawn(async move {
            let shutdown = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let drained = server::serve(listener, self.edge, limits, turnstile, shutdown).await;
            tracing::info!(clean = drained.is_clean, cut = drained.cut, "all connections are closed");
        });
        let tasks = Tasks::start(self.carriers.into_iter().chain(self.tasks).collect());
        Ok(Running { kernel, address, stop, served, tasks, handlers: self.handlers })
    }
}

async fn close(kernel: &Kernel) {
    kernel.http_pools().close();
    if let (Ok(db), Ok(admin_db)) = (kernel.db(), kernel.admin_db()) {
        db.close().await;
        if !admin_db.is_same_as(&db) {
            admin_db.close().await;
        }
    }
    traces::close(kernel).await;
}

pub(super) fn cannot_listen(address: SocketAddr, cause: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let (variable, because, cure) = match cause.kind() {
        ErrorKind::AddrInUse => {
            ("PORT", "another program listens there".to_owned(), "stop it, or set PORT to a free port")
        }
        ErrorKind::AddrNotAvailable => {
            ("HOST", "this machine does not have that address".to_owned(), "set HOST to one it has, such as 0.0.0.0")
        }
        ErrorKind::PermissionDenied => {
            ("PORT", "this user may not".to_owned(), "set PORT to 1024 or more, or give the right to listen")
        }
        _ => ("HOST and PORT", cause.to_string(), "set them to an address that is free"),
    };
    Error::unavailable(format!("{variable}: can't listen on {address}: {because}; {cure}"))
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The engines.
    #[must_use]
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// A worker for the service's jobs that somebody drives.
    #[cfg(feature = "testing")]
    pub(crate) fn worker(&self) -> Result<crate::engine::jobs::Worker> {
        worker::worker(&self.kernel, &self.handlers, worker::WorkerShare::default())
    }

    /// Lets the requests in flight finish, closes the database, and returns.
    pub async fn stop(self) {
        let began = Instant::now();
        self.kernel.drain();
        let _ = self.stop.send(true);
        if let Err(error) = self.served.await {
            tracing::error!(%error, "the accept loop ended badly");
        }
        // Those came last: the requests may have left them something to do.
        let patience = self.kernel.config().shutdown_timeout.saturating_sub(began.elapsed()).max(LEAST_PATIENCE);
        self.tasks.stop(patience).await;
        close(&self.kernel).await;
    }

    /// Serves until the process is told to end, then stops gracefully.
    pub(super) async fn until_told_to_stop(self, told_to_stop: impl Future<Output = &'static str>) {
        let reason = told_to_stop.await;
        tracing::info!("{reason}: finishing what is under way");
        self.kernel.drain();
        if self.kernel.config().production {
            tokio::time::sleep(DRAIN_NOTICE).await;
        }
        self.stop().await;
    }
}

/// Listens for the signals from now on, not only once it is waited for: what says afterwards that it is there may be stopped at once.
#[cfg(unix)]
pub(super) fn told_to_stop() -> impl Future<Output = &'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).expect("the process can listen for signals");
    let (mut term, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        }
    }
}

#[cfg(not(unix))]
pub(super) async fn told_to_stop() -> &'static str {
    let _ = tokio::signal::ctrl_c().await;
    "Ctrl-C"
}
