//! From the processes of services to an admin worker that has nothing but Redis and the admin database: a stream, a group of workers that share
//! it, and an answer to each message.
//!
//! Redis is never the only home of a message: its sender keeps what it is made of until the answer says that the admin database has it, and
//! delivers again what is neither in the stream nor answered. So whatever Redis loses is sent again, and the receiver, which knows each
//! message's content by its ids, keeps out what comes twice. Only one copy of a message is in the stream at a time.

use std::sync::LazyLock;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::base::id::new_id;
use crate::base::secret::token_hash;
use crate::store::db::Db;
use crate::store::redis::{Redis, Script, command};

/// What the keys of all services start with: a worker serves them all.
const SHARED_NAME: &str = "app_kernel.admin";
/// How long a sender waits for an answer before it goes on with something else.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks for one.
const LOOK: Duration = Duration::from_millis(20);
/// After how many looks it makes sure that the message is still in the stream.
const LOOKS_PER_DELIVERY: u32 = 50;
/// Messages that a worker takes at once.
const AT_ONCE: usize = 16;
/// After what time another worker takes over what one has not answered, in milliseconds.
const TAKEN_OVER_AFTER_MS: usize = 15_000;
/// How long an answer waits for its sender, and how long Redis remembers where a message is, in seconds.
const REMEMBERED_SECS: usize = 600;

/// Adds a message to the stream unless it is there or answered; tells the answer.
static DELIVER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local stream, answer, place = unpack(KEYS)
        local token, kind, body, remembered = unpack(ARGV)
        local answered = redis.call('GET', answer)
        if answered then
            return answered
        end
        local id = redis.call('GET', place)
        if id and #redis.call('XRANGE', stream, id, id) > 0 then
            return ''
        end
        id = redis.call('XADD', stream, '*', 'token', token, 'kind', kind, 'body', body)
        redis.call('SET', place, id, 'EX', remembered)
        return ''
        ",
    )
});

/// Takes messages: those that another worker left first. Makes the group where it is gone.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local stream = KEYS[1]
        local worker, idle, most = unpack(ARGV)
        redis.pcall('XGROUP', 'CREATE', stream, 'admin', '0', 'MKSTREAM')
        local found = redis.call('XAUTOCLAIM', stream, 'admin', worker, idle, '0', 'COUNT', most)[2]
        if #found == 0 then
            local fresh = redis.call('XREADGROUP', 'GROUP', 'admin', worker, 'COUNT', most, 'STREAMS', stream, '>')
            found = fresh and fresh[1][2] or {}
        end
        local messages = {}
        for _, entry in ipairs(found) do
            local fields = { token = '', kind = '', body = '' }
            for i = 1, #(entry[2] or {}), 2 do
                fields[entry[2][i]] = entry[2][i + 1]
            end
            table.insert(messages, { entry[1], fields.token, fields.kind, fields.body })
        end
        return messages
        ",
    )
});

/// Answers a message and takes it off the stream, in one step.
static ANSWER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local stream, answer = unpack(KEYS)
        local id, text, remembered = unpack(ARGV)
        if text ~= '' then
            redis.call('SET', answer, text, 'EX', remembered)
        end
        redis.pcall('XACK', stream, 'admin', id)
        redis.call('XDEL', stream, id)
        return 0
        ",
    )
});

/// Where something is carried to.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    /// The admin database.
    Database(Db),
    /// A worker that has it.
    Worker(Courier),
}

impl Message {
    /// When it was sent, by Redis' clock, which its id begins with.
    pub(crate) fn sent_at(&self) -> Option<Timestamp> {
        let (millis, _) = self.id.split_once('-')?;
        Timestamp::from_millisecond(millis.parse().ok()?).ok()
    }
}

/// The sender's side.
#[derive(Debug, Clone)]
pub(crate) struct Courier(Redis);

/// The worker's side.
#[derive(Debug)]
pub(crate) struct Inbox {
    redis: Redis,
    worker: String,
}

/// A message that a worker has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    id: String,
    token: String,
    /// Whose it is to read.
    pub(crate) kind: String,
    pub(crate) body: String,
}

fn shared(config: &ServiceConfig) -> Result<Option<Redis>> {
    Redis::from_config(SHARED_NAME, config)
}

impl Courier {
    /// To the admin worker by `REDIS_URL`; none where it is not set.
    pub(crate) fn from_config(config: &ServiceConfig) -> Result<Option<Self>> {
        Ok(shared(config)?.map(Courier))
    }

    /// Delivers a message and waits for the answer: what it holds is in the admin database then.
    ///
    /// # Errors
    /// `Unavailable` where none came in ten seconds. Delivering the same again is no second message.
    pub(crate) async fn deliver(&self, kind: &str, body: &str) -> Result<String> {
        let token = &token_hash(&format!("{kind}\0{body}"))[..40];
        let [stream, answer, place] =
            ["events".to_owned(), format!("answer:{token}"), format!("place:{token}")].map(|key| self.0.key(&key));
        let looks = u32::try_from(PATIENCE.as_millis() / LOOK.as_millis()).unwrap_or(u32::MAX);
        for look in 0..looks {
            let answered: Option<String> = if look % LOOKS_PER_DELIVERY == 0 {
                let keys = [stream.clone(), answer.clone(), place.clone()];
                let remembered = REMEMBERED_SECS.to_string();
                self.0.script(&DELIVER, &keys, &[token, kind, body, &remembered][..]).await?
            } else {
                self.0.run(command("GET").arg(&answer)).await?
            };
            if let Some(answered) = answered.filter(|answered| !answered.is_empty()) {
                // It stays for a while: another process may have delivered the same.
                return Ok(answered);
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Error::unavailable(
            "no admin worker has answered; start one with `admin-worker`, or set ADMIN_WORKER_EMBEDDED=true",
        ))
    }
}

impl Inbox {
    /// Of `REDIS_URL`.
    ///
    /// # Errors
    /// Where it is not set or can't be used.
    pub(crate) fn from_config(config: &ServiceConfig) -> Result<Self> {
        let missing =
            || Error::invalid("REDIS_URL is not set; the admin worker needs it. Example: redis://localhost:6379");
        Ok(Inbox { redis: shared(config)?.ok_or_else(missing)?, worker: new_id() })
    }

    /// Takes some messages: none where there are none.
    pub(crate) async fn take(&self) -> Result<Vec<Message>> {
        let args = [self.worker.clone(), TAKEN_OVER_AFTER_MS.to_string(), AT_ONCE.to_string()];
        let found: Vec<(String, String, String, String)> =
            self.redis.script(&TAKE, &[self.redis.key("events")], &args[..]).await?;
        Ok(found.into_iter().map(|(id, token, kind, body)| Message { id, token, kind, body }).collect())
    }

    /// Answers a message once the admin database has it.
    pub(crate) async fn answer(&self, message: &Message, text: &str) -> Result<()> {
        self.finish(message, text).await
    }

    /// Takes what is no message of ours off the stream: nobody waits for an answer to it.
    pub(crate) async fn reject(&self, message: &Message) -> Result<()> {
        self.finish(message, "").await
    }

    async fn finish(&self, message: &Message, text: &str) -> Result<()> {
        let keys = [self.redis.key("events"), self.redis.key(&format!("answer:{}", message.token))];
        let remembered = REMEMBERED_SECS.to_string();
        self.redis.script::<i64>(&ANSWER, &keys, &[message.id.as_str(), text, &remembered][..]).await.map(drop)
    }
}
