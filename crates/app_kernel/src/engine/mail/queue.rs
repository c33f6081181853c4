//! Mail beside the requests: who asks for one has an answer before anybody looks whether there is somebody to write to.
//!
//! What waits is in memory, and bounded. A worker writes and sends several at once; told to stop, it finishes what was asked for.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use super::{Mail, Mailer};
use crate::base::error::{Error, Result};

/// Mails that may wait to be sent. Behind a server that takes its time, who asks for more is asked to come back.
const LONGEST_QUEUE: usize = 1024;
/// When to come back after the queue was full.
const RETRY_AFTER_SECS: u32 = 10;
/// Mails that are sent at once: one slow delivery holds up no other.
const AT_ONCE: usize = 8;

/// Work that ends in a mail; in none where there is nobody to write to.
type Errand = BoxFuture<'static, Result<Option<Mail>>>;

/// Where mails are asked for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MailQueue {
    mailer: Mailer,
    errands: mpsc::Sender<Errand>,
    /// Until a worker takes it.
    waiting: Arc<Mutex<Option<mpsc::Receiver<Errand>>>>,
}

impl MailQueue {
    pub(crate) fn new(mailer: Mailer) -> Self {
        let (errands, waiting) = mpsc::channel(LONGEST_QUEUE);
        MailQueue { mailer, errands, waiting: Arc::new(Mutex::new(Some(waiting))) }
    }

    /// Whether mail can be sent at all.
    pub(crate) fn is_on(&self) -> bool {
        self.mailer.is_on()
    }

    /// Refuses where no mail can be sent.
    pub(crate) fn check_is_on(&self) -> Result<()> {
        if self.is_on() {
            return Ok(());
        }
        Err(Error::unavailable("this service sends no mail; its operator can set SMTP_URL").code("mail_off"))
    }

    /// Has a mail written and sent, beside the request. A failure is logged and told to nobody: the client has its answer.
    ///
    /// # Errors
    /// `Unavailable` where too many are waiting.
    pub(crate) fn post(&self, errand: impl Future<Output = Result<Option<Mail>>> + Send + 'static) -> Result<()> {
        self.errands.try_send(Box::pin(errand)).map_err(|_| {
            Error::unavailable("too much mail is waiting at this moment; try again a little later")
                .code("busy")
                .retry_after_secs(RETRY_AFTER_SECS)
        })
    }

    /// Sends mail until it is told to stop; then what was asked for before. One worker does; a second one has nothing to do.
    pub(crate) async fn deliver(self, mut stop: watch::Receiver<bool>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(mut waiting), mailer) = (waiting, self.mailer.clone()) else { return };
        // Ours would keep the queue open.
        drop(self);
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                errand = waiting.recv(), if under_way.len() < AT_ONCE => match errand {
                    Some(errand) => under_way.push(run(&mailer, errand)),
                    None => break,
                },
                _told = stop.wait_for(|stopped| *stopped), if !waiting.is_closed() => waiting.close(),
            }
        }
        while under_way.next().await.is_some() {}
    }
}

async fn run(mailer: &Mailer, errand: Errand) {
    let sent = async {
        match errand.await? {
            Some(mail) => mailer.send(mail).await,
            None => Ok(()),
        }
    };
    if let Err(error) = sent.await {
        tracing::error!("a mail could not be sent: {error:?}");
    }
}

impl fmt::Debug for MailQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailQueue").field("mailer", &self.mailer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mail::Outbox;

    fn mail(n: usize) -> Mail {
        Mail { to: format!("p{n}@example.com"), subject: "hello".to_owned(), text: "hello".to_owned() }
    }

    #[tokio::test]
    async fn what_was_asked_for_before_the_stop_is_sent_and_failures_hold_up_nobody() {
        let outbox = Outbox::default();
        let queue = MailQueue::new(Mailer::into_outbox(&outbox));
        for n in 0..30 {
            queue
                .post(async move {
                    match n % 3 {
                        0 => Ok(Some(mail(n))),
                        1 => Ok(None),
                        _ => Err(Error::internal("nobody could be looked up")),
                    }
                })
                .expect("there is room");
        }
        let (_told, stop) = watch::channel(true);
        queue.clone().deliver(stop.clone()).await;
        assert_eq!(outbox.mails().len(), 10);
        assert_eq!(queue.post(async { Ok(None) }).expect_err("it has stopped").error_code(), "busy");
        queue.deliver(stop).await;
    }

    #[tokio::test]
    async fn a_queue_is_bounded() {
        let queue = MailQueue::new(Mailer::off());
        assert_eq!(queue.check_is_on().expect_err("off").error_code(), "mail_off");
        let full = (0..).find_map(|n| queue.post(async { Ok(None) }).err().map(|error| (n, error)));
        let (count, error) = full.expect("it is full at last");
        assert_eq!((count, error.error_code(), error.retry_after()), (LONGEST_QUEUE, "busy", Some(10)));
    }
}
