//! Servers for development: where an address leads to this machine and nothing listens there, Docker starts what it names, with port,
//! user, password and database of the address. Containers and their data stay for the next time.
//!
//! Never in production, never with `DEV_AUTOSTART=false`, and never for another machine. Without Docker, what follows is what would have
//! followed anyhow, with a line about how to get a server.

mod docker;
mod model;

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use self::model::{Kind, Wanted, wanted};
use crate::base::config::ServiceConfig;
use crate::base::error::{Error, ErrorKind, Result};
use crate::store::db::{Db, DbOptions, Options};
use crate::store::redis::{Redis, RedisOptions};

/// How long this machine may take to say whether anything listens.
const LOOK: Duration = Duration::from_secs(1);
/// How long a server may take to be ready: a new database is made first.
const STARTING: Duration = Duration::from_secs(180);
/// How often it is asked whether it is.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(250);
/// How often it is looked whether its container still runs.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);
/// After how long without news a person is told what is waited for.
const BETWEEN_WORDS: Duration = Duration::from_secs(10);

/// Starts what the configuration wants on this machine and what is not there. Promises S1 to S3.
///
/// # Errors
/// Where Docker is there and can't start it, or has another server under its name; names the variable and the cure.
pub(super) async fn bring_up(config: &ServiceConfig) -> Result<()> {
    if config.production || !config.dev_autostart {
        return Ok(());
    }
    for wanted in wanted(config) {
        if !listens(&wanted).await {
            bring_up_one(&wanted).await?;
        }
    }
    Ok(())
}

async fn listens(wanted: &Wanted) -> bool {
    matches!(timeout(LOOK, TcpStream::connect(wanted.place())).await, Ok(Ok(_)))
}

async fn bring_up_one(wanted: &Wanted) -> Result<()> {
    let (name, place, container) = (wanted.kind.name(), wanted.place(), wanted.kind.container());
    if let Err(because) = docker::is_there().await {
        tracing::warn!(
            target: "app_kernel::dev_servers",
            "nothing listens at {place} of {}, and {because}: start Docker, which brings {name} by itself, or {name}", wanted.variable
        );
        return Ok(());
    }
    match docker::look(container).await? {
        Some(found) => {
            wanted.check(&found)?;
            if !found.is_running {
                tell(&format!("starting {name}: the container {container}"));
                docker::start(container).await?;
            }
        }
        None => {
            // What the image can't be told is said before anything is fetched.
            wanted.environment()?;
            let image = wanted.kind.image();
            tell(&format!(
                "starting {name}: the new container {container} of {image}, which is fetched the first time"
            ));
            waiting(&format!("Docker makes {container}"), docker::make(wanted)).await?;
        }
    }
    waiting(&format!("{name} is starting"), until_ready(wanted)).await?;
    tell(&format!("✓ {name} started at {place}"));
    Ok(())
}

fn tell(line: &str) {
    tracing::info!(target: "app_kernel::dev_servers", "{line}");
}

/// Says from time to time what is waited for.
async fn waiting<T>(what: &str, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        match timeout(BETWEEN_WORDS, &mut work).await {
            Ok(done) => return done,
            Err(_) => tell(&format!("{what} … {} s", began.elapsed().as_secs())),
        }
    }
}

async fn until_ready(wanted: &Wanted) -> Result<()> {
    let container = wanted.kind.container();
    let (deadline, mut looked) = (Instant::now() + STARTING, Instant::now());
    while !answers(wanted).await {
        if Instant::now() > deadline {
            let (name, secs) = (wanted.kind.name(), STARTING.as_secs());
            return Err(Error::unavailable(format!(
                "{}: {name} in the container {container} is not ready after {secs} s; see `docker logs {container}`",
                wanted.variable
            )));
        }
        if looked.elapsed() > BETWEEN_LOOKS {
            looked = Instant::now();
            if !docker::look(container).await?.is_some_and(|found| found.is_running) {
                return Err(docker::ended(container).await);
            }
        }
        sleep(BETWEEN_QUESTIONS).await;
    }
    Ok(())
}

/// By its own protocol: Docker listens at a container's ports before the server in it does.
async fn answers(wanted: &Wanted) -> bool {
    match wanted.kind {
        Kind::Postgres | Kind::MySql => {
            let driver = Options { pool_size: Some(1), connect_timeout: BETWEEN_LOOKS, ..Options::default() };
            match Db::open(&wanted.url, &[], DbOptions { driver, ..DbOptions::default() }).await {
                Ok(db) => {
                    db.close().await;
                    true
                }
                // A refusal is an answer. Whoever opens it next says it better.
                Err(error) => error.kind() != ErrorKind::Unavailable,
            }
        }
        Kind::Redis => match Redis::new(&wanted.url, "dev", RedisOptions::default()) {
            Ok(redis) => redis.ping().await.is_ok(),
            Err(_) => true,
        },
    }
}
