//! How often something may happen, by key. What guards something, such as a login, stands here; what is promised to callers as a number of
//! requests in a time is in `window`.
//!
//! A key that was never seen, or has been quiet long enough, has its whole burst. What is refused takes nothing, so knocking on a closed door
//! does not keep it closed. With Redis all processes count together, by its clock; while it is away, and without it, each counts for itself,
//! by the same arithmetic. What Redis counted is counted here as well, so that nobody has a fresh budget when it goes away.

pub(crate) mod memory;
mod quota;
mod redis;
#[cfg(test)]
mod tests;
pub(crate) mod window;

pub(crate) use self::quota::{Quota, Wait};
use crate::base::clock::Clock;
use crate::store::redis::Redis;

/// Counts by key.
#[derive(Debug)]
pub(crate) struct Limiter {
    quota: Quota,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Memory(memory::Limiter),
    Redis { shared: self::redis::Limiter, here: memory::Limiter },
}

impl Limiter {
    /// The name tells limits apart that have the same keys: `login.account`.
    pub(crate) fn new(name: &'static str, quota: Quota, clock: &Clock, redis: Option<&Redis>) -> Self {
        let here = memory::Limiter::new(quota, clock.clone());
        let form = match redis {
            None => Form::Memory(here),
            Some(redis) => Form::Redis { shared: self::redis::Limiter::new(name, clock.clone(), redis.clone()), here },
        };
        Limiter { quota, form }
    }

    /// Takes one, or says how long to wait.
    pub(crate) async fn take(&self, key: &str) -> Result<(), Wait> {
        self.take_of(key, self.quota).await
    }

    /// The same for a key that has a quota of its own.
    pub(crate) async fn take_of(&self, key: &str, quota: Quota) -> Result<(), Wait> {
        match &self.form {
            Form::Memory(here) => here.take_of(&key, quota),
            Form::Redis { shared, here } => match shared.take(key, quota).await {
                Ok(taken) => taken.inspect(|()| here.count_of(&key, quota)),
                Err(_away) => here.take_of(&key, quota),
            },
        }
    }

    /// Whether one could be taken now. Takes nothing.
    pub(crate) async fn check(&self, key: &str) -> Result<(), Wait> {
        match &self.form {
            Form::Memory(here) => here.check(&key),
            Form::Redis { shared, here } => match shared.check(key, self.quota).await {
                Ok(checked) => checked,
                Err(_away) => here.check(&key),
            },
        }
    }

    /// Counts what has happened already, allowed or not; never beyond what an empty budget owes.
    pub(crate) async fn count(&self, key: &str) {
        match &self.form {
            Form::Memory(here) => here.count(&key),
            Form::Redis { shared, here } => {
                here.count(&key);
                // Redis away is told where it was noticed; it is counted here.
                let _away = shared.count(key, self.quota).await;
            }
        }
    }

    /// Whether the key has its whole budget: nothing happened lately.
    pub(crate) async fn is_fresh(&self, key: &str) -> bool {
        match &self.form {
            Form::Memory(here) => here.is_fresh(&key),
            Form::Redis { shared, here } => match shared.is_fresh(key, self.quota).await {
                Ok(is_fresh) => is_fresh,
                Err(_away) => here.is_fresh(&key),
            },
        }
    }
}
