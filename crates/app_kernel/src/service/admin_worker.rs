//! The admin worker: a process that has nothing but Redis and the admin database, and carries there what services send.

use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::lifecycle::told_to_stop;
use super::tasks::Tasks;
use super::{database, dev_servers, log, numbers, report, side_door};
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::engine::courier::{Inbox, Message};
use crate::engine::pulse::Pulse;
use crate::engine::relay::{self, AtTheEnd, Carried, Rhythm};
use crate::feature::{audit, metering};
use crate::kernel::Kernel;
use crate::store::db::Db;

/// What its numbers call it.
const ADMIN_WORKER: &str = "admin-worker";
/// How long its port may take to close.
const TO_CLOSE: Duration = Duration::from_secs(1);
const RHYTHM: Rhythm = Rhythm {
    soon: Duration::from_millis(100),
    seldom: Duration::from_millis(100),
    gather: Duration::ZERO,
    at_the_end: AtTheEnd::CarryTheRest,
};

/// Carries the audit and the usage of all services of a Redis (`REDIS_URL`) to the admin database (`ADMIN_DB_URL`), until `told_to_stop` is ready;
/// purges the audit there by `AUDIT_KEEP_DAYS`, where it is set. Any number of workers share the work. Services send there where `ADMIN_WORKER_EMBEDDED` is false.
///
/// # Errors
/// Where one of the two addresses is missing or can't be used; names the variable and the cure.
pub async fn run_admin_worker(
    config: &ServiceConfig,
    clock: &Clock,
    told_to_stop: impl Future<Output = ()>,
) -> Result<()> {
    let inbox = Inbox::from_config(config)?;
    let missing =
        || Error::invalid("ADMIN_DB_URL is not set; the admin worker needs it. Example: sqlite:///./data/admin.db");
    let url = config.admin_db_url.clone().or_else(|| config.effective_database_url()).ok_or_else(missing)?;
    let admin = database::open_admin_at(&url, config, clock).await.map_err(database::of_the_admin)?;
    let kernel = Kernel::new(config.clone(), clock.clone(), Some(admin.clone())).of_service(ADMIN_WORKER, None, None);
    numbers::of_the_kernel(&kernel, "");
    let beside = Tasks::start(side_door::open(&kernel).await?.into_iter().collect());
    let (stop, stopped) = watch::channel(false);
    let pulse = kernel.pulse("admin_worker");
    let work = async {
        tracing::info!("the admin worker carries audit and usage");
        relay::run(&pulse, RHYTHM, stopped.clone(), std::future::pending, || carry(&inbox, &admin, &pulse)).await;
    };
    let told = async {
        told_to_stop.await;
        kernel.drain();
        let _ = stop.send(true);
    };
    // Boxed: the compiler looks into all that a future waits for.
    let purge: BoxFuture<'_, ()> = match config.audit_keep_days {
        Some(days) => {
            let keeper = audit::Keeper::new(admin.clone(), None, days, kernel.pulse("audit_purge"));
            Box::pin(keeper.run(stopped.clone()))
        }
        None => Box::pin(std::future::ready(())),
    };
    let work: BoxFuture<'_, ()> = Box::pin(work);
    // It listens before it says that it is there: whoever reads that may stop it at once.
    tokio::join!(told, work, purge, report::each_minute(|| kernel.workers(), stopped.clone()));
    beside.stop(TO_CLOSE).await;
    admin.close().await;
    Ok(())
}

/// The same for a process of its own: until it is told to end (SIGTERM, or Ctrl-C), with its log on stdout.
///
/// # Errors
/// As [`run_admin_worker`].
pub async fn serve_admin_worker(config: &ServiceConfig, clock: &Clock) -> Result<()> {
    let _log = log::init(config)?;
    dev_servers::bring_up(config).await?;
    let told_to_stop = async {
        let reason = told_to_stop().await;
        tracing::info!("{reason}: finishing what is under way");
    };
    run_admin_worker(config, clock, told_to_stop).await
}

async fn carry(inbox: &Inbox, admin: &Db, pulse: &Pulse) -> Result<Carried> {
    let messages = inbox.take().await?;
    pulse.count_claimed(messages.len());
    match messages.iter().filter_map(Message::sent_at).min() {
        Some(oldest) => pulse.waits_since(oldest),
        None => pulse.has_none_waiting(),
    }
    let mut failure = None;
    for message in &messages {
        // One that fails holds up no other; it is taken again.
        let handled: BoxFuture<'_, Result<()>> = Box::pin(handle(inbox, admin, message));
        match handled.await {
            Ok(()) => pulse.count_processed(1),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(if messages.is_empty() { Carried::All } else { Carried::More }),
    }
}

async fn handle(inbox: &Inbox, admin: &Db, message: &Message) -> Result<()> {
    let answer = match message.kind.as_str() {
        audit::AUDIT => audit::receive(admin, &message.body).await?,
        metering::USAGE => metering::receive(admin, &message.body).await?,
        _ => None,
    };
    match answer {
        Some(answer) => inbox.answer(message, &answer).await,
        None => {
            // Its sender keeps what it is made of, if there is one.
            tracing::error!(length = message.body.len(), "a message that is none of ours was taken off the stream");
            inbox.reject(message).await
        }
    }
}
