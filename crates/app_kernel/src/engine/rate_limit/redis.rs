//! The form that processes share: one number for each key in Redis, changed by a script that nothing comes between.

use std::sync::LazyLock;
use std::time::Duration;

use super::quota::{Quota, Wait};
use crate::base::clock::Clock;
use crate::base::error::Result;
use crate::base::secret::token_hash;
use crate::store::redis::{Redis, Script};

/// The arithmetic of `quota.rs`, where the numbers are. Times are microseconds, which Lua's doubles hold exactly until the year 2255; a number
/// goes away by itself once its key is as good as new.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local verb, interval, tolerance, now = unpack(ARGV)
        interval, tolerance, now = tonumber(interval), tonumber(tolerance), tonumber(now)
        if now < 0 then
            local time = redis.call('TIME')
            now = time[1] * 1000000 + time[2]
        end
        local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
        if verb == 'fresh' then
            return arrival - now
        end
        local early = arrival - tolerance - now
        if verb ~= 'count' and early > 0 then
            return early
        end
        if verb ~= 'check' then
            local after = math.min(arrival + interval, now + interval + tolerance)
            redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
        end
        return 0
        ",
    )
});

#[derive(Debug)]
pub(super) struct Limiter {
    name: &'static str,
    quota: Quota,
    clock: Clock,
    redis: Redis,
}

impl Limiter {
    pub(super) fn new(name: &'static str, quota: Quota, clock: Clock, redis: Redis) -> Self {
        Limiter { name, quota, clock, redis }
    }

    pub(super) async fn take(&self, key: &str) -> Result<Result<(), Wait>> {
        self.ask("take", key).await
    }

    pub(super) async fn check(&self, key: &str) -> Result<Result<(), Wait>> {
        self.ask("check", key).await
    }

    pub(super) async fn count(&self, key: &str) -> Result<()> {
        self.ask("count", key).await.map(drop)
    }

    pub(super) async fn is_fresh(&self, key: &str) -> Result<bool> {
        self.ask("fresh", key).await.map(|waits| waits.is_ok())
    }

    async fn ask(&self, verb: &str, key: &str) -> Result<Result<(), Wait>> {
        // A key may be somebody's address, which is nobody's business there.
        let key = self.redis.key(&format!("limit:{}:{}", self.name, &token_hash(key)[..32]));
        // The server's own clock, so that those of the processes don't matter. Tests move theirs.
        let now = if self.clock.is_system() { -1 } else { self.clock.now().as_microsecond() };
        let numbers = [self.quota.interval_micros(), self.quota.tolerance_micros(), now];
        let micros: i64 = self.redis.script(&SCRIPT, &[key], (verb, &numbers[..])).await?;
        Ok(match micros {
            ..=0 => Ok(()),
            early => Err(Wait(Duration::from_micros(early.unsigned_abs()))),
        })
    }
}
