//! Mail in tests: kept in memory, and read there.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

use super::Mail;

/// Keeps what was sent. Cheap to clone; all clones are one outbox.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Kept>);

#[derive(Debug, Default)]
struct Kept {
    mails: RwLock<Vec<Mail>>,
    came: Notify,
}

impl Outbox {
    /// All that was sent so far, the oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.0.mails.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the oldest mail to this address out; waits until there is one.
    pub async fn take(&self, to: &str) -> Mail {
        loop {
            let came = self.0.came.notified();
            let mut came = std::pin::pin!(came);
            came.as_mut().enable();
            if let Some(mail) = self.take_now(to) {
                return mail;
            }
            came.await;
        }
    }

    /// Takes the oldest mail to this address out, if there is one.
    #[must_use]
    pub fn take_now(&self, to: &str) -> Option<Mail> {
        let mut mails = self.0.mails.write().unwrap_or_else(PoisonError::into_inner);
        let at = mails.iter().position(|mail| mail.to == to)?;
        Some(mails.remove(at))
    }

    pub(super) fn put(&self, mail: Mail) {
        self.0.mails.write().unwrap_or_else(PoisonError::into_inner).push(mail);
        self.0.came.notify_waiters();
    }
}
