//! What handlers ask for: `member: WorkspaceMember` answers 404 where somebody does not belong to the workspace that the request is about,
//! `WorkspaceAdmin` and `WorkspaceOwner` 403 where they are not enough in it. `WorkspaceDb` is its part of the database.

use std::ops::Deref;
use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;

use super::model::MemberRole;
use super::resolve::{Named, belonging};
use super::store::{Membership, Workspace};
use crate::base::error::{Error, OrNotFound, Result};
use crate::feature::auth::CurrentUser;
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::row::Saved;
use crate::web::extract::{Query, caller_of};
use crate::web::openapi::{self, Refusal, require_token};

/// A signed-in user in the workspace that the request is about: the one of the path (`{workspace_id}`, or what stands behind
/// `/workspaces/`), else of the query `workspace_id`, else of the header `X-Workspace-ID`, else their personal one. Answers 401 where nobody
/// is signed in, 404 where they don't belong to it, and 403 where it asks for a second factor that they signed in without.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # #[derive(Entity, Serialize, JsonSchema)] struct Project { name: String, workspace_id: String }
/// async fn list(member: WorkspaceMember) -> Result<Json<Vec<Saved<Project>>>> {
///     member.db().find("", ()).await.map(Json) // those of the workspace, and no others
/// }
/// ```
#[derive(Debug, Clone)]
pub struct WorkspaceMember {
    /// Who it is; their `workspace_id` is this workspace.
    pub user: CurrentUser,
    /// The workspace.
    pub workspace_id: String,
    /// What they may do in it.
    pub role: MemberRole,
    membership: Arc<Membership>,
    db: Db,
}

impl WorkspaceMember {
    /// The workspace's part of the database, on behalf of the member; see [`Db::in_workspace`].
    #[must_use]
    pub fn db(&self) -> Db {
        self.db.in_workspace(&self.workspace_id)
    }

    /// The workspace itself.
    #[must_use]
    pub fn workspace(&self) -> &Saved<Workspace> {
        &self.membership.workspace
    }

    /// The database on behalf of the member, for the kernel's own tables.
    pub(crate) fn kernel_db(&self) -> &Db {
        &self.db
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    async fn of(parts: &mut Parts, kernel: &Kernel) -> Result<Self> {
        let user = CurrentUser::from_request_parts(parts, &()).await?;
        let workspace_id = user.workspace_id.clone().or_not_found("workspace")?;
        let membership = belonging(parts, &kernel.db()?, &workspace_id, &user).await?;
        let db = kernel.db()?.with_caller(caller_of(&parts.extensions));
        Ok(WorkspaceMember { user, workspace_id, role: membership.member.role, membership, db })
    }

    fn into_admin(self) -> Result<WorkspaceAdmin> {
        self.role.check_is_admin().map(|()| WorkspaceAdmin(self))
    }

    fn into_owner(self) -> Result<WorkspaceOwner> {
        self.role.check_is_owner().map(|()| WorkspaceOwner(self))
    }

    fn into_db(self) -> Result<WorkspaceDb> {
        Ok(WorkspaceDb(self.db()))
    }

    fn into_here(self) -> Result<Here> {
        Ok(Here(self))
    }
}

/// A [`WorkspaceMember`] who is an owner or an admin; 403 for others.
#[derive(Debug, Clone)]
pub struct WorkspaceAdmin(pub WorkspaceMember);

/// A [`WorkspaceMember`] who is an owner; 403 for others.
#[derive(Debug, Clone)]
pub struct WorkspaceOwner(pub WorkspaceMember);

/// The part of the database that belongs to the request's workspace: a handler that takes it can't reach another's. As
/// [`WorkspaceMember`], which it asks for: 401 and 404.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// # #[derive(Entity, Serialize, JsonSchema)] struct Project { name: String, workspace_id: String }
/// async fn read(db: WorkspaceDb, Path(id): Path<String>) -> Result<Json<Saved<Project>>> {
///     db.get(id).await?.or_not_found("project").map(Json)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct WorkspaceDb(pub Db);

impl Deref for WorkspaceAdmin {
    type Target = WorkspaceMember;

    fn deref(&self) -> &WorkspaceMember {
        &self.0
    }
}

impl Deref for WorkspaceOwner {
    type Target = WorkspaceMember;

    fn deref(&self) -> &WorkspaceMember {
        &self.0
    }
}

impl Deref for WorkspaceDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.0
    }
}

/// [`WorkspaceMember`] for the kernel's own routes, whose path always names the workspace.
pub(crate) struct Here(pub(crate) WorkspaceMember);

impl Deref for Here {
    type Target = WorkspaceMember;

    fn deref(&self) -> &WorkspaceMember {
        &self.0
    }
}

/// A token, and the ways to name a workspace where the path does not.
pub(crate) fn describe_member(ctx: &mut GenContext, operation: &mut Operation) {
    Query::<Named>::operation_input(ctx, operation);
    openapi::add_header_parameter(
        operation,
        "X-Workspace-ID",
        "The workspace that the request is about, where neither the path nor the query names one",
    );
    require_token(operation);
    openapi::may_refuse(operation, Refusal::NotFound);
}

/// The same, where not every member may.
fn describe_admin(ctx: &mut GenContext, operation: &mut Operation) {
    describe_member(ctx, operation);
    openapi::may_refuse(operation, Refusal::Forbidden);
}

fn describe_here(_: &mut GenContext, operation: &mut Operation) {
    require_token(operation);
    openapi::may_refuse(operation, Refusal::NotFound);
}

impl<S> FromRequestParts<S> for WorkspaceMember
where
    Kernel: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        WorkspaceMember::of(parts, &Kernel::from_ref(state)).await
    }
}

impl OperationInput for WorkspaceMember {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        describe_member(ctx, operation);
    }
}

/// An extractor that is made of the [`WorkspaceMember`] who asks, or refuses them.
macro_rules! made_of_the_member {
    ($name:ident, $make:path, $describe:path) => {
        impl<S> FromRequestParts<S> for $name
        where
            Kernel: FromRef<S>,
            S: Send + Sync,
        {
            type Rejection = Error;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
                WorkspaceMember::from_request_parts(parts, state).await.and_then($make)
            }
        }

        impl OperationInput for $name {
            fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
                $describe(ctx, operation);
            }
        }
    };
}

made_of_the_member!(WorkspaceAdmin, WorkspaceMember::into_admin, describe_admin);
made_of_the_member!(WorkspaceOwner, WorkspaceMember::into_owner, describe_admin);
made_of_the_member!(WorkspaceDb, WorkspaceMember::into_db, describe_member);
made_of_the_member!(Here, WorkspaceMember::into_here, describe_here);
