//! The form that processes share: for each key a list of moments in Redis, changed by a script that nothing comes between.

use std::sync::LazyLock;

use super::{Standing, Subject, Window};
use crate::base::clock::Clock;
use crate::base::error::Result;
use crate::base::secret::token_hash;
use crate::store::redis::{Redis, Script};

/// What `memory.rs` does. Times are microseconds, which Lua's doubles hold exactly until the year 2255; a list goes away by itself once all of it
/// is over. Few moments are dropped in one go, so that a long list, back after a pause, keeps nobody waiting: one is enough for the next.
static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local most, window, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
        if now < 0 then
            local time = redis.call('TIME')
            now = time[1] * 1000000 + time[2]
        end
        local count = redis.call('LLEN', KEYS[1])
        for _ = 1, 128 do
            local oldest = count > 0 and tonumber(redis.call('LINDEX', KEYS[1], 0))
            if not oldest or oldest > now - window then
                break
            end
            redis.call('LPOP', KEYS[1])
            count = count - 1
        end
        if count >= most then
            local first = tonumber(redis.call('LINDEX', KEYS[1], count - most))
            return {0, count, string.format('%.0f', first), string.format('%.0f', now)}
        end
        redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
        redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
        local first = redis.call('LINDEX', KEYS[1], 0)
        return {1, count + 1, first, string.format('%.0f', now)}
        ",
    )
});

#[derive(Debug)]
pub(super) struct Moments {
    clock: Clock,
    redis: Redis,
}

impl Moments {
    pub(super) fn new(clock: Clock, redis: Redis) -> Self {
        Moments { clock, redis }
    }

    pub(super) async fn take(&self, limit: &str, who: Subject<'_>, window: Window) -> Result<Standing> {
        // A key may be somebody's address, which is nobody's business there.
        let who = match who {
            Subject::ApiKey(id) => format!("{limit} key {id}"),
            Subject::User(id) => format!("{limit} user {id}"),
            Subject::Address(address) => format!("{limit} address {address}"),
        };
        let key = self.redis.key(&format!("requests:{}", &token_hash(&who)[..32]));
        // The server's own clock, so that those of the processes don't matter. Tests move theirs.
        let now = if self.clock.is_system() { -1 } else { self.clock.now().as_microsecond() };
        let numbers = [i64::from(window.most), window.micros(), now];
        let (admitted, count, first, now): (u8, usize, i64, i64) =
            self.redis.script(&SCRIPT, &[key], &numbers[..]).await?;
        Ok(window.standing(admitted == 1, count, first, now))
    }
}
