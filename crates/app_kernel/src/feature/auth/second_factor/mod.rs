//! A second factor: codes of an authenticator app (TOTP, RFC 6238), and recovery codes for when the telephone is gone.
//!
//! - Whoever adds one proves the password, and then that the app works, by a code. From then on a login answers 401 `second_factor_required`
//!   with a challenge, which is exchanged for tokens together with a code, within five minutes.
//! - A code is good once, also within its half minute and in any process. A recovery code is good once.
//! - Tries are limited for each account, whoever sends them: six digits are few.
//! - The app's secret is sealed with a key that comes from `JWT_SECRET`; a start under a new secret seals it anew, as long as the former one is
//!   in `JWT_SECRET_PREVIOUS`. Recovery codes are stored as hashes.
//! - A session remembers whether it began with a second factor ([`UserIdentity::has_second_factor`]), so that others can insist on one.

mod routes;
mod store;
mod totp;

use self::store::SecondFactor;
use super::Auth;
use super::challenge::{Begun, Challenges};
use super::extract::UserIdentity;
use super::flows::{Tokens, Visit};
use super::mailed::Notice;
use super::store::User;
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::secret::fill_random;
use crate::base::vault::Vault;
use crate::store::db::row::Saved;

pub(super) use self::routes::routes;
pub(super) use self::store::{delete_of_user, entities};

/// Bytes of an app's secret: as long as the hash (RFC 4226, 4).
const SECRET_LEN: usize = 20;
/// Recovery codes that somebody gets.
const RECOVERY_CODES: usize = 10;

/// What second factors are made and checked with.
pub(super) struct SecondFactors {
    vault: Vault,
    challenges: Challenges,
    /// What an app calls the service.
    issuer: String,
}

impl SecondFactors {
    pub(super) fn new(config: &ServiceConfig, clock: Clock) -> Self {
        let url = config.effective_public_url();
        let issuer = url.split_once("://").map_or(&*url, |(_, place)| place).to_owned();
        let secrets = config.signing_secrets();
        SecondFactors {
            vault: Vault::new("second factors", &secrets),
            challenges: Challenges::new(Begun::Login, &secrets, clock),
            issuer,
        }
    }
}

/// What an authenticator app needs.
pub(super) struct Enrolment {
    /// In base32, for typing.
    secret: String,
    /// For a QR code.
    uri: String,
}

/// What somebody may know of their second factor.
pub(super) struct Status {
    is_on: bool,
    recovery_codes_left: usize,
}

impl Auth {
    /// What a login of somebody with a second factor answers instead of tokens; nothing where there is none.
    pub(super) async fn second_step(&self, user: &Saved<User>) -> Result<Option<Error>> {
        let is_on = store::confirmed(&self.db, &user.id).await?.is_some();
        let challenge = || self.second_factors.challenges.issue(&user.id, user.session_epoch);
        Ok(is_on.then(|| {
            Error::unauthenticated(
                "a code of the second factor is needed too; send it with the challenge to /auth/login/second-factor",
            )
            .code("second_factor_required")
            .member("challenge", challenge())
        }))
    }

    /// The second half of a login.
    pub(super) async fn log_in_with_code(&self, visit: &Visit, challenge: &str, code: &str) -> Result<Tokens> {
        let over = || Error::unauthenticated("this login has taken too long; begin again").code("invalid_challenge");
        let (user_id, epoch) = self.second_factors.challenges.read(challenge).ok_or_else(over)?;
        let user = self.db.get::<User>(&user_id).await?;
        let user = user.filter(|user| user.is_active && user.session_epoch == epoch).ok_or_else(over)?;
        let wrong = || Error::unauthenticated("that is not a code that is good now").code("invalid_code");
        self.check_code(&user, code).await?.then_some(()).ok_or_else(wrong)?;
        self.begin_session(visit, &user, true).await
    }

    /// Begins to add a second factor. It counts once a code has shown that the app works.
    pub(super) async fn add_second_factor(
        &self,
        visit: &Visit,
        who: &UserIdentity,
        password: String,
    ) -> Result<Enrolment> {
        let user = self.user(&who.id).await?;
        self.prove_password(visit, &user, password).await?;
        let mut secret = [0; SECRET_LEN];
        fill_random(&mut secret);
        let sealed = self.second_factors.vault.seal(&user.id, &secret);
        let db = self.db.with_caller(visit.caller.clone());
        store::begin(&db, &user.id, sealed).await?;
        let secret = totp::base32(&secret);
        let uri = totp::uri(&self.second_factors.issuer, &user.email, &secret);
        Ok(Enrolment { secret, uri })
    }

    /// Ends the adding of a second factor; answers the recovery codes, once.
    pub(super) async fn confirm_second_factor(
        &self,
        visit: &Visit,
        who: &UserIdentity,
        code: &str,
    ) -> Result<Vec<String>> {
        let user = self.user(&who.id).await?;
        self.limits.code(&user.id).await?;
        let begun = store::begun(&self.db, &user.id).await?.ok_or_else(|| {
            Error::conflict("there is no second factor to confirm; begin with POST /auth/second-factor")
                .code("not_begun")
        })?;
        let step = totp::matching_step(&self.open(&begun)?, code, self.clock.now());
        let step = step.ok_or_else(wrong_code)?;
        let codes: Vec<String> = std::iter::repeat_with(recovery_code).take(RECOVERY_CODES).collect();
        let (db, now) = (self.db.with_caller(visit.caller.clone()), self.clock.now());
        db.transaction(async |tx| {
            store::confirm(&tx, &begun, step, &codes, who.session_id(), now).await?;
            self.notify(&tx, &user, Notice::SecondFactorAdded).await
        })
        .await?;
        self.identities.forget_session(who.session_id());
        Ok(codes)
    }

    /// Whether somebody has a second factor, and how many recovery codes are left.
    pub(super) async fn second_factor(&self, who: &UserIdentity) -> Result<Status> {
        let is_on = store::confirmed(&self.db, &who.id).await?.is_some();
        let recovery_codes_left = if is_on { store::recovery_codes(&self.db, &who.id).await?.len() } else { 0 };
        Ok(Status { is_on, recovery_codes_left })
    }

    /// Removes the second factor of somebody who proves both.
    pub(super) async fn remove_second_factor(
        &self,
        visit: &Visit,
        who: &UserIdentity,
        password: String,
        code: &str,
    ) -> Result<()> {
        let user = self.user(&who.id).await?;
        self.prove_password(visit, &user, password).await?;
        if !self.check_code(&user, code).await? {
            return Err(wrong_code());
        }
        let db = self.db.with_caller(visit.caller.clone());
        db.transaction(async |tx| {
            store::delete_of_user(&tx, &user.id).await?;
            self.notify(&tx, &user, Notice::SecondFactorRemoved).await
        })
        .await?;
        self.identities.forget_user(&user.id);
        Ok(())
    }

    /// Whether a code is good now. It is taken if it is; each try is counted.
    async fn check_code(&self, user: &Saved<User>, code: &str) -> Result<bool> {
        self.limits.code(&user.id).await?;
        let Some(factor) = store::confirmed(&self.db, &user.id).await? else { return Ok(false) };
        if looks_like_a_recovery_code(code) {
            return store::take_recovery_code(&self.db, &user.id, code).await;
        }
        match totp::matching_step(&self.open(&factor)?, code, self.clock.now()) {
            Some(step) => store::take_step(&self.db, &user.id, step).await,
            None => Ok(false),
        }
    }

    fn open(&self, factor: &Saved<SecondFactor>) -> Result<Vec<u8>> {
        self.second_factors.vault.open(&factor.id, &factor.sealed_secret).ok_or_else(|| {
            Error::internal("this second factor can't be read").cause(
                "it was sealed under another JWT_SECRET; name that one in JWT_SECRET_PREVIOUS, or run `user drop-second-factor`",
            )
        })
    }

    /// Seals anew what was sealed under a former secret, so that it may be forgotten; answers how many.
    pub(super) async fn seal_anew(&self) -> Result<usize> {
        let vault = &self.second_factors.vault;
        let mut sealed = 0;
        let mut after = None;
        loop {
            let page = store::page(&self.db, after).await?;
            for factor in page.items.iter().filter(|factor| !vault.is_todays(&factor.sealed_secret)) {
                if let Some(secret) = vault.open(&factor.id, &factor.sealed_secret) {
                    store::replace_secret(&self.db, factor, vault.seal(&factor.id, &secret)).await?;
                    sealed += 1;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(sealed),
            }
        }
    }
}

fn wrong_code() -> Error {
    Error::invalid("that is not a code that is good now").code("invalid_code")
}

/// Sixteen letters and digits; the app's codes have six.
fn looks_like_a_recovery_code(code: &str) -> bool {
    code.chars().filter(char::is_ascii_alphanumeric).count() == 16
}

/// 80 random bits, in four groups that people can copy from paper.
fn recovery_code() -> String {
    let mut bytes = [0; 10];
    fill_random(&mut bytes);
    let code = totp::base32(&bytes).to_lowercase();
    let groups: Vec<&str> = (0..4).map(|group| &code[4 * group..4 * group + 4]).collect();
    groups.join("-")
}
