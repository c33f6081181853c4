//! What is done to accounts: by those who run the service, on its terminal, and by their owner who leaves.

use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::store::db::Db;
use crate::store::db::row::Saved;

use super::extract::UserIdentity;
use super::flows::{SignUp, Visit, make_user};
use super::model::{EmailAddress, Role};
use super::password::Passwords;
use super::store::{self, User, user_of_address};
use super::{Auth, OnSignUp, mailed, second_factor};

/// Somebody whom the terminal lets in.
pub(crate) struct NewAccount {
    pub(crate) email: String,
    pub(crate) name: Option<String>,
    pub(crate) password: Secret,
    pub(crate) role: Role,
}

/// Makes a user, whether sign-up is open or not.
///
/// # Errors
/// `Invalid` where the address or the password can't be, `Conflict` where the address is registered.
pub(crate) async fn create(
    db: &Db,
    config: &ServiceConfig,
    clock: &Clock,
    account: NewAccount,
    on_sign_up: &OnSignUp,
) -> Result<Saved<User>> {
    let NewAccount { email, name, password, role } = account;
    let wanted = SignUp { email, password: password.expose().to_owned(), name, invite_token: None };
    make_user(db, &Passwords::new(config.production), clock.now(), wanted, role, on_sign_up).await
}

/// Makes a user an admin. Other processes see it within a second.
///
/// # Errors
/// `NotFound` where nobody is registered with the address.
pub(crate) async fn promote(db: &Db, email: &str) -> Result<Saved<User>> {
    set_role(db, email, Role::Admin).await
}

/// Makes an admin a user again.
///
/// # Errors
/// `NotFound` where nobody is registered with the address.
pub(crate) async fn demote(db: &Db, email: &str) -> Result<Saved<User>> {
    set_role(db, email, Role::User).await
}

async fn set_role(db: &Db, email: &str, role: Role) -> Result<Saved<User>> {
    let mut user = user_called(db, email).await?;
    if user.role != role {
        let version = user.version;
        user.role = role;
        user = db.save(user).if_version(version).await?;
    }
    Ok(user)
}

/// Lets somebody in again, or ends all their sessions and lets them in no more. Other processes see it within a second.
///
/// # Errors
/// `NotFound` where nobody is registered with the address.
pub(crate) async fn set_active(db: &Db, clock: &Clock, email: &str, is_active: bool) -> Result<()> {
    db.transaction(async |tx| {
        let mut user = user_called(&tx, email).await?;
        if user.is_active == is_active {
            return Ok(());
        }
        user.is_active = is_active;
        user.session_epoch += 1;
        let user = tx.save(user).await?;
        store::revoke_others(&tx, &user.id, "", clock.now()).await
    })
    .await
}

/// Forgets the second factor of somebody who has lost it with all recovery codes.
///
/// # Errors
/// `NotFound` where nobody is registered with the address.
pub(crate) async fn drop_second_factor(db: &Db, email: &str) -> Result<()> {
    db.transaction(async |tx| second_factor::delete_of_user(&tx, &user_called(&tx, email).await?.id).await).await
}

async fn user_called(db: &Db, email: &str) -> Result<Saved<User>> {
    let address = EmailAddress::parse(email).map_err(|problem| Error::invalid(format!("the address {problem}")))?;
    let user = user_of_address(db, &address).await?;
    user.ok_or_else(|| Error::not_found(format!("there is no user with the address {email}")))
}

impl Auth {
    /// Deletes the account of somebody who leaves, softly, and for good all that could sign them in.
    pub(super) async fn leave(&self, visit: &Visit, who: &UserIdentity, password: String) -> Result<()> {
        let user = self.user(&who.id).await?;
        self.prove_password(visit, &user, password).await?;
        let (db, now) = (self.db.with_caller(visit.caller.clone()), self.clock.now());
        let left = db
            .transaction(async |tx| {
                (self.hooks.on_leave)(tx.clone(), user.id.clone()).await?;
                store::revoke_all(&tx, &user.id, now).await?;
                mailed::delete_of_user(&tx, &user.id).await?;
                second_factor::delete_of_user(&tx, &user.id).await?;
                self.hooks.forget_ways_in(&tx, &user.id).await?;
                if let Some(mut user) = tx.get::<User>(&user.id).await? {
                    user.password_hash = None;
                    user.is_active = false;
                    tx.save(user).await?;
                }
                tx.delete::<User>(&user.id).await.map(drop)
            })
            .await;
        self.identities.forget_user(&who.id);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::auth::entities;
    use crate::store::db::DbOptions;
    use crate::testing::{TestDatabase, on_every_database};

    on_every_database!(only_promotion_makes_an_admin);

    /// Promise: F5
    async fn only_promotion_makes_an_admin(database: TestDatabase) {
        let db = Db::open(database.url(), &entities(), DbOptions::default()).await.expect("a database");
        db.migrate().await.expect("the tables");
        let ann = User {
            email: "Ann@example.com".to_owned(),
            email_key: "ann@example.com".to_owned(),
            name: None,
            password_hash: None,
            role: Role::User,
            is_active: true,
            email_verified_at: None,
            password_changed_at: None,
            session_epoch: 0,
            personal_workspace_id: None,
            last_sign_in_at: None,
        };
        db.save(ann).await.expect("saved");
        let ann = EmailAddress::parse("ann@example.com").expect("an address");
        let role = async || user_of_address(&db, &ann).await.expect("a read").expect("a user").role;
        assert_eq!(role().await, Role::User);
        assert_eq!(promote(&db, " ANN@example.com ").await.expect("a user").role, Role::Admin);
        assert_eq!(promote(&db, "ann@example.com").await.expect("a user").version, 2, "it is one already");
        assert_eq!(role().await, Role::Admin);
        demote(&db, "ann@example.com").await.expect("a user");
        assert_eq!(role().await, Role::User);
        assert_eq!(promote(&db, "bob@example.com").await.expect_err("nobody").http_status(), 404);
        assert_eq!(promote(&db, "bob").await.expect_err("no address").http_status(), 400);
    }
}
