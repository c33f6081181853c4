//! The tables of workspaces, and the questions asked of them.

use super::model::MemberRole;
use crate::base::clock::Timestamp;
use crate::base::error::Result;
use crate::base::secret::Secret;
use crate::feature::auth::User;
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};
use crate::store::db::row::Saved;

/// A place where people work together.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_workspaces")]
pub struct Workspace {
    /// What it is called.
    pub name: String,
    /// Whether it is somebody's own: it has one member for good.
    pub is_personal: bool,
    /// Who made it.
    #[entity(index, foreign_key = "kernel_users.id")]
    pub created_by_user_id: String,
    /// Whether it lets in only those who signed in with a second factor.
    #[entity(default = false)]
    pub requires_second_factor: bool,
}

/// Somebody's place in a workspace.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_workspace_members", unique(workspace_id, user_id))]
pub struct Member {
    /// The workspace.
    #[entity(foreign_key = "kernel_workspaces.id")]
    pub workspace_id: String,
    /// Who.
    #[entity(index, foreign_key = "kernel_users.id")]
    pub user_id: String,
    /// As what.
    #[entity(check = "[role] IN ('owner', 'admin', 'member')")]
    pub role: MemberRole,
}

/// Somebody's way into a workspace. Softly deleted once it is used or taken back.
#[derive(Debug, Clone, Entity)]
#[entity(kernel, table = "kernel_workspace_invites", unique(workspace_id, email_key))]
pub struct Invite {
    /// The workspace.
    #[entity(foreign_key = "kernel_workspaces.id")]
    pub workspace_id: String,
    /// The address it is for, as it was typed.
    pub email: String,
    /// The same in lower case.
    pub email_key: String,
    /// What they will be.
    #[entity(check = "[role] IN ('owner', 'admin', 'member')")]
    pub role: MemberRole,
    /// The hash of the token.
    #[entity(index)]
    pub token_hash: Secret,
    /// Who invites.
    pub invited_by_user_id: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![Workspace::definition(), Member::definition(), Invite::definition()]
}

/// A workspace, as somebody who belongs to it sees it.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) workspace: Saved<Workspace>,
    pub(crate) member: Saved<Member>,
}

/// The most members or workspaces that a list tells.
const MOST: u32 = 10_000;

/// Somebody's place in a living workspace; none where they have none, or there is none.
pub(crate) async fn membership(db: &Db, workspace_id: &str, user_id: &str) -> Result<Option<Membership>> {
    let (workspace, member) = tokio::try_join!(workspace(db, workspace_id), member(db, workspace_id, user_id))?;
    Ok(workspace.zip(member).map(|(workspace, member)| Membership { workspace, member }))
}

async fn workspace(db: &Db, id: &str) -> Result<Option<Saved<Workspace>>> {
    db.get::<Workspace>(id).await
}

/// Somebody's place in a workspace, whether that lives or not.
pub(super) async fn member(db: &Db, workspace_id: &str, user_id: &str) -> Result<Option<Saved<Member>>> {
    db.find::<Member>("[workspace_id] = ? AND [user_id] = ?", [workspace_id, user_id]).first().await
}

/// Until the transaction ends, nobody else changes who belongs to the workspace. What is read after this is the present state.
pub(super) async fn lock(tx: &Db, workspace_id: &str) -> Result<()> {
    let sql = "UPDATE [kernel_workspaces] SET [updated_at] = [updated_at] WHERE [id] = ?";
    tx.execute(sql, [workspace_id]).await.map(drop)
}

/// Whether a workspace has an owner beside this one who can sign in.
pub(super) async fn has_other_owners(db: &Db, workspace_id: &str, user_id: &str) -> Result<bool> {
    Ok(active_owners(db, workspace_id).await?.iter().any(|user| user.id != user_id))
}

/// The addresses of a workspace's owners who can sign in.
pub(crate) async fn addresses_of_owners(db: &Db, workspace_id: &str) -> Result<Vec<String>> {
    Ok(active_owners(db, workspace_id).await?.into_iter().map(|user| user.entity.email).collect())
}

async fn active_owners(db: &Db, workspace_id: &str) -> Result<Vec<Saved<User>>> {
    let owners = "[workspace_id] = ? AND [role] = ?";
    let owners = db.find::<Member>(owners, (workspace_id, MemberRole::Owner)).limit(MOST).await?;
    let mut users = db.get_many::<User>(owners.iter().map(|member| member.user_id.as_str())).await?;
    users.retain(|user| user.is_active);
    Ok(users)
}

/// The living workspaces of somebody, the oldest membership first.
pub(super) async fn workspaces_of(db: &Db, user_id: &str) -> Result<Vec<Membership>> {
    let members = db.find::<Member>("[user_id] = ?", [user_id]).order_by("[created_at]").limit(MOST).await?;
    let workspaces = db.get_many::<Workspace>(members.iter().map(|member| member.workspace_id.as_str())).await?;
    let mut workspaces = workspaces.into_iter().peekable();
    // Both are in the same order; a workspace that was deleted is left out of one.
    let alive = members.into_iter().filter_map(|member| {
        let workspace = workspaces.next_if(|workspace| workspace.id == member.workspace_id)?;
        Some(Membership { workspace, member })
    });
    Ok(alive.collect())
}

/// Everybody in a workspace, the first to come first.
pub(super) async fn people_of(db: &Db, workspace_id: &str) -> Result<Vec<(Saved<Member>, Saved<User>)>> {
    let members = db.find::<Member>("[workspace_id] = ?", [workspace_id]).order_by("[created_at]").limit(MOST).await?;
    let users = db.get_many::<User>(members.iter().map(|member| member.user_id.as_str())).await?;
    let mut users = users.into_iter().peekable();
    let there = members.into_iter().filter_map(|member| {
        let user = users.next_if(|user| user.id == member.user_id)?;
        Some((member, user))
    });
    Ok(there.collect())
}

/// The invitations of a workspace that are still good, the oldest first.
pub(super) async fn open_invites(db: &Db, workspace_id: &str, now: Timestamp) -> Result<Vec<Saved<Invite>>> {
    let open = db.find::<Invite>("[workspace_id] = ? AND [expires_at] > ?", (workspace_id, now));
    open.order_by("[created_at]").limit(MOST).await
}

/// The invitations of an address that are still good, in whatever workspaces.
pub(super) async fn open_invites_of(db: &Db, email_key: &str, now: Timestamp) -> Result<Vec<Saved<Invite>>> {
    db.find::<Invite>("[email_key] = ? AND [expires_at] > ?", (email_key, now)).limit(MOST).await
}

/// The invitation of an address, good or expired.
pub(super) async fn invite_for(db: &Db, workspace_id: &str, email_key: &str) -> Result<Option<Saved<Invite>>> {
    db.find::<Invite>("[workspace_id] = ? AND [email_key] = ?", [workspace_id, email_key]).first().await
}

/// The invitation that a token's hash belongs to, if it is still good.
pub(super) async fn invite_of_token(db: &Db, token_hash: String, now: Timestamp) -> Result<Option<Saved<Invite>>> {
    db.find::<Invite>("[token_hash] = ? AND [expires_at] > ?", (token_hash, now)).first().await
}
