//! What a service usually needs, in one line: `use app_kernel::prelude::*;`.

pub use aide::axum::ApiRouter;
pub use aide::axum::routing::{delete, get, patch, post, put};
pub use garde::Validate;
pub use schemars::{self, JsonSchema};
pub use serde::{self, Deserialize, Serialize};

pub use crate::base::clock::Timestamp;
pub use crate::base::config::ServiceConfig;
pub use crate::base::error::{Error, ErrorKind, OrInternal, OrNotFound, Result};
pub use crate::cached;
pub use crate::engine::cache::Cache;
pub use crate::engine::http_client::{HttpClient, HttpError, http_client};
pub use crate::engine::locks::{Lock, LockGuard};
pub use crate::feature::api_keys::{Auth, AuthKind, RequireScope, create_api_key};
pub use crate::feature::auth::{AdminUser, CurrentUser, OptionalUser};
pub use crate::feature::flags::{evaluate_flag, flag_enabled, set_flag};
pub use crate::feature::jobs::{JobContext, JobError, JobRegistry, Jobs, QueueLimits};
pub use crate::feature::webhooks::{create_webhook, trigger_webhook_event};
pub use crate::feature::workspaces::{WorkspaceAdmin, WorkspaceDb, WorkspaceMember, WorkspaceOwner};
pub use crate::kernel::Kernel;
pub use crate::scope;
pub use crate::service::Service;
pub use crate::store::db::entity::Entity;
pub use crate::store::db::history::Version;
pub use crate::store::db::row::{Row, Saved};
pub use crate::store::db::{Db, Page, Savable};
pub use crate::task;
pub use crate::web::events::EventStream;
pub use crate::web::extract::{Form, Json, Path, Query, Valid};
pub use crate::web::idempotency::RequireIdempotencyKey;
pub use crate::web::rate_limit::RateLimit;
pub use crate::web::reply::{Created, NoContent};
