//! Metering: how much of the service is used, by whom. For bills and quotas, so it is exact and never purged by us.
//!
//! - Every request that reaches a route of the API is counted: endpoint (method and template of the route), status, time, bytes, user, workspace, key.
//!   A request is written down before its answer leaves, in a file of the process in `DATA_DIR/usage`, so that what was answered is counted,
//!   whatever is killed: answered ≤ counted ≤ sent. Health checks and documents are not counted.
//! - [`track_usage`] counts anything else: tokens, deployments.
//! - A worker adds up what is in the files and moves it to the admin database, each stretch of a file exactly once: how far a file is applied is
//!   written in the same transaction. What a process left that was killed is applied by the next of the same `DATA_DIR`. A `DATA_DIR` that
//!   never comes back takes its last seconds of usage with it.
//! - Counters are per day in UTC. A period is a day, a month or a year: `2025-01`.
//! - [`check_quota`] counts what this process has not moved yet; of others it sees what they moved, a second ago at most. [`consume_quota`] takes
//!   from a quota at once, in the database: many callers together never get more than the limit.
//! - On a full disk requests go on: usage waits in memory, up to a mebibyte; what finds no room there is not counted, and the log says so.

mod api;
mod meter;
mod model;
mod quota;
mod routes;
mod store;
mod worker;

pub use self::api::{By, GetUsage, TrackUsage, Usage, UsageOf, get_usage, track_usage};
pub(crate) use self::meter::RequestMeter;
pub use self::quota::{CheckQuota, ConsumeQuota, check_quota, consume_quota};
pub(crate) use self::routes::routes;
pub use self::store::{UsageCounter, UsageQuota, UsageSpool, entities};
pub(crate) use self::worker::{USAGE, Worker, receive, spool_folder};
