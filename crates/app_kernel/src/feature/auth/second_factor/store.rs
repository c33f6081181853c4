//! The tables of second factors.

use crate::base::clock::Timestamp;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::secret::{Secret, constant_time_eq, token_hash};
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;
use crate::store::db::{Db, Page};

/// Rows that are read at once.
const PAGE: u32 = 500;

/// Somebody's second factor. Its id is that of the user, so nobody has two.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_second_factors", history = false)]
pub(crate) struct SecondFactor {
    /// What the authenticator app knows too, sealed.
    pub(crate) sealed_secret: Secret,
    /// When a code showed that the app works; it does not count before.
    pub(crate) confirmed_at: Option<Timestamp>,
    /// The half minute of the last code that was taken. That one and those before it are not good any more.
    #[entity(default = 0)]
    pub(crate) last_step: i64,
}

/// One way in without the telephone. Deleted when it is used.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_recovery_codes", history = false)]
pub(crate) struct RecoveryCode {
    /// Whose it is.
    #[entity(index, foreign_key = "kernel_users.id")]
    pub(crate) user_id: String,
    /// The hash of the code.
    pub(crate) code_hash: Secret,
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![SecondFactor::definition(), RecoveryCode::definition()]
}

/// The second factor that somebody has, if it counts.
pub(super) async fn confirmed(db: &Db, user_id: &str) -> Result<Option<Saved<SecondFactor>>> {
    Ok(db.get::<SecondFactor>(user_id).await?.filter(|factor| factor.confirmed_at.is_some()))
}

/// The second factor that somebody is about to have.
pub(super) async fn begun(db: &Db, user_id: &str) -> Result<Option<Saved<SecondFactor>>> {
    Ok(db.get::<SecondFactor>(user_id).await?.filter(|factor| factor.confirmed_at.is_none()))
}

/// Keeps a secret that does not count yet, in the place of an earlier one that did not.
pub(super) async fn begin(db: &Db, user_id: &str, sealed_secret: Secret) -> Result<()> {
    let present = db.get::<SecondFactor>(user_id).await?;
    let new = SecondFactor { sealed_secret, confirmed_at: None, last_step: 0 };
    let saved = match present {
        Some(factor) if factor.confirmed_at.is_some() => {
            return Err(Error::conflict("you have a second factor already; remove it first").code("already_there"));
        }
        Some(mut factor) => {
            let version = factor.version;
            factor.entity = new;
            db.save(factor).if_version(version).await
        }
        None => db.save(new).id(user_id).await,
    };
    saved.map(drop)
}

/// Makes a second factor count, with new recovery codes. The session that did it counts as one with a second factor.
pub(super) async fn confirm(
    tx: &Db,
    begun: &Saved<SecondFactor>,
    step: i64,
    codes: &[String],
    session_id: &str,
    now: Timestamp,
) -> Result<()> {
    let (user_id, version) = (&begun.id, begun.version);
    let confirmed = Saved {
        entity: SecondFactor { confirmed_at: Some(now), last_step: step, ..begun.entity.clone() },
        ..begun.clone()
    };
    tx.save(confirmed).if_version(version).await.map_err(|error| match error.kind() {
        ErrorKind::Conflict if error.error_code() != "try_again" => {
            Error::conflict("the second factor was changed at the same time; look at it anew").code("stale")
        }
        _ => error,
    })?;
    tx.execute("DELETE FROM [kernel_recovery_codes] WHERE [user_id] = ?", [user_id.as_str()]).await?;
    let hashed = |code: &String| RecoveryCode { user_id: user_id.clone(), code_hash: code_hash(user_id, code) };
    tx.save_many(codes.iter().map(hashed)).await?;
    let sql = "UPDATE [kernel_sessions] SET [second_factor_at] = ?, [updated_at] = ?, [version] = [version] + 1 WHERE [id] = ?";
    tx.execute(sql, (now, now, session_id)).await.map(drop)
}

/// Takes the code of a half minute. Of many who send it, and of all later ones, one gets in.
pub(super) async fn take_step(db: &Db, user_id: &str, step: i64) -> Result<bool> {
    let sql = "UPDATE [kernel_second_factors] SET [last_step] = ? WHERE [id] = ? AND [last_step] < ?";
    Ok(db.execute(sql, (step, user_id, step)).await? == 1)
}

/// The recovery codes that are left.
pub(super) async fn recovery_codes(db: &Db, user_id: &str) -> Result<Vec<Saved<RecoveryCode>>> {
    db.find::<RecoveryCode>("[user_id] = ?", [user_id]).await
}

/// Takes a recovery code, if it is one. Of many who send it, one gets in.
pub(super) async fn take_recovery_code(db: &Db, user_id: &str, code: &str) -> Result<bool> {
    let hash = code_hash(user_id, code);
    let codes = recovery_codes(db, user_id).await?;
    let found = codes.iter().find(|known| constant_time_eq(known.code_hash.expose(), hash.expose()));
    let Some(found) = found else { return Ok(false) };
    Ok(db.execute("DELETE FROM [kernel_recovery_codes] WHERE [id] = ?", [found.id.as_str()]).await? == 1)
}

/// Forgets the second factor of a user, with its recovery codes.
pub(crate) async fn delete_of_user(tx: &Db, user_id: &str) -> Result<()> {
    tx.execute("DELETE FROM [kernel_recovery_codes] WHERE [user_id] = ?", [user_id]).await?;
    tx.execute("DELETE FROM [kernel_second_factors] WHERE [id] = ?", [user_id]).await.map(drop)
}

/// Second factors, a page at a time.
pub(super) async fn page(db: &Db, after: Option<String>) -> Result<Page<Saved<SecondFactor>>> {
    let factors = db.find::<SecondFactor>("", ()).limit(PAGE);
    after.into_iter().fold(factors, |factors, cursor| factors.after(cursor)).page().await
}

/// Puts the same secret under another seal, unless somebody has put another secret there meanwhile.
pub(super) async fn replace_secret(db: &Db, factor: &Saved<SecondFactor>, sealed: Secret) -> Result<()> {
    let sql = "UPDATE [kernel_second_factors] SET [sealed_secret] = ? WHERE [id] = ? AND [sealed_secret] = ?";
    let params = (sealed.expose(), factor.id.as_str(), factor.sealed_secret.expose());
    db.execute(sql, params).await.map(drop)
}

/// 80 random bits need no slow hash; the owner's id keeps equal codes apart. Case and dashes are for people.
fn code_hash(user_id: &str, code: &str) -> Secret {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    Secret::new(token_hash(&format!("{user_id} {}", code.to_ascii_lowercase())))
}
