//! Every feature of the kernel, a line each. From this list come the routes, the schema and the table at start. A feature nobody lists cannot exist.

use std::sync::Arc;

use aide::axum::ApiRouter;

use super::facts::Fact;
use super::tasks::Task;
use crate::base::config::ServiceConfig;
use crate::base::error::Result;
use crate::feature::{api_keys, auth, health, workspaces};
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
            fact: needs_auth(
                "api keys",
                "sk_live_… as Bearer or X-API-Key; `.api_keys([..])` adds /api-keys".to_owned(),
            ),
            entities: if auth_is_off(config).is_none() { api_keys::entities() } else { Vec::new() },
            // What knows a key is part of what knows people.
            mount: |_| Ok(Mounted::default()),
        },
    ]
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
    let hooks = auth::Hooks { on_sign_up, on_leave: on_leave() };
    let (auth, worker) = auth::Auth::new(kernel, hooks)?;
    let routes = auth::routes(Arc::clone(&auth));
    let (keys, uses) = api_keys::ApiKeys::new(auth, kernel)?;
    let authenticate = workspaces::finding_workspaces(keys, kernel.db()?);
    let tasks: Vec<Task> = vec![Box::new(|stop| Box::pin(worker.run(stop))), Box::new(|stop| Box::pin(uses.run(stop)))];
    Ok(Mounted { routes, authenticate: Some(authenticate), tasks, ..Mounted::default() })
}

/// What goes with somebody who deletes their account, beside what signs them in.
fn on_leave() -> auth::OnLeave {
    let leave_workspaces = workspaces::on_leave();
    Arc::new(move |tx, user_id| {
        let left = leave_workspaces(tx.clone(), user_id.clone());
        Box::pin(async move {
            api_keys::revoke_all_of(&tx, &user_id).await?;
            left.await
        })
    })
}

/// The routes for API keys, where the service wants them and there are people to make some.
pub(super) fn key_routes(kernel: &Kernel, offered: Option<api_keys::Offered>) -> ApiRouter<Kernel> {
    match offered {
        Some(offered) if auth_is_off(kernel.config()).is_none() => api_keys::routes(kernel.clone(), offered),
        _ => ApiRouter::new(),
    }
}

fn mount_workspaces(kernel: &Kernel) -> Result<Mounted> {
    let is_off = auth_is_off(kernel.config()).is_some();
    Ok(if is_off { Mounted::default() } else { Mounted { routes: workspaces::routes(kernel), ..Mounted::default() } })
}
