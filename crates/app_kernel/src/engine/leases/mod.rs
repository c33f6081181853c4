//! Leases: at most so many at once for each of many, such as the streams of one user.
//!
//! A lease is given back when it is dropped. With Redis all processes count together, by its clock, and a lease that nobody renews runs out: a
//! process that was killed holds nothing for long. While Redis is away, and without it, each process counts its own. What a process holds it
//! has counted itself in any case, and tells Redis again with each renewal.

mod memory;
mod redis;

use std::time::Duration;

use tokio::sync::oneshot;

use self::memory::{Held, Holders};
use self::redis::Shared;
use crate::base::clock::Clock;
use crate::base::id::new_id;
use crate::store::redis::Redis;

/// How long a lease lasts that nobody renews.
pub(crate) const LENGTH: Duration = Duration::from_secs(30);
/// How often one is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// Gives leases of one kind.
#[derive(Debug)]
pub(crate) struct Leases {
    here: Holders,
    shared: Option<Shared>,
}

/// Something that there may be a number of at once. Given back when it is dropped.
#[derive(Debug)]
#[must_use = "a lease is given back when it is dropped"]
pub(crate) struct Lease {
    _here: Held,
    /// Its end tells the task that renews it.
    _shared: Option<oneshot::Sender<()>>,
}

impl Leases {
    /// The name tells kinds apart that have the same holders.
    pub(crate) fn new(name: &'static str, clock: &Clock, redis: Option<&Redis>) -> Self {
        let shared = redis.map(|redis| Shared::new(name, clock.clone(), redis.clone()));
        Leases { here: Holders::default(), shared }
    }

    /// One more for this holder; none where they have so many already.
    pub(crate) async fn take(&self, who: &str, most: u32) -> Option<Lease> {
        // Counted here first, so that two that are asked for at once can't both have the last one.
        let here = self.here.take(who, most)?;
        let Some(shared) = &self.shared else { return Some(Lease { _here: here, _shared: None }) };
        let (id, (lease, ended)) = (new_id(), oneshot::channel());
        // Before the question: whoever asks may go away before the answer, and then it is given back.
        tokio::spawn(keep(shared.clone(), who.to_owned(), id.clone(), ended));
        match shared.take(who, &id, most).await {
            Ok(false) => None,
            // While Redis is away, what is held here is all that counts.
            Ok(true) | Err(_) => Some(Lease { _here: here, _shared: Some(lease) }),
        }
    }
}

/// Renews a lease until it is given back. Where Redis does not hear of either, the lease runs out there.
async fn keep(shared: Shared, who: String, id: String, mut ended: oneshot::Receiver<()>) {
    while tokio::time::timeout(RENEWED_EVERY, &mut ended).await.is_err() {
        if let Err(error) = shared.renew(&who, &id).await {
            tracing::debug!(%error, "a lease could not be renewed; trying again");
        }
    }
    if let Err(error) = shared.give_back(&who, &id).await {
        tracing::debug!(%error, "a lease could not be given back; it will run out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::secret::Secret;
    use crate::store::redis::RedisOptions;
    use crate::testing::TestRedis;

    const MOST: u32 = 2;

    fn leases(clock: &Clock, redis: Option<&Redis>) -> Leases {
        Leases::new("streams", clock, redis)
    }

    /// Tests in this process, while Redis is away, and with it, where `DATABASES` selects it.
    async fn in_each_form(test: impl AsyncFn(Leases)) {
        let nobody_listens = Secret::new("redis://127.0.0.1:1");
        let away = Redis::new(&nobody_listens, "leases", RedisOptions::default()).expect("an address");
        let shared = TestRedis::shared();
        for redis in [Some(None), Some(Some(away)), shared.as_ref().map(|redis| Some(redis.patient()))] {
            let Some(redis) = redis else { continue };
            test(leases(&Clock::system(), redis.as_ref())).await;
        }
    }

    #[tokio::test]
    async fn nobody_has_more_than_the_most_and_what_is_given_back_can_be_taken_again() {
        in_each_form(async |leases| {
            let first = leases.take("ann", MOST).await.expect("a first one");
            let _second = leases.take("ann", MOST).await.expect("a second one");
            assert!(leases.take("ann", MOST).await.is_none(), "there are two");
            let _bobs = leases.take("bob", MOST).await.expect("holders are apart");
            drop(first);
            let again = async {
                // Redis hears of the end a moment later.
                while leases.take("ann", MOST).await.map(std::mem::forget).is_none() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(LENGTH / 2, again).await.expect("one was given back");
            assert!(leases.take("ann", MOST).await.is_none(), "there are two again");
        })
        .await;
    }

    #[tokio::test]
    async fn processes_count_together_and_those_of_a_killed_one_run_out() {
        let Some(redis) = TestRedis::shared() else { return };
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let killed = leases(&clock, Some(&redis.patient()));
        let other = leases(&clock, Some(&redis.patient()));
        for _ in 0..MOST {
            // Nobody renews them in time: the clock is moved further than tasks wait.
            std::mem::forget(killed.take("ann", MOST).await.expect("there are fewer"));
        }
        assert!(other.take("ann", MOST).await.is_none(), "the other process has all");
        clock.advance(LENGTH - Duration::from_millis(1));
        assert!(other.take("ann", MOST).await.is_none(), "they still last");
        clock.advance(Duration::from_millis(1));
        assert!(other.take("ann", MOST).await.is_some(), "they have run out");
        let kept = format!("{:?}", redis.contents().await);
        assert!(!kept.contains("ann"), "who holds something is nobody's business there: {kept}");
    }
}
