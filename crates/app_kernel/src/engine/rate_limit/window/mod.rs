//! Limits on requests: at most so many in any stretch of time of a length.
//!
//! The moments of what was admitted are remembered for that long, so the limit is exact: never one more in any such stretch, and never one
//! refused that was due. What is refused is not remembered. With Redis all processes count together, by its clock and one script for each
//! question; while it is away, and without it, each counts for itself by the same rule. What Redis admitted is remembered here as well, so that
//! nobody has a fresh budget when it goes away, and who has had all of it from this process alone is refused without a question to Redis.

mod memory;
mod redis;
#[cfg(test)]
mod tests;

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::store::redis::Redis;

/// So many in any stretch of such a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// How many.
    pub(crate) most: u32,
    /// How long.
    pub(crate) length: Duration,
}

impl Window {
    fn micros(self) -> i64 {
        i64::try_from(self.length.as_micros()).unwrap_or(i64::MAX)
    }

    /// Where somebody stands who has had `count` of it. The next comes back a window after `first`. Times are microseconds.
    fn standing(self, admitted: bool, count: usize, first: i64, now: i64) -> Standing {
        let left = self.most.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        let back_in = first.saturating_add(self.micros()).saturating_sub(now).max(0);
        Standing { admitted, left, back_in: Duration::from_micros(back_in.unsigned_abs()) }
    }
}

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject<'a> {
    /// An API key, by its identifier.
    ApiKey(&'a str),
    /// A person, by their identifier.
    User(&'a str),
    /// An address, where nobody is known.
    Address(IpAddr),
}

/// What becomes of a request, and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether it may pass.
    pub(crate) admitted: bool,
    /// How many more may.
    pub(crate) left: u32,
    /// When the next one comes back.
    pub(crate) back_in: Duration,
}

impl Standing {
    /// [`Standing::back_in`] in whole seconds, at least one, never too early.
    pub(crate) fn back_in_secs(&self) -> u32 {
        u32::try_from(self.back_in.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
    }
}

/// Counts requests. One for all limits of a process: each is told apart by its name.
#[derive(Debug)]
pub(crate) struct WindowLimiter {
    form: Form,
}

#[derive(Debug)]
enum Form {
    Memory(memory::Moments),
    Redis { shared: self::redis::Moments, here: memory::Moments },
}

impl WindowLimiter {
    pub(crate) fn new(clock: &Clock, redis: Option<&Redis>) -> Self {
        let here = memory::Moments::new(clock.clone());
        let form = match redis {
            None => Form::Memory(here),
            Some(redis) => Form::Redis { shared: self::redis::Moments::new(clock.clone(), redis.clone()), here },
        };
        WindowLimiter { form }
    }

    /// Takes one of the limit of this name, or says how long to wait.
    pub(crate) async fn take(&self, limit: &str, who: Subject<'_>, window: Window) -> Standing {
        match &self.form {
            Form::Memory(here) => here.take(&(limit, who), window),
            Form::Redis { shared, here } => {
                if let Some(refused) = here.refusal(&(limit, who), window) {
                    return refused;
                }
                match shared.take(limit, who, window).await {
                    Ok(standing) => {
                        if standing.admitted {
                            here.note(&(limit, who), window);
                        }
                        standing
                    }
                    // Told where it was noticed; it is counted here.
                    Err(_away) => here.take(&(limit, who), window),
                }
            }
        }
    }
}
