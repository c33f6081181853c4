//! Passwords: their rules, and hashing them without starving the server.
//!
//! Argon2id with OWASP's parameters (19 MiB, two passes, one lane), stored as PHC strings, so that parameters can change: a login whose
//! stored hash has other parameters is told to hash anew. A password has 8 to 256 characters of any script; all of them count.
//! Hashing runs in as many threads as there are processors, with a short line before them; whoever finds the line full is asked to
//! come back. Checking the password of somebody who does not exist costs the same as of somebody who does.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::base::error::{Error, OrInternal as _, Result};
use crate::base::secret::fill_random;

/// The shortest password, in characters (NIST SP 800-63B).
pub(crate) const SHORTEST: usize = 8;
/// The longest, in characters: enough for any passphrase, and a bound on what a request can make us hash.
pub(crate) const LONGEST: usize = 256;
/// How many may wait for a hashing thread. A hash takes about 20 ms, so the last in line of two threads waits less than a second.
const LONGEST_LINE: usize = 64;
/// When to come back after the line was full: it has moved on by then.
const RETRY_AFTER_SECS: u32 = 1;
/// Bytes of a salt (RFC 9106, 3.1).
const SALT_LEN: usize = 16;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not the password, or there is nobody to have one.
    Wrong,
    /// It is.
    Right,
    /// It is, but its hash was made with other parameters than today's: hash it anew.
    RightButOld,
}

/// Checks and hashes passwords.
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    /// As many as may hash or wait.
    line: Arc<Semaphore>,
    /// As many as may hash at once.
    threads: Arc<Semaphore>,
    /// Stands in for the hash of somebody who does not exist: the same parameters, and a result that nothing hashes to.
    nobody: String,
    refuse_common: bool,
}

impl Passwords {
    /// `refuse_common` is for production: the passwords that everybody tries first are not accepted for new ones.
    pub(crate) fn new(refuse_common: bool) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_line(refuse_common, threads, LONGEST_LINE)
    }

    fn with_line(refuse_common: bool, threads: usize, waiting: usize) -> Self {
        let argon2 = Argon2::default();
        let nobody = nobodys_hash(&argon2);
        let (line, threads) = (Arc::new(Semaphore::new(threads + waiting)), Arc::new(Semaphore::new(threads)));
        Passwords { argon2, line, threads, nobody, refuse_common }
    }

    /// What is wrong with a new password, as a sentence part.
    pub(crate) fn problem_with(&self, password: &str) -> Option<&'static str> {
        match password.chars().take(LONGEST + 1).count() {
            ..SHORTEST => Some("must have at least 8 characters"),
            count if count > LONGEST => Some("must have at most 256 characters"),
            _ if password.contains('\0') => Some("must not contain a NUL character"),
            _ if self.refuse_common && is_common(password) => {
                Some("is one of the passwords that everybody tries first")
            }
            _ => None,
        }
    }

    /// The PHC string to store.
    pub(crate) async fn hash(&self, password: String) -> Result<String> {
        let argon2 = self.argon2.clone();
        let work = move || {
            let mut salt = [0; SALT_LEN];
            fill_random(&mut salt);
            let hash: PasswordHash = argon2.hash_password_with_salt(password.as_bytes(), &salt)?;
            Ok::<_, argon2::password_hash::Error>(hash.to_string())
        };
        self.in_the_pool(work).await?.or_internal("hashing a password")
    }

    /// Compares with the stored hash; without one, takes as long and answers [`Verdict::Wrong`].
    pub(crate) async fn check(&self, password: String, stored: Option<String>) -> Result<Verdict> {
        let (argon2, exists) = (self.argon2.clone(), stored.is_some());
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        let verdict = self.in_the_pool(move || verdict(&argon2, &password, &stored)).await?;
        if exists { verdict.or_internal("reading a stored password hash") } else { Ok(Verdict::Wrong) }
    }

    /// Runs `work` on a thread of its own, never more at once than there are processors. Work that has begun keeps its place until it
    /// is done, also when the request that wanted it is gone: the bound is on work, not on interest.
    async fn in_the_pool<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Result<R> {
        let place = self.place_in_line()?;
        let thread = Arc::clone(&self.threads).acquire_owned().await.or_internal("waiting for a hashing thread")?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((thread, place));
            result
        });
        done.await.or_internal("hashing a password")
    }

    fn place_in_line(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.line).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => {
                Error::unavailable("too many people are signing in at this moment; try again in a second")
                    .code("busy")
                    .retry_after_secs(RETRY_AFTER_SECS)
            }
            TryAcquireError::Closed => Error::unavailable("the service is stopping"),
        })
    }
}

fn verdict(argon2: &Argon2<'_>, password: &str, stored: &str) -> Result<Verdict, argon2::password_hash::Error> {
    use argon2::password_hash::Error as HashError;
    let hash = PasswordHash::new(stored).map_err(|_| HashError::EncodingInvalid)?;
    match argon2.verify_password(password.as_bytes(), &hash) {
        Err(HashError::PasswordInvalid) => Ok(Verdict::Wrong),
        Err(error) => Err(error),
        Ok(()) if is_todays(argon2, &hash) => Ok(Verdict::Right),
        Ok(()) => Ok(Verdict::RightButOld),
    }
}

fn is_todays(argon2: &Argon2<'_>, hash: &PasswordHash) -> bool {
    let wanted = argon2.params();
    let is_same_cost = argon2::Params::try_from(hash).is_ok_and(|found| {
        (found.m_cost(), found.t_cost(), found.p_cost()) == (wanted.m_cost(), wanted.t_cost(), wanted.p_cost())
    });
    is_same_cost
        && hash.algorithm.as_str() == argon2::Algorithm::Argon2id.as_str()
        && hash.version == Some(argon2::Version::V0x13.into())
}

/// A PHC string of today's parameters whose salt and result are random bytes: as dear to check as any, and never right. Made without
/// hashing, so that starting costs nothing.
fn nobodys_hash(argon2: &Argon2<'_>) -> String {
    let mut bytes = [0; SALT_LEN + argon2::Params::DEFAULT_OUTPUT_LEN];
    fill_random(&mut bytes);
    let (salt, result) = bytes.split_at(SALT_LEN);
    let params = argon2.params();
    format!(
        "$argon2id$v=19$m={},t={},p={}${}${}",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        STANDARD_NO_PAD.encode(salt),
        STANDARD_NO_PAD.encode(result),
    )
}

/// Words and passwords, in lower case, that lists of leaked passwords begin with.
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common_passwords.txt").split_whitespace().collect());

/// Whether a password is among the first that anybody tries: a listed one in any case, with the usual letters swapped for digits, with
/// a few digits or signs behind it, or twice in a row; one character or a short piece repeated; a run such as `abcdefgh` or `87654321`.
fn is_common(password: &str) -> bool {
    let lower = password.to_lowercase();
    let plain = lower.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    let has_short_tail = lower.len() - plain.len() <= 5;
    let plain_letters = with_letters(plain);
    let is_listed = |text: &str| COMMON.contains(text) || half_of(text).is_some_and(|half| COMMON.contains(half));
    is_listed(&lower)
        || is_listed(&with_letters(&lower))
        || (has_short_tail && plain.len() >= 4 && (is_listed(plain) || is_listed(&plain_letters)))
        || is_repetition(&lower)
        || is_run(&lower)
}

/// `p4$$w0rd` as `password`.
fn with_letters(text: &str) -> String {
    let letter = |c| match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    };
    text.chars().map(letter).collect()
}

/// `dragondragon` is `dragon` twice.
fn half_of(text: &str) -> Option<&str> {
    let (first, second) = text.split_at_checked(text.len() / 2)?;
    (first == second).then_some(first)
}

/// A piece of up to four characters, again and again.
fn is_repetition(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    (1..=4).any(|period| characters.iter().zip(characters.iter().skip(period)).all(|(a, b)| a == b))
}

/// Characters that follow each other, upwards or downwards; after 9 comes 0.
fn is_run(text: &str) -> bool {
    let follows = |a: char, b: char| u32::from(b) == u32::from(a) + 1 || (a, b) == ('9', '0');
    let mut pairs = text.chars().zip(text.chars().skip(1));
    let is_up = pairs.clone().all(|(a, b)| follows(a, b));
    is_up || pairs.all(|(a, b)| follows(b, a))
}

#[cfg(test)]
mod tests;
