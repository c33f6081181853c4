//! A service: what an app adds to the kernel, and the only floor that starts anything. It stops what it started, in reverse.

mod admin_worker;
mod check;
mod database;
mod dev_servers;
mod doctor;
mod facts;
mod features;
mod lifecycle;
pub mod log;
mod notes;
mod numbers;
mod progress;
mod report;
mod roles;
mod schedule;
mod side_door;
mod tasks;
mod traces;
mod worker;

use aide::axum::ApiRouter;
use aide::axum::routing::ApiMethodRouter;
use axum::Router;

use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::Result;
use crate::engine::mail::Mailer;
use crate::engine::outbound::Guard;
use crate::feature::jobs::{JobRegistry, QueueLimits, RunTask};
use crate::kernel::Kernel;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::redis::Redis;

pub use admin_worker::{run_admin_worker, serve_admin_worker};
pub use check::{Report, check};
pub use doctor::{Finding, Verdict, doctor};
pub use facts::Fact;
pub use lifecycle::{Running, Started};
pub use roles::verify_backups;
pub use worker::WorkerShare;

/// A backend service in the making: a name, a configuration, entities and routes. [`Service::run`] does the rest.
///
/// ```no_run
/// use app_kernel::prelude::*;
///
/// async fn hello() -> &'static str {
///     "hello"
/// }
///
/// fn main() -> Result<()> {
///     Service::new("greeter", ServiceConfig::from_env()?).route("/hello", get(hello)).run()
/// }
/// ```
#[must_use = "a service does nothing until it runs"]
pub struct Service {
    name: String,
    version: String,
    config: ServiceConfig,
    clock: Clock,
    mailer: Option<Mailer>,
    redis: Option<Redis>,
    entities: Vec<&'static EntityDef>,
    /// The scopes that people may give to API keys; none where there are no routes for keys.
    api_key_scopes: Option<Vec<String>>,
    /// Whether there are routes for webhooks.
    webhook_routes: bool,
    /// Where webhooks may go; as the configuration says where not said.
    webhook_guard: Option<Guard>,
    tasks: JobRegistry,
    routes: Vec<AddRoutes>,
}

/// One call of the builder that concerns routes. They are put together at start, when the kernel is there and a conflict can be an error.
type AddRoutes = Box<dyn FnOnce(ApiRouter<Kernel>, &Kernel) -> ApiRouter<Kernel> + Send>;

impl Service {
    /// A service of this name, without entities or routes of its own yet.
    pub fn new(name: impl Into<String>, config: ServiceConfig) -> Self {
        Service {
            name: name.into(),
            version: "0.1.0".to_owned(),
            config,
            clock: Clock::system(),
            mailer: None,
            redis: None,
            entities: Vec::new(),
            api_key_scopes: None,
            webhook_routes: false,
            webhook_guard: None,
            tasks: JobRegistry::new(),
            routes: Vec::new(),
        }
    }

    /// The version that the OpenAPI document tells; `env!("CARGO_PKG_VERSION")` is a good one.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Declares an entity: its table is made and kept at start.
    pub fn entity<T: Entity>(mut self) -> Self {
        self.entities.push(T::definition());
        self
    }

    /// Adds a task, so that its jobs can be enqueued and are run: `.task(send_email)`.
    pub fn task<T: RunTask>(mut self, task: T) -> Self {
        self.tasks.task(task);
        self
    }

    /// Enqueues a job of a task whenever a cron expression comes round, in UTC, once for each tick in all processes together:
    /// `.cron("tidy", "0 3 * * *", tidy_up, Tidy::default())`.
    pub fn cron<T: RunTask>(mut self, name: &str, expression: &str, task: T, payload: T::Payload) -> Self {
        self.tasks.cron(name, expression, task, payload);
        self
    }

    /// Lets only so many jobs of a queue run at once, in all processes together: `.queue("mail", QueueLimits::default().concurrency(5))`.
    pub fn queue(mut self, name: &str, limits: QueueLimits) -> Self {
        self.tasks.queue(name, limits);
        self
    }

    /// Adds the tasks of a module.
    pub fn tasks(mut self, tasks: JobRegistry) -> Self {
        self.tasks.absorb(tasks);
        self
    }

    fn add(mut self, routes: impl FnOnce(ApiRouter<Kernel>, &Kernel) -> ApiRouter<Kernel> + Send + 'static) -> Self {
        self.routes.push(Box::new(routes));
        self
    }

    /// Answers a path, below the API prefix: `.route("/widgets", post(create).get(list))`. The OpenAPI document describes it from its types.
    pub fn route(self, path: &str, methods: ApiMethodRouter<Kernel>) -> Self {
        let path = path.to_owned();
        self.add(move |api, _| api.api_route(&path, methods))
    }

    /// Adds the routes of a module, documented ones and plain axum ones alike.
    pub fn routes(self, routes: impl Into<ApiRouter<Kernel>>) -> Self {
        let routes = routes.into();
        self.add(move |api, _| api.merge(routes))
    }

    /// Adds routes that need the kernel to be made, such as those with a state of their own that holds it.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use app_kernel::prelude::*;
    /// use axum::extract::{FromRef, State};
    ///
    /// #[derive(Clone, FromRef)]
    /// struct Shop {
    ///     kernel: Kernel, // so that handlers may take `Db` too
    ///     motto: Arc<str>,
    /// }
    ///
    /// async fn motto(State(motto): State<Arc<str>>, _db: Db) -> String {
    ///     motto.to_string()
    /// }
    ///
    /// fn main() -> Result<()> {
    ///     Service::new("shop", ServiceConfig::from_env()?)
    ///         .routes_with(|kernel| {
    ///             let state = Shop { kernel, motto: "good and cheap".into() };
    ///             ApiRouter::new().api_route("/motto", get(motto)).with_state(state)
    ///         })
    ///         .run()
    /// }
    /// ```
    pub fn routes_with<R: Into<ApiRouter<Kernel>>>(self, routes: impl FnOnce(Kernel) -> R + Send + 'static) -> Self {
        self.add(move |api, kernel| api.merge(routes(kernel.clone())))
    }

    /// Adds the routes of a module below a path.
    pub fn nest(self, path: &str, routes: impl Into<ApiRouter<Kernel>>) -> Self {
        let (path, routes) = (path.to_owned(), routes.into());
        self.add(move |api, _| api.nest(&path, routes))
    }

    /// Wraps all routes added so far in a tower layer.
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: tower::Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service: tower::Service<
                axum::extract::Request,
                Error: Into<std::convert::Infallible>,
                Response: axum::response::IntoResponse,
                Future: Send,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        self.add(move |api, _| api.layer(layer))
    }

    /// Adds the routes by which people make, list, rotate and revoke API keys: `/api-keys` for their own, `/workspaces/{id}/api-keys` for those of
    /// a workspace. They may give these scopes and what these cover: `.api_keys(["deployments:*"])`, or `["*"]` for any.
    ///
    /// Keys are known without it, too: [`create_api_key`](crate::feature::api_keys::create_api_key) makes them in code.
    pub fn api_keys<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.api_key_scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Adds the routes by which owners and admins of a workspace make, list, change, try and delete its webhooks, and see what was sent to
    /// them: `/workspaces/{id}/webhooks`.
    ///
    /// Webhooks are there without it, too: [`create_webhook`](crate::feature::webhooks::create_webhook) makes them in code, and
    /// [`trigger_webhook_event`](crate::feature::webhooks::trigger_webhook_event) tells them of events.
    pub fn webhooks(mut self) -> Self {
        self.webhook_routes = true;
        self
    }

    /// Where webhooks may go, and who tells the addresses of names, in place of what `WEBHOOK_ALLOW_PRIVATE` says: for tests.
    #[cfg(feature = "testing")]
    pub fn webhook_guard(mut self, guard: Guard) -> Self {
        self.webhook_guard = Some(guard);
        self
    }

    /// Another source of the time, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Another way to send mail than `SMTP_URL` says.
    pub fn mailer(mut self, mailer: Mailer) -> Self {
        self.mailer = Some(mailer);
        self
    }

    /// Another Redis than `REDIS_URL` says.
    pub fn redis(mut self, redis: Redis) -> Self {
        self.redis = Some(redis);
        self
    }

    /// As [`Service::mailer`], unless the app has said another way already.
    #[cfg(feature = "testing")]
    pub(crate) fn mailer_unless_set(mut self, mailer: Mailer) -> Self {
        self.mailer.get_or_insert(mailer);
        self
    }

    /// Runs the service in the role that the first argument names, `serve` where there is none. Ends with the process.
    ///
    /// # Errors
    /// Where the start fails; the message is one line that names the cause and the cure.
    pub fn run(self) -> Result<()> {
        roles::run(self)
    }

    /// Opens the database, backs it up, brings its schema up to date and puts the routes together, for those who own their runtime.
    ///
    /// # Errors
    /// Where the start fails; the message names the cause and the cure.
    pub async fn start(self) -> Result<Started> {
        lifecycle::start(self).await
    }

    /// As [`Service::start`], for those who serve the routes themselves. Without the kernel's accept loop there are no time-outs and no drain;
    /// background work, such as sending mail, runs until the runtime ends.
    ///
    /// # Errors
    /// Where the start fails; the message names the cause and the cure.
    pub async fn router(self) -> Result<Router> {
        Ok(self.start().await?.into_router())
    }
}
