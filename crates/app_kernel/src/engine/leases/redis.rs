//! The form that processes share: for each holder a sorted set of leases by their ends, changed by a script that nothing comes between.

use std::sync::LazyLock;

use super::LENGTH;
use crate::base::clock::Clock;
use crate::base::error::Result;
use crate::base::secret::token_hash;
use crate::store::redis::{Redis, Script};

/// Times are milliseconds. A set goes away by itself once all that is in it has run out.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local verb, lease, most, length, now = unpack(ARGV)
        most, length, now = tonumber(most), tonumber(length), tonumber(now)
        if verb == 'give back' then
            return redis.call('ZREM', KEYS[1], lease)
        end
        if now < 0 then
            local time = redis.call('TIME')
            now = time[1] * 1000 + math.floor(time[2] / 1000)
        end
        if verb == 'take' then
            redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
            if redis.call('ZCARD', KEYS[1]) >= most then
                return 0
            end
        end
        redis.call('ZADD', KEYS[1], string.format('%.0f', now + length), lease)
        redis.call('PEXPIRE', KEYS[1], length)
        return 1
        ",
    )
});

#[derive(Debug, Clone)]
pub(super) struct Shared {
    name: &'static str,
    clock: Clock,
    redis: Redis,
}

impl Shared {
    pub(super) fn new(name: &'static str, clock: Clock, redis: Redis) -> Self {
        Shared { name, clock, redis }
    }

    /// Whether there was one left.
    pub(super) async fn take(&self, who: &str, lease: &str, most: u32) -> Result<bool> {
        Ok(self.ask("take", who, lease, most).await? == 1)
    }

    pub(super) async fn renew(&self, who: &str, lease: &str) -> Result<()> {
        self.ask("renew", who, lease, 0).await.map(drop)
    }

    pub(super) async fn give_back(&self, who: &str, lease: &str) -> Result<()> {
        self.ask("give back", who, lease, 0).await.map(drop)
    }

    async fn ask(&self, verb: &str, who: &str, lease: &str, most: u32) -> Result<i64> {
        // A holder may be somebody's address, which is nobody's business there.
        let key = self.redis.key(&format!("leases:{}:{}", self.name, &token_hash(who)[..32]));
        // The server's own clock, so that those of the processes don't matter. Tests move theirs.
        let now = if self.clock.is_system() { -1 } else { self.clock.now().as_millisecond() };
        let numbers = [i64::from(most), i64::try_from(LENGTH.as_millis()).unwrap_or(i64::MAX), now];
        self.redis.script(&SCRIPT, &[key], (verb, lease, &numbers[..])).await
    }
}
