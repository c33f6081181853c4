//! What signing in elsewhere asks of auth. Whoever comes has proved an address to somebody whom the operator trusts; auth says whose account that
//! is, and lets them in as after a password.
//!
//! - An account that never showed that its address is its owner's may be a trap, laid by somebody else for the day when the owner comes. So all
//!   that could let that somebody in goes first: password, links in mails, sessions, second factor, and what others know.
//! - Where nobody has the address, a user is made, if sign-up is open or somebody has invited the address.

use super::flows::{Tokens, Visit, problem_with_name, save_new, sign_up_is_closed};
use super::model::{EmailAddress, Role};
use super::store::{self, User, user_of_address};
use super::{Auth, SignedUp, UserIdentity, mailed, second_factor};
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::{Error, Result};
use crate::base::id::new_id;
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// Somebody who has proved elsewhere that an address is theirs.
#[derive(Debug, Clone)]
pub(crate) struct Proven {
    pub(crate) address: EmailAddress,
    /// What they are called there.
    pub(crate) name: Option<String>,
}

impl Auth {
    /// The store, on behalf of whoever asks.
    pub(crate) fn db_for(&self, visit: &Visit) -> Db {
        self.db.with_caller(visit.caller.clone())
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Counts somebody who is about to be sent elsewhere, or comes back.
    pub(crate) async fn count_attempt(&self, visit: &Visit) -> Result<()> {
        self.limits.attempt(visit.origin).await
    }

    /// The user of an account elsewhere, as they are now.
    ///
    /// # Errors
    /// `Forbidden` where they may not sign in.
    pub(crate) async fn active_user(&self, tx: &Db, id: &str) -> Result<Option<Saved<User>>> {
        tx.get::<User>(id).await?.map(checked_active).transpose()
    }

    /// Whose account it is, within a transaction: that of the user with this address, or a new one.
    ///
    /// # Errors
    /// `Forbidden` where they may not sign in, or nobody may sign up.
    pub(crate) async fn admit(&self, tx: &Db, visit: &Visit, who: &Proven) -> Result<Saved<User>> {
        let now = self.clock.now();
        match user_of_address(tx, &who.address).await? {
            None => self.make(tx, visit, who, now).await,
            Some(user) => {
                let user = checked_active(user)?;
                if user.email_verified_at.is_some() { Ok(user) } else { self.reclaim(tx, user, now).await }
            }
        }
    }

    async fn make(&self, tx: &Db, visit: &Visit, who: &Proven, now: Timestamp) -> Result<Saved<User>> {
        if !self.is_sign_up_open && !self.hooks.on_sign_up.is_awaited(tx, &who.address.key).await? {
            return Err(sign_up_is_closed());
        }
        self.limits.sign_up(visit.origin).await?;
        let name =
            who.name.as_deref().map(str::trim).filter(|name| !name.is_empty() && problem_with_name(name).is_none());
        let user = User {
            email: who.address.typed.clone(),
            email_key: who.address.key.clone(),
            name: name.map(str::to_owned),
            password_hash: None,
            role: Role::User,
            is_active: true,
            email_verified_at: Some(now),
            password_changed_at: None,
            session_epoch: 0,
            personal_workspace_id: None,
            last_sign_in_at: None,
        };
        let signed_up = SignedUp {
            user_id: new_id(),
            display_name: name.unwrap_or_else(|| who.address.local_part()).to_owned(),
            email_key: who.address.key.clone(),
            invite_token: None,
        };
        save_new(tx, user, signed_up, &self.hooks.on_sign_up).await
    }

    /// Gives an account to the owner of its address, without what could let anybody else in.
    async fn reclaim(&self, tx: &Db, mut user: Saved<User>, now: Timestamp) -> Result<Saved<User>> {
        let version = user.version;
        user.password_hash = None;
        user.password_changed_at = Some(now);
        user.email_verified_at = Some(now);
        user.session_epoch += 1;
        let user = tx.save(user).if_version(version).await?;
        store::revoke_others(tx, &user.id, "", now).await?;
        mailed::delete_of_user(tx, &user.id).await?;
        second_factor::delete_of_user(tx, &user.id).await?;
        self.hooks.forget_ways_in(tx, &user.id).await?;
        tracing::warn!(user_id = %user.id, "an account whose address was never shown to be its owner's now belongs to the address's owner");
        Ok(user)
    }

    /// Lets somebody in who has proved who they are, but for a second factor: that is asked for as after a password.
    pub(crate) async fn enter(&self, visit: &Visit, user: &Saved<User>) -> Result<Tokens> {
        // What this process remembers may be older than a reclaim.
        self.identities.forget_user(&user.id);
        match self.second_step(user).await? {
            Some(code_is_needed) => Err(code_is_needed),
            None => self.begin_session(visit, user, false).await,
        }
    }

    /// Lets somebody who is signed in begin to add a way to sign in; whoever has a password proves it. Answers what they show where they begin.
    pub(crate) async fn begin_link(
        &self,
        visit: &Visit,
        who: &UserIdentity,
        password: Option<String>,
    ) -> Result<String> {
        let user = self.user(&who.id).await?;
        if user.password_hash.is_some() {
            let missing =
                || Error::invalid("the body does not fit").code("unprocessable").field("/password", "is required");
            self.prove_password(visit, &user, password.ok_or_else(missing)?).await?;
        }
        Ok(self.links.issue(&user.id, user.session_epoch))
    }

    /// Who began a link, if that is not over.
    pub(crate) async fn who_links(&self, link: &str) -> Result<Option<String>> {
        let Some((user_id, epoch)) = self.links.read(link) else { return Ok(None) };
        let user = self.db.get::<User>(&user_id).await?;
        Ok(user.filter(|user| user.is_active && user.session_epoch == epoch).map(|user| user.id))
    }

    /// Until the transaction ends, nobody else changes by which ways a user may sign in. Answers the user as they are after this.
    pub(crate) async fn lock(&self, tx: &Db, user_id: &str) -> Result<Saved<User>> {
        let sql = "UPDATE [kernel_users] SET [updated_at] = [updated_at] WHERE [id] = ?";
        tx.execute(sql, [user_id]).await?;
        let user = tx.get::<User>(user_id).await?.map(checked_active).transpose()?;
        user.ok_or_else(|| super::extract::Rejection::SessionEnded.to_error())
    }
}

fn checked_active(user: Saved<User>) -> Result<Saved<User>> {
    if user.is_active {
        return Ok(user);
    }
    Err(Error::forbidden("this account may not sign in; ask those who run the service").code("account_inactive"))
}
