//! What happens to workspaces when somebody deletes their account: their places go, and their personal workspace with them. A workspace
//! that others share never stays without an owner.

use std::sync::Arc;

use super::model::MemberRole;
use super::store::{self, Member, Membership, Workspace};
use crate::base::error::{Error, Result};
use crate::feature::auth::OnLeave;
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// The most workspaces that one person leaves at once.
const MOST_PLACES: u32 = 10_000;

/// What auth calls for everybody who leaves.
pub(crate) fn on_leave() -> OnLeave {
    Arc::new(|tx, user_id| Box::pin(async move { leave_all(&tx, &user_id).await }))
}

async fn leave_all(tx: &Db, user_id: &str) -> Result<()> {
    let places = tx.find::<Member>("[user_id] = ?", [user_id]).limit(MOST_PLACES).await?;
    for place in places {
        // Of two who leave at once, the second waits, and sees that the first is gone.
        store::lock(tx, &place.workspace_id).await?;
        if let Some(Membership { workspace, member }) = store::membership(tx, &place.workspace_id, user_id).await? {
            if workspace.is_personal {
                tx.delete::<Workspace>(&workspace.id).await?;
            } else if member.role == MemberRole::Owner {
                hand_on(tx, &workspace, user_id).await?;
            }
        }
        tx.delete::<Member>(&place.id).await?;
    }
    Ok(())
}

/// Whether a workspace goes on without this owner. One that has nobody else in it is deleted.
async fn hand_on(tx: &Db, workspace: &Saved<Workspace>, user_id: &str) -> Result<()> {
    if store::has_other_owners(tx, &workspace.id, user_id).await? {
        return Ok(());
    }
    if tx.count::<Member>("[workspace_id] = ? AND [user_id] <> ?", (workspace.id.as_str(), user_id)).await? > 0 {
        return Err(Error::conflict(format!(
            "you are the only owner of the workspace `{}`; make somebody else its owner first, or delete it",
            workspace.name
        ))
        .code("last_owner"));
    }
    tx.delete::<Workspace>(&workspace.id).await.map(drop)
}
