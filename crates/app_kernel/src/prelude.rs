//! What a service usually needs, in one line: `use app_kernel::prelude::*;`.

pub use aide::axum::ApiRouter;
pub use aide::axum::routing::{delete, get, patch, post, put};
pub use garde::Validate;
pub use schemars::{self, JsonSchema};
pub use serde::{self, Deserialize, Serialize};

pub use crate::base::clock::Timestamp;
pub use crate::base::config::ServiceConfig;
pub use crate::base::error::{Error, ErrorKind, OrInternal, OrNotFound, Result};
pub use crate::feature::api_keys::{Auth, AuthKind, RequireScope, create_api_key};
pub use crate::feature::auth::{AdminUser, CurrentUser, OptionalUser};
pub use crate::feature::jobs::{JobContext, JobError, JobRegistry, Jobs, QueueLimits};
pub use crate::feature::workspaces::{WorkspaceAdmin, WorkspaceDb, WorkspaceMember, WorkspaceOwner};
pub use crate::kernel::Kernel;
pub use crate::scope;
pub use crate::service::Service;
pub use crate::store::db::entity::Entity;
pub use crate::store::db::history::Version;
pub use crate::store::db::row::{Row, Saved};
pub use crate::store::db::{Db, Page};
pub use crate::task;
pub use crate::web::extract::{Form, Json, Path, Query, Valid};
pub use crate::web::reply::Created;
