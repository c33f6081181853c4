//! `/workspaces/…` over HTTP.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with};
use aide::transform::TransformOperation;
use axum::Extension;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::extract::Here;
use super::flows;
use super::mailed::Post;
use super::model::{Deed, MemberRole};
use super::store::{self, Invite, Member, Membership};
use crate::base::clock::{Timestamp, iso};
use crate::base::error::Result;
use crate::feature::auth::{SignedIn, User};
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::store::db::row::Saved;
use crate::web::extract::{Json, Path};
use crate::web::openapi::{Refusal, refusing, says};
use crate::web::reply::{Created, NoContent};

/// The routes, without a prefix.
pub(crate) fn routes(kernel: &Kernel) -> ApiRouter<Kernel> {
    let post = Extension(Arc::new(Post::new(kernel)));
    ApiRouter::new()
        .api_route(
            "/workspaces",
            post_with(make, says("Make a workspace", "Whoever makes it owns it."))
                .get_with(list, says("My workspaces", "All that I belong to, with my role, the personal one first.")),
        )
        .api_route(
            "/workspaces/{id}",
            get_with(read, says("A workspace", "One that I belong to."))
                .patch_with(change, guarded("Change a workspace", "What is given changes: the name, by owners and admins; whether everybody needs a second factor, by owners."))
                .delete_with(remove_workspace, guarded("Delete a workspace", "For owners. The personal one can't be deleted.")),
        )
        .api_route("/workspaces/{id}/members", get_with(list_members, says("The members", "Everybody in the workspace.")))
        .api_route(
            "/workspaces/{id}/members/{user_id}",
            delete_with(remove_member, guarded("Remove a member", "For owners and admins; everybody may remove themself. The last owner stays."))
                .patch_with(change_role, guarded("Change a role", "For owners and admins; only owners make owners, or change what they are.")),
        )
        .api_route(
            "/workspaces/{id}/invite",
            post_with(invite, guarded("Invite somebody", "For owners and admins. The token is told this once, is good for one use within seven days, and only for this address. Where mail is on, they get it by mail too.")).layer(post),
        )
        .api_route("/workspaces/{id}/invites", get_with(list_invites, guarded("The invitations", "For owners and admins: those that are still good.")))
        .api_route(
            "/workspaces/{id}/invites/{invite_id}",
            delete_with(cancel_invite, guarded("Take an invitation back", "For owners and admins.")),
        )
        .api_route(
            "/workspaces/join/{token}",
            post_with(join, refusing(&[Refusal::NotFound], says("Accept an invitation", "For whom the invitation is."))),
        )
}

/// What is said where not every member may.
fn guarded(
    summary: &'static str,
    description: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    refusing(&[Refusal::Forbidden], says(summary, description))
}

/// A workspace, as somebody who belongs to it sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Workspace")]
struct WorkspaceView {
    id: String,
    name: String,
    /// Whether it is somebody's own, with one member for good.
    is_personal: bool,
    /// Whether it lets in only those who signed in with a second factor.
    requires_second_factor: bool,
    /// What I may do in it.
    role: MemberRole,
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    created_at: Timestamp,
}

impl From<Membership> for WorkspaceView {
    fn from(Membership { workspace, member }: Membership) -> Self {
        WorkspaceView {
            id: workspace.id,
            name: workspace.entity.name,
            is_personal: workspace.entity.is_personal,
            requires_second_factor: workspace.entity.requires_second_factor,
            role: member.entity.role,
            created_at: workspace.created_at,
        }
    }
}

/// Somebody in a workspace.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Member")]
struct MemberView {
    user_id: String,
    email: String,
    name: Option<String>,
    role: MemberRole,
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    joined_at: Timestamp,
}

impl From<(Saved<Member>, Saved<User>)> for MemberView {
    fn from((member, user): (Saved<Member>, Saved<User>)) -> Self {
        MemberView {
            user_id: user.id,
            email: user.entity.email,
            name: user.entity.name,
            role: member.entity.role,
            joined_at: member.created_at,
        }
    }
}

/// An invitation.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invite")]
struct InviteView {
    id: String,
    /// The address it is for.
    email: String,
    /// What they will be.
    role: MemberRole,
    invited_by_user_id: String,
    /// Until when it is good.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    expires_at: Timestamp,
}

impl From<Saved<Invite>> for InviteView {
    fn from(invite: Saved<Invite>) -> Self {
        let Saved { id, entity, .. } = invite;
        let Invite { email, role, invited_by_user_id, expires_at, .. } = entity;
        InviteView { id, email, role, invited_by_user_id, expires_at }
    }
}

/// An invitation that was just made.
#[derive(Serialize, JsonSchema)]
struct NewInvite {
    #[serde(flatten)]
    invite: InviteView,
    /// For `/workspaces/join/{token}`, or for `invite_token` at registration. Told this once.
    token: String,
    /// Whether a mail with the token is on its way to the address.
    is_mailed: bool,
}

/// What a workspace is called.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkspaceName {
    /// 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    name: String,
}

async fn make(
    SignedIn(user): SignedIn,
    db: Db,
    kernel: Kernel,
    Json(body): Json<WorkspaceName>,
) -> Result<Created<WorkspaceView>> {
    let made = flows::make(&db, &user.id, &body.name).await?;
    let place = format!("{}/workspaces/{}", kernel.config().api_prefix, made.workspace.id);
    Ok(Created::new(made.into()).at(place))
}

async fn list(SignedIn(user): SignedIn, db: Db) -> Result<Json<Vec<WorkspaceView>>> {
    let mine = store::workspaces_of(&db, &user.id).await?;
    Ok(Json(mine.into_iter().map(Into::into).collect()))
}

async fn read(here: Here) -> Json<WorkspaceView> {
    Json(here.membership().clone().into())
}

/// What of a workspace changes; what is not given stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkspaceChanges {
    /// 1 to 200 characters.
    #[serde(default)]
    #[schemars(length(min = 1, max = 200))]
    name: Option<String>,
    /// Whether it lets in only those who signed in with a second factor.
    #[serde(default)]
    requires_second_factor: Option<bool>,
}

async fn change(here: Here, Json(body): Json<WorkspaceChanges>) -> Result<Json<WorkspaceView>> {
    here.role.check(Deed::Rename)?;
    let WorkspaceChanges { name, requires_second_factor } = body;
    let changes = flows::Changes { name, requires_second_factor };
    let changed = flows::change(here.kernel_db(), &here.workspace_id, &here.user, changes).await?;
    Ok(Json(changed.into()))
}

async fn remove_workspace(here: Here) -> Result<NoContent> {
    flows::delete(here.kernel_db(), &here.workspace_id, &here.user.id).await?;
    Ok(NoContent)
}

async fn list_members(here: Here) -> Result<Json<Vec<MemberView>>> {
    let people = store::people_of(here.kernel_db(), &here.workspace_id).await?;
    Ok(Json(people.into_iter().map(Into::into).collect()))
}

/// The role that a member gets.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRole {
    role: MemberRole,
}

async fn change_role(
    here: Here,
    Path((_, whose)): Path<(String, String)>,
    Json(body): Json<NewRole>,
) -> Result<Json<MemberView>> {
    let changed = flows::change_role(here.kernel_db(), &here.workspace_id, &here.user.id, &whose, body.role).await?;
    Ok(Json(changed.into()))
}

async fn remove_member(here: Here, Path((_, whose)): Path<(String, String)>) -> Result<NoContent> {
    flows::remove(here.kernel_db(), &here.workspace_id, &here.user.id, &whose).await?;
    Ok(NoContent)
}

/// Who is invited, and as what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewInvitation {
    /// An e-mail address. Case does not matter.
    #[schemars(email, length(max = 254))]
    email: String,
    #[serde(default = "as_member")]
    role: MemberRole,
}

fn as_member() -> MemberRole {
    MemberRole::Member
}

async fn invite(
    here: Here,
    kernel: Kernel,
    Extension(post): Extension<Arc<Post>>,
    Json(body): Json<NewInvitation>,
) -> Result<Created<NewInvite>> {
    here.role.check(Deed::Invite(body.role))?;
    let (db, now) = (here.kernel_db(), kernel.clock().now());
    let (invite, token) = flows::invite(db, &here.workspace_id, &here.user.id, &body.email, body.role, now).await?;
    let is_mailed = post.invite(db, &here.user.id, &invite.email, &invite.email_key, &token).await;
    Ok(Created::new(NewInvite { invite: invite.into(), token, is_mailed }))
}

async fn list_invites(here: Here, kernel: Kernel) -> Result<Json<Vec<InviteView>>> {
    here.role.check(Deed::SeeInvites)?;
    let invites = store::open_invites(here.kernel_db(), &here.workspace_id, kernel.clock().now()).await?;
    Ok(Json(invites.into_iter().map(Into::into).collect()))
}

async fn cancel_invite(here: Here, Path((_, invite_id)): Path<(String, String)>) -> Result<NoContent> {
    flows::cancel_invite(here.kernel_db(), &here.workspace_id, &here.user.id, &invite_id).await?;
    Ok(NoContent)
}

async fn join(
    SignedIn(user): SignedIn,
    kernel: Kernel,
    db: Db,
    Path(token): Path<String>,
) -> Result<Json<WorkspaceView>> {
    Ok(Json(flows::join(&db, &user.id, &token, kernel.clock().now()).await?.into()))
}
