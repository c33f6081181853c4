//! `/jobs/…` over HTTP.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use aide::transform::TransformOperation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Anything;

use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, OrNotFound as _, Result};
use crate::engine::jobs::{Job, JobState, Jobs};
use crate::feature::auth::{AdminUser, Role, SignedIn};
use crate::kernel::Kernel;
use crate::store::db::row::Saved;
use crate::store::db::value::Value;
use crate::store::db::{Db, Page};
use crate::web::extract::{Json, Path, Query};
use crate::web::openapi::{Refusal, refusing, says};
use crate::web::reply::NoContent;

/// How many jobs a page has where the request does not say.
const PAGE: u32 = 50;
/// How many it has at most.
const LARGEST_PAGE: u32 = 500;

/// The routes, without a prefix.
pub(crate) fn routes() -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route("/jobs", get_with(list, says("All jobs", "For admins. The newest first, a page at a time.")))
        .api_route(
            "/jobs/{id}",
            get_with(read, of_one("A job", "One that is for me; admins see all.")).delete_with(
                remove,
                of_one("Delete a job", "For admins, and for good. One that runs is refused: cancel it first."),
            ),
        )
        .api_route(
            "/jobs/{id}/cancel",
            post_with(
                cancel,
                of_one(
                    "Cancel a job",
                    "For admins. One that waits is taken back; one that runs is told to end, and given up soon after.",
                ),
            ),
        )
        .api_route(
            "/jobs/{id}/retry",
            post_with(
                retry,
                of_one("Retry a job", "For admins. One that failed or was cancelled, with all its tries before it."),
            ),
        )
}

/// What is said of one job, which may not be there.
fn of_one(
    summary: &'static str,
    description: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    refusing(&[Refusal::NotFound], says(summary, description))
}

/// A job, as whom it is for sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobStatus")]
struct StatusView {
    id: String,
    task: String,
    state: JobState,
    /// How many tries have begun.
    attempt: i64,
    max_attempts: i64,
    /// What its task last said about how far it is.
    progress: Option<Anything>,
    /// What its task answered, once it has succeeded.
    result: Option<Anything>,
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    enqueued_at: Timestamp,
    /// Not before this time it is run, while it is scheduled.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    scheduled_for: Option<Timestamp>,
    /// When its last try began.
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    started_at: Option<Timestamp>,
    #[serde(with = "iso::option")]
    #[schemars(with = "Option<Timestamp>")]
    finished_at: Option<Timestamp>,
}

/// A job, as admins see it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobDetails")]
struct DetailsView {
    #[serde(flatten)]
    status: StatusView,
    queue: String,
    priority: i64,
    user_id: Option<String>,
    unique_key: Option<String>,
    concurrency_key: Option<String>,
    /// The worker that has it.
    worker_id: Option<String>,
    /// Whether it runs and was told to end.
    cancel_requested: bool,
    /// How its first try failed.
    first_error: Option<String>,
    /// How its last try failed.
    last_error: Option<String>,
}

/// A job, with as much as the reader may see.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Job")]
enum JobView {
    Details(Box<DetailsView>),
    Status(Box<StatusView>),
}

impl From<Saved<Job>> for StatusView {
    fn from(job: Saved<Job>) -> Self {
        StatusView {
            id: job.id,
            task: job.entity.task,
            state: job.entity.state,
            attempt: job.entity.attempt,
            max_attempts: job.entity.max_attempts,
            progress: job.entity.progress,
            result: job.entity.result,
            enqueued_at: job.created_at,
            scheduled_for: (job.entity.state == JobState::Scheduled).then_some(job.entity.due_at),
            started_at: job.entity.started_at,
            finished_at: job.entity.finished_at,
        }
    }
}

impl From<Saved<Job>> for DetailsView {
    fn from(job: Saved<Job>) -> Self {
        let status = job.clone().into();
        let Job { queue, priority, user_id, unique_key, concurrency_key, worker_id, .. } = job.entity;
        let Job { cancel_requested, first_error, last_error, .. } = job.entity;
        DetailsView {
            status,
            queue,
            priority,
            user_id,
            unique_key,
            concurrency_key,
            worker_id,
            cancel_requested,
            first_error,
            last_error,
        }
    }
}

async fn read(SignedIn(user): SignedIn, jobs: Jobs, Path(id): Path<String>) -> Result<Json<JobView>> {
    let job = jobs.get(&id).await?.or_not_found("job")?;
    if user.role == Role::Admin {
        return Ok(Json(JobView::Details(Box::new(job.into()))));
    }
    let mine = Some(job).filter(|job| job.user_id.as_deref() == Some(user.id.as_str())).or_not_found("job")?;
    Ok(Json(JobView::Status(Box::new(mine.into()))))
}

/// Which jobs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filters {
    /// In this state.
    #[serde(default)]
    state: Option<JobState>,
    /// Of this task.
    #[serde(default)]
    task: Option<String>,
    /// In this queue.
    #[serde(default)]
    queue: Option<String>,
    /// For this user.
    #[serde(default)]
    user_id: Option<String>,
    /// At most so many: 50 where not said.
    #[serde(default)]
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(default)]
    after: Option<String>,
}

async fn list(_: AdminUser, db: Db, Query(filters): Query<Filters>) -> Result<Json<Page<DetailsView>>> {
    let Filters { state, task, queue, user_id, limit, after } = filters;
    let state = state.map(|state| state.as_str().to_owned());
    let wanted = [("state", state), ("task", task), ("queue", queue), ("user_id", user_id)];
    let wanted: Vec<(&str, String)> = wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let clause = wanted.iter().map(|(name, _)| format!("[{name}] = ?")).collect::<Vec<_>>().join(" AND ");
    let values: Vec<Value> = wanted.into_iter().map(|(_, value)| value.into()).collect();
    let find = db.find::<Job>(clause, values).order_by("[id] DESC").limit(limit.unwrap_or(PAGE).clamp(1, LARGEST_PAGE));
    let page = after.into_iter().fold(find, |find, cursor| find.after(cursor)).page().await?;
    Ok(Json(Page { items: page.items.into_iter().map(Into::into).collect(), next: page.next }))
}

async fn cancel(_: AdminUser, jobs: Jobs, Path(id): Path<String>) -> Result<Json<DetailsView>> {
    let is_done = jobs.cancel(&id).await?;
    answer(&jobs, &id, is_done, "it is finished").await
}

async fn retry(_: AdminUser, jobs: Jobs, Path(id): Path<String>) -> Result<Json<DetailsView>> {
    let is_done = jobs.retry(&id).await?;
    answer(&jobs, &id, is_done, "it has neither failed nor been cancelled").await
}

/// The job as it is now, or why nothing was done.
async fn answer(jobs: &Jobs, id: &str, is_done: bool, otherwise: &'static str) -> Result<Json<DetailsView>> {
    let job = jobs.get(id).await?.or_not_found("job")?;
    if is_done { Ok(Json(job.into())) } else { Err(wrong_state(otherwise)) }
}

async fn remove(_: AdminUser, jobs: Jobs, Path(id): Path<String>) -> Result<NoContent> {
    if jobs.delete(&id).await? {
        return Ok(NoContent);
    }
    jobs.get(&id).await?.or_not_found("job")?;
    Err(wrong_state("it runs; cancel it first"))
}

fn wrong_state(because: &'static str) -> Error {
    Error::conflict(because).code("wrong_state")
}
