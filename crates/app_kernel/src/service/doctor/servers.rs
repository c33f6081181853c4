//! Servers beside the database: Redis and the one that sends mail.

use super::Finding;
use crate::base::config::ServiceConfig;
use crate::engine::mail::Mailer;
use crate::store::redis::Redis;

/// Redis: whether it answers, what it is, and what it does when it is full.
pub(super) async fn redis(config: &ServiceConfig) -> Vec<Finding> {
    const NAME: &str = "redis";
    let redis = match Redis::from_config("doctor", config) {
        Ok(Some(redis)) => redis,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![Finding::of(NAME, &error)],
    };
    let about = match redis.about().await {
        Ok(about) => about,
        // A service starts without, but somebody wanted it.
        Err(error) => return vec![Finding::of(NAME, &error)],
    };
    let mut findings = vec![Finding::ok(NAME, format!("answers: Redis {}", about.version))];
    if about.forgets_anything {
        findings.push(Finding::warn(
            NAME,
            format!(
                "when its memory is full, it forgets any key (maxmemory-policy {}), limits that are in force too",
                about.policy
            ),
            "set maxmemory-policy to noeviction or volatile-ttl",
        ));
    }
    findings
}

/// The server that sends mail: whether it lets us in. No mail is sent.
pub(super) async fn mail(config: &ServiceConfig) -> Vec<Finding> {
    const NAME: &str = "mail";
    let checked = match Mailer::from_config(config) {
        Ok(mailer) => mailer.check().await.map(|()| mailer),
        Err(error) => Err(error),
    };
    vec![match checked {
        Ok(mailer) if mailer.is_on() => Finding::ok(NAME, mailer.describe()),
        Ok(mailer) => Finding::warn(
            NAME,
            mailer.describe(),
            "set it and MAIL_FROM; without, addresses are not confirmed and lost passwords stay lost",
        ),
        Err(error) => Finding::of(NAME, &error),
    }]
}
