//! The table of links that were sent.

use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::id::new_id;
use crate::base::secret::{Secret, constant_time_eq, random_token, token_hash};
use crate::feature::auth::store::{User, erase};
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;

use jiff::SignedDuration;

/// How long a link is good.
const LIFE: SignedDuration = SignedDuration::from_hours(1);
/// What a token starts with; the id of its row and 43 characters follow.
const PREFIX: &str = "mt_";

/// What a link is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, Entity)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    VerifyEmail,
    ResetPassword,
}

/// A link that was sent and not used yet. Deleted when it is.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_mail_tokens", history = false)]
pub(crate) struct MailToken {
    /// Who was written to.
    #[entity(index, foreign_key = "kernel_users.id")]
    pub(crate) user_id: String,
    /// What for.
    #[entity(check = "[purpose] IN ('verify_email', 'reset_password')")]
    pub(crate) purpose: Purpose,
    /// Their address then, in lower case.
    pub(crate) email_key: String,
    /// The hash of the token.
    pub(crate) token_hash: Secret,
    /// Until when it is good.
    #[entity(index)]
    pub(crate) expires_at: Timestamp,
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![MailToken::definition()]
}

/// A new token for somebody.
pub(super) async fn issue(db: &Db, user: &Saved<User>, purpose: Purpose, now: Timestamp) -> Result<String> {
    let id = new_id();
    let token = format!("{PREFIX}{id}_{}", random_token());
    let row = MailToken {
        user_id: user.id.clone(),
        purpose,
        email_key: user.email_key.clone(),
        token_hash: Secret::new(token_hash(&token)),
        expires_at: now + LIFE,
    };
    db.save(row).id(id).await?;
    Ok(token)
}

/// The row of a token that is good for this purpose.
pub(super) async fn find(db: &Db, token: &str, purpose: Purpose, now: Timestamp) -> Result<Option<Saved<MailToken>>> {
    let Some((id, _)) = token.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')) else { return Ok(None) };
    if id.len() != 36 || !id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Ok(None);
    }
    let is_good = |row: &Saved<MailToken>| {
        row.purpose == purpose && row.expires_at > now && constant_time_eq(row.token_hash.expose(), &token_hash(token))
    };
    Ok(db.get::<MailToken>(id).await?.filter(is_good))
}

/// Takes a token, and answers its user. Of many who hold the same one, one gets it.
pub(super) async fn redeem(tx: &Db, token: &Saved<MailToken>, now: Timestamp) -> Result<Option<Saved<User>>> {
    let sql = "DELETE FROM [kernel_mail_tokens] WHERE [id] = ? AND [expires_at] > ?";
    if tx.execute(sql, (token.id.as_str(), now)).await? == 0 {
        return Ok(None);
    }
    let user = tx.get::<User>(&token.user_id).await?;
    Ok(user.filter(|user| user.is_active && user.email_key == token.email_key))
}

/// Makes all links of a user worthless.
pub(crate) async fn delete_of_user(tx: &Db, user_id: &str) -> Result<()> {
    tx.execute("DELETE FROM [kernel_mail_tokens] WHERE [user_id] = ?", [user_id]).await.map(drop)
}

/// Deletes up to `most` links that are over; answers how many.
pub(crate) async fn sweep(db: &Db, now: Timestamp, most: u32) -> Result<usize> {
    let over = db.find::<MailToken>("[expires_at] <= ?", [now]).order_by("[expires_at] ASC").limit(most).await?;
    erase(db, "kernel_mail_tokens", over.into_iter().map(|token| token.id)).await
}
