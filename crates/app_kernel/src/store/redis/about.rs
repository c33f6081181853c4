//! What a server tells of itself, for people who look at an environment. Asked beside the breaker: who asks wants to know why not.

use redis::ErrorKind;

use super::Redis;
use super::command;
use super::connect::Failure;
use crate::base::error::{Error, Result};

/// What a server tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its version.
    pub version: String,
    /// What it forgets when its memory is full: `noeviction`, `allkeys-lru` and the like.
    pub policy: String,
    /// Whether that may be a key without an end, and its memory has a limit.
    pub forgets_anything: bool,
}

impl Redis {
    /// Asks it what it is.
    ///
    /// # Errors
    /// Where it does not answer, or refuses; names the variable, the cause and the cure.
    pub async fn about(&self) -> Result<About> {
        let info: String =
            self.0.connector.run(&command("INFO")).await.map_err(|failure| explain(self.place(), &failure))?;
        Ok(About::read(&info))
    }
}

impl About {
    fn read(info: &str) -> Self {
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).unwrap_or_default().to_owned()
        };
        let policy = value("maxmemory_policy");
        let has_limit = !matches!(value("maxmemory").as_str(), "" | "0");
        let forgets_anything = has_limit && policy.starts_with("allkeys");
        About { version: value("redis_version"), policy, forgets_anything }
    }
}

fn explain(place: &str, failure: &Failure) -> Error {
    let unreachable =
        |cause: String, cure: &str| Error::unavailable(format!("REDIS_URL: cannot reach {place}: {cause}; {cure}"));
    match failure {
        Failure::TooLate(patience) => unreachable(
            format!("no answer within {} ms", patience.as_millis()),
            "look whether it hangs, correct the host and port, or look at the firewall",
        ),
        Failure::Redis(error) if error.kind() == ErrorKind::AuthenticationFailed || failure.is_an_answer() => {
            let what = error.detail().map_or_else(|| error.to_string(), str::to_owned);
            Error::invalid(format!(
                "REDIS_URL: {place} refuses: {what}; correct the user or the password, percent-encoded"
            ))
        }
        Failure::Redis(error) if error.is_connection_refusal() => {
            unreachable("nothing listens there".to_owned(), "start it, or correct the host and port")
        }
        Failure::Redis(error) => {
            unreachable(error.to_string(), "correct the address; rediss:// is for servers with TLS")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_with_a_limit_forgets() {
        let read = |limit: &str, policy: &str| {
            About::read(&format!(
                "# Server\r\nredis_version:7.0.15\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n"
            ))
        };
        assert_eq!(
            read("1048576", "allkeys-lru"),
            About { version: "7.0.15".to_owned(), policy: "allkeys-lru".to_owned(), forgets_anything: true }
        );
        assert!(!read("0", "allkeys-lru").forgets_anything);
        assert!(!read("1048576", "volatile-ttl").forgets_anything);
    }
}
