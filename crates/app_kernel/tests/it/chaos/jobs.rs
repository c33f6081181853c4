//! Jobs in the face of kills: of workers, of the database, of a process by its own task; and of workers that are stopped for a while, or
//! replaced by others.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::time::{Duration, Instant};

use app_kernel::base::secret::Secret;
use app_kernel::feature::jobs::{Job, JobState};
use app_kernel::feature::metering::{get_usage, track_usage};
use app_kernel::prelude::*;
use app_kernel::service::WorkerShare;
use app_kernel::store::db::Backend;
use app_kernel::store::redis::{Redis, RedisOptions};
use app_kernel::testing::{TestDatabase, on_every_database};

use super::moment;
use super::victim::{Victim, Work};
use crate::support::redis_server::RedisServer;
use crate::support::servers::Servers;
use crate::support::{Dice, figure, scale, seed};

on_every_database!(
    jobs_survive_workers_that_are_killed,
    jobs_survive_a_redis_that_is_killed,
    a_task_that_takes_its_process_down_comes_to_its_last_try,
    a_process_in_the_role_worker_runs_its_tasks_and_no_others,
    a_long_job_of_a_healthy_worker_is_run_once,
    a_worker_that_was_stopped_past_its_lease_overwrites_nothing,
    rolling_restarts_lose_nothing_and_fail_nothing,
);

/// Workers at once.
const WORKERS: usize = 3;
/// Jobs that a worker runs at once.
const CONCURRENCY: usize = 8;
/// Short, so that what a killed worker had is soon taken back; long enough for a busy machine to renew it in time.
const LEASE: Duration = Duration::from_secs(5);
/// Where nothing is killed, nothing must be taken back.
const LONG_LEASE: Duration = Duration::from_secs(60);
/// How long the rest may take once there are no more faults.
const PATIENCE: Duration = Duration::from_secs(120);

/// A try that began.
#[derive(Debug, Clone, Entity)]
#[entity(table = "tries")]
struct Try {
    #[entity(index)]
    job_id: String,
    attempt: i64,
}

async fn note_try(ctx: &JobContext) -> Result<()> {
    ctx.db.save(Try { job_id: ctx.job_id.clone(), attempt: ctx.attempt.into() }).await.map(drop)
}

/// Takes so many milliseconds.
#[task(max_attempts = 50, backoff = "100ms")]
async fn work_for(millis: u64, ctx: JobContext) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    track_usage(ctx.kernel()).count("tries", 1).record()?;
    note_try(&ctx).await
}

/// Takes the process down with it.
#[task(max_attempts = 3)]
async fn abort(_payload: (), ctx: JobContext) -> Result<()> {
    note_try(&ctx).await?;
    std::process::abort();
}

/// Takes until its lease has been renewed so often.
#[task(max_attempts = 3, timeout = "5m")]
async fn outlast_leases(renewals: usize, ctx: JobContext) -> Result<()> {
    note_try(&ctx).await?;
    let mut leases = std::collections::BTreeSet::new();
    while leases.len() <= renewals {
        let job = ctx.db.get::<Job>(&ctx.job_id).await?.or_not_found("job")?;
        leases.insert(job.due_at);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn service(url: &Secret, home: &FilePath, lease: Duration, worker_embedded: bool) -> Service {
    let config = ServiceConfig {
        port: 0,
        database_url: Some(url.clone()),
        backup_enabled: false,
        // Each process has its own, as if on a machine of its own.
        data_dir: home.join(app_kernel::base::id::new_id()).display().to_string(),
        worker_embedded,
        worker_concurrency: CONCURRENCY,
        worker_lease: lease,
        ..ServiceConfig::default()
    };
    Service::new("chaos_jobs", config).entity::<Try>().task(work_for).task(abort).task(outlast_leases)
}

/// What a victim does: runs jobs until SIGTERM.
pub(super) async fn work(lease: &str, url: &Secret, home: &FilePath, ready: impl Fn()) {
    use tokio::signal::unix::{SignalKind, signal};
    let lease = Duration::from_secs(lease.parse().expect("a number of seconds"));
    let mut term = signal(SignalKind::terminate()).expect("signals");
    let running = loop {
        // The database may be away just now.
        match service(url, home, lease, true).start().await {
            Ok(started) => break started.serve().await.expect("a free port"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    ready();
    term.recv().await;
    running.stop().await;
}

/// What a victim does in the role `worker`.
pub(super) async fn work_apart(task: &str, url: &Secret, home: &FilePath) {
    let share = WorkerShare { tasks: Some(vec![task.to_owned()]), ..WorkerShare::default() };
    let started = service(url, home, LONG_LEASE, true).start().await.expect("the service starts");
    started.work(share).await.expect("it works");
}

/// The kernel of a process that only enqueues and looks.
async fn onlooker(url: &Secret, home: &FilePath) -> Kernel {
    let running =
        service(url, home, LEASE, false).start().await.expect("the service starts").serve().await.expect("a free port");
    let kernel = running.kernel().clone();
    // It lives as long as the test.
    std::mem::forget(running);
    kernel
}

fn worker(url: &Secret, home: &FilePath) -> Victim {
    worker_with(LEASE, url, home)
}

fn worker_with(lease: Duration, url: &Secret, home: &FilePath) -> Victim {
    let victim = Victim::start(&Work::Jobs(lease), url, home);
    assert_eq!(victim.hear(), "ready");
    victim
}

/// Waits until something holds.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} does not come true");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How many jobs are in each state.
async fn states(jobs: &Jobs) -> BTreeMap<JobState, i64> {
    // Away is away: ask again.
    let counts = jobs.counts().await.unwrap_or_default();
    counts.into_iter().map(|(_, state, count)| (state, count)).collect()
}

async fn all_succeeded(jobs: &Jobs, count: usize) -> bool {
    states(jobs).await == BTreeMap::from([(JobState::Succeeded, count as i64)])
}

/// Tries that ended, and how many jobs they were of.
async fn tries(db: &Db) -> (usize, usize) {
    let sql = "SELECT COUNT(*) AS [tries], COUNT(DISTINCT [job_id]) AS [jobs] FROM [tries]";
    let row = db.query(sql, ()).await.expect("an answer").remove(0);
    let number = |name: &str| row[name].as_int().expect("a number") as usize;
    (number("tries"), number("jobs"))
}

/// Promise: R-01
async fn jobs_survive_workers_that_are_killed(database: TestDatabase) {
    let (count, kills, seed) = (figure(400, 20_000), figure(6, 200), seed());
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let kernel = onlooker(url, home.path()).await;
    let (jobs, db) = (kernel.jobs().expect("jobs"), kernel.db().expect("a database"));
    jobs.enqueue_many(work_for, (0..count).map(|n| n as u64 % 40)).await.expect("enqueued");
    let mut dice = Dice::new(seed);
    let mut workers: Vec<Victim> = (0..WORKERS).map(|_| worker(url, home.path())).collect();
    for _ in 0..kills {
        let unlucky = workers.swap_remove(dice.below(WORKERS));
        tokio::time::sleep(moment(&mut dice, Duration::from_millis(60))).await;
        unlucky.kill();
        workers.push(worker(url, home.path()));
    }
    until("all jobs have succeeded", || all_succeeded(&jobs, count)).await;
    let (runs, distinct) = tries(&db).await;
    assert_eq!(distinct, count, "jobs that were run");
    let in_flight = kills * CONCURRENCY;
    assert!(
        runs - count <= in_flight,
        "{runs} runs of {count} jobs, though {in_flight} at most were in flight at kills"
    );
    println!("R-01 held: {count} jobs, {kills} × kill -9 of workers, {distinct} completed, {runs} runs, seed {seed}");
    db.close().await;
}

/// Promise: R-01
async fn jobs_survive_a_redis_that_is_killed(database: TestDatabase) {
    let Some(mut redis) = RedisServer::start() else { return };
    let (rounds, at_once, seed) = (figure(2, 20), 20, seed());
    let (url, redis_url) = (database.url().clone(), redis.redis().url().clone());
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let mut processes = Vec::new();
    for worker_embedded in [false, true, true] {
        let with = service(&url, home.path(), LONG_LEASE, worker_embedded);
        let redis = Redis::new(&redis_url, "chaos_jobs", RedisOptions::default()).expect("an address");
        processes.push(with.redis(redis).start().await.expect("it starts").serve().await.expect("a free port"));
    }
    let jobs = processes[0].kernel().jobs().expect("jobs");
    let (mut dice, mut count) = (Dice::new(seed), 0);
    for _ in 0..rounds {
        for n in 0..at_once {
            if n == at_once / 2 {
                redis.kill();
            }
            jobs.enqueue(work_for, dice.below(20) as u64).await.expect("Redis need not be there");
            count += 1;
        }
        redis.start_again();
        tokio::time::sleep(moment(&mut dice, Duration::from_millis(300))).await;
    }
    until("all jobs have succeeded", || all_succeeded(&jobs, count)).await;
    assert_eq!(tries(&processes[0].kernel().db().expect("a database")).await, (count, count));
    println!("R-01 held: {count} jobs, Redis killed {rounds} ×, {count} completed, {count} runs, seed {seed}");
    for process in processes {
        process.stop().await;
    }
}

/// Promise: R-01
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_survive_a_database_that_is_killed() {
    let Some(servers) = Servers::start(&[Backend::Postgres, Backend::MySql], None) else { return };
    for backend in servers.backends() {
        let (count, kills, seed) = (scale(200), scale(1), seed());
        let url = servers.database(backend, "jobs").await;
        let home = tempfile::tempdir().expect("the temporary folder can be written");
        let kernel = onlooker(&url, home.path()).await;
        let (jobs, db) = (kernel.jobs().expect("jobs"), kernel.db().expect("a database"));
        jobs.enqueue_many(work_for, (0..count).map(|n| n as u64 % 40)).await.expect("enqueued");
        let mut dice = Dice::new(seed);
        let workers: Vec<Victim> = (0..WORKERS).map(|_| worker(&url, home.path())).collect();
        let mut acknowledged = count;
        for _ in 0..kills {
            tokio::time::sleep(moment(&mut dice, Duration::from_millis(300))).await;
            servers.kill(backend);
            servers.start_again(backend, &url).await;
            acknowledged += usize::from(jobs.enqueue(work_for, 1).await.is_ok());
        }
        until("all jobs have succeeded", || all_succeeded(&jobs, acknowledged)).await;
        let (runs, distinct) = tries(&db).await;
        assert_eq!(distinct, acknowledged, "jobs that were run");
        let in_flight = kills * WORKERS * CONCURRENCY;
        assert!(runs - acknowledged <= in_flight, "{runs} runs of {acknowledged} jobs, {in_flight} in flight at most");
        let name = backend.as_str();
        println!(
            "R-01 held: {acknowledged} jobs, {name} killed {kills} ×, {distinct} completed, {runs} runs, seed {seed}"
        );
        drop(workers);
        db.close().await;
    }
}

/// Promise: R-04
async fn a_task_that_takes_its_process_down_comes_to_its_last_try(database: TestDatabase) {
    let (count, poisons) = (40, scale(1));
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let kernel = onlooker(url, home.path()).await;
    let (jobs, db) = (kernel.jobs().expect("jobs"), kernel.db().expect("a database"));
    jobs.enqueue_many(work_for, (0..count).map(|_| 5)).await.expect("enqueued");
    let poisoned = jobs.enqueue_many(abort, (0..poisons).map(|_| ())).await.expect("enqueued");
    let mut workers: Vec<Victim> = (0..2).map(|_| worker(url, home.path())).collect();
    let deadline = Instant::now() + PATIENCE;
    let expected = BTreeMap::from([(JobState::Succeeded, count), (JobState::Failed, poisons as i64)]);
    while states(&jobs).await != expected {
        assert!(Instant::now() < deadline, "{:?}", states(&jobs).await);
        if let Some(dead) = workers.iter_mut().position(Victim::has_ended) {
            workers[dead] = Victim::start(&Work::Jobs(LEASE), url, home.path());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for id in &poisoned {
        let begun = db.count::<Try>("[job_id] = ?", [id.as_str()]).await.expect("an answer");
        let job = jobs.get(id).await.expect("an answer").expect("it is kept");
        assert_eq!((job.attempt, job.max_attempts), (3, 3));
        // One of several may be taken down by another, in the midst of a start that is counted, before it could note that.
        assert!(if poisons == 1 { begun == 3 } else { begun <= 3 }, "{begun} starts of 3");
        assert!(job.last_error.as_deref().is_some_and(|error| error.contains("went silent")), "{:?}", job.last_error);
    }
    println!("R-04 held: {poisons} poisons of 3 starts each have failed, {count} other jobs have succeeded");
    db.close().await;
}

/// Promise: I5, R-03
async fn a_process_in_the_role_worker_runs_its_tasks_and_no_others(database: TestDatabase) {
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let kernel = onlooker(url, home.path()).await;
    let jobs = kernel.jobs().expect("jobs");
    let others = jobs.enqueue(outlast_leases, 0).await.expect("enqueued").job_id;
    let its = jobs.enqueue(work_for, 1).await.expect("enqueued").job_id;
    let worker = Victim::start(&Work::Worker("work_for"), url, home.path());
    let state = async |id: &str| jobs.get(id).await.expect("an answer").expect("it is there").state;
    until("its job is done", async || state(&its).await == JobState::Succeeded).await;
    worker.signal("TERM");
    assert!(worker.end(), "it stops in order");
    assert_eq!(state(&others).await, JobState::Ready);
    // What it noted down lies in a folder of its own: nobody else has counted it.
    let admin = kernel.admin_db().expect("a database");
    assert_eq!(get_usage(&admin).app("chaos_jobs").await.expect("usage").get("tries"), 1);
    admin.close().await;
}

/// Promise: R-02
async fn a_long_job_of_a_healthy_worker_is_run_once(database: TestDatabase) {
    // A machine may be busy: a renewal may come six seconds late.
    let lease = Duration::from_secs(9);
    let (count, others) = (scale(4), 2);
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let mut workers = Vec::new();
    for _ in 0..others {
        workers.push(
            service(url, home.path(), lease, true).start().await.expect("it starts").serve().await.expect("a port"),
        );
    }
    let jobs = workers[0].kernel().jobs().expect("jobs");
    jobs.enqueue_many(outlast_leases, (0..count).map(|_| 4)).await.expect("enqueued");
    until("all jobs have succeeded", || all_succeeded(&jobs, count)).await;
    let (runs, distinct) = tries(&workers[0].kernel().db().expect("a database")).await;
    assert_eq!((runs, distinct), (count, count));
    println!("R-02 held: {count} jobs, each longer than its lease, {runs} runs");
    for worker in workers {
        worker.stop().await;
    }
}

/// One that stops while it holds SQLite's lock would stop everybody, which is another story.
async fn stop_outside_of_a_write(victim: &Victim, db: &Db, job_id: &str) {
    loop {
        victim.signal("STOP");
        let write =
            db.execute("UPDATE [kernel_jobs] SET [priority] = [priority] WHERE [id] = ?", [job_id]).into_future();
        let write = tokio::spawn(write);
        if tokio::time::timeout(Duration::from_secs(2), async { write.await.is_ok_and(|done| done.is_ok()) }).await
            == Ok(true)
        {
            return;
        }
        victim.signal("CONT");
    }
}

/// Promise: R-02
async fn a_worker_that_was_stopped_past_its_lease_overwrites_nothing(database: TestDatabase) {
    let times = scale(2);
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let kernel = onlooker(url, home.path()).await;
    let (jobs, db) = (kernel.jobs().expect("jobs"), kernel.db().expect("a database"));
    let mut refused = 0;
    while refused < times {
        let stopped = worker(url, home.path());
        let id = jobs.enqueue(work_for, 1500).await.expect("enqueued").job_id;
        let get = async |id: &str| jobs.get(id).await.expect("an answer").expect("it is there");
        until("the job runs", async || get(&id).await.state != JobState::Ready).await;
        stop_outside_of_a_write(&stopped, &db, &id).await;
        if get(&id).await.state != JobState::Running {
            continue; // it was too quick, or we were too slow
        }
        let other = worker(url, home.path());
        until("another worker has done it", async || get(&id).await.state == JobState::Succeeded).await;
        let done = get(&id).await;
        drop(other);
        stopped.signal("CONT");
        // It writes, or is refused, before it can do anything else: one more job shows that it is back.
        let sign = jobs.enqueue(work_for, 1).await.expect("enqueued").job_id;
        until("the stopped worker is back", async || get(&sign).await.state == JobState::Succeeded).await;
        stopped.signal("TERM");
        assert!(stopped.end(), "it stops in order");
        let after = get(&id).await;
        assert_eq!((after.fence, after.finished_at, after.attempt), (done.fence, done.finished_at, 2));
        refused += 1;
    }
    println!("R-02 held: {times} workers stopped past their lease and continued, {times} completions refused");
    db.close().await;
}

/// Promise
async fn rolling_restarts_lose_nothing_and_fail_nothing(database: TestDatabase) {
    let (restarts, seed) = (scale(3), seed());
    let url = database.url();
    let home = tempfile::tempdir().expect("the temporary folder can be written");
    let kernel = onlooker(url, home.path()).await;
    let (jobs, db) = (kernel.jobs().expect("jobs"), kernel.db().expect("a database"));
    let mut dice = Dice::new(seed);
    let mut workers: Vec<Victim> = (0..WORKERS).map(|_| worker_with(LONG_LEASE, url, home.path())).collect();
    let mut count = 0;
    for _ in 0..restarts {
        for _ in 0..20 {
            jobs.enqueue(work_for, dice.below(60) as u64).await.expect("enqueued");
            count += 1;
            tokio::time::sleep(moment(&mut dice, Duration::from_millis(20))).await;
        }
        let old = workers.remove(0);
        old.signal("TERM");
        workers.push(worker_with(LONG_LEASE, url, home.path()));
        assert!(old.end(), "it stops in order");
    }
    until("all jobs have succeeded", || all_succeeded(&jobs, count)).await;
    assert_eq!(tries(&db).await, (count, count));
    assert_eq!(db.count::<Job>("[attempt] <> 1", ()).await.expect("an answer"), 0);
    println!(
        "R-03 held: {restarts} rolling restarts of {WORKERS} workers under {count} jobs, 0 lost, 0 failed, seed {seed}"
    );
    db.close().await;
}
