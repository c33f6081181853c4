//! What people do with a link from a mail: show that an address is theirs, or set a new password.
//!
//! - A link is good once, for an hour, for one purpose, and for the address that it was sent to: whoever changes the address makes it
//!   worthless. Only its hash is stored.
//! - A request for a mail is answered before anybody looks whether the address is known; looking, writing and sending happen beside it. So
//!   the answer and its time say nothing of who is here.
//! - A new password ends all sessions, and all other links of its user. A second factor stays: the mailbox alone opens nothing.
//! - Mail that was asked for is in memory until it is sent; a process that is killed loses it, and people ask again.

mod letters;
mod routes;
mod store;
mod worker;

use std::sync::Arc;

use tokio::sync::mpsc;

use self::letters::Letters;
use self::store::{MailToken, Purpose};
use super::extract::UserIdentity;
use super::flows::Visit;
use super::model::EmailAddress;
use super::store::User;
use super::{Auth, store as auth_store};
use crate::base::caller::Caller;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::engine::mail::Mailer;
use crate::store::db::row::Saved;

pub(super) use self::routes::routes;
pub(super) use self::store::{delete_of_user, entities, sweep};
pub(super) use self::worker::Errand;
pub(crate) use self::worker::Notice;

/// Mails that may wait to be sent. Behind a server that takes its time, who asks for more is asked to come back.
const LONGEST_QUEUE: usize = 1024;
/// When to come back after the queue was full.
const RETRY_AFTER_SECS: u32 = 10;

/// Where mails are asked for.
pub(super) struct Post {
    mailer: Mailer,
    letters: Letters,
    queue: mpsc::Sender<Errand>,
}

impl Post {
    /// The post, and the other end of its queue.
    pub(super) fn new(mailer: Mailer, public_url: &str) -> (Self, mpsc::Receiver<Errand>) {
        let (queue, errands) = mpsc::channel(LONGEST_QUEUE);
        (Post { mailer, letters: Letters::new(public_url), queue }, errands)
    }

    fn check_is_on(&self) -> Result<()> {
        if self.mailer.is_on() {
            return Ok(());
        }
        Err(Error::unavailable("this service sends no mail; its operator can set SMTP_URL").code("mail_off"))
    }

    fn enqueue(&self, errand: Errand) -> Result<()> {
        self.queue.try_send(errand).map_err(|_| {
            Error::unavailable("too much mail is waiting at this moment; try again a little later")
                .code("busy")
                .retry_after_secs(RETRY_AFTER_SECS)
        })
    }
}

impl Auth {
    /// Sends a link that shows that an address is theirs, to somebody who has just signed up. They can ask again, so a failure is no failure.
    pub(super) fn welcome(&self, visit: &Visit, user: &Saved<User>) {
        let asked = self.ask_for_verification(visit.caller.clone(), visit, user);
        if let Err(error) = asked {
            tracing::debug!(user_id = %user.id, "no mail after the sign-up: {error}");
        }
    }

    /// Sends somebody a link that shows that their address is theirs, unless that is known.
    pub(super) async fn request_verification(&self, visit: &Visit, who: &UserIdentity) -> Result<()> {
        let user = self.user(&who.id).await?;
        if user.email_verified_at.is_some() {
            return Ok(());
        }
        self.ask_for_verification(visit.caller.clone(), visit, &user)
    }

    fn ask_for_verification(&self, caller: Caller, visit: &Visit, user: &Saved<User>) -> Result<()> {
        self.post.check_is_on()?;
        self.limits.mail(&user.email_key, visit.origin)?;
        self.post.enqueue(Errand::Verify { caller, user_id: user.id.clone() })
    }

    /// Sends a link that sets a password to whoever has this address, if anybody.
    pub(super) fn request_password_reset(&self, visit: &Visit, address: &str) -> Result<()> {
        self.post.check_is_on()?;
        let address = EmailAddress::parse(address).map_err(|problem| {
            Error::invalid("mail can't be sent there").code("unprocessable").field("/email", problem)
        })?;
        self.limits.mail(&address.key, visit.origin)?;
        self.post.enqueue(Errand::ResetPassword { caller: visit.caller.clone(), address })
    }

    /// Tells somebody what has happened to their account. A failure is logged: what happened has happened.
    pub(crate) fn notify(&self, user: &User, notice: Notice) {
        if self.post.mailer.is_on()
            && let Err(error) = self.post.enqueue(Errand::Notify { to: user.email.clone(), notice })
        {
            tracing::warn!("a notice of {notice:?} can't be sent: {error}");
        }
    }

    /// Takes a link that shows that an address is its owner's.
    pub(super) async fn verify_address(&self, visit: &Visit, token: &str) -> Result<()> {
        let known = self.known(visit, token, Purpose::VerifyEmail).await?;
        let (db, now) = (self.db.with_caller(visit.caller.clone()), self.clock.now());
        db.transaction(async |tx| {
            let mut user = store::redeem(&tx, &known, now).await?.ok_or_else(bad_token)?;
            if user.email_verified_at.is_none() {
                user.email_verified_at = Some(now);
                tx.save(user).await?;
            }
            Ok(())
        })
        .await
    }

    /// Takes a link that sets a password. Ends all sessions of its user.
    pub(super) async fn reset_password(&self, visit: &Visit, token: &str, new: String) -> Result<()> {
        if let Some(problem) = self.passwords.problem_with(&new) {
            return Err(Error::invalid("this can't be the new password")
                .code("unprocessable")
                .field("/new_password", problem));
        }
        // Looked at before the hashing, so that made-up links can't make us hash.
        let known = self.known(visit, token, Purpose::ResetPassword).await?;
        let hash = Secret::new(self.passwords.hash(new).await?);
        let (db, now) = (self.db.with_caller(visit.caller.clone()), self.clock.now());
        let user = db
            .transaction(async |tx| {
                let mut user = store::redeem(&tx, &known, now).await?.ok_or_else(bad_token)?;
                user.password_hash = Some(hash.clone());
                user.password_changed_at = Some(now);
                // Whoever read the mail has shown that the address is theirs.
                user.email_verified_at = user.email_verified_at.or(Some(now));
                user.session_epoch += 1;
                let user = tx.save(user).await?;
                store::delete_of_user(&tx, &user.id).await?;
                auth_store::revoke_others(&tx, &user.id, "", now).await?;
                Ok(user)
            })
            .await?;
        self.identities.forget_user(&user.id);
        self.notify(&user, Notice::PasswordChanged);
        Ok(())
    }

    /// A token that is good as far as can be told without taking it. Guesses are limited.
    async fn known(&self, visit: &Visit, token: &str, purpose: Purpose) -> Result<Arc<Saved<MailToken>>> {
        self.limits.may_try("", visit.origin)?;
        match store::find(&self.db, token, purpose, self.clock.now()).await? {
            Some(known) => Ok(Arc::new(known)),
            None => {
                self.limits.failed("", visit.origin);
                Err(bad_token())
            }
        }
    }
}

/// One answer for all: made up, used, expired, for something else.
fn bad_token() -> Error {
    Error::invalid("this link is not good any more; ask for a new one").code("invalid_token")
}
