//! Mail beside the request: who asks for one has an answer before anybody looks whether there is somebody to write to, and what was asked for
//! is not lost.
//!
//! - An errand is a job of the kernel's own, in a queue of its own, written in the transaction of what causes it. A worker beside the requests of
//!   every process writes and sends it, and tries again for some hours where the mail server does not take it.
//! - An errand is sealed under `JWT_SECRET`: the database, a copy of it, and whoever looks at jobs see neither addresses nor links.
//! - At least once: a process that is killed while it sends may have sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::watch;

use super::{Mail, Mailer};
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::metrics::Samples;
use crate::base::secret::Secret;
use crate::base::trace::Tracer;
use crate::base::vault::Vault;
use crate::engine::jobs::{Answer, Catalogue, Handler, JobError, Jobs, TaskOptions, Worker, WorkerOptions};
use crate::engine::pulse::Pulse;
use crate::store::db::Db;

/// The task, and its queue.
const TASK: &str = "kernel.mail";
/// What errands are sealed for.
const OWNER: &str = "mail";
/// How long an errand waits before it begins: by then, the answer is out. Work that began at once would make the time of the answer tell of it.
const BEGINS_AFTER: Duration = Duration::from_millis(50);
/// Mails that are sent at once: one slow delivery holds up no other.
const AT_ONCE: usize = 8;
/// How often a mail is tried, in all some hours: as long as a mail server may be away.
const MOST_TRIES: u32 = 12;
/// How long one try may take.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How long a worker that stops lets deliveries finish.
const DRAIN: Duration = Duration::from_secs(5);

/// Writes what was asked for as a letter; none where there is nobody to write to.
pub(crate) type Writer = Arc<dyn Fn(Json) -> BoxFuture<'static, Result<Option<Mail>>> + Send + Sync>;

/// What is asked for.
#[derive(Serialize, Deserialize)]
enum Errand {
    /// A mail as it is.
    Mail { to: String, subject: String, text: String },
    /// A letter that is written when it is sent.
    Letter(Json),
}

/// Where mails are asked for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MailQueue {
    mailer: Mailer,
    rows: Option<Rows>,
}

/// Where errands wait.
#[derive(Clone)]
struct Rows {
    jobs: Jobs,
    vault: Arc<Vault>,
}

impl MailQueue {
    /// Errands wait in this database. Without one, or without `JWT_SECRET`, nobody asks for any.
    pub(crate) fn new(mailer: Mailer, config: &ServiceConfig, clock: &Clock, db: Option<&Db>, tracer: &Tracer) -> Self {
        let secrets = config.signing_secrets();
        let rows = db.filter(|_| !secrets.is_empty()).map(|db| {
            let mut catalogue = Catalogue::default();
            let options = TaskOptions {
                max_attempts: MOST_TRIES,
                timeout: TIMEOUT,
                queue: TASK.to_owned(),
                ..TaskOptions::default()
            };
            catalogue.add::<String>(TASK, options).expect("a constant name");
            // What is sent is of no use to anybody any more.
            let jobs = Jobs::new(db.clone(), clock.clone(), catalogue, Duration::ZERO, tracer.clone());
            Rows { jobs, vault: Arc::new(Vault::new("mail", &secrets)) }
        });
        MailQueue { mailer, rows }
    }

    /// Tells how long mails took in this process, and what became of them.
    pub(crate) fn tell(&self, samples: &mut Samples) {
        if let Some(Rows { jobs, .. }) = &self.rows {
            jobs.tell_tries(samples);
        }
    }

    /// Whether mail can be sent at all.
    pub(crate) fn is_on(&self) -> bool {
        self.mailer.is_on() && self.rows.is_some()
    }

    /// Refuses where no mail can be sent.
    pub(crate) fn check_is_on(&self) -> Result<()> {
        if self.is_on() {
            return Ok(());
        }
        Err(Error::unavailable("this service sends no mail; its operator can set SMTP_URL").code("mail_off"))
    }

    /// Has a mail sent, beside the request, once the transaction of `db` is committed.
    ///
    /// # Errors
    /// Where mail is off, or the database does not take it.
    pub(crate) async fn post(&self, db: &Db, mail: Mail) -> Result<()> {
        let Mail { to, subject, text } = mail;
        self.enqueue(db, Errand::Mail { to, subject, text }).await
    }

    /// Has a letter written and sent, beside the request, once the transaction of `db` is committed: what this costs does not tell whether there
    /// is anybody to write to.
    ///
    /// # Errors
    /// As [`MailQueue::post`].
    pub(crate) async fn ask(&self, db: &Db, letter: impl Serialize) -> Result<()> {
        let letter =
            serde_json::to_value(letter).map_err(|cause| Error::internal("a letter is no JSON").cause(cause))?;
        self.enqueue(db, Errand::Letter(letter)).await
    }

    async fn enqueue(&self, db: &Db, errand: Errand) -> Result<()> {
        self.check_is_on()?;
        let Some(Rows { jobs, vault }) = &self.rows else { return Ok(()) };
        let errand =
            serde_json::to_vec(&errand).map_err(|cause| Error::internal("an errand is no JSON").cause(cause))?;
        let sealed = vault.seal(OWNER, &errand);
        jobs.on(db).enqueue(TASK, sealed.expose()).await.map(drop)
    }

    /// What sends mail beside the requests, where any can be sent.
    pub(crate) fn delivery(&self, write: Writer, config: &ServiceConfig, pulse: Pulse) -> Delivery {
        let (true, Some(Rows { jobs, vault })) = (self.is_on(), self.rows.clone()) else { return Delivery(None) };
        let mailer = self.mailer.clone();
        let send: Handler = Arc::new(move |sealed, _| {
            let (errand, mailer, write) = (open(&vault, &sealed), mailer.clone(), Arc::clone(&write));
            Box::pin(async move { run(&mailer, &write, errand?).await })
        });
        let handlers = BTreeMap::from([(TASK.to_owned(), send)]);
        let options = WorkerOptions {
            concurrency: AT_ONCE,
            lease: config.worker_lease,
            drain: DRAIN.min(config.shutdown_timeout / 2),
            tasks: None,
            queues: Some(vec![TASK.to_owned()]),
            poll: config.worker_poll,
        };
        Delivery(Some(Worker::new(&jobs, &handlers, options, pulse).expect("its one task is known")))
    }
}

/// Sends mail.
#[derive(Debug)]
pub(crate) struct Delivery(Option<Worker>);

impl Delivery {
    /// Sends until it is told to stop. What is left waits for another process, or the next start.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        if let Some(worker) = self.0 {
            worker.run(stop).await;
        }
    }
}

fn open(vault: &Vault, sealed: &Json) -> Result<Errand, JobError> {
    let sealed = Secret::new(sealed.as_str().unwrap_or_default());
    let errand = vault.open(OWNER, &sealed).and_then(|errand| serde_json::from_slice(&errand).ok());
    errand.ok_or_else(|| {
        JobError::discard("it can't be opened: JWT_SECRET was another one; keep the former in JWT_SECRET_PREVIOUS")
    })
}

async fn run(mailer: &Mailer, write: &Writer, errand: Errand) -> Answer {
    tokio::time::sleep(BEGINS_AFTER).await;
    let mail = match errand {
        Errand::Mail { to, subject, text } => Some(Mail { to, subject, text }),
        Errand::Letter(letter) => write(letter).await?,
    };
    let Some(mail) = mail else { return Ok(Json::Null) };
    mailer.send(mail).await.map_err(|error| match error.kind() {
        // An address that can't be one will not become one.
        ErrorKind::Invalid => JobError::Discard(error),
        _ => JobError::Retry(error),
    })?;
    Ok(Json::Null)
}

impl fmt::Debug for MailQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailQueue").field("mailer", &self.mailer).finish_non_exhaustive()
    }
}
