//! Who may do what, on every route there is: of auth, sessions, sign-in elsewhere, second factors, mail, workspaces, API keys, webhooks, jobs,
//! the audit, the usage, and of an app.
//!
//! The routes come from the service's own document, so one that is new fails until `rules.rs` has a line for it.

mod matrix;
mod rules;
mod stage;

use app_kernel::base::config::OAuthProvider;
use app_kernel::engine::outbound::Guard;
use app_kernel::prelude::*;
use serde_json::Value;

/// Where people may sign in elsewhere. Nobody is asked there.
const PROVIDER: &str = "github";

#[task]
async fn nap(_: Value, _: JobContext) -> Result<()> {
    Ok(())
}

/// A service with all that the kernel has.
fn app(mut config: ServiceConfig) -> Service {
    config.oauth_providers = [(PROVIDER.to_owned(), OAuthProvider::github("an id", "a secret"))].into();
    // What was changed is counted here, so it stays.
    config.admin_worker_embedded = false;
    // Nothing is sent here, and no name server asked.
    let nowhere = Guard::new(|_| false, |_| async { Err(std::io::Error::other("there is no name server")) });
    crate::api_keys::app(config).task(nap).webhooks().webhook_guard(nowhere)
}
