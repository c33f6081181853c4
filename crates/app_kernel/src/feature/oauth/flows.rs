//! Going elsewhere, coming back, and what comes of it.

use super::OAuth;
use super::cookies::Cookies;
use super::model::{
    ATTEMPT_LIFE, BrowserSecret, CODE_LIFE, Identity, check_a_way_in_stays, check_target, fits_challenge, is_challenge,
    with_code,
};
use super::provider::{Provider, Returned, clipped};
use super::store::{self, Account, Attempt, Code};
use crate::base::error::{Error, ErrorKind, OrNotFound as _, Result};
use crate::base::secret::{Secret, constant_time_eq, random_token};
use crate::feature::auth::{EmailAddress, Notice, Proven, SignedIn, TokensView, User, UserIdentity, Visit};
use crate::store::db::Db;
use crate::store::db::row::Saved;
use crate::web::extract::Json;

/// What somebody says who begins.
pub(super) struct Begin {
    pub(super) target: Option<String>,
    pub(super) link: Option<String>,
    pub(super) challenge: Option<String>,
}

/// Where a browser goes next, and what it keeps.
pub(super) struct Departure {
    pub(super) url: String,
    pub(super) cookie: String,
}

/// What a provider sends a browser back with.
pub(super) struct Return {
    pub(super) state: Option<String>,
    pub(super) code: Option<String>,
    pub(super) error: Option<String>,
    pub(super) issuer: Option<String>,
}

/// What came of an exchange.
pub(super) enum Outcome {
    SignedIn(Json<TokensView>),
    Linked,
}

/// An error on somebody's way, and where they may go on.
pub(super) struct Astray {
    pub(super) error: Error,
    pub(super) back: Option<String>,
}

impl From<Error> for Astray {
    fn from(error: Error) -> Self {
        Astray { error, back: None }
    }
}

impl OAuth {
    fn provider(&self, name: &str) -> Result<&Provider> {
        self.providers.get(name).or_not_found("provider")
    }

    fn callback(&self, provider: &str) -> String {
        format!("{}/{provider}/callback", self.url)
    }

    /// Sends a browser elsewhere.
    pub(super) async fn begin(&self, visit: &Visit, provider: &str, wanted: Begin) -> Result<Departure> {
        let provider = self.provider(provider)?;
        let target = wanted.target.unwrap_or_else(|| "/".to_owned());
        let unfit = || Error::invalid("nobody can be sent there and back").code("unprocessable");
        check_target(&target, &self.redirect_origins).map_err(|problem| unfit().field("/redirect_uri", problem))?;
        if wanted.challenge.as_deref().is_some_and(|challenge| !is_challenge(challenge)) {
            return Err(unfit().field("/code_challenge", "must be a SHA-256 in base64url, without padding"));
        }
        self.auth.count_attempt(visit).await?;
        let link_user_id = match wanted.link {
            None => None,
            Some(link) => Some(self.auth.who_links(&link).await?.ok_or_else(bad_link)?),
        };
        let (state, secret) = (store::new_state(), BrowserSecret::new(random_token()));
        let url = provider.authorize_url(&self.callback(&provider.name), &state.text, &secret).await?;
        let attempt = Attempt {
            provider: provider.name.clone(),
            state_hash: state.hash(),
            browser_hash: Secret::new(secret.hash()),
            target,
            challenge: wanted.challenge,
            link_user_id,
            expires_at: self.auth.clock().now() + ATTEMPT_LIFE,
        };
        self.auth.db_for(visit).save(attempt).id(state.id.as_str()).await?;
        Ok(Departure { url, cookie: self.cookies.keep(&state.id, &secret) })
    }

    /// Takes in somebody who comes back; answers where they return to, with a code.
    pub(super) async fn come_back(
        &self,
        visit: &Visit,
        provider: &str,
        with: Return,
        cookies: &Cookies,
    ) -> Result<String, Astray> {
        let provider = self.provider(provider)?;
        self.auth.count_attempt(visit).await?;
        let (db, now) = (self.auth.db_for(visit), self.auth.clock().now());
        let attempt = match &with.state {
            Some(state) => store::attempt_of(&db, state, now).await?,
            None => None,
        };
        let attempt = attempt.filter(|attempt| attempt.provider == provider.name).ok_or_else(bad_state)?;
        // In another browser, it is as if there were none; and it stays good in its own.
        let secret = self.cookies.secret(cookies, &attempt.id);
        let secret = secret.filter(|secret| is_of(secret, &attempt.browser_hash)).ok_or_else(bad_state)?;
        if !store::take_attempt(&db, &attempt.id, now).await? {
            return Err(bad_state().into());
        }
        let back = attempt.target.clone();
        let code = self.end_attempt(&db, provider, attempt, with, &secret).await;
        match code {
            Ok(code) => Ok(with_code(&back, &code)),
            Err(error) => Err(Astray { error, back: Some(back) }),
        }
    }

    async fn end_attempt(
        &self,
        db: &Db,
        provider: &Provider,
        attempt: Saved<Attempt>,
        with: Return,
        secret: &BrowserSecret,
    ) -> Result<String> {
        if let Some(error) = &with.error {
            provider.check_issuer(with.issuer.as_deref()).await?;
            return Err(turned_back(&provider.name, error));
        }
        let code = with.code.ok_or_else(|| turned_back(&provider.name, "no code"))?;
        let returned = Returned { code, issuer: with.issuer.as_deref() };
        let identity = provider.identify(&self.callback(&provider.name), returned, secret).await?;
        let code = store::new_code(&attempt.id);
        let Saved { entity: Attempt { browser_hash, challenge, link_user_id, .. }, .. } = attempt;
        let Identity { issuer, subject, email, is_email_verified, name } = identity;
        let row = Code {
            code_hash: code.hash(),
            browser_hash,
            challenge,
            link_user_id,
            provider: provider.name.clone(),
            issuer,
            subject,
            email,
            is_email_verified,
            name,
            expires_at: self.auth.clock().now() + CODE_LIFE,
        };
        db.save(row).id(code.id.as_str()).await?;
        Ok(code.text)
    }

    /// Exchanges a code for tokens, or for a link. Answers, too, what rids the browser of the attempt's cookie.
    pub(super) async fn exchange(
        &self,
        visit: &Visit,
        user: Result<SignedIn>,
        code: &str,
        verifier: Option<&str>,
        cookies: &Cookies,
    ) -> Result<(Outcome, String)> {
        self.auth.count_attempt(visit).await?;
        let (db, now) = (self.auth.db_for(visit), self.auth.clock().now());
        let code =
            store::row_of_code(&db, code, now).await?.filter(|code| self.is_of_who_began(code, verifier, cookies));
        let code = code.ok_or_else(bad_code)?;
        let outcome = match &code.link_user_id {
            None => Outcome::SignedIn(self.sign_in(visit, &db, &code).await?),
            Some(link_user_id) => {
                let user = user?;
                if user.id != *link_user_id {
                    return Err(Error::forbidden("somebody else began this link").code("wrong_user"));
                }
                self.link(&db, &code, &user.id).await?;
                Outcome::Linked
            }
        };
        Ok((outcome, self.cookies.forget(&code.id)))
    }

    /// Whether an exchange is asked for by whoever began: the app that chose the challenge, else the browser that keeps the cookie.
    fn is_of_who_began(&self, code: &Saved<Code>, verifier: Option<&str>, cookies: &Cookies) -> bool {
        match &code.challenge {
            Some(challenge) => verifier.is_some_and(|verifier| fits_challenge(verifier, challenge)),
            None => self.cookies.secret(cookies, &code.id).is_some_and(|secret| is_of(&secret, &code.browser_hash)),
        }
    }

    async fn sign_in(&self, visit: &Visit, db: &Db, code: &Saved<Code>) -> Result<Json<TokensView>> {
        let user = match self.user_of_code(visit, db, code).await {
            // Somebody else was faster with the same identity or address; now it is known.
            Err(error) if error.kind() == ErrorKind::Conflict => self.user_of_code(visit, db, code).await?,
            user => user?,
        };
        Ok(self.auth.enter(visit, &user).await?.into())
    }

    async fn user_of_code(&self, visit: &Visit, db: &Db, code: &Saved<Code>) -> Result<Saved<User>> {
        let now = self.auth.clock().now();
        db.transaction(async |tx| {
            if !store::take_code(&tx, &code.id, now).await? {
                return Err(bad_code());
            }
            self.user_of(visit, &tx, code).await
        })
        .await
    }

    /// Whose identity it is: known by it, or by an address that the provider calls theirs.
    async fn user_of(&self, visit: &Visit, tx: &Db, code: &Code) -> Result<Saved<User>> {
        let identity = code.identity();
        if let Some(account) = store::account_of(tx, &code.provider, &identity).await? {
            if let Some(user) = self.auth.active_user(tx, &account.user_id).await? {
                return Ok(user);
            }
            // Of somebody who is gone.
            tx.delete::<Account>(&account.id).await?;
        }
        let address = identity.email.as_deref().filter(|_| identity.is_email_verified);
        let address = address.and_then(|email| EmailAddress::parse(email).ok()).ok_or_else(|| no_address(code))?;
        let who = Proven { address, name: identity.name.clone() };
        let user = self.auth.admit(tx, visit, &who).await?;
        store::link(tx, &user.id, &code.provider, &identity).await.map_err(|error| already_linked(error, code))?;
        Ok(user)
    }

    async fn link(&self, db: &Db, code: &Saved<Code>, user_id: &str) -> Result<()> {
        let (identity, now) = (code.identity(), self.auth.clock().now());
        db.transaction(async |tx| {
            if !store::take_code(&tx, &code.id, now).await? {
                return Err(bad_code());
            }
            let user = self.auth.lock(&tx, user_id).await?;
            let linked = store::link(&tx, user_id, &code.provider, &identity).await;
            linked.map_err(|error| already_linked(error, code))?;
            self.auth.notify(&tx, &user, Notice::WayInAdded).await
        })
        .await
    }

    /// The word by which somebody who is signed in begins to link an account elsewhere.
    pub(super) async fn begin_link(
        &self,
        visit: &Visit,
        who: &UserIdentity,
        password: Option<String>,
    ) -> Result<String> {
        self.auth.begin_link(visit, who, password).await
    }

    /// The accounts elsewhere of somebody.
    pub(super) async fn accounts(&self, visit: &Visit, who: &UserIdentity) -> Result<Vec<Saved<Account>>> {
        store::accounts_of(&self.auth.db_for(visit), &who.id).await
    }

    /// Unlinks an account, unless it is the last way to sign in.
    pub(super) async fn unlink(&self, visit: &Visit, who: &UserIdentity, provider: &str) -> Result<()> {
        let db = self.auth.db_for(visit);
        db.transaction(async |tx| {
            // Of two who unlink at once, the second waits, and sees what the first has left.
            let user = self.auth.lock(&tx, &who.id).await?;
            let accounts = store::accounts_of(&tx, &who.id).await?;
            let (wanted, others): (Vec<_>, Vec<_>) =
                accounts.into_iter().partition(|account| account.provider == provider);
            let account = wanted.into_iter().next().or_not_found("linked account")?;
            // One that is configured no more lets nobody in.
            let others = others.iter().filter(|account| self.providers.contains_key(&account.provider)).count();
            check_a_way_in_stays(user.password_hash.is_some(), others)?;
            tx.delete::<Account>(&account.id).await?;
            self.auth.notify(&tx, &user, Notice::WayInRemoved).await
        })
        .await
    }
}

/// Whether a browser keeps what the one that began got.
fn is_of(secret: &BrowserSecret, browser_hash: &Secret) -> bool {
    constant_time_eq(&secret.hash(), browser_hash.expose())
}

/// One answer for all: made up, used, over, of another browser, for another provider.
fn bad_state() -> Error {
    Error::invalid("this sign-in is over, or was begun in another browser; begin again").code("invalid_state")
}

/// One answer for all: made up, used, over, of another browser.
fn bad_code() -> Error {
    Error::invalid("this code is not good any more; sign in again").code("invalid_code")
}

fn bad_link() -> Error {
    Error::invalid("this link is over; begin again with POST /auth/oauth/link").code("invalid_link")
}

/// The provider has sent somebody back without saying who they are. Its word goes to the log as far as it is one.
fn turned_back(provider: &str, word: &str) -> Error {
    if word == "access_denied" {
        return Error::forbidden(format!("you did not let `{provider}` say who you are")).code("access_denied");
    }
    tracing::warn!(provider, "`{provider}` sent somebody back with the error {}", clipped(word));
    Error::invalid(format!("`{provider}` did not confirm who you are; begin again")).code("sign_in_failed")
}

fn no_address(code: &Code) -> Error {
    Error::forbidden(format!(
        "`{}` does not say that an e-mail address is yours; confirm it there, or sign in here and link the account",
        code.provider
    ))
    .code("email_not_verified")
}

fn already_linked(error: Error, code: &Code) -> Error {
    if error.error_code() != "duplicate" {
        return error;
    }
    Error::conflict(format!("this account at `{0}`, or another one at `{0}`, is linked already", code.provider))
        .code("already_linked")
}
