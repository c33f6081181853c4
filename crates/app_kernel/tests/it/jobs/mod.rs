//! Jobs: what is enqueued is run, however tasks and workers behave, and people see of it what is theirs.

mod enqueuing;
mod over_http;
mod queues;
mod running;
mod waking;
mod workers;

use std::time::Duration;

use app_kernel::feature::jobs::{Job, JobState, TaskOptions};
use app_kernel::prelude::*;
use app_kernel::testing::{TestDatabase, TestService};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

/// What a task leaves behind, so that a test sees what ran.
#[derive(Debug, Clone, Entity)]
pub(crate) struct Mark {
    pub(crate) word: String,
    pub(crate) attempt: i64,
    pub(crate) job_id: String,
}

/// A word to leave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Word {
    pub(crate) word: String,
}

pub(crate) fn word(word: impl Into<String>) -> Word {
    Word { word: word.into() }
}

/// Leaves its word, and answers it.
#[task(max_attempts = 3, backoff = "10s")]
pub(crate) async fn mark(payload: Word, ctx: JobContext) -> Result<Value> {
    leave(&payload.word, &ctx).await?;
    Ok(json!({ "left": payload.word }))
}

async fn leave(word: &str, ctx: &JobContext) -> Result<()> {
    let left = Mark { word: word.to_owned(), attempt: ctx.attempt.into(), job_id: ctx.job_id.clone() };
    ctx.db.save(left).await.map(drop)
}

/// Leaves its word and answers nothing.
#[task]
pub(crate) async fn mark_quietly(payload: Word, ctx: JobContext) -> Result<()> {
    leave(&payload.word, &ctx).await
}

/// How a try goes: as the payload's `tries` say, the last of which is repeated.
#[task(name = "behave", max_attempts = 3, timeout = "5m", backoff = "10s")]
pub(crate) async fn behave(payload: Value, ctx: JobContext) -> Result<String, JobError> {
    leave("try", &ctx).await?;
    let ways = payload["tries"].as_array().expect("the test says how each try goes");
    let way = ways.get(ctx.attempt as usize - 1).or(ways.last()).and_then(Value::as_str).unwrap_or_default();
    match way {
        "fail" => Err(Error::unavailable(format!("no answer at try {}", ctx.attempt)).cause("hunter2").into()),
        "panic" => panic!("out of cheese at try {}", ctx.attempt),
        "discard" => Err(JobError::discard("nobody wants this")),
        "retry in a minute" => Err(JobError::RetryIn(Duration::from_secs(60), Error::unavailable("busy"))),
        "snooze" if marks(&ctx.db).await.len() < 4 => Err(JobError::Snooze(Duration::from_secs(60))),
        _ => Ok("done".to_owned()),
    }
}

/// Never ends by itself.
#[task(max_attempts = 2, timeout = "150ms", backoff = "10s")]
pub(crate) async fn hang(_payload: ()) -> Result<()> {
    std::future::pending().await
}

/// Waits at its test's gate in its first try.
#[task(max_attempts = 2, timeout = "5m")]
pub(crate) async fn wait_at_the_gate(gate: String, ctx: JobContext) -> Result<String> {
    leave("arrived", &ctx).await?;
    if ctx.attempt == 1 {
        drop(gate_of(&gate).await.acquire().await);
    }
    leave("left", &ctx).await?;
    Ok(format!("try {}", ctx.attempt))
}

/// Waits in each try at that try's own gate.
#[task(max_attempts = 2, timeout = "5m")]
pub(crate) async fn wait_at_each_gate(gate: String, ctx: JobContext) -> Result<String> {
    leave("arrived", &ctx).await?;
    drop(gate_of(&format!("{gate} {}", ctx.attempt)).await.acquire().await);
    Ok(format!("try {}", ctx.attempt))
}

/// Each test has its own gate, by the name of its database.
pub(crate) async fn gate_of(name: &str) -> &'static Semaphore {
    static GATES: Mutex<Vec<(String, &'static Semaphore)>> = Mutex::const_new(Vec::new());
    let mut gates = GATES.lock().await;
    if let Some((_, gate)) = gates.iter().find(|(known, _)| known == name) {
        return gate;
    }
    let gate: &'static Semaphore = Box::leak(Box::new(Semaphore::new(0)));
    gates.push((name.to_owned(), gate));
    gate
}

/// Goes on until it is told to end.
#[task(timeout = "5m")]
pub(crate) async fn last_forever(_payload: Value, ctx: JobContext) -> Result<()> {
    ctx.progress(json!({ "percent": 10 })).await?;
    leave("begun", &ctx).await?;
    while !ctx.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    leave("told", &ctx).await?;
    Err(Error::internal("given up"))
}

/// The service of these tests.
pub(crate) fn app(config: ServiceConfig) -> Service {
    let mut registry = JobRegistry::new();
    registry.task(behave).task(hang).task(last_forever);
    registry.register("double", TaskOptions::default(), async |n: i64, _: JobContext| Ok::<_, Error>(n * 2));
    Service::new("job_tests", config)
        .entity::<Mark>()
        .task(mark)
        .task(mark_quietly)
        .task(wait_at_the_gate)
        .task(wait_at_each_gate)
        .tasks(registry)
        .route("/marks", post(enqueue_mark))
}

async fn enqueue_mark(_: CurrentUser, jobs: Jobs, Json(name): Json<String>) -> Result<Json<String>> {
    Ok(Json(jobs.enqueue(mark, word(name)).await?.job_id))
}

/// A service whose jobs run when the test says so.
pub(crate) async fn start(database: TestDatabase) -> TestService {
    TestService::start_on(database, app).await
}

/// The same with a worker of its own.
pub(crate) fn with_worker(config: ServiceConfig) -> Service {
    app(ServiceConfig { worker_embedded: true, shutdown_timeout: Duration::from_secs(1), ..config })
}

pub(crate) fn jobs(service: &TestService) -> Jobs {
    service.kernel().jobs().expect("the service has a database")
}

/// A job as its row is.
pub(crate) async fn job(service: &TestService, id: &str) -> Saved<Job> {
    jobs(service).get(id).await.expect("an answer").unwrap_or_else(|| panic!("there is no job {id}"))
}

pub(crate) async fn state(service: &TestService, id: &str) -> JobState {
    job(service, id).await.state
}

/// The words that tasks have left, in the order of their leaving.
pub(crate) async fn marks(db: &Db) -> Vec<String> {
    let marks = db.find::<Mark>("", ()).order_by("[id] ASC").limit(10_000).await.expect("an answer");
    marks.into_iter().map(|left| left.entity.word).collect()
}

/// Waits until something holds; fails where it never does.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "{what} never comes true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
