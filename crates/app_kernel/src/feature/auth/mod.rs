//! People: how they sign up, sign in and stay signed in.
//!
//! - Anybody may register while sign-up is open. The user, their personal workspace and their place in it are made in one transaction.
//!   Addresses are compared in lower case; nobody registers as an admin or inactive.
//! - A login makes a *session* and answers two tokens: an access token that says who asks, and a refresh token that is exchanged for the next
//!   pair, once. Whoever uses a refresh token a second time ends the session, because nobody can tell who of the two users is the thief;
//!   unless both requests were under way at once.
//! - An access token is as good as its session: logout, a password change and deactivation end it at once in this process, and within a
//!   second in all others.
//! - Known and unknown addresses are answered alike, in words and in time. So are people who may not sign in.
//! - Wrong passwords, sign-ups and refreshes are limited, always; see `limits.rs`.

mod cache;
mod extract;
mod flows;
mod limits;
mod model;
mod password;
mod routes;
mod store;
mod token;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use self::cache::{Exchanges, Identities};
use self::limits::Limits;
use self::password::Passwords;
use self::token::Keys;
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::Result;
use crate::store::db::Db;

pub use self::extract::{AdminUser, CurrentUser, OptionalUser, UserIdentity};
pub use self::model::Role;
pub(crate) use self::routes::routes;
pub use self::store::{Session, User};
pub(crate) use self::store::{demote, entities, promote};

/// Somebody who is signing up. Told to [`OnSignUp`] within the transaction that makes the user.
#[derive(Debug, Clone)]
pub struct SignedUp {
    /// The new user's identifier.
    pub user_id: String,
    /// What to call them: their name, or what stands before the `@`.
    pub display_name: String,
    /// What they were invited with.
    pub invite_token: Option<String>,
}

/// Makes the personal workspace of somebody who is signing up, in the transaction that is handed in, and answers its id.
pub type OnSignUp = Arc<dyn Fn(Db, SignedUp) -> BoxFuture<'static, Result<String>> + Send + Sync>;

/// What auth works with. One for a service.
pub(crate) struct Auth {
    db: Db,
    clock: Clock,
    keys: Keys,
    passwords: Passwords,
    identities: Identities,
    exchanges: Exchanges,
    limits: Limits,
    is_sign_up_open: bool,
    on_sign_up: OnSignUp,
}

impl Auth {
    /// # Errors
    /// Where `JWT_SECRET` is not set.
    pub(crate) fn new(config: &ServiceConfig, clock: Clock, db: Db, on_sign_up: OnSignUp) -> Result<Arc<Self>> {
        Ok(Arc::new(Auth {
            keys: Keys::new(config, clock.clone())?,
            passwords: Passwords::new(config.production),
            identities: Identities::new(),
            exchanges: Exchanges::default(),
            limits: Limits::new(&clock),
            is_sign_up_open: config.allow_self_signup,
            db,
            clock,
            on_sign_up,
        }))
    }
}
