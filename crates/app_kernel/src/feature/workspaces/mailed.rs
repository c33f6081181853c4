//! Invitations by mail. Nothing that somebody typed stands in them, neither a name nor a word, so nobody can write to strangers through us.

use std::time::Duration;

use crate::engine::mail::{Mail, MailQueue};
use crate::engine::rate_limit::{Limiter, Quota};
use crate::kernel::Kernel;
use crate::store::db::Db;

/// Invitations to one address, whoever invites: somebody may be wanted in several places, but not every minute.
const TO_ADDRESS: Quota = Quota { burst: 5, period: Duration::from_secs(3600) };
/// Invitations that one person sends: a department on its first day.
const BY_INVITER: Quota = Quota { burst: 100, period: Duration::from_secs(3600) };

/// Sends invitations. One for a service.
pub(super) struct Post {
    queue: MailQueue,
    public_url: String,
    to_address: Limiter,
    by_inviter: Limiter,
}

impl Post {
    pub(super) fn new(kernel: &Kernel) -> Self {
        let limiter = |name, quota| Limiter::new(name, quota, kernel.clock(), kernel.redis());
        Post {
            queue: kernel.mail_queue().clone(),
            public_url: kernel.config().effective_public_url(),
            to_address: limiter("invite.address", TO_ADDRESS),
            by_inviter: limiter("invite.inviter", BY_INVITER),
        }
    }

    /// Sends somebody the token of an invitation. Whether it is on its way: not where mail is off, or where there was too much of it.
    pub(super) async fn invite(&self, db: &Db, inviter_id: &str, to: &str, email_key: &str, token: &str) -> bool {
        if !self.queue.is_on() {
            return false;
        }
        if self.by_inviter.take(inviter_id).await.is_err() || self.to_address.take(email_key).await.is_err() {
            tracing::info!(user_id = inviter_id, "an invitation was not mailed: too many of them");
            return false;
        }
        let posted = self.queue.post(db, invitation(&self.public_url, to, token)).await;
        posted.inspect_err(|error| tracing::warn!("an invitation was not mailed: {error}")).is_ok()
    }
}

fn invitation(public_url: &str, to: &str, token: &str) -> Mail {
    // What people know the service by: the address without its scheme.
    let service = public_url.split_once("://").map_or(public_url, |(_, place)| place);
    let text = format!(
        "You are invited to a workspace at {service}. Join it here:\n\n{public_url}/join?token={token}\n\n\
         The link is good once, for seven days, and only for this address. If you don't know who may have invited you, ignore this mail:\n\
         without the link, nothing happens.\n"
    );
    Mail { to: to.to_owned(), subject: format!("An invitation to {service}"), text }
}
