//! The tables of auth, and the questions asked of them.

use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::secret::Secret;
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;
use crate::store::db::value::Value;

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
    /// When a session of theirs last began. Written beside the versions: signing in changes nothing about a person.
    pub last_sign_in_at: Option<Timestamp>,
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
    /// When a second factor was shown in it.
    pub second_factor_at: Option<Timestamp>,
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

/// Keeps when somebody last signed in, without a version.
pub(crate) async fn note_sign_in(db: &Db, user_id: &str, now: Timestamp) -> Result<()> {
    db.execute("UPDATE [kernel_users] SET [last_sign_in_at] = ? WHERE [id] = ?", (now, user_id)).await.map(drop)
}

/// Deletes up to `most` sessions that were over by then; answers how many there were.
pub(crate) async fn sweep_sessions(db: &Db, over_by: Timestamp, most: u32) -> Result<usize> {
    let over = db.find::<Session>("[expires_at] <= ?", [over_by]).order_by("[expires_at] ASC").limit(most).await?;
    erase(db, "kernel_sessions", over.into_iter().map(|session| session.id)).await
}

/// Deletes rows for good, by their ids; answers how many ids there were. Any number of processes may do it at once: what is gone is gone.
pub(super) async fn erase(db: &Db, table: &str, ids: impl Iterator<Item = String>) -> Result<usize> {
    let ids: Vec<Value> = ids.map(Value::from).collect();
    let count = ids.len();
    if count > 0 {
        let marks = vec!["?"; count].join(", ");
        db.execute(format!("DELETE FROM [{table}] WHERE [id] IN ({marks})"), ids).await?;
    }
    Ok(count)
}
