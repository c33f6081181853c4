//! The admin worker: a process that has nothing but Redis and the admin database, and carries there what services send.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use super::lifecycle::told_to_stop;
use super::{database, log};
use crate::base::clock::Clock;
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, Result};
use crate::engine::courier::{Inbox, Message};
use crate::engine::relay::{self, Carried, Rhythm};
use crate::feature::{audit, metering};
use crate::store::db::Db;

const RHYTHM: Rhythm = Rhythm { poll: Duration::from_millis(100), gather: Duration::ZERO };

/// Carries the audit and the usage of all services of a Redis (`REDIS_URL`) to the admin database (`ADMIN_DB_URL`), until `told_to_stop` is ready.
/// Any number of workers share the work. Services send there where `ADMIN_WORKER_EMBEDDED` is false.
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
    let (stop, stopped) = watch::channel(false);
    tracing::info!("the admin worker carries audit and usage");
    let work = relay::run("the admin worker", RHYTHM, stopped, std::future::pending, || carry(&inbox, &admin));
    let told = async {
        told_to_stop.await;
        let _ = stop.send(true);
    };
    tokio::join!(work, told);
    admin.close().await;
    Ok(())
}

/// The same for a process of its own: until it is told to end (SIGTERM, or Ctrl-C), with its log on stdout.
///
/// # Errors
/// As [`run_admin_worker`].
pub async fn serve_admin_worker(config: &ServiceConfig, clock: &Clock) -> Result<()> {
    log::init(config)?;
    let told_to_stop = async {
        let reason = told_to_stop().await;
        tracing::info!("{reason}: finishing what is under way");
    };
    run_admin_worker(config, clock, told_to_stop).await
}

async fn carry(inbox: &Inbox, admin: &Db) -> Result<Carried> {
    let messages = inbox.take().await?;
    let mut failure = None;
    for message in &messages {
        // One that fails holds up no other; it is taken again.
        if let Err(error) = handle(inbox, admin, message).await {
            failure = Some(error);
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
