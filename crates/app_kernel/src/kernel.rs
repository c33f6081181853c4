//! One cheap handle to the configuration, the clock and the engines: the axum state. It knows no features.

use std::sync::Arc;

use tokio::sync::watch;

use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::kept::Kept;
use crate::base::metrics::Metrics;
use crate::base::trace::Tracer;
use crate::engine::cache::{Cache, HasCache};
use crate::engine::http_client::{HttpClient, HttpError, HttpPools};
use crate::engine::jobs::{Catalogue, Jobs};
use crate::engine::locks::Lock;
use crate::engine::mail::{MailQueue, Mailer};
use crate::engine::pulse::{Pulse, Pulses, WorkerReport};
use crate::engine::scrape::Scrape;
use crate::engine::spool::Spool;
use crate::store::db::Db;
use crate::store::redis::Redis;

/// What every handler may reach. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Kernel(Arc<Engines>);

#[derive(Debug)]
struct Engines {
    config: ServiceConfig,
    clock: Clock,
    db: Option<Db>,
    /// The service, and where it is administered.
    home: Home,
    redis: Option<Redis>,
    cache: Cache,
    jobs: Option<Jobs>,
    pulses: Pulses,
    mailer: Mailer,
    mail_queue: MailQueue,
    http_pools: HttpPools,
    kept: Kept,
    scrape: Scrape,
    tracer: Tracer,
    draining: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Home {
    name: String,
    admin_db: Option<Db>,
    usage: Option<Arc<Spool>>,
}

impl Kernel {
    /// Puts the engines together; mail is off, there is no Redis, and no task is known. Services get theirs from `Service`.
    #[must_use]
    pub fn new(config: ServiceConfig, clock: Clock, db: Option<Db>) -> Self {
        Self::with_engines(config, clock, db, None, Mailer::off(), Catalogue::default())
    }

    /// Puts the engines together.
    #[must_use]
    pub(crate) fn with_engines(
        config: ServiceConfig,
        clock: Clock,
        db: Option<Db>,
        redis: Option<Redis>,
        mailer: Mailer,
        tasks: Catalogue,
    ) -> Self {
        let (scrape, tracer) = (Scrape::default(), Tracer::default());
        let jobs = db
            .clone()
            .map(|db| Jobs::new(db, clock.clone(), tasks, config.job_retention, tracer.clone()).of_the_service());
        let cache = Cache::new(clock.clone(), redis.clone(), config.cache_max_bytes);
        let mail_queue = MailQueue::new(mailer.clone(), &config, &clock, db.as_ref(), &tracer);
        let (home, draining) = (Home::default(), watch::Sender::new(false));
        let (http_pools, kept, pulses) = (HttpPools::new(), Kept::default(), Pulses::new(clock.clone()));
        Kernel(Arc::new(Engines {
            config,
            clock,
            db,
            home,
            redis,
            cache,
            jobs,
            pulses,
            mailer,
            mail_queue,
            http_pools,
            kept,
            scrape,
            tracer,
            draining,
        }))
    }

    /// The same for a service of this name, with its admin database and the place where usage is noted down.
    #[must_use]
    pub(crate) fn of_service(mut self, name: &str, admin_db: Option<Db>, usage: Option<Spool>) -> Self {
        let engines = Arc::get_mut(&mut self.0).expect("nobody else has the kernel before it is made");
        engines.home = Home { name: name.to_owned(), admin_db, usage: usage.map(Arc::new) };
        self
    }

    /// The name of the service; `app` in the audit and in the usage.
    #[must_use]
    pub fn service_name(&self) -> &str {
        &self.0.home.name
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ServiceConfig {
        &self.0.config
    }

    /// The only source of the time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The database, on behalf of the service itself. In handlers, take [`Db`] as an argument: it knows the caller.
    ///
    /// # Errors
    /// `Unavailable` where `DATABASE_URL` is not set.
    pub fn db(&self) -> Result<Db> {
        let missing = || {
            Error::unavailable("this service has no database; set DATABASE_URL, for example to sqlite:///./data/app.db")
        };
        self.0.db.clone().ok_or_else(missing)
    }

    /// The database of the audit and of the usage: `ADMIN_DB_URL`, else the same as [`Kernel::db`].
    ///
    /// # Errors
    /// `Unavailable` where `DATABASE_URL` is not set.
    pub fn admin_db(&self) -> Result<Db> {
        self.0.home.admin_db.clone().map_or_else(|| self.db(), Ok)
    }

    /// Where usage is noted down.
    pub(crate) fn usage(&self) -> Result<&Arc<Spool>> {
        let missing = || {
            let cure =
                "it has no database, or METERING_ENABLED is false; set DATABASE_URL and leave METERING_ENABLED out";
            Error::unavailable(format!("this service counts no usage: {cure}"))
        };
        self.0.home.usage.as_ref().ok_or_else(missing)
    }

    /// Redis; none where `REDIS_URL` is not set. Whoever asks it needs an answer for when it is away.
    #[must_use]
    pub fn redis(&self) -> Option<&Redis> {
        self.0.redis.as_ref()
    }

    /// The cache: in Redis, where `REDIS_URL` is set, else in this process.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.0.cache
    }

    /// A lock that one holder in all processes has at a time: `kernel.lock("nightly-report").acquire().await?`.
    pub fn lock(&self, name: impl Into<String>) -> Lock {
        Lock::new(self.db(), name.into())
    }

    /// Enqueues jobs, on behalf of the service itself. In handlers, take [`Jobs`] as an argument: it knows the caller.
    ///
    /// # Errors
    /// `Unavailable` where `DATABASE_URL` is not set: jobs are rows.
    pub fn jobs(&self) -> Result<Jobs> {
        let db = self.db()?;
        self.0.jobs.as_ref().map(|jobs| jobs.on(&db)).ok_or_else(|| Error::internal("jobs come with the database"))
    }

    /// The workers of this process, in numbers: those that work beside the requests now. Costs no query.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerReport> {
        self.0.pulses.reports()
    }

    /// The same, for who asks often and holds no kernel.
    pub(crate) fn pulses(&self) -> &Pulses {
        &self.0.pulses
    }

    /// Where a worker of this process tells how it is.
    pub(crate) fn pulse(&self, worker: &'static str) -> Pulse {
        self.0.pulses.of(worker)
    }

    /// Sends mail.
    #[must_use]
    pub fn mailer(&self) -> &Mailer {
        &self.0.mailer
    }

    /// Sends mail beside the request.
    pub(crate) fn mail_queue(&self) -> &MailQueue {
        &self.0.mail_queue
    }

    /// A client for another service, such as the one at `https://api.example.com/v2`. Connections are shared by all that ask the same
    /// origin, and closed when the service stops.
    ///
    /// # Errors
    /// `Invalid` where `base` is no such URL.
    pub fn http_client(&self, base: &str) -> Result<HttpClient, HttpError> {
        self.0.http_pools.client(base)
    }

    /// The connections behind [`Kernel::http_client`], with their numbers.
    #[must_use]
    pub fn http_pools(&self) -> &HttpPools {
        &self.0.http_pools
    }

    /// What a feature remembers beside the engines: one of each type, made when it is first asked for.
    pub(crate) fn kept<T: std::any::Any + Default + Send + Sync>(&self) -> Arc<T> {
        self.0.kept.get()
    }

    /// The numbers that `/metrics` tells; for those of the service too: `kernel.metrics().counter("orders_total", "Orders taken.", &[])?.inc()`.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.0.scrape.metrics()
    }

    /// The same, and what is asked for when somebody scrapes.
    pub(crate) fn scrape(&self) -> &Scrape {
        &self.0.scrape
    }

    /// What begins spans, where somebody collects them.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.0.tracer
    }

    /// From now on the service finishes what it has and wants nothing new: `/readyz` says so.
    pub fn drain(&self) {
        self.0.draining.send_replace(true);
    }

    /// Whether the service is on its way out.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.draining.borrow()
    }

    /// Until [`Kernel::drain`] is called.
    pub(crate) async fn drained(&self) {
        let mut draining = self.0.draining.subscribe();
        // The sender lives as long as this handle.
        drop(draining.wait_for(|draining| *draining).await);
    }
}

impl HasCache for Kernel {
    fn cache(&self) -> &Cache {
        Kernel::cache(self)
    }
}
