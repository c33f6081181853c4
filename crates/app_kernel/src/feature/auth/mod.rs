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
//! - A second factor is asked for after the password, where somebody has one: see `second_factor`.
//! - Mail proves an address and sets a new password: see `mailed`.
//! - Whoever signs in elsewhere has proved an address too: see `elsewhere`.
//! - Whoever leaves is deleted softly, with all that could sign them in. Sessions that are over are swept once an hour.
//! - Wrong passwords, sign-ups and refreshes are limited, always; see `limits.rs`.

mod accounts;
mod cache;
mod challenge;
mod elsewhere;
mod extract;
mod flows;
mod limits;
mod mailed;
mod model;
mod password;
mod routes;
mod second_factor;
mod store;
mod token;
mod worker;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use self::cache::{Exchanges, Identities};
use self::challenge::{Begun, Challenges};
use self::limits::Limits;
use self::mailed::Post;
use self::password::Passwords;
use self::second_factor::SecondFactors;
use self::token::Keys;
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::Result;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::entity::EntityDef;

pub(crate) use self::accounts::{NewAccount, create, demote, drop_second_factor, promote, set_active};
pub(crate) use self::elsewhere::Proven;
pub use self::extract::{AdminUser, CurrentUser, OptionalUser, UserIdentity};
pub(crate) use self::extract::{FindWorkspace, Identity, SignedIn, WorkspaceFinder};
pub(crate) use self::flows::{Visit, bearer};
pub(crate) use self::mailed::Notice;
pub(crate) use self::model::EmailAddress;
pub use self::model::Role;
pub(crate) use self::routes::{TokensView, routes};
pub use self::store::{Session, User};
pub(crate) use self::worker::Worker;

/// Somebody who is signing up. Told to [`OnSignUp`] within the transaction that makes the user.
#[derive(Debug, Clone)]
pub struct SignedUp {
    /// The new user's identifier.
    pub user_id: String,
    /// What to call them: their name, or what stands before the `@`.
    pub display_name: String,
    /// Their address, in lower case.
    pub email_key: String,
    /// What they were invited with.
    pub invite_token: Option<String>,
}

/// What happens beside auth when somebody signs up. `service` hangs the workspaces on it.
pub trait SignUpHook: Send + Sync {
    /// Whether the token is an invitation for this address, in lower case. Then its owner may register though sign-up is closed.
    fn is_invited<'a>(&'a self, db: &'a Db, token: &'a str, email_key: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Whether somebody is waiting for this address, in lower case, by an invitation that is still good. For whoever has proved that the address
    /// is theirs: they need not show the token too.
    fn is_awaited<'a>(&'a self, db: &'a Db, email_key: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Makes the personal workspace of somebody who is signing up and lets them in where they are invited, in the transaction that is handed
    /// in. Answers the personal workspace's id.
    fn signed_up(&self, tx: Db, who: SignedUp) -> BoxFuture<'_, Result<String>>;
}

/// What auth calls for everybody who signs up.
pub type OnSignUp = Arc<dyn SignUpHook>;

/// Takes somebody who leaves out of what they belong to, in the transaction that is handed in with their id. An error keeps them here.
pub type OnLeave = Arc<dyn Fn(Db, String) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Forgets for good what lets somebody in beside their password, in the transaction that is handed in with their id: they leave, or their
/// account turns out to have been somebody else's.
pub type ForgetWaysIn = Arc<dyn Fn(Db, String) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Deletes rows that were over by this time, no more than so many; answers how many there were.
pub type Sweep = Arc<dyn Fn(Db, Timestamp, u32) -> BoxFuture<'static, Result<usize>> + Send + Sync>;

/// What others do when people come and go.
pub(crate) struct Hooks {
    pub(crate) on_sign_up: OnSignUp,
    pub(crate) on_leave: OnLeave,
    pub(crate) forget_ways_in: Vec<ForgetWaysIn>,
    pub(crate) sweeps: Vec<Sweep>,
}

impl Hooks {
    async fn forget_ways_in(&self, tx: &Db, user_id: &str) -> Result<()> {
        for forget in &self.forget_ways_in {
            forget(tx.clone(), user_id.to_owned()).await?;
        }
        Ok(())
    }
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    [store::entities(), mailed::entities(), second_factor::entities()].concat()
}

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
    hooks: Hooks,
    post: Post,
    second_factors: SecondFactors,
    links: Challenges,
}

impl Auth {
    /// Auth, and the worker that does what it puts off.
    ///
    /// # Errors
    /// Where `JWT_SECRET` or `DATABASE_URL` is not set.
    pub(crate) fn new(kernel: &Kernel, hooks: Hooks) -> Result<(Arc<Self>, Worker)> {
        let (config, clock, db) = (kernel.config(), kernel.clock().clone(), kernel.db()?);
        let post = Post::new(kernel.mail_queue().clone(), &config.effective_public_url());
        let auth = Arc::new(Auth {
            keys: Keys::new(config, clock.clone())?,
            passwords: Passwords::new(config.production),
            identities: Identities::new(),
            exchanges: Exchanges::default(),
            limits: Limits::new(&clock, kernel.redis()),
            second_factors: SecondFactors::new(config, clock.clone()),
            links: Challenges::new(Begun::Link, &config.signing_secrets(), clock.clone()),
            is_sign_up_open: config.allow_self_signup,
            db,
            clock,
            hooks,
            post,
        });
        let told = Arc::clone(&auth);
        kernel.metrics().collect(move |samples| told.limits.tell(samples));
        let worker = Worker::new(Arc::clone(&auth));
        Ok((auth, worker))
    }
}
