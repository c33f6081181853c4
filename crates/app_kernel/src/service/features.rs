//! Every feature of the kernel, a line each. From this list come the routes, the schema and the table at start. A feature nobody lists cannot exist.

use std::sync::Arc;

use aide::axum::ApiRouter;

use super::facts::Fact;
use super::tasks::Task;
use crate::base::config::{OAuthProvider, ServiceConfig, oauth_variable};
use crate::base::error::Result;
use crate::engine;
use crate::feature::{api_keys, auth, health, jobs, oauth, workspaces};
use crate::kernel::Kernel;
use crate::store::db::entity::EntityDef;
use crate::web::identity::Authenticate;

/// What a feature brings once the kernel stands.
pub(super) struct Mounted {
    /// Below the API prefix.
    pub(super) routes: ApiRouter<Kernel>,
    /// At the root only.
    pub(super) at_root: ApiRouter<Kernel>,
    /// Who finds out who asks.
    pub(super) authenticate: Option<Arc<dyn Authenticate>>,
    /// What runs from when the service serves until it stops.
    pub(super) tasks: Vec<Task>,
}

impl Default for Mounted {
    fn default() -> Self {
        Mounted { routes: ApiRouter::new(), at_root: ApiRouter::new(), authenticate: None, tasks: Vec::new() }
    }
}

/// What features that are mounted leave for those after them.
#[derive(Default)]
pub(super) struct Shared {
    auth: Option<Arc<auth::Auth>>,
}

/// One feature: what it needs, and what it brings.
pub(super) struct Feature {
    pub(super) fact: Fact,
    pub(super) entities: Vec<&'static EntityDef>,
    pub(super) mount: fn(&Kernel, &mut Shared) -> Result<Mounted>,
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
    let mut features = vec![
        Feature {
            fact: Fact::on("health", "/healthz, /readyz"),
            entities: Vec::new(),
            mount: |_, _| Ok(Mounted { at_root: health::routes(), ..Mounted::default() }),
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
            fact: needs_auth(
                "api keys",
                "sk_live_… as Bearer or X-API-Key; `.api_keys([..])` adds /api-keys".to_owned(),
            ),
            entities: if auth_is_off(config).is_none() { api_keys::entities() } else { Vec::new() },
            // What knows a key is part of what knows people.
            mount: |_, _| Ok(Mounted::default()),
        },
    ];
    features.extend(oauth_features(config));
    features.push(jobs_feature(config));
    features
}

fn jobs_feature(config: &ServiceConfig) -> Feature {
    match config.effective_database_url() {
        Some(_) => Feature {
            fact: Fact::on("jobs", jobs_run_where(config)),
            entities: engine::jobs::entities(),
            mount: mount_jobs,
        },
        None => Feature {
            fact: Fact::off("jobs", "DATABASE_URL is not set"),
            entities: Vec::new(),
            mount: |_, _| Ok(Mounted::default()),
        },
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
            mount: |_, _| Ok(Mounted::default()),
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

fn mount_auth(kernel: &Kernel, shared: &mut Shared) -> Result<Mounted> {
    if auth_is_off(kernel.config()).is_some() {
        return Ok(Mounted::default());
    }
    let hooks = auth::Hooks {
        on_sign_up: workspaces::on_sign_up(kernel.clock().clone()),
        on_leave: workspaces::on_leave(),
        forget_ways_in: vec![oauth::forget_ways_in(), api_keys::forget_ways_in()],
        sweeps: vec![oauth::sweep()],
    };
    let (auth, worker) = auth::Auth::new(kernel, hooks)?;
    shared.auth = Some(Arc::clone(&auth));
    let routes = auth::routes(Arc::clone(&auth));
    let (keys, uses) = api_keys::ApiKeys::new(auth, kernel)?;
    let authenticate = workspaces::finding_workspaces(keys, kernel.db()?);
    let tasks: Vec<Task> = vec![Box::new(|stop| Box::pin(worker.run(stop))), Box::new(|stop| Box::pin(uses.run(stop)))];
    Ok(Mounted { routes, authenticate: Some(authenticate), tasks, ..Mounted::default() })
}

/// The routes for API keys, where the service wants them and there are people to make some.
pub(super) fn key_routes(kernel: &Kernel, offered: Option<api_keys::Offered>) -> ApiRouter<Kernel> {
    match offered {
        Some(offered) if auth_is_off(kernel.config()).is_none() => api_keys::routes(kernel.clone(), offered),
        _ => ApiRouter::new(),
    }
}

fn mount_workspaces(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    let is_off = auth_is_off(kernel.config()).is_some();
    Ok(if is_off { Mounted::default() } else { Mounted { routes: workspaces::routes(kernel), ..Mounted::default() } })
}

fn mount_oauth(kernel: &Kernel, shared: &mut Shared) -> Result<Mounted> {
    let Some(auth) = shared.auth.clone().filter(|_| !kernel.config().oauth_providers.is_empty()) else {
        return Ok(Mounted::default());
    };
    Ok(Mounted { routes: oauth::routes(oauth::OAuth::new(kernel.config(), auth)?), ..Mounted::default() })
}

fn jobs_run_where(config: &ServiceConfig) -> String {
    if config.worker_embedded {
        format!("run in this process, {} side by side", config.worker_concurrency)
    } else {
        "WORKER_EMBEDDED is false: processes in the role `worker` run them".to_owned()
    }
}

/// People look at jobs; who is not signed in sees none.
fn mount_jobs(kernel: &Kernel, _: &mut Shared) -> Result<Mounted> {
    let is_off = auth_is_off(kernel.config()).is_some();
    Ok(if is_off { Mounted::default() } else { Mounted { routes: jobs::routes(), ..Mounted::default() } })
}
