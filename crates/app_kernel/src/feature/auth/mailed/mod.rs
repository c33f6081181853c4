//! What people do with a link from a mail: show that an address is theirs, or set a new password.
//!
//! - A link is good once, for an hour, for one purpose, and for the address that it was sent to: whoever changes the address makes it
//!   worthless. Only its hash is stored.
//! - A request for a mail is answered before anybody looks whether the address is known; looking, writing and sending happen beside it. So
//!   the answer and its time say nothing of who is here.
//! - A new password ends all sessions, and all other links of its user. A second factor stays: the mailbox alone opens nothing.
//! - Mail that was asked for is a sealed row until it is sent: a process that is killed loses none.

mod letters;
mod routes;
mod store;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::letters::Letters;
pub(crate) use self::letters::Notice;
use self::store::{MailToken, Purpose};
use super::extract::UserIdentity;
use super::flows::Visit;
use super::model::EmailAddress;
use super::store::{User, user_of_address};
use super::{Auth, store as auth_store};
use crate::base::error::{Error, OrInternal as _, Result};
use crate::base::secret::Secret;
use crate::engine::mail::{Mail, MailQueue, Writer};
use crate::store::db::Db;
use crate::store::db::row::Saved;

pub(super) use self::routes::routes;
pub(super) use self::store::{delete_of_user, entities, sweep};

/// How mail is asked for.
pub(super) struct Post {
    queue: MailQueue,
    letters: Letters,
}

impl Post {
    pub(super) fn new(queue: MailQueue, public_url: &str) -> Self {
        Post { queue, letters: Letters::new(public_url) }
    }
}

/// A letter that is asked for, and written when it is sent: only then is it looked who gets it, and made the link in it.
#[derive(Serialize, Deserialize)]
enum Letter {
    Verify { user_id: String },
    ResetPassword { address: String },
}

impl Auth {
    /// Sends a link that shows that an address is theirs, to somebody who has just signed up. They can ask again, so a failure is no failure.
    pub(super) async fn welcome(&self, visit: &Visit, user: &Saved<User>) {
        let asked = self.ask_for_verification(visit, user).await;
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
        self.ask_for_verification(visit, &user).await
    }

    async fn ask_for_verification(&self, visit: &Visit, user: &Saved<User>) -> Result<()> {
        self.post.queue.check_is_on()?;
        self.limits.mail(&user.email_key, visit.origin).await?;
        self.post.queue.ask(&self.db, Letter::Verify { user_id: user.id.clone() }).await
    }

    /// Sends a link that sets a password to whoever has this address, if anybody.
    pub(super) async fn request_password_reset(&self, visit: &Visit, address: &str) -> Result<()> {
        self.post.queue.check_is_on()?;
        let address = EmailAddress::parse(address).map_err(|problem| {
            Error::invalid("mail can't be sent there").code("unprocessable").field("/email", problem)
        })?;
        self.limits.mail(&address.key, visit.origin).await?;
        self.post.queue.ask(&self.db, Letter::ResetPassword { address: address.typed }).await
    }

    /// Tells somebody what has happened to their account, once the transaction in which it happens is committed. Nobody is told where mail is off.
    pub(crate) async fn notify(&self, tx: &Db, user: &User, notice: Notice) -> Result<()> {
        if !self.post.queue.is_on() {
            return Ok(());
        }
        self.post.queue.post(tx, self.post.letters.notice(&user.email, notice)).await
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
                self.notify(&tx, &user, Notice::PasswordChanged).await?;
                Ok(user)
            })
            .await?;
        self.identities.forget_user(&user.id);
        Ok(())
    }

    /// A token that is good as far as can be told without taking it. Guesses are limited.
    async fn known(&self, visit: &Visit, token: &str, purpose: Purpose) -> Result<Arc<Saved<MailToken>>> {
        self.limits.may_try("", visit.origin).await?;
        match store::find(&self.db, token, purpose, self.clock.now()).await? {
            Some(known) => Ok(Arc::new(known)),
            None => {
                self.limits.failed("", visit.origin).await;
                Err(bad_token())
            }
        }
    }
}

impl Auth {
    /// Writes the letters that were asked for, beside the requests.
    pub(crate) fn writer(self: &Arc<Self>) -> Writer {
        let auth = Arc::clone(self);
        Arc::new(move |letter| {
            let auth = Arc::clone(&auth);
            Box::pin(async move { auth.write(letter).await })
        })
    }

    async fn write(&self, letter: serde_json::Value) -> Result<Option<Mail>> {
        let letter = serde_json::from_value(letter).or_internal("reading a letter that was asked for")?;
        let (user, purpose) = match letter {
            Letter::Verify { user_id } => (self.db.get::<User>(&user_id).await?, Purpose::VerifyEmail),
            Letter::ResetPassword { address } => match EmailAddress::parse(&address) {
                Ok(address) => (user_of_address(&self.db, &address).await?, Purpose::ResetPassword),
                Err(_) => return Ok(None),
            },
        };
        let Some(user) = user.filter(|user| user.is_active) else { return Ok(None) };
        let (letters, token) = (&self.post.letters, store::issue(&self.db, &user, purpose, self.clock.now()).await?);
        Ok(Some(match purpose {
            Purpose::VerifyEmail => letters.verify(&user.email, &token),
            Purpose::ResetPassword => letters.reset_password(&user.email, &token),
        }))
    }
}

/// One answer for all: made up, used, expired, for something else.
fn bad_token() -> Error {
    Error::invalid("this link is not good any more; ask for a new one").code("invalid_token")
}
