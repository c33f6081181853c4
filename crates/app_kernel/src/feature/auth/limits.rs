//! How often somebody may try. Always on: in this process, or in all that share a Redis; what a service serves beside is limited elsewhere.
//!
//! Only failures count at login. When an account's budget is spent, those addresses wait that failed on it lately; somebody else, such as
//! its owner at home, still gets in, so nobody can lock out anybody. What is refused takes nothing: after a pause, everybody may try again.

use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::error::{Error, Result};
use crate::base::metrics::{Counter, Samples};
use crate::engine::rate_limit::{Limiter, Quota, Wait};
use crate::store::redis::Redis;

pub(crate) use crate::web::edge::subscriber as origin;

/// Wrong passwords for one account: more than a forgetful person needs, and at most 5,760 guesses a day from one address.
const ACCOUNT_FAILURES: Quota = Quota { burst: 20, period: Duration::from_secs(5 * 60) };
/// Wrong passwords from one address, for any account: many people may share one.
const ADDRESS_FAILURES: Quota = Quota { burst: 300, period: Duration::from_secs(60) };
/// New accounts from one address.
const SIGN_UPS: Quota = Quota { burst: 600, period: Duration::from_secs(60) };
/// Codes of a second factor for one account, right or wrong, from anywhere: 1,440 guesses a day at a million codes, three of them good.
const CODES: Quota = Quota { burst: 10, period: Duration::from_secs(10 * 60) };
/// Mails to one person, known or not: more than somebody needs who looks into the wrong mailbox.
const MAILS_TO_ACCOUNT: Quota = Quota { burst: 5, period: Duration::from_secs(3600) };
/// Mails that one address has sent, to anybody: many people may share one.
const MAILS_FROM_ADDRESS: Quota = Quota { burst: 100, period: Duration::from_secs(3600) };
/// People sent to sign in elsewhere from one address: each leaves a row for ten minutes.
const ATTEMPTS: Quota = Quota { burst: 600, period: Duration::from_secs(60) };
/// Refresh tokens exchanged from one address.
const REFRESHES: Quota = Quota { burst: 600, period: Duration::from_secs(60) };

/// Where a request comes from, as far as it is counted: an IPv4 address, or the network of 64 bits that one IPv6 subscriber has.
pub(crate) type Origin = Option<IpAddr>;

pub(crate) struct Limits {
    account_failures: Limiter,
    account_failures_by_origin: Limiter,
    origin_failures: Limiter,
    sign_ups: Limiter,
    refreshes: Limiter,
    attempts: Limiter,
    codes: Limiter,
    mails: Limiter,
    mails_by_origin: Limiter,
    failures: Counter,
    refusals: Counter,
}

impl Limits {
    pub(crate) fn new(clock: &Clock, redis: Option<&Redis>) -> Self {
        let limiter = |name, quota| Limiter::new(name, quota, clock, redis);
        Limits {
            account_failures: limiter("login.account", ACCOUNT_FAILURES),
            account_failures_by_origin: limiter("login.account.address", ACCOUNT_FAILURES),
            origin_failures: limiter("login.address", ADDRESS_FAILURES),
            sign_ups: limiter("sign_up.address", SIGN_UPS),
            refreshes: limiter("refresh.address", REFRESHES),
            attempts: limiter("oauth.address", ATTEMPTS),
            codes: limiter("code.account", CODES),
            mails: limiter("mail.account", MAILS_TO_ACCOUNT),
            mails_by_origin: limiter("mail.address", MAILS_FROM_ADDRESS),
            failures: Counter::default(),
            refusals: Counter::default(),
        }
    }

    /// Tells how often passwords were wrong, and how often somebody had to wait.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        let about = "Wrong passwords, at sign-in and where people who are signed in prove theirs.";
        samples.counter("app_kernel_auth_failures_total", about, &[], self.failures.get());
        let about =
            "Attempts to sign in, sign up, refresh or have mail sent that were refused because there were too many.";
        samples.counter("app_kernel_auth_refusals_total", about, &[], self.refusals.get());
    }

    /// Whether a password may be tried. Attempts under way at once are counted when they have failed, so a few more than the budget may
    /// pass: no more than the hashing pool takes.
    pub(crate) async fn may_try(&self, account: &str, origin: Origin) -> Result<()> {
        let (address, both) = (address(origin), account_at(account, origin));
        // At once, so that Redis is waited for once.
        let (by_address, of_account, is_fresh) = tokio::join!(
            self.origin_failures.check(&address),
            self.account_failures.check(account),
            self.account_failures_by_origin.is_fresh(&both),
        );
        by_address.map_err(|wait| self.too_many(wait))?;
        match of_account {
            Err(wait) if !is_fresh => Err(self.too_many(wait)),
            _ => Ok(()),
        }
    }

    /// A password was wrong.
    pub(crate) async fn failed(&self, account: &str, origin: Origin) {
        self.failures.inc();
        let (address, both) = (address(origin), account_at(account, origin));
        tokio::join!(
            self.origin_failures.count(&address),
            self.account_failures.count(account),
            self.account_failures_by_origin.count(&both),
        );
    }

    pub(crate) async fn sign_up(&self, origin: Origin) -> Result<()> {
        self.sign_ups.take(&address(origin)).await.map_err(|wait| self.too_many(wait))
    }

    /// Whether a code may be tried, by somebody who knows the password already. Counted before it is looked at, so that a thousand guesses at
    /// once are not a thousand guesses.
    pub(crate) async fn code(&self, user_id: &str) -> Result<()> {
        self.codes.take(user_id).await.map_err(|wait| self.too_many(wait))
    }

    /// Whether a mail may be sent to somebody, who need not exist.
    pub(crate) async fn mail(&self, account: &str, origin: Origin) -> Result<()> {
        self.mails_by_origin.take(&address(origin)).await.map_err(|wait| self.too_many(wait))?;
        self.mails.take(account).await.map_err(|wait| self.too_many(wait))
    }

    pub(crate) async fn attempt(&self, origin: Origin) -> Result<()> {
        self.attempts.take(&address(origin)).await.map_err(|wait| self.too_many(wait))
    }

    pub(crate) async fn refresh(&self, origin: Origin) -> Result<()> {
        self.refreshes.take(&address(origin)).await.map_err(|wait| self.too_many(wait))
    }

    fn too_many(&self, wait: Wait) -> Error {
        self.refusals.inc();
        Error::too_many_requests("too many attempts; wait a little")
            .code("too_many_attempts")
            .retry_after_secs(wait.as_secs())
    }
}

/// An origin as a key. Those without an address, which there are behind no door of ours, count as one.
fn address(origin: Origin) -> String {
    origin.map_or_else(String::new, |address| address.to_string())
}

fn account_at(account: &str, origin: Origin) -> String {
    // No address has a space in it.
    format!("{account} {}", address(origin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;

    fn at(last: u8) -> Origin {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn is_refused(result: Result<()>) -> bool {
        match result {
            Ok(()) => false,
            Err(error) => {
                assert_eq!((error.http_status(), error.error_code()), (429, "too_many_attempts"));
                assert!(error.retry_after().is_some());
                true
            }
        }
    }

    fn limits() -> (Limits, Clock) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        (Limits::new(&clock, None), clock)
    }

    /// Promise: R-24
    #[tokio::test]
    async fn a_guesser_is_stopped_and_the_owner_still_gets_in() {
        let (limits, clock) = limits();
        for _ in 0..20 {
            assert!(!is_refused(limits.may_try("ann", at(1)).await));
            limits.failed("ann", at(1)).await;
        }
        assert!(is_refused(limits.may_try("ann", at(1)).await));
        assert!(!is_refused(limits.may_try("bob", at(1)).await), "another account");
        assert!(!is_refused(limits.may_try("ann", at(2)).await), "the owner, elsewhere");
        limits.failed("ann", at(2)).await;
        assert!(is_refused(limits.may_try("ann", at(2)).await), "who was no owner after all");
        clock.advance(Duration::from_secs(30));
        assert!(!is_refused(limits.may_try("ann", at(1)).await));
    }

    #[tokio::test]
    async fn guessing_at_many_accounts_is_stopped_by_address() {
        let (limits, _clock) = limits();
        for n in 0..300 {
            let account = format!("user{n}");
            assert!(!is_refused(limits.may_try(&account, at(1)).await));
            limits.failed(&account, at(1)).await;
        }
        assert!(is_refused(limits.may_try("ann", at(1)).await));
        assert!(!is_refused(limits.may_try("ann", at(2)).await));
    }

    #[tokio::test]
    async fn nobody_gets_more_than_a_few_mails_however_many_ask() {
        let (limits, clock) = limits();
        for n in 0..5 {
            assert!(!is_refused(limits.mail("ann", at(n)).await));
        }
        assert!(is_refused(limits.mail("ann", at(9)).await));
        assert!(!is_refused(limits.mail("bob", at(9)).await), "another account");
        clock.advance(Duration::from_secs(12 * 60));
        assert!(!is_refused(limits.mail("ann", at(9)).await));
        for n in 0..100 {
            assert!(!is_refused(limits.mail(&n.to_string(), at(10)).await));
        }
        assert!(is_refused(limits.mail("carol", at(10)).await), "one address that writes to everybody");
    }

    #[test]
    fn an_ipv6_subscriber_counts_as_one() {
        let address = |text: &str| origin(text.parse().expect("an address"));
        assert_eq!(address("2001:db8:1:2:3::4"), address("2001:db8:1:2:ffff::"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    }
}
