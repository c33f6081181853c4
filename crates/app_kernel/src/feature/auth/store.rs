//! The tables of auth, and the questions asked of them.

use crate::base::clock::Timestamp;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;

use super::model::{EmailAddress, Role};

/// A person who can sign in.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_users")]
pub struct User {
    /// Their address as they typed it.
    pub email: String,
    /// The same in lower case: nobody else has it.
    #[entity(unique)]
    pub email_key: String,
    /// What they want to be called.
    pub name: Option<String>,
    /// An Argon2id hash; none for people who sign in elsewhere.
    pub password_hash: Option<Secret>,
    /// What they may do.
    #[entity(default = "user", check = "[role] IN ('user', 'admin')")]
    pub role: Role,
    /// Whether they may sign in at all.
    #[entity(default = true)]
    pub is_active: bool,
    /// When they showed that the address is theirs.
    pub email_verified_at: Option<Timestamp>,
    /// When the password was last changed.
    pub password_changed_at: Option<Timestamp>,
    /// One more with each event that ends sessions; sessions that began under a lower number are over. A login that was under way
    /// during a password change can't slip through.
    #[entity(default = 0)]
    pub session_epoch: i64,
    /// The workspace that is theirs alone.
    pub personal_workspace_id: Option<String>,
}

/// One sign-in on one device, from login to logout.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_sessions", history = false)]
pub struct Session {
    /// Whose it is.
    #[entity(index, foreign_key = "kernel_users.id")]
    pub user_id: String,
    /// The user's number at the start; see [`User::session_epoch`].
    pub epoch: i64,
    /// The hash of the present refresh token.
    pub refresh_hash: Secret,
    /// The hash of the one before.
    pub previous_hash: Option<Secret>,
    /// When the present one took its place.
    pub rotated_at: Option<Timestamp>,
    /// Until when the refresh token can be exchanged. Access tokens carry their own end.
    #[entity(index)]
    pub expires_at: Timestamp,
    /// When it was ended by logout, a password change or a stolen token.
    pub revoked_at: Option<Timestamp>,
    /// The program that signed in, as it calls itself.
    pub user_agent: Option<String>,
    /// The address it signed in from.
    pub address: Option<String>,
    /// When its refresh token was last exchanged.
    pub last_used_at: Timestamp,
}

impl Session {
    /// Whether access tokens of this session are good for this user.
    pub(crate) fn is_alive_for(&self, user: &Saved<User>) -> bool {
        self.revoked_at.is_none() && self.user_id == user.id && self.epoch == user.session_epoch
    }
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![User::definition(), Session::definition()]
}

/// The user with this address.
pub(crate) async fn user_of_address(db: &Db, address: &EmailAddress) -> Result<Option<Saved<User>>> {
    db.find::<User>("[email_key] = ?", [address.key.as_str()]).first().await
}

/// A session with its user, read at once.
pub(crate) async fn session_and_user(
    db: &Db,
    session_id: &str,
    user_id: &str,
) -> Result<Option<(Saved<Session>, Saved<User>)>> {
    let (session, user) = tokio::try_join!(get::<Session>(db, session_id), get::<User>(db, user_id))?;
    Ok(session.zip(user))
}

async fn get<T: Entity>(db: &Db, id: &str) -> Result<Option<Saved<T>>> {
    db.get::<T>(id).await
}

/// How many sessions are told at most: who has more may end all.
const MOST_SESSIONS: u32 = 1000;

/// The sessions of a user that still live, the last used first.
pub(crate) async fn living_sessions(db: &Db, user: &Saved<User>, now: Timestamp) -> Result<Vec<Saved<Session>>> {
    let clause = "[user_id] = ? AND [epoch] = ? AND [revoked_at] IS NULL AND [expires_at] > ?";
    let living = db.find::<Session>(clause, (user.id.as_str(), user.session_epoch, now));
    living.order_by("[last_used_at] DESC").limit(MOST_SESSIONS).await
}

/// Ends a session, if it lives.
pub(crate) async fn revoke(db: &Db, session_id: &str, now: Timestamp) -> Result<()> {
    let sql = "UPDATE [kernel_sessions] SET [revoked_at] = ?, [updated_at] = ?, [version] = [version] + 1 WHERE [id] = ? AND [revoked_at] IS NULL";
    db.execute(sql, (now, now, session_id)).await.map(drop)
}

/// Ends all sessions of a user but one.
pub(crate) async fn revoke_others(db: &Db, user_id: &str, kept: &str, now: Timestamp) -> Result<()> {
    let sql = "UPDATE [kernel_sessions] SET [revoked_at] = ?, [updated_at] = ?, [version] = [version] + 1 \
        WHERE [user_id] = ? AND [id] <> ? AND [revoked_at] IS NULL";
    db.execute(sql, (now, now, user_id, kept)).await.map(drop)
}

/// Ends all sessions of a user, also those that begin at this moment.
pub(crate) async fn revoke_all(tx: &Db, user_id: &str, now: Timestamp) -> Result<()> {
    let Some(mut user) = tx.get::<User>(user_id).await? else { return Ok(()) };
    user.session_epoch += 1;
    tx.save(user).await?;
    revoke_others(tx, user_id, "", now).await
}

/// Lets a session go on under the user's new number.
pub(crate) async fn carry_over(db: &Db, session_id: &str, epoch: i64, now: Timestamp) -> Result<()> {
    let sql = "UPDATE [kernel_sessions] SET [epoch] = ?, [updated_at] = ?, [version] = [version] + 1 WHERE [id] = ?";
    db.execute(sql, (epoch, now, session_id)).await.map(drop)
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
    let address = EmailAddress::parse(email).map_err(|problem| Error::invalid(format!("the address {problem}")))?;
    let mut user = user_of_address(db, &address)
        .await?
        .ok_or_else(|| Error::not_found(format!("there is no user with the address {email}")))?;
    if user.role != role {
        let version = user.version;
        user.role = role;
        user = db.save(user).if_version(version).await?;
    }
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;
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
