//! Every feature of the kernel, a line each. From this list come the routes, the schema and the table at start. A feature nobody lists cannot exist.

use std::sync::Arc;

use aide::axum::ApiRouter;

use super::facts::Fact;
use super::numbers;
use super::tasks::Task;
use crate::base::config::{OAuthProvider, ServiceConfig, oauth_variable};
use crate::base::error::Result;
use crate::engine;
use crate::engine::courier::{Courier, Destination};
use crate::engine::idempotency::{self, Answers};
use crate::engine::locks;
use crate::engine::outbound::Guard;
use crate::feature::{api_keys, audit, auth, flags, health, jobs, metering, metrics, oauth, webhooks, workspaces};
use crate::kernel::Kernel;
use crate::store::db::entity::EntityDef;
use crate::web::identity::Authenticate;
use crate::web::meter::Meter;

/// What a feature brings once the kernel stands.
pub(super) struct Mounted {
    /// Below the API prefix.
    pub(super) routes: ApiRouter<Kernel>,
    /// At the root only.
    pub(super) at_root: ApiRouter<Kernel>,
    /// Who finds out who asks.
    pub(super) authenticate: Option<Arc<dyn Authenticate>>,
    /// Who counts requests.
    pub(super) meter: Option<Arc<dyn Meter>>,
    /// Who answers writes again.
    pub(super) answers: Option<Arc<Answers>>,
    /// What runs from when the service serves until it stops.
    pub(super) tasks: Vec<Task>,
}

impl Default for Mounted {
    fn default() -> Self {
        let (routes, at_root) = (ApiRouter::new(), ApiRouter::new());
        Mounted { routes, at_root, authenticate: None, meter: None, answers: None, tasks: Vec::new() }
    }
}

impl Mounted {
    fn nothing(_: &Kernel, _: &mut Shared) -> Result<Self> {
        Ok(Mounted::default())
    }

    fn routes(routes: ApiRouter<Kernel>) -> Self {
        Mounted { routes, ..Mounted::default() }
    }
}

/// What features that are mounted later get from those before.
#[derive(Default)]
pub(super) struct Shared {
    auth: Option<Arc<auth::Auth>>,
    /// Where webhooks may go, in place of what the configuration says.
    webhook_guard: Option<Guard>,
}

impl Shared {
    pub(super) fn new(webhook_guard: Option<Guard>) -> Self {
        Shared { webhook_guard, ..Shared::default() }
    }
}

/// One feature: what it needs, and what it brings.
pub(super) struct Feature {
    pub(super) fact: Fact,
    pub(super) entities: Vec<&'static EntityDef>,
    pub(super) mount: Mount,
}

type Mount = fn(&Kernel, &mut Shared) -> Result<Mounted>;

impl Feature {
    /// One that is on, unless something is missing: then it has no tables and no routes.
    fn unless(
        missing: Option<&str>,
        name: &'static str,
        detail: String,
        entities: fn() -> Vec<&'static EntityDef>,
        mount: Mount,
    ) -> Self {
        match missing {
            Some(because) => Feature { fact: Fact::off(name, because), entities: Vec::new(), mount: Mounted::nothing },
            None => Feature { fact: Fact::on(name, detail), entities: entities(), mount },
        }
    }

    /// Its tables stay also where it is off, unless there is nowhere: what they hold is still wanted.
    fn keeping(mut self, no_db: Option<&str>, entities: fn() -> Vec<&'static EntityDef>) -> Self {
        if no_db.is_none() {
            self.entities = entities();
        }
        self
    }
}

/// All features, in the order of the table.
pub(super) fn features(config: &ServiceConfig) -> Vec<Feature> {
    let (no_people, no_db) = (auth_is_off(config), database_is_off(config));
    let mut features = vec![
        Feature::unless(None, "health", "/healthz, /readyz".to_owned(), Vec::new, |_, _| {
            Ok(Mounted { at_root: health::routes(), ..Mounted::default() })
        }),
        Feature::unless(None, "metrics", about_metrics(config), Vec::new, |_, _| {
            Ok(Mounted { at_root: metrics::routes(), ..Mounted::default() })
        }),
        Feature::unless(no_people, "auth", about_auth(config), auth::entities, mount_auth),
        Feature::unless(
            no_people,
            "workspaces",
            "/workspaces: a personal one for each user, shared ones by invitation".to_owned(),
            workspaces::entities,
            |kernel, _| Ok(Mounted::routes(workspaces::routes(kernel))),
        ),
        // What knows a key is part of what knows people.
        Feature::unless(
            no_people,
            "api keys",
            "sk_live_… as Bearer or X-API-Key; `.api_keys([..])` adds /api-keys".to_owned(),
            api_keys::entities,
            Mounted::nothing,
        ),
    ];
    features.extend(oauth_features(config));
    features.extend([
        Feature::unless(no_db, "jobs", about_jobs(config), engine::jobs::entities, mount_jobs),
        Feature::unless(no_people, "webhooks", about_webhooks(config), webhooks::entities, mount_webhooks),
        Feature::unless(audit_is_off(config), "audit", about_audit(config), audit::entities, mount_audit)
            .keeping(no_db, audit::entities),
        Feature::unless(
            metering_is_off(config),
            "metering",
            "/usage: every request, by endpoint, user and workspace".to_owned(),
            metering::entities,
            mount_metering,
        )
        .keeping(no_db, metering::entities),
        Feature::unless(
            no_db.or((!config.idempotency_enabled).then_some("IDEMPOTENCY_ENABLED is false")),
            "idempotency",
            "writes with an Idempotency-Key are done once, and answered alike for a day".to_owned(),
            idempotency::entities,
            mount_idempotency,
        ),
        Feature::unless(
            no_db,
            "locks",
            "kernel.lock(\"name\"): one holder in all processes".to_owned(),
            locks::entities,
            mount_locks,
        ),
        Feature::unless(
            no_db,
            "flags",
            "/flags: on for some, off for others, in all processes within 2 s".to_owned(),
            flags::entities,
            mount_flags,
        ),
    ]);
    features
}

/// The tables of the admin database. The app's own has them too, so that going back to it is a matter of a variable.
pub(super) fn admin_entities() -> Vec<&'static EntityDef> {
    [audit::entities(), metering::entities()].concat()
}

// --- what is needed ------------------------------------------------------------------------------------------------------------------

fn database_is_off(config: &ServiceConfig) -> Option<&'static str> {
    config.effective_database_url().is_none().then_some("DATABASE_URL is not set")
}

fn audit_is_off(config: &ServiceConfig) -> Option<&'static str> {
    database_is_off(config).or((!config.audit_enabled).then_some("AUDIT_ENABLED is false"))
}

fn metering_is_off(config: &ServiceConfig) -> Option<&'static str> {
    database_is_off(config).or((!config.metering_enabled).then_some("METERING_ENABLED is false"))
}

fn auth_is_off(config: &ServiceConfig) -> Option<&'static str> {
    if !config.auth_enabled {
        return Some("AUTH_ENABLED is false");
    }
    database_is_off(config).or(config.jwt_secret.is_none().then_some("JWT_SECRET is not set"))
}

// --- how it is doing -------------------------------------------------------------------------------------------------------------------

fn about_metrics(config: &ServiceConfig) -> String {
    let readers = match config.metrics_token {
        Some(_) => "for whoever sends METRICS_TOKEN",
        None => "for this machine only; METRICS_TOKEN lets others read",
    };
    match config.metrics_port {
        Some(port) => format!("/metrics, also on port {port}: {readers}"),
        None => format!("/metrics: {readers}"),
    }
}

// --- people --------------------------------------------------------------------------------------------------------------------------

fn about_auth(config: &ServiceConfig) -> String {
    let sign_up = if config.allow_self_signup {
        "anybody may register"
    } else {
        "by invitation only; ALLOW_SELF_SIGNUP=true opens it"
    };
    format!("/auth: register ({sign_up}), login, tokens of {} h", config.jwt_expiry_hours)
}

fn mount_auth(kernel: &Kernel, shared: &mut Shared) -> Result<Mounted> {
    let hooks = auth::Hooks {
        on_sign_up: workspaces::on_sign_up(kernel.clock().clone()),
        on_leave: workspaces::on_leave(),
        forget_ways_in: vec![oauth::forget_ways_in(), api_keys::forget_ways_in()],
        sweeps: vec![oauth::sweep()],
    };
    let (auth, worker) = auth::Auth::new(kernel, hooks)?;
    shared.auth = Some(Arc::clone(&auth));
    let mail = kernel.mail_queue().delivery(auth.writer(), kernel.config(), kernel.pulse("mail"));
    let routes = auth::routes(Arc::clone(&auth));
    let (keys, uses) = api_keys::ApiKeys::new(auth, kernel)?;
    let authenticate = workspaces::finding_workspaces(keys, kernel.db()?);
    let tasks: Vec<Task> = vec![
        Box::new(|stop| Box::pin(worker.run(stop))),
        Box::new(|stop| Box::pin(uses.run(stop))),
        Box::new(|stop| Box::pin(mail.run(stop))),
    ];
    Ok(Mounted { routes, authenticate: Some(authenticate), tasks, ..Mounted::default() })
}

/// The routes for API keys, where the service wants them and there are people to make some.
pub(super) fn key_routes(kernel: &Kernel, offered: Option<api_keys::Offered>) -> ApiRouter<Kernel> {
    match offered {
        Some(offered) if auth_is_off(kernel.config()).is_none() => api_keys::routes(kernel.clone(), offered),
        _ => ApiRouter::new(),
    }
}

/// A line for each provider; the first brings what all have.
fn oauth_features(config: &ServiceConfig) -> Vec<Feature> {
    let mut names = vec!["google", "github"];
    names
        .extend(config.oauth_providers.keys().map(String::as_str).filter(|name| !matches!(*name, "google" | "github")));
    let mut lines: Vec<Feature> = names
        .into_iter()
        .map(|name| Feature {
            fact: oauth_fact(config, name, config.oauth_providers.get(name)),
            entities: Vec::new(),
            mount: Mounted::nothing,
        })
        .collect();
    if auth_is_off(config).is_none() {
        // Also where nobody is configured: what is linked stays linked, and goes with its user.
        lines[0].entities = oauth::entities();
        lines[0].mount = mount_oauth;
    }
    lines
}

fn oauth_fact(config: &ServiceConfig, name: &str, provider: Option<&OAuthProvider>) -> Fact {
    let title = format!("oauth/{name}");
    match (provider, auth_is_off(config)) {
        (None, _) => Fact::off(title, format!("{} is not set", oauth_variable(name, "CLIENT_ID"))),
        (Some(_), Some(because)) => Fact::off(title, because),
        (Some(provider), None) => Fact::on(title, format!("/auth/oauth/{name}, by {}", provider.url())),
    }
}

fn mount_oauth(kernel: &Kernel, shared: &mut Shared) -> Result<Mounted> {
    let Some(auth) = shared.auth.clone().filter(|_| !kernel.config().oauth_providers.is_empty()) else {
        return Ok(Mounted::default());
    };
    Ok(Mounted::routes(oauth::routes(oauth::OAuth::new(kernel.config(), auth)?)))
}

// --- work that outlives the request ----------------------------------------------------------------------------------------------------

fn about_jobs(config: &ServiceConfig) -> String {
    if config.worker_embedded {
        format!("run in this process, {} side by side", config.worker_concurrency)
    } else {
        "WORKER_EMBEDDED is false: processes in the role `worker` run them".to_owned()
    }
}

/// People look at jobs; who is not signed in sees none.
fn mount_jobs(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    numbers::of_jobs(kernel)?;
    let is_off = auth_is_off(kernel.config()).is_some();
    Ok(if is_off { Mounted::default() } else { Mounted::routes(jobs::routes()) })
}

fn about_webhooks(config: &ServiceConfig) -> String {
    let reach = if config.webhook_allow_private {
        "private addresses too: WEBHOOK_ALLOW_PRIVATE is true"
    } else {
        "public addresses only"
    };
    format!("signed, to {reach}; `.webhooks()` adds /workspaces/{{id}}/webhooks")
}

fn mount_webhooks(kernel: &Kernel, shared: &mut Shared) -> Result<Mounted> {
    let db = kernel.db()?;
    webhooks::Webhooks::attach(kernel.config(), &db, shared.webhook_guard.take())?;
    let worker = webhooks::Worker::new(db);
    Ok(Mounted { tasks: vec![Box::new(|stop| Box::pin(worker.run(stop)))], ..Mounted::default() })
}

/// The routes for webhooks, where the service wants them and there are people to make some.
pub(super) fn webhook_routes(kernel: &Kernel, are_wanted: bool) -> ApiRouter<Kernel> {
    if are_wanted && auth_is_off(kernel.config()).is_none() { webhooks::routes() } else { ApiRouter::new() }
}

/// The tasks of the features that are on.
pub(super) fn tasks(config: &ServiceConfig) -> jobs::JobRegistry {
    if auth_is_off(config).is_none() { webhooks::tasks() } else { jobs::JobRegistry::new() }
}

fn about_audit(config: &ServiceConfig) -> String {
    let place = match (config.separate_admin_db_url(), config.admin_worker_embedded) {
        (None, true) => "in the app's database; ADMIN_DB_URL names another",
        (Some(_), true) => "in the database of ADMIN_DB_URL",
        (_, false) => "carried on by `admin-worker`: ADMIN_WORKER_EMBEDDED is false",
    };
    format!("/audit: every change, {place}")
}

/// Where this process carries audit and usage to: to the admin database itself, or to an admin worker by Redis. Without either it stays here.
fn destination(kernel: &Kernel) -> Result<Option<Destination>> {
    if kernel.config().admin_worker_embedded {
        return Ok(Some(Destination::Database(kernel.admin_db()?)));
    }
    Ok(Courier::from_config(kernel.config())?.map(Destination::Worker))
}

fn mount_audit(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    let mut mounted = Mounted::default();
    if auth_is_off(kernel.config()).is_none() {
        mounted.routes = audit::routes();
    }
    if let Some(to) = destination(kernel)? {
        numbers::of_the_audit(kernel)?;
        let (app, db) = (kernel.service_name(), kernel.db()?);
        let feed = audit::AuditFeed::install(app, &db, &kernel.admin_db()?, kernel.redis());
        let relay = audit::Relay::new(app, db.clone(), to, Arc::clone(&feed), kernel.pulse("audit"));
        mounted.tasks.push(Box::new(|stop| Box::pin(relay.run(stop))));
        mounted.tasks.push(Box::new(|stop| Box::pin(async move { feed.tell_others(&db, stop).await })));
    }
    if let Some(days) = kernel.config().audit_keep_days.filter(|_| kernel.config().admin_worker_embedded) {
        let (app, pulse) = (kernel.service_name(), kernel.pulse("audit_purge"));
        let keeper = audit::Keeper::new(kernel.admin_db()?, Some(app), days, pulse);
        mounted.tasks.push(Box::new(|stop| Box::pin(keeper.run(stop))));
    }
    Ok(mounted)
}

fn mount_metering(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    let (config, name, spool) = (kernel.config(), kernel.service_name(), kernel.usage()?);
    let meter = metering::RequestMeter::new(Arc::clone(spool), kernel.clock().clone(), &config.api_prefix);
    let mut mounted = Mounted { meter: Some(Arc::new(meter)), ..Mounted::default() };
    if auth_is_off(config).is_none() {
        mounted.routes = metering::routes();
    }
    if let Some(to) = destination(kernel)? {
        numbers::of_the_usage(kernel)?;
        let tells = (kernel.pulse("usage"), kernel.clock().clone());
        let worker = metering::Worker::new(name, Arc::clone(spool), to, tells);
        mounted.tasks.push(Box::new(|stop| Box::pin(worker.run(stop))));
    }
    Ok(mounted)
}

fn mount_idempotency(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    let secrets = kernel.config().signing_secrets();
    let answers = Arc::new(Answers::new(kernel.db()?, kernel.clock().clone(), &secrets));
    let swept = Arc::clone(&answers);
    let sweep: Task = Box::new(|stop| Box::pin(async move { swept.keep_tidy(stop).await }));
    Ok(Mounted { answers: Some(answers), tasks: vec![sweep], ..Mounted::default() })
}

fn mount_locks(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    let db = kernel.db()?;
    let sweep: Task = Box::new(|stop| Box::pin(locks::keep_tidy(db, stop)));
    Ok(Mounted { tasks: vec![sweep], ..Mounted::default() })
}

// --- what is on for whom -------------------------------------------------------------------------------------------------------------

/// People look at flags; code asks for them without any.
fn mount_flags(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    let is_off = auth_is_off(kernel.config()).is_some();
    let (cache, db, redis) = (kernel.kept::<flags::FlagCache>(), kernel.db()?, kernel.redis().cloned());
    let touch: Task = Box::new(|stop| Box::pin(cache.keep_in_touch(db, redis, stop)));
    let mounted = if is_off { Mounted::default() } else { Mounted::routes(flags::routes()) };
    Ok(Mounted { tasks: vec![touch], ..mounted })
}
