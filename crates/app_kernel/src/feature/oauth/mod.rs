//! Signing in elsewhere: with Google, with GitHub, at any OpenID provider.
//!
//! - Somebody is sent to the provider with a state that is good once, for ten minutes, and only in the browser that began: that keeps a secret in
//!   a cookie, and what the provider must be shown (PKCE, nonce) comes from it. The rows hold hashes only, and any process may go on where another began.
//! - Whoever comes back is sent to where they began, which is a path of ours or below an origin of a list, with a code: good once, for two minutes,
//!   and only in the same browser. Its page exchanges it for tokens; no token stands in an address. A page of another site, to which browsers
//!   send no cookie of ours, shows by `code_challenge` and `code_verifier` (RFC 7636) that it is the one that began.
//! - Somebody is who they are at the provider, by its issuer and their subject there: never an address. An identity that is not known yet is linked to
//!   the account with its address, if the provider says that the address is theirs; an account that has never shown that the address is its
//!   owner's is cleared of all that could let somebody else in first. Else a user is made, if sign-up is open or somebody invited the address.
//! - Who is signed in links a further identity: begun with a word that only their access token gets, ended only with an access token of the same
//!   user. So nobody can make somebody else link anything.
//! - The last way to sign in can't be unlinked. A second factor is asked for as after a password.
//! - What goes wrong on the way ends on a page that says so, or in a problem document, and never in a session.

mod cookies;
mod flows;
mod model;
mod provider;
mod routes;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::cookies::CookieRules;
use self::provider::Provider;
use crate::base::config::ServiceConfig;
use crate::base::error::Result;
use crate::engine::outbound::Outbound;
use crate::feature::auth::{Auth, ForgetWaysIn, Sweep};

pub(crate) use self::routes::routes;
pub use self::store::Account;
pub(crate) use self::store::entities;

/// What signing in elsewhere works with. One for a service.
pub(crate) struct OAuth {
    auth: Arc<Auth>,
    providers: BTreeMap<String, Provider>,
    /// Where the routes are for browsers: `https://myapp.com/api/v1/auth/oauth`.
    url: String,
    cookies: CookieRules,
    redirect_origins: Vec<String>,
}

impl OAuth {
    /// # Errors
    /// Where a provider is configured as it can't be.
    pub(crate) fn new(config: &ServiceConfig, auth: Arc<Auth>) -> Result<Arc<Self>> {
        let http = Outbound::new()?;
        let mut providers = BTreeMap::new();
        for (name, provider) in &config.oauth_providers {
            let provider = Provider::new(name, provider, http.clone(), auth.clock().clone())?;
            providers.insert(name.clone(), provider);
        }
        let url = format!("{}{}/auth/oauth", config.effective_public_url(), config.api_prefix);
        let (cookies, redirect_origins) = (CookieRules::new(&url), config.oauth_redirect_origins.clone());
        Ok(Arc::new(OAuth { auth, providers, url, cookies, redirect_origins }))
    }
}

/// What auth calls when somebody leaves, or an account turns out to be somebody else's.
pub(crate) fn forget_ways_in() -> ForgetWaysIn {
    Arc::new(|tx, user_id| Box::pin(async move { store::forget(&tx, &user_id).await }))
}

/// What auth calls once an hour.
pub(crate) fn sweep() -> Sweep {
    Arc::new(|db, now, most| Box::pin(async move { store::sweep(&db, now, most).await }))
}
