//! Every feature of the kernel, a line each. From this list come the routes, the schema and the table at start. A feature nobody lists cannot exist.

use std::sync::Arc;

use aide::axum::ApiRouter;

use super::facts::Fact;
use super::tasks::Task;
use crate::base::config::ServiceConfig;
use crate::base::error::Result;
use crate::engine::courier::{Courier, Destination};
use crate::feature::{audit, auth, health, metering, workspaces};
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
    /// What runs from when the service serves until it stops.
    pub(super) tasks: Vec<Task>,
}

impl Default for Mounted {
    fn default() -> Self {
        Mounted {
            routes: ApiRouter::new(),
            at_root: ApiRouter::new(),
            authenticate: None,
            meter: None,
            tasks: Vec::new(),
        }
    }
}

/// One feature: what it needs, and what it brings.
pub(super) struct Feature {
    pub(super) fact: Fact,
    pub(super) entities: Vec<&'static EntityDef>,
    pub(super) mount: fn(&Kernel) -> Result<Mounted>,
}

/// All features, in the order of the table.
pub(super) fn features(config: &ServiceConfig) -> Vec<Feature> {
    let needs_auth = |name, detail: String| match auth_is_off(config) {
        None => Fact::on(name, detail),
        Some(because) => Fact::off(name, because),
    };
    let sign_up = if config.allow_self_signup {
        "anybody may register"
    } else {
        "by invitation only; ALLOW_SELF_SIGNUP=true opens it"
    };
    vec![
        Feature {
            fact: Fact::on("health", "/healthz, /readyz"),
            entities: Vec::new(),
            mount: |_| Ok(Mounted { at_root: health::routes(), ..Mounted::default() }),
        },
        Feature {
            fact: needs_auth(
                "auth",
                format!("/auth: register ({sign_up}), login, tokens of {} h", config.jwt_expiry_hours),
            ),
            entities: if auth_is_off(config).is_none() { auth::entities() } else { Vec::new() },
            mount: mount_auth,
        },
        Feature {
            fact: needs_auth(
                "workspaces",
                "/workspaces: a personal one for each user, shared ones by invitation".to_owned(),
            ),
            entities: if auth_is_off(config).is_none() { workspaces::entities() } else { Vec::new() },
            mount: mount_workspaces,
        },
        Feature {
            fact: match config.effective_database_url() {
                None => Fact::off("audit", "DATABASE_URL is not set"),
                Some(_) => Fact::on("audit", format!("/audit: every change, {}", place_of_administration(config))),
            },
            entities: if config.effective_database_url().is_some() { audit::entities() } else { Vec::new() },
            mount: mount_audit,
        },
        Feature {
            fact: match config.effective_database_url() {
                None => Fact::off("metering", "DATABASE_URL is not set"),
                Some(_) => Fact::on("metering", "/usage: every request, by endpoint, user and workspace"),
            },
            entities: if config.effective_database_url().is_some() { metering::entities() } else { Vec::new() },
            mount: mount_metering,
        },
    ]
}

/// The tables of the admin database. The app's own has them too, so that going back to it is a matter of a variable.
pub(super) fn admin_entities() -> Vec<&'static EntityDef> {
    [audit::entities(), metering::entities()].concat()
}

fn place_of_administration(config: &ServiceConfig) -> &'static str {
    match (config.separate_admin_db_url(), config.admin_worker_embedded) {
        (None, true) => "in the app's database; ADMIN_DB_URL names another",
        (Some(_), true) => "in the database of ADMIN_DB_URL",
        (_, false) => "carried on by `admin-worker`: ADMIN_WORKER_EMBEDDED is false",
    }
}

fn auth_is_off(config: &ServiceConfig) -> Option<&'static str> {
    if !config.auth_enabled {
        Some("AUTH_ENABLED is false")
    } else if config.effective_database_url().is_none() {
        Some("DATABASE_URL is not set")
    } else if config.jwt_secret.is_none() {
        Some("JWT_SECRET is not set")
    } else {
        None
    }
}

fn mount_auth(kernel: &Kernel) -> Result<Mounted> {
    if auth_is_off(kernel.config()).is_some() {
        return Ok(Mounted::default());
    }
    let on_sign_up = workspaces::on_sign_up(kernel.clock().clone());
    let hooks = auth::Hooks { on_sign_up, on_leave: workspaces::on_leave() };
    let (auth, worker) = auth::Auth::new(kernel, hooks)?;
    let routes = auth::routes(Arc::clone(&auth));
    let authenticate = workspaces::finding_workspaces(auth, kernel.db()?);
    let work: Task = Box::new(|stop| Box::pin(worker.run(stop)));
    Ok(Mounted { routes, authenticate: Some(authenticate), tasks: vec![work], ..Mounted::default() })
}

fn mount_workspaces(kernel: &Kernel) -> Result<Mounted> {
    let is_off = auth_is_off(kernel.config()).is_some();
    Ok(if is_off { Mounted::default() } else { Mounted { routes: workspaces::routes(kernel), ..Mounted::default() } })
}

/// Where this process carries audit and usage to: to the admin database itself, or to an admin worker by Redis. Without either it stays here.
fn destination(kernel: &Kernel) -> Result<Option<Destination>> {
    if kernel.config().admin_worker_embedded {
        return Ok(Some(Destination::Database(kernel.admin_db()?)));
    }
    Ok(Courier::from_config(kernel.config())?.map(Destination::Worker))
}

fn mount_audit(kernel: &Kernel) -> Result<Mounted> {
    let Ok(db) = kernel.db() else { return Ok(Mounted::default()) };
    let mut mounted = Mounted::default();
    if auth_is_off(kernel.config()).is_none() {
        mounted.routes = audit::routes();
    }
    if let Some(to) = destination(kernel)? {
        let relay = audit::Relay::new(kernel.service_name(), db, to);
        mounted.tasks.push(Box::new(|stop| Box::pin(relay.run(stop))));
    }
    Ok(mounted)
}

fn mount_metering(kernel: &Kernel) -> Result<Mounted> {
    let Ok(spool) = kernel.usage() else { return Ok(Mounted::default()) };
    let (config, name) = (kernel.config(), kernel.service_name());
    let meter = metering::RequestMeter::new(Arc::clone(spool), kernel.clock().clone(), &config.api_prefix);
    let mut mounted = Mounted { meter: Some(Arc::new(meter)), ..Mounted::default() };
    if auth_is_off(config).is_none() {
        mounted.routes = metering::routes();
    }
    if let Some(to) = destination(kernel)? {
        let worker = metering::Worker::new(name, Arc::clone(spool), to);
        mounted.tasks.push(Box::new(|stop| Box::pin(worker.run(stop))));
    }
    Ok(mounted)
}
