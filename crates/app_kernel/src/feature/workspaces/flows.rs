//! Making workspaces, coming in, changing roles, leaving. What changes who belongs to a workspace runs with it locked, and asks again there
//! what the one who asks may do.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::model::{
    Deed, INVITE_LIFE, MemberRole, check_an_owner_stays, check_is_shared, check_second_factor, workspace_name,
};
use super::store::{self, Invite, Member, Membership, Workspace};
use crate::base::clock::{Clock, Timestamp};
use crate::base::error::{Error, ErrorKind, OrNotFound, Result};
use crate::base::id::new_id;
use crate::base::secret::{Secret, random_token, token_hash};
use crate::feature::auth::{EmailAddress, OnSignUp, SignUpHook, SignedUp, User, UserIdentity};
use crate::store::db::Db;
use crate::store::db::row::Saved;

/// Makes a workspace that somebody owns.
pub(super) async fn make(db: &Db, user_id: &str, name: &str) -> Result<Membership> {
    let name = checked_name(name)?;
    let id = new_id();
    let db = db.with_caller(db.caller().clone().in_workspace(&id));
    db.transaction(async |tx| save_new(&tx, &id, user_id, &name, false).await).await
}

async fn save_new(tx: &Db, id: &str, user_id: &str, name: &str, is_personal: bool) -> Result<Membership> {
    let workspace = Workspace {
        name: name.to_owned(),
        is_personal,
        created_by_user_id: user_id.to_owned(),
        requires_second_factor: false,
    };
    let workspace = tx.save(workspace).id(id).await?;
    let owner = Member { workspace_id: id.to_owned(), user_id: user_id.to_owned(), role: MemberRole::Owner };
    Ok(Membership { workspace, member: tx.save(owner).await? })
}

fn checked_name(name: &str) -> Result<String> {
    workspace_name(name)
        .map_err(|problem| Error::invalid("this can't be a workspace").code("unprocessable").field("/name", problem))
}

/// Locks a workspace, and answers the place in it of the one who asks, as it is now.
async fn enter(tx: &Db, workspace_id: &str, user_id: &str) -> Result<Membership> {
    store::lock(tx, workspace_id).await?;
    store::membership(tx, workspace_id, user_id).await?.or_not_found("workspace")
}

/// What of a workspace changes; the rest stays.
pub(super) struct Changes {
    pub(super) name: Option<String>,
    pub(super) requires_second_factor: Option<bool>,
}

/// Gives a workspace another name, or has it ask for a second factor.
pub(super) async fn change(db: &Db, workspace_id: &str, user: &UserIdentity, changes: Changes) -> Result<Membership> {
    let name = changes.name.as_deref().map(checked_name).transpose()?;
    db.transaction(async |tx| {
        let Membership { mut workspace, member } = enter(&tx, workspace_id, &user.id).await?;
        if let Some(name) = &name {
            member.role.check(Deed::Rename)?;
            workspace.name.clone_from(name);
        }
        if let Some(is_required) = changes.requires_second_factor {
            member.role.check(Deed::SetSecondFactor)?;
            check_is_shared(workspace.is_personal)?;
            // Who asks it of others has one, and does not lock themself out.
            check_second_factor(is_required, user.has_second_factor)?;
            workspace.requires_second_factor = is_required;
        }
        Ok(Membership { workspace: tx.save(workspace).await?, member })
    })
    .await
}

/// Deletes a workspace, softly.
pub(super) async fn delete(db: &Db, workspace_id: &str, user_id: &str) -> Result<()> {
    db.transaction(async |tx| {
        let Membership { workspace, member } = enter(&tx, workspace_id, user_id).await?;
        member.role.check(Deed::Delete)?;
        check_is_shared(workspace.is_personal)?;
        tx.delete::<Workspace>(workspace_id).await.map(drop)
    })
    .await
}

/// Gives a member another role.
pub(super) async fn change_role(
    db: &Db,
    workspace_id: &str,
    user_id: &str,
    whose: &str,
    to: MemberRole,
) -> Result<(Saved<Member>, Saved<User>)> {
    db.transaction(async |tx| {
        let asking = enter(&tx, workspace_id, user_id).await?.member;
        let mut member = store::member(&tx, workspace_id, whose).await?.or_not_found("member")?;
        asking.role.check(Deed::ChangeRole { from: member.role, to })?;
        check_an_owner_stays(store::has_other_owners(&tx, workspace_id, whose).await?, member.role, Some(to))?;
        if member.role != to {
            member.role = to;
            member = tx.save(member).await?;
        }
        let user = tx.get::<User>(whose).await?.or_not_found("member")?;
        Ok((member, user))
    })
    .await
}

/// Removes a member; who removes themself leaves.
pub(super) async fn remove(db: &Db, workspace_id: &str, user_id: &str, whose: &str) -> Result<()> {
    db.transaction(async |tx| {
        let asking = enter(&tx, workspace_id, user_id).await?.member;
        let member = store::member(&tx, workspace_id, whose).await?.or_not_found("member")?;
        if member.id != asking.id {
            asking.role.check(Deed::Remove(member.role))?;
        }
        check_an_owner_stays(store::has_other_owners(&tx, workspace_id, whose).await?, member.role, None)?;
        tx.delete::<Member>(&member.id).await.map(drop)
    })
    .await
}

/// Invites an address. Answers the invitation and its token, which is told this once.
pub(super) async fn invite(
    db: &Db,
    workspace_id: &str,
    user_id: &str,
    email: &str,
    role: MemberRole,
    now: Timestamp,
) -> Result<(Saved<Invite>, String)> {
    let address = EmailAddress::parse(email).map_err(|problem| {
        Error::invalid("this address can't be invited").code("unprocessable").field("/email", problem)
    })?;
    let token = random_token();
    let invite = Invite {
        workspace_id: workspace_id.to_owned(),
        email: address.typed,
        email_key: address.key,
        role,
        token_hash: Secret::new(token_hash(&token)),
        invited_by_user_id: user_id.to_owned(),
        expires_at: now + INVITE_LIFE,
    };
    let saved = db.transaction(async |tx| save_invite(&tx, user_id, invite.clone(), now).await).await?;
    Ok((saved, token))
}

async fn save_invite(tx: &Db, user_id: &str, invite: Invite, now: Timestamp) -> Result<Saved<Invite>> {
    let Membership { workspace, member } = enter(tx, &invite.workspace_id, user_id).await?;
    member.role.check(Deed::Invite(invite.role))?;
    check_is_shared(workspace.is_personal)?;
    if let Some(former) = store::invite_for(tx, &workspace.id, &invite.email_key).await?
        && former.expires_at > now
    {
        member.role.check(Deed::Invite(former.role))?;
    }
    let invited = tx.find::<User>("[email_key] = ?", [&invite.email_key]).first().await?;
    if let Some(invited) = invited
        && store::member(tx, &workspace.id, &invited.id).await?.is_some()
    {
        return Err(already_a_member());
    }
    tx.save(invite).match_by(["workspace_id", "email_key"]).await
}

fn already_a_member() -> Error {
    Error::conflict("they are a member of this workspace already").code("already_member")
}

/// Takes an invitation back.
pub(super) async fn cancel_invite(db: &Db, workspace_id: &str, user_id: &str, invite_id: &str) -> Result<()> {
    db.transaction(async |tx| {
        let asking = enter(&tx, workspace_id, user_id).await?.member;
        asking.role.check(Deed::SeeInvites)?;
        let invite = tx.get::<Invite>(invite_id).await?.filter(|invite| invite.workspace_id == workspace_id);
        let invite = invite.or_not_found("invitation")?;
        asking.role.check(Deed::Invite(invite.role))?;
        tx.delete::<Invite>(invite_id).await.map(drop)
    })
    .await
}

/// Lets somebody in by an invitation.
pub(super) async fn join(db: &Db, user_id: &str, token: &str, now: Timestamp) -> Result<Membership> {
    db.transaction(async |tx| {
        let user = tx.get::<User>(user_id).await?.ok_or_else(no_such_invitation)?;
        accept(&tx, token, user_id, &user.email_key, now).await
    })
    .await
}

/// Uses an invitation up, and makes the member. One answer for all that are no good: made up, expired, used, taken back, of another address.
async fn accept(tx: &Db, token: &str, user_id: &str, email_key: &str, now: Timestamp) -> Result<Membership> {
    let invite = store::invite_of_token(tx, token_hash(token), now).await?;
    let invite = invite.filter(|invite| invite.email_key == email_key).ok_or_else(no_such_invitation)?;
    store::lock(tx, &invite.workspace_id).await?;
    let workspace = tx.get::<Workspace>(&invite.workspace_id).await?.ok_or_else(no_such_invitation)?;
    let tx = tx.with_caller(tx.caller().clone().in_workspace(&workspace.id));
    // Of many who hold the same token, one deletes it.
    match tx.delete::<Invite>(&invite.id).if_version(invite.version).await {
        Ok(true) => {}
        Ok(false) => return Err(no_such_invitation()),
        Err(error) if error.error_code() == "version_conflict" => return Err(no_such_invitation()),
        Err(error) => return Err(error),
    }
    if store::member(&tx, &workspace.id, user_id).await?.is_some() {
        return Err(already_a_member());
    }
    let member = Member { workspace_id: workspace.id.clone(), user_id: user_id.to_owned(), role: invite.entity.role };
    Ok(Membership { member: tx.save(member).await?, workspace })
}

fn no_such_invitation() -> Error {
    Error::not_found("there is no such invitation for you; it may have been used or have expired")
}

/// What auth calls for everybody who signs up.
pub(crate) fn on_sign_up(clock: Clock) -> OnSignUp {
    Arc::new(SigningUp { clock })
}

struct SigningUp {
    clock: Clock,
}

impl SignUpHook for SigningUp {
    fn is_invited<'a>(&'a self, db: &'a Db, token: &'a str, email_key: &'a str) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let invite = store::invite_of_token(db, token_hash(token), self.clock.now()).await?;
            let Some(invite) = invite.filter(|invite| invite.email_key == email_key) else { return Ok(false) };
            Ok(db.get::<Workspace>(&invite.workspace_id).await?.is_some())
        })
    }

    fn signed_up(&self, tx: Db, who: SignedUp) -> BoxFuture<'_, Result<String>> {
        Box::pin(async move {
            let personal = save_new(&tx, &new_id(), &who.user_id, &who.display_name, true).await?.workspace;
            if let Some(token) = &who.invite_token {
                let accepted = accept(&tx, token, &who.user_id, &who.email_key, self.clock.now()).await;
                accepted.map_err(|error| match error.kind() {
                    ErrorKind::NotFound => Error::invalid("this invitation is not valid")
                        .code("unprocessable")
                        .field("/invite_token", "is not a valid invitation"),
                    _ => error,
                })?;
            }
            Ok(personal.id)
        })
    }
}
