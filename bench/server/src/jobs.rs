//! Jobs that do nothing: how many are enqueued, and how many run to their end, in a second.

use std::time::{Duration, Instant};

use app_kernel::feature::jobs::JobState;
use app_kernel::prelude::*;

/// Enqueued with one call.
const AT_ONCE: usize = 500;
/// Callers that enqueue at once.
const CALLERS: usize = 4;
/// Between two looks whether all are done.
const LOOK: Duration = Duration::from_millis(5);

/// Does nothing.
#[task]
pub(crate) async fn do_nothing(_number: usize) -> Result<()> {
    Ok(())
}

/// How many jobs the command line asks for: `jobs 50000`.
pub(crate) fn wanted_jobs() -> Option<usize> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != "jobs" {
        return None;
    }
    Some(arguments.next().and_then(|jobs| jobs.parse().ok()).unwrap_or(50_000))
}

/// Enqueues them all; then lets one worker run them. Prints one line of JSON.
#[tokio::main]
pub(crate) async fn run(service: impl Fn(ServiceConfig) -> Service, config: ServiceConfig, count: usize) -> Result<()> {
    let config = ServiceConfig { port: 0, ..config };
    let idle = service(ServiceConfig { worker_embedded: false, ..config.clone() }).start().await?.serve().await?;
    let jobs = idle.kernel().jobs()?;
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let jobs = jobs.clone();
            tokio::spawn(async move {
                for first in (caller * AT_ONCE..count).step_by(CALLERS * AT_ONCE) {
                    jobs.enqueue_many(do_nothing, first..(first + AT_ONCE).min(count)).await?;
                }
                Ok::<(), Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await.or_internal("enqueuing")??;
    }
    let enqueued = began.elapsed();

    let busy = service(ServiceConfig { worker_embedded: true, ..config }).start().await?;
    let began = Instant::now();
    let busy = busy.serve().await?;
    // What the worker tells of itself costs the database nothing.
    let processed =
        || busy.kernel().workers().iter().find(|worker| worker.name == "jobs").map(|worker| worker.processed);
    while processed().is_none_or(|processed| processed < count as u64) {
        tokio::time::sleep(LOOK).await;
    }
    let took = began.elapsed();

    let counts = jobs.counts().await?;
    let done: i64 =
        counts.iter().filter(|(_, state, _)| *state == JobState::Succeeded).map(|(_, _, count)| count).sum();
    if done < count as i64 {
        return Err(Error::internal(format!("{done} of {count} jobs have succeeded")));
    }
    let rate = |time: Duration| count as f64 / time.as_secs_f64();
    println!("{}", serde_json::json!({ "enqueued": rate(enqueued), "processed": rate(took) }));
    busy.stop().await;
    idle.stop().await;
    Ok(())
}
