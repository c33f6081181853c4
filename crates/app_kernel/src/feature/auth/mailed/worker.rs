//! Does what mails need, beside the requests: looks up who is written to, makes the link, writes and sends.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use super::store::{self, Purpose};
use crate::base::caller::Caller;
use crate::base::error::Result;
use crate::engine::mail::Mail;
use crate::feature::auth::Auth;
use crate::feature::auth::model::EmailAddress;
use crate::feature::auth::store::{User, user_of_address};
use crate::store::db::row::Saved;

/// Mails that are sent at once: one slow delivery holds up no other.
const AT_ONCE: usize = 8;

/// One mail that somebody asked for.
pub(crate) enum Errand {
    Verify { caller: Caller, user_id: String },
    ResetPassword { caller: Caller, address: EmailAddress },
    Notify { to: String, notice: Notice },
}

/// Something that has happened to an account, of which its owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    PasswordChanged,
    SecondFactorAdded,
    SecondFactorRemoved,
    WayInAdded,
    WayInRemoved,
}

impl Auth {
    /// Sends mail until it is told to stop; then what was asked for before.
    pub(in crate::feature::auth) async fn deliver(
        &self,
        mut errands: mpsc::Receiver<Errand>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                errand = errands.recv(), if under_way.len() < AT_ONCE => match errand {
                    Some(errand) => under_way.push(self.run(errand)),
                    None => break,
                },
                _told = stop.wait_for(|stopped| *stopped), if !errands.is_closed() => errands.close(),
            }
        }
        while under_way.next().await.is_some() {}
    }

    /// A failure is logged and told to nobody: the client has its answer.
    async fn run(&self, errand: Errand) {
        let sent = async {
            if let Some(mail) = self.write(&errand).await? {
                self.post.mailer.send(mail).await?;
            }
            Ok::<_, crate::base::error::Error>(())
        };
        if let Err(error) = sent.await {
            tracing::error!("a mail could not be sent: {error:?}");
        }
    }

    /// The mail of an errand; none where there is nobody to write to.
    async fn write(&self, errand: &Errand) -> Result<Option<Mail>> {
        let letters = &self.post.letters;
        match errand {
            Errand::Verify { caller, user_id } => {
                let user = self.db.get::<User>(user_id).await?.filter(|user| user.is_active);
                let Some(user) = user else { return Ok(None) };
                let token = self.issue(caller, &user, Purpose::VerifyEmail).await?;
                Ok(Some(letters.verify(&user.email, &token)))
            }
            Errand::ResetPassword { caller, address } => {
                let user = user_of_address(&self.db, address).await?.filter(|user| user.is_active);
                let Some(user) = user else { return Ok(None) };
                let token = self.issue(caller, &user, Purpose::ResetPassword).await?;
                Ok(Some(letters.reset_password(&user.email, &token)))
            }
            Errand::Notify { to, notice } => Ok(Some(letters.notice(to, *notice))),
        }
    }

    async fn issue(&self, caller: &Caller, user: &Saved<User>, purpose: Purpose) -> Result<String> {
        store::issue(&self.db.with_caller(caller.clone()), user, purpose, self.clock.now()).await
    }
}
