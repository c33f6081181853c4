//! Signing up, signing in, staying signed in, leaving.

use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use jiff::SignedDuration;

use super::extract::{Identity, Rejection, UserIdentity};
use super::limits::Origin;
use super::mailed::Notice;
use super::model::{ANSWER_WAITS, EmailAddress, Replay, Role};
use super::password::{LONGEST, Passwords, Verdict};
use super::store::{self, Session, User};
use super::token::{AccessToken, RefreshToken, TokenError};
use super::{Auth, OnSignUp, SignedUp};
use crate::base::caller::Caller;
use crate::base::clock::Timestamp;
use crate::base::error::{Error, ErrorKind, OrNotFound, Result};
use crate::base::id::new_id;
use crate::base::secret::{Secret, constant_time_eq, token_hash};
use crate::store::db::Db;
use crate::store::db::row::Saved;
use crate::web::identity::Authenticate;

/// How long a refresh token can be exchanged.
const REFRESH_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The longest name of a person, in characters.
const LONGEST_NAME: usize = 200;
/// How much of what a client calls itself is kept, in characters.
const LONGEST_USER_AGENT: usize = 255;

/// Where a request comes from, and since when it is here.
pub(crate) struct Visit {
    pub(super) caller: Caller,
    pub(super) origin: Origin,
    pub(super) address: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) arrived: Instant,
}

/// What somebody who signs up says.
pub(super) struct SignUp {
    pub(super) email: String,
    pub(super) password: String,
    pub(super) name: Option<String>,
    pub(super) invite_token: Option<String>,
}

/// A session's tokens.
pub(crate) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) expires_in: i64,
}

impl Auth {
    /// Makes a user with their personal workspace.
    pub(super) async fn sign_up(&self, visit: &Visit, wanted: SignUp) -> Result<Saved<User>> {
        if !self.is_sign_up_open && wanted.invite_token.is_none() {
            return Err(sign_up_is_closed());
        }
        self.limits.sign_up(visit.origin).await?;
        if !self.is_sign_up_open && !self.is_invited(&wanted).await? {
            return Err(sign_up_is_closed());
        }
        let db = self.db.with_caller(visit.caller.clone());
        let user =
            make_user(&db, &self.passwords, self.clock.now(), wanted, Role::User, &self.hooks.on_sign_up).await?;
        self.welcome(visit, &user).await;
        Ok(user)
    }

    async fn is_invited(&self, wanted: &SignUp) -> Result<bool> {
        match (EmailAddress::parse(&wanted.email), &wanted.invite_token) {
            (Ok(address), Some(token)) => self.hooks.on_sign_up.is_invited(&self.db, token, &address.key).await,
            _ => Ok(false),
        }
    }

    /// Begins a session for whoever knows the password.
    pub(super) async fn log_in(&self, visit: &Visit, address: &str, password: String) -> Result<Tokens> {
        let address = EmailAddress::parse(address).ok().filter(|_| is_possible(&password));
        let Some(address) = address else {
            // Nobody has this address, or such a password: what was asked gives it away, not who is here.
            self.limits.may_try("", visit.origin).await?;
            self.limits.failed("", visit.origin).await;
            return Err(wrong_credentials());
        };
        self.limits.may_try(&address.key, visit.origin).await?;
        let found = store::user_of_address(&self.db, &address).await?;
        let stored = found.as_ref().and_then(|user| user.password_hash.clone());
        let verdict = self.passwords.check(password.clone(), stored.map(|hash| hash.expose().to_owned())).await?;
        let user = match found {
            Some(user) if verdict != Verdict::Wrong && user.is_active => user,
            _ => {
                self.limits.failed(&address.key, visit.origin).await;
                return Err(wrong_credentials());
            }
        };
        let answer = match self.second_step(&user).await? {
            Some(code_is_needed) => Err(code_is_needed),
            None => self.begin_session(visit, &user, false).await,
        };
        if verdict == Verdict::RightButOld {
            self.hash_anew(user, password).await;
        }
        answer
    }

    /// A session of somebody who has proved who they are.
    pub(super) async fn begin_session(
        &self,
        visit: &Visit,
        user: &Saved<User>,
        with_second_factor: bool,
    ) -> Result<Tokens> {
        let (session_id, now) = (new_id(), self.clock.now());
        let refresh = self.keys.new_refresh(&session_id);
        let session = Session {
            user_id: user.id.clone(),
            epoch: user.session_epoch,
            refresh_hash: Secret::new(token_hash(&refresh)),
            previous_hash: None,
            rotated_at: None,
            expires_at: now + REFRESH_LIFE,
            revoked_at: None,
            user_agent: visit.user_agent.clone(),
            address: visit.address.clone(),
            last_used_at: now,
            second_factor_at: with_second_factor.then_some(now),
        };
        self.note_sign_in(&user.id, now).await;
        let db = self.db.with_caller(as_user(&visit.caller, &user.id));
        let session = db.save(session).id(session_id).await?;
        Ok(self.tokens(&user.id, &session.id, refresh))
    }

    /// Only for people to look at, so a failure is logged and no more.
    async fn note_sign_in(&self, user_id: &str, now: Timestamp) {
        if let Err(error) = store::note_sign_in(&self.db, user_id, now).await {
            tracing::warn!(user_id, error = %error, "the time of a sign-in could not be written");
        }
    }

    fn tokens(&self, user_id: &str, session_id: &str, refresh: String) -> Tokens {
        Tokens { access: self.keys.sign_access(user_id, session_id), refresh, expires_in: self.keys.access_secs() }
    }

    /// Stores the password with today's parameters. The login went well without; so this fails in silence but for the log.
    async fn hash_anew(&self, mut user: Saved<User>, password: String) {
        let (version, id) = (user.version, user.id.clone());
        let renewed = async {
            user.password_hash = Some(Secret::new(self.passwords.hash(password).await?));
            user.last_sign_in_at = Some(self.clock.now());
            self.db.save(user).if_version(version).await
        };
        if let Err(error) = renewed.await {
            tracing::warn!(user_id = %id, error = %error, "a password hash could not be renewed; the next login tries again");
        }
    }

    /// Exchanges a refresh token for the next pair.
    pub(super) async fn refresh(&self, visit: &Visit, token: &str) -> Result<Tokens> {
        self.limits.refresh(visit.origin).await?;
        let parsed = RefreshToken::parse(token).ok_or_else(bad_refresh_token)?;
        let (db, now) = (self.db.with_caller(visit.caller.clone()), self.clock.now());
        let session = db.get::<Session>(parsed.session_id).await?.ok_or_else(bad_refresh_token)?;
        if session.revoked_at.is_some() || session.expires_at <= now {
            return Err(bad_refresh_token());
        }
        let hash = token_hash(token);
        if !constant_time_eq(session.refresh_hash.expose(), &hash) {
            return Err(self.judge_former(visit, &session, &parsed, &hash).await);
        }
        let user = db.get::<User>(&session.user_id).await?.filter(|user| user.is_active && session.is_alive_for(user));
        let user = user.ok_or_else(bad_refresh_token)?;
        self.rotate(&db.with_caller(as_user(&visit.caller, &user.id)), session, hash).await
    }

    /// A compare-and-set on the session's version: of many that hold the same token, one gets the next.
    async fn rotate(&self, db: &Db, mut session: Saved<Session>, hash: String) -> Result<Tokens> {
        let (version, now) = (session.version, self.clock.now());
        let refresh = self.keys.new_refresh(&session.id);
        session.previous_hash = Some(Secret::new(hash.clone()));
        session.refresh_hash = Secret::new(token_hash(&refresh));
        session.rotated_at = Some(now);
        session.last_used_at = now;
        session.expires_at = now + REFRESH_LIFE;
        match db.save(session).if_version(version).await {
            Ok(session) => {
                let answered = Instant::now() + ANSWER_WAITS;
                self.exchanges.remember(hash, answered);
                tokio::time::sleep_until(answered.into()).await;
                Ok(self.tokens(&session.user_id, &session.id, refresh))
            }
            // Somebody else was first, while this one was under way.
            Err(error) if error.kind() == ErrorKind::Conflict && error.error_code() != "try_again" => {
                Err(bad_refresh_token())
            }
            Err(error) => Err(error),
        }
    }

    /// A token that is not the present one. One of ours that comes back later ends the session; a guess does nothing.
    async fn judge_former(
        &self,
        visit: &Visit,
        session: &Saved<Session>,
        token: &RefreshToken<'_>,
        hash: &str,
    ) -> Error {
        let is_previous =
            session.previous_hash.as_ref().is_some_and(|previous| constant_time_eq(previous.expose(), hash));
        let replay = Replay {
            arrived: visit.arrived,
            answered_here: self.exchanges.when(hash),
            rotated_at: session.rotated_at,
            now: self.clock.now(),
        };
        if (is_previous || self.keys.made_refresh(token)) && !replay.is_simultaneous() {
            tracing::warn!(user_id = %session.user_id, session_id = %session.id, "a refresh token was used twice, so its session is ended");
            if let Err(error) = self.end_session(&session.id).await {
                return error;
            }
        }
        bad_refresh_token()
    }

    /// Ends a session here and now.
    pub(super) async fn end_session(&self, session_id: &str) -> Result<()> {
        let ended = store::revoke(&self.db, session_id, self.clock.now()).await;
        self.identities.forget_session(session_id);
        ended
    }

    /// Ends the session of a refresh token, present or former.
    pub(super) async fn end_session_of(&self, token: &str) -> Result<()> {
        let parsed = RefreshToken::parse(token).ok_or_else(bad_refresh_token)?;
        let session = self.db.get::<Session>(parsed.session_id).await?.ok_or_else(bad_refresh_token)?;
        let is_present = constant_time_eq(session.refresh_hash.expose(), &token_hash(token));
        if session.revoked_at.is_some() || !(is_present || self.keys.made_refresh(&parsed)) {
            return Err(bad_refresh_token());
        }
        self.end_session(&session.id).await
    }

    /// Where somebody is signed in.
    pub(super) async fn sessions(&self, who: &UserIdentity) -> Result<Vec<Saved<Session>>> {
        store::living_sessions(&self.db, &self.user(&who.id).await?, self.clock.now()).await
    }

    /// Ends one session of somebody; that of another is as if it were not there.
    pub(super) async fn end_session_by_id(&self, who: &UserIdentity, session_id: &str) -> Result<()> {
        let session = self.sessions(who).await?.into_iter().find(|session| session.id == session_id);
        self.end_session(&session.or_not_found("session")?.id).await
    }

    /// Ends all sessions of somebody, this one too.
    pub(super) async fn end_all_sessions(&self, visit: &Visit, who: &UserIdentity) -> Result<()> {
        let (db, now) = (self.db.with_caller(visit.caller.clone()), self.clock.now());
        let ended = db.transaction(async |tx| store::revoke_all(&tx, &who.id, now).await).await;
        self.identities.forget_user(&who.id);
        ended
    }

    /// Gives somebody a new password and ends all their other sessions.
    pub(super) async fn change_password(
        &self,
        visit: &Visit,
        who: &UserIdentity,
        present: String,
        new: String,
    ) -> Result<()> {
        if let Some(problem) = self.passwords.problem_with(&new) {
            return Err(Error::invalid("this can't be the new password")
                .code("unprocessable")
                .field("/new_password", problem));
        }
        let db = self.db.with_caller(visit.caller.clone());
        let ended = || Rejection::SessionEnded.to_error();
        let user = db.get::<User>(&who.id).await?.ok_or_else(ended)?;
        self.prove_password(visit, &user, present).await?;
        let (new_hash, owner) = (Secret::new(self.passwords.hash(new).await?), user.entity.clone());
        let (session_id, now) = (who.session_id().to_owned(), self.clock.now());
        let changed = db
            .transaction(async |tx| {
                save_password(tx.clone(), user.clone(), session_id.clone(), new_hash.clone(), now).await?;
                self.notify(&tx, &owner, Notice::PasswordChanged).await
            })
            .await;
        self.identities.forget_user(&who.id);
        changed
    }

    /// Refuses what is not the present password of somebody who is signed in. Wrong ones are counted.
    pub(super) async fn prove_password(&self, visit: &Visit, user: &Saved<User>, password: String) -> Result<()> {
        self.limits.may_try(&user.email_key, visit.origin).await?;
        let stored = user.password_hash.as_ref().filter(|_| is_possible(&password));
        let stored = stored.map(|hash| hash.expose().to_owned());
        if self.passwords.check(password, stored).await? == Verdict::Wrong {
            self.limits.failed(&user.email_key, visit.origin).await;
            return Err(Error::invalid("that is not the present password").code("wrong_password"));
        }
        Ok(())
    }

    /// The user behind an identity, read afresh.
    pub(super) async fn user(&self, id: &str) -> Result<Saved<User>> {
        self.db.get::<User>(id).await?.ok_or_else(|| Rejection::SessionEnded.to_error())
    }

    /// Who sends an access token.
    async fn identify(&self, token: &str) -> Result<Arc<UserIdentity>, Rejection> {
        let token = self.keys.verify_access(token).map_err(|error| match error {
            TokenError::Invalid => Rejection::Invalid,
            TokenError::Expired => Rejection::Expired,
        })?;
        let remembered = self.identities.get(&token.session_id).filter(|identity| identity.id == token.user_id);
        match remembered {
            Some(identity) => Ok(identity),
            // Boxed, as it is asked once a second: else each request would carry the room for it.
            None => Box::pin(self.look_up(&token)).await,
        }
    }

    async fn look_up(&self, token: &AccessToken) -> Result<Arc<UserIdentity>, Rejection> {
        let ticket = self.identities.ticket();
        let found = store::session_and_user(&self.db, &token.session_id, &token.user_id).await;
        let found = found.map_err(|error| Rejection::Because(Arc::new(error)))?;
        let alive = found.filter(|(session, user)| user.is_active && session.is_alive_for(user));
        let (session, user) = alive.ok_or(Rejection::SessionEnded)?;
        let identity = Arc::new(identity(user, Some(&session)));
        self.identities.put(ticket, &token.session_id, Arc::clone(&identity));
        Ok(identity)
    }

    /// Somebody whom something else than a session stands for, if they may sign in. Believed as long as who is signed in.
    pub(crate) async fn identity_of(&self, user_id: &str) -> Result<Option<Arc<UserIdentity>>> {
        // Ids of users and of sessions are made alike, so none is one of the other kind.
        if let Some(identity) = self.identities.get(user_id) {
            return Ok(Some(identity));
        }
        let ticket = self.identities.ticket();
        let user = self.db.get::<User>(user_id).await?.filter(|user| user.is_active);
        let identity = user.map(|user| Arc::new(identity(user, None)));
        if let Some(identity) = &identity {
            self.identities.put(ticket, user_id, Arc::clone(identity));
        }
        Ok(identity)
    }
}

/// Makes a user with what belongs to one, all or nothing.
pub(super) async fn make_user(
    db: &Db,
    passwords: &Passwords,
    now: Timestamp,
    wanted: SignUp,
    role: Role,
    on_sign_up: &OnSignUp,
) -> Result<Saved<User>> {
    let (address, name) = checked(passwords, &wanted)?;
    let user = User {
        email: address.typed.clone(),
        email_key: address.key.clone(),
        name: name.clone(),
        password_hash: Some(Secret::new(passwords.hash(wanted.password).await?)),
        role,
        is_active: true,
        email_verified_at: None,
        password_changed_at: Some(now),
        session_epoch: 0,
        personal_workspace_id: None,
        last_sign_in_at: None,
    };
    let signed_up = SignedUp {
        user_id: new_id(),
        display_name: name.unwrap_or_else(|| address.local_part().to_owned()),
        email_key: address.key,
        invite_token: wanted.invite_token,
    };
    db.transaction(async |tx| save_new(&tx, user.clone(), signed_up.clone(), on_sign_up).await).await
}

/// The address and the name of somebody who signs up, if all they say is in order; else everything that is not.
fn checked(passwords: &Passwords, wanted: &SignUp) -> Result<(EmailAddress, Option<String>)> {
    let name = wanted.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let address = EmailAddress::parse(&wanted.email);
    let mut error = Error::invalid("this can't be registered").code("unprocessable");
    if let Err(problem) = &address {
        error = error.field("/email", *problem);
    }
    if let Some(problem) = passwords.problem_with(&wanted.password) {
        error = error.field("/password", problem);
    }
    if let Some(problem) = name.and_then(problem_with_name) {
        error = error.field("/name", problem);
    }
    match address {
        Ok(address) if error.field_errors().is_empty() => Ok((address, name.map(str::to_owned))),
        _ => Err(error),
    }
}

/// Saves somebody new, with what belongs to them.
pub(super) async fn save_new(tx: &Db, user: User, signed_up: SignedUp, on_sign_up: &OnSignUp) -> Result<Saved<User>> {
    let saved = tx.save(user).id(signed_up.user_id.as_str()).await;
    let mut user = saved.map_err(|error| match error.error_code() {
        "duplicate" => Error::conflict("that address is already registered")
            .code("duplicate")
            .field("/email", "is already registered"),
        _ => error,
    })?;
    user.personal_workspace_id = Some(on_sign_up.signed_up(tx.clone(), signed_up).await?);
    tx.save(user).await
}

async fn save_password(
    tx: Db,
    mut user: Saved<User>,
    kept_session: String,
    hash: Secret,
    now: Timestamp,
) -> Result<()> {
    let version = user.version;
    user.password_hash = Some(hash);
    user.password_changed_at = Some(now);
    user.session_epoch += 1;
    let user = tx.save(user).if_version(version).await?;
    store::revoke_others(&tx, &user.id, &kept_session, now).await?;
    store::carry_over(&tx, &kept_session, user.session_epoch, now).await
}

fn identity(user: Saved<User>, session: Option<&Saved<Session>>) -> UserIdentity {
    let Saved { id, entity: user, .. } = user;
    let caller = session.iter().fold(Caller::user(&id), |caller, session| caller.in_session(&session.id));
    let caller = user.personal_workspace_id.iter().fold(caller, Caller::in_workspace);
    UserIdentity {
        caller,
        id,
        email: user.email,
        name: user.name,
        role: user.role,
        is_active: user.is_active,
        workspace_id: user.personal_workspace_id,
        has_second_factor: session.is_some_and(|session| session.second_factor_at.is_some()),
    }
}

impl Authenticate for Auth {
    fn has_credentials(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some()
    }

    fn authenticate<'a>(&'a self, parts: &'a mut Parts) -> BoxFuture<'a, Caller> {
        Box::pin(async move {
            let Some(token) = bearer(&parts.headers) else { return Caller::anonymous() };
            let found = self.identify(token).await;
            let (identity, caller) = match found {
                Ok(user) => {
                    let caller = user.caller.clone();
                    (Identity::User(user), caller)
                }
                Err(rejection) => (Identity::Rejected(rejection), Caller::anonymous()),
            };
            parts.extensions.insert(identity);
            caller
        })
    }
}

/// The token of `Authorization: Bearer …`. What is no text is a token too: a bad one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| std::str::from_utf8(token).unwrap_or_default().trim())
}

/// The same request, once it is known whose it is.
pub(super) fn as_user(caller: &Caller, user_id: &str) -> Caller {
    caller.request_id().into_iter().fold(Caller::user(user_id), Caller::in_request)
}

/// What a client calls itself, as far as it is kept.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(axum::http::header::USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(LONGEST_USER_AGENT).collect())
}

/// Whether it can be anybody's password, by its length.
fn is_possible(password: &str) -> bool {
    password.chars().take(LONGEST + 1).count() <= LONGEST
}

pub(super) fn problem_with_name(name: &str) -> Option<&'static str> {
    if name.chars().count() > LONGEST_NAME {
        return Some("must have at most 200 characters");
    }
    name.chars().any(char::is_control).then_some("must not contain control characters")
}

pub(super) fn sign_up_is_closed() -> Error {
    Error::forbidden("sign-up is closed").code("signup_closed")
}

fn wrong_credentials() -> Error {
    Error::unauthenticated("the address or the password is wrong").code("invalid_credentials")
}

/// One answer for all: forged, former, expired, ended.
fn bad_refresh_token() -> Error {
    Error::unauthenticated("the refresh token is not valid; log in again").code("invalid_refresh_token")
}
