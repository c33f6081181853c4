//! The tables of workspaces, and what happens to them at sign-up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::feature::auth::{OnSignUp, SignedUp};
use crate::store::db::Db;
use crate::store::db::entity::{Entity, EntityDef};

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
}

/// What somebody may do in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, Entity)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Everything; there is always at least one.
    Owner,
    /// Everything but what concerns owners.
    Admin,
    /// Works here.
    Member,
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

/// The tables that must exist.
pub(crate) fn entities() -> Vec<&'static EntityDef> {
    vec![Workspace::definition(), Member::definition()]
}

/// What auth calls for everybody who signs up.
pub(crate) fn on_sign_up() -> OnSignUp {
    Arc::new(|tx, who| Box::pin(make_personal_workspace(tx, who)))
}

async fn make_personal_workspace(tx: Db, who: SignedUp) -> Result<String> {
    if who.invite_token.is_some() {
        return Err(Error::invalid("this invitation is not valid")
            .code("unprocessable")
            .field("/invite_token", "is not a valid invitation"));
    }
    let workspace = Workspace { name: who.display_name, is_personal: true, created_by_user_id: who.user_id.clone() };
    let workspace = tx.save(workspace).await?;
    let owner = Member { workspace_id: workspace.id.clone(), user_id: who.user_id, role: MemberRole::Owner };
    tx.save(owner).await?;
    Ok(workspace.id)
}
