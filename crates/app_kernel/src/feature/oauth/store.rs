//! The tables of signing in elsewhere, and the questions asked of them.

use jiff::SignedDuration;

use super::model::{Identity, identity_key};
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::id::new_id;
use crate::base::secret::{Secret, constant_time_eq, random_token, token_hash};
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;
use crate::store::db::value::Value;

/// A way to sign in: somebody's account with a provider. Softly deleted when it is unlinked.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_oauth_accounts", unique(user_id, provider))]
pub struct Account {
    /// Whom it lets in.
    #[entity(foreign_key = "kernel_users.id")]
    pub user_id: String,
    /// Which provider, as in the paths.
    pub provider: String,
    /// Who said so.
    pub issuer: String,
    /// Who they are there.
    pub subject: String,
    /// The hash of the three: nobody else has it.
    #[entity(unique)]
    pub identity_key: String,
    /// Their address there when it was linked, for people to look at.
    pub email: Option<String>,
}

/// Somebody who was sent elsewhere and has not come back. Deleted when they do.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_oauth_attempts", history = false)]
pub(crate) struct Attempt {
    /// Where to.
    pub(crate) provider: String,
    /// The hash of what they come back with.
    pub(crate) state_hash: Secret,
    /// The hash of what their browser keeps.
    pub(crate) browser_hash: Secret,
    /// Where they return to in the end.
    pub(crate) target: String,
    /// What the app that began shows it by, where its page can't send our cookie.
    pub(crate) challenge: Option<String>,
    /// Who adds a way to sign in; nobody where somebody signs in.
    pub(crate) link_user_id: Option<String>,
    /// Until when they may come back.
    #[entity(index)]
    pub(crate) expires_at: Timestamp,
}

/// Somebody who came back, and whose page has not exchanged its code. Deleted when it does.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_oauth_codes", history = false)]
pub(crate) struct Code {
    /// The hash of the code.
    pub(crate) code_hash: Secret,
    /// As of the attempt.
    pub(crate) browser_hash: Secret,
    /// As of the attempt.
    pub(crate) challenge: Option<String>,
    /// As of the attempt.
    pub(crate) link_user_id: Option<String>,
    /// From where.
    pub(crate) provider: String,
    /// Who they are there.
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    pub(crate) is_email_verified: bool,
    pub(crate) name: Option<String>,
    /// Until when it is good.
    #[entity(index)]
    pub(crate) expires_at: Timestamp,
}

impl Code {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            email: self.email.clone(),
            is_email_verified: self.is_email_verified,
            name: self.name.clone(),
        }
    }
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![Account::definition(), Attempt::definition(), Code::definition()]
}

/// What travels through addresses: a row's id and 43 characters that nobody guesses.
pub(super) struct Token {
    pub(super) id: String,
    pub(super) text: String,
}

impl Token {
    pub(super) fn new(prefix: &str, id: String) -> Self {
        Token { text: format!("{prefix}{id}_{}", random_token()), id }
    }

    /// The id in a text that can be a token.
    pub(super) fn id_in<'a>(prefix: &str, text: &'a str) -> Option<&'a str> {
        let (id, _) = text.strip_prefix(prefix)?.split_once('_')?;
        (id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then_some(id)
    }

    pub(super) fn hash(&self) -> Secret {
        Secret::new(token_hash(&self.text))
    }
}

/// What a state starts with.
const STATE: &str = "os_";
/// What a code starts with.
const CODE: &str = "oc_";

/// A new state, for a new attempt.
pub(super) fn new_state() -> Token {
    Token::new(STATE, new_id())
}

/// A new code, for an attempt that has come back.
pub(super) fn new_code(attempt_id: &str) -> Token {
    Token::new(CODE, attempt_id.to_owned())
}

/// The attempt that a state belongs to, if it is not over.
pub(super) async fn attempt_of(db: &Db, state: &str, now: Timestamp) -> Result<Option<Saved<Attempt>>> {
    let Some(id) = Token::id_in(STATE, state) else { return Ok(None) };
    let is_good = |row: &Saved<Attempt>| row.expires_at > now && fits(&row.state_hash, state);
    Ok(db.get::<Attempt>(id).await?.filter(is_good))
}

/// The row that a code belongs to, if it is not over.
pub(super) async fn row_of_code(db: &Db, code: &str, now: Timestamp) -> Result<Option<Saved<Code>>> {
    let Some(id) = Token::id_in(CODE, code) else { return Ok(None) };
    let is_good = |row: &Saved<Code>| row.expires_at > now && fits(&row.code_hash, code);
    Ok(db.get::<Code>(id).await?.filter(is_good))
}

/// Whether a text has this hash.
fn fits(hash: &Secret, text: &str) -> bool {
    constant_time_eq(hash.expose(), &token_hash(text))
}

/// Takes an attempt. Of many who come back with the same one, one gets it.
pub(super) async fn take_attempt(db: &Db, id: &str, now: Timestamp) -> Result<bool> {
    let sql = "DELETE FROM [kernel_oauth_attempts] WHERE [id] = ? AND [expires_at] > ?";
    Ok(db.execute(sql, (id, now)).await? == 1)
}

/// Takes a code, within a transaction. Of many who hold the same one, one gets it.
pub(super) async fn take_code(tx: &Db, id: &str, now: Timestamp) -> Result<bool> {
    let sql = "DELETE FROM [kernel_oauth_codes] WHERE [id] = ? AND [expires_at] > ?";
    Ok(tx.execute(sql, (id, now)).await? == 1)
}

/// The account of an identity.
pub(super) async fn account_of(db: &Db, provider: &str, identity: &Identity) -> Result<Option<Saved<Account>>> {
    let key = identity_key(provider, &identity.issuer, &identity.subject);
    db.find::<Account>("[identity_key] = ?", [key]).first().await
}

/// Lets an identity sign in as this user.
pub(super) async fn link(tx: &Db, user_id: &str, provider: &str, identity: &Identity) -> Result<()> {
    let account = Account {
        user_id: user_id.to_owned(),
        provider: provider.to_owned(),
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        identity_key: identity_key(provider, &identity.issuer, &identity.subject),
        email: identity.email.clone(),
    };
    tx.save(account).await.map(drop)
}

/// The accounts elsewhere of a user, the first to be linked first.
pub(super) async fn accounts_of(db: &Db, user_id: &str) -> Result<Vec<Saved<Account>>> {
    db.find::<Account>("[user_id] = ?", [user_id]).order_by("[created_at]").await
}

/// Unlinks all accounts elsewhere of a user.
pub(super) async fn forget(tx: &Db, user_id: &str) -> Result<()> {
    for account in accounts_of(tx, user_id).await? {
        tx.delete::<Account>(&account.id).await?;
    }
    let sql = "DELETE FROM [kernel_oauth_attempts] WHERE [link_user_id] = ?";
    tx.execute(sql, [user_id]).await?;
    tx.execute("DELETE FROM [kernel_oauth_codes] WHERE [link_user_id] = ?", [user_id]).await.map(drop)
}

/// How long rows that are over are kept: as long as clocks may be apart.
const KEPT: SignedDuration = SignedDuration::from_secs(60);

/// Deletes up to `most` attempts and codes each that are over; answers how many of the more numerous.
pub(super) async fn sweep(db: &Db, now: Timestamp, most: u32) -> Result<usize> {
    let over_by = now - KEPT;
    let attempts = db.find::<Attempt>("[expires_at] <= ?", [over_by]).order_by("[expires_at] ASC").limit(most).await?;
    let codes = db.find::<Code>("[expires_at] <= ?", [over_by]).order_by("[expires_at] ASC").limit(most).await?;
    let attempts: Vec<String> = attempts.into_iter().map(|attempt| attempt.id).collect();
    let codes: Vec<String> = codes.into_iter().map(|code| code.id).collect();
    for (table, ids) in [("kernel_oauth_attempts", &attempts), ("kernel_oauth_codes", &codes)] {
        if !ids.is_empty() {
            let marks = vec!["?"; ids.len()].join(", ");
            let ids: Vec<Value> = ids.iter().cloned().map(Value::from).collect();
            db.execute(format!("DELETE FROM [{table}] WHERE [id] IN ({marks})"), ids).await?;
        }
    }
    Ok(attempts.len().max(codes.len()))
}
