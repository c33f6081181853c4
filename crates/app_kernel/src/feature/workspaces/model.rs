//! What workspaces decide without looking anything up: who may do what, and what a workspace can be called.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::store::db::entity::Entity;

/// How long an invitation is good.
pub(super) const INVITE_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The longest name of a workspace, in characters.
pub(super) const LONGEST_NAME: usize = 200;

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

/// Something that not everybody may do in a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Give the workspace another name.
    Rename,
    /// Delete the workspace.
    Delete,
    /// Say whether everybody needs a second factor.
    SetSecondFactor,
    /// See who is invited.
    SeeInvites,
    /// Invite somebody as this, or take such an invitation back.
    Invite(MemberRole),
    /// Give a member another role.
    ChangeRole { from: MemberRole, to: MemberRole },
    /// Remove somebody else, who is this.
    Remove(MemberRole),
}

impl MemberRole {
    /// Whether it is more than a member.
    #[must_use]
    pub fn is_admin(self) -> bool {
        matches!(self, MemberRole::Owner | MemberRole::Admin)
    }

    /// Lets somebody of this role do it.
    ///
    /// # Errors
    /// `Forbidden`, with the role that it takes.
    pub(super) fn check(self, deed: Deed) -> Result<()> {
        let concerns_owners = match deed {
            Deed::Rename | Deed::SeeInvites => false,
            Deed::Delete | Deed::SetSecondFactor => true,
            Deed::Invite(role) | Deed::Remove(role) => role == MemberRole::Owner,
            Deed::ChangeRole { from, to } => from == MemberRole::Owner || to == MemberRole::Owner,
        };
        match self {
            MemberRole::Owner => Ok(()),
            MemberRole::Admin if !concerns_owners => Ok(()),
            _ if concerns_owners => Err(needs_an_owner()),
            _ => Err(needs_an_admin()),
        }
    }

    /// Refuses whoever is neither owner nor admin.
    pub(crate) fn check_is_admin(self) -> Result<()> {
        if self.is_admin() { Ok(()) } else { Err(needs_an_admin()) }
    }

    /// Refuses whoever is no owner.
    pub(super) fn check_is_owner(self) -> Result<()> {
        if self == MemberRole::Owner { Ok(()) } else { Err(needs_an_owner()) }
    }
}

fn needs_an_admin() -> Error {
    Error::forbidden("only owners and admins of the workspace may do this")
}

fn needs_an_owner() -> Error {
    Error::forbidden("only owners of the workspace may do this")
}

/// Refuses that the last owner becomes something else, or goes. Owners who can't sign in don't count: nobody could ask them.
pub(super) fn check_an_owner_stays(others: bool, from: MemberRole, to: Option<MemberRole>) -> Result<()> {
    if from != MemberRole::Owner || to == Some(MemberRole::Owner) || others {
        return Ok(());
    }
    Err(Error::conflict("a workspace needs an owner; make somebody else one first").code("last_owner"))
}

/// Refuses what can't be done with a workspace that is somebody's own.
pub(super) fn check_is_shared(is_personal: bool) -> Result<()> {
    if !is_personal {
        return Ok(());
    }
    Err(Error::conflict("a personal workspace has one member for good; make another workspace to share")
        .code("personal_workspace"))
}

/// Refuses whoever signed in without the second factor that a workspace asks for.
pub(super) fn check_second_factor(is_required: bool, has_one: bool) -> Result<()> {
    if has_one || !is_required {
        return Ok(());
    }
    let cure = "this workspace asks for a second factor; set one up at /auth/second-factor, and log in with it";
    Err(Error::forbidden(cure).code("second_factor_required"))
}

/// The name as it is kept; what is wrong with it is a sentence part.
pub(super) fn workspace_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.is_empty() {
        return Err("must not be empty");
    }
    if name.chars().count() > LONGEST_NAME {
        return Err("must have at most 200 characters");
    }
    if name.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    Ok(name.to_owned())
}

/// The name of the route's parameter that names a workspace: `{workspace_id}`, or what stands behind `/workspaces/`.
pub(super) fn workspace_parameter(template: &str) -> Option<&str> {
    let name_of = |segment: &'_ str| segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')).map(str::len);
    let segments = || template.split('/');
    if let Some(segment) = segments().find(|segment| *segment == "{workspace_id}") {
        return Some(&segment[1..segment.len() - 1]);
    }
    let after = segments()
        .zip(segments().skip(1))
        .find(|(before, segment)| *before == "workspaces" && name_of(segment).is_some());
    after.map(|(_, segment)| &segment[1..segment.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::MemberRole::{Admin, Member, Owner};
    use super::*;

    const ROLES: [MemberRole; 3] = [Owner, Admin, Member];

    /// Promise: R-27
    #[test]
    fn owners_do_everything_admins_what_does_not_concern_owners_members_nothing() {
        let change = |from, to| Deed::ChangeRole { from, to };
        let for_admins = [
            Deed::Rename,
            Deed::SeeInvites,
            Deed::Invite(Admin),
            Deed::Invite(Member),
            Deed::Remove(Admin),
            Deed::Remove(Member),
            change(Admin, Member),
            change(Member, Admin),
            change(Member, Member),
        ];
        let for_owners = [
            Deed::Delete,
            Deed::SetSecondFactor,
            Deed::Invite(Owner),
            Deed::Remove(Owner),
            change(Owner, Admin),
            change(Owner, Member),
            change(Member, Owner),
            change(Admin, Owner),
            change(Owner, Owner),
        ];
        let may = |deed: Deed| ROLES.map(|role| role.check(deed).is_ok());
        for deed in for_admins {
            assert_eq!(may(deed), [true, true, false], "{deed:?}");
        }
        for deed in for_owners {
            assert_eq!(may(deed), [true, false, false], "{deed:?}");
        }
        let refusal = |role: MemberRole, deed| role.check(deed).expect_err("refused").message().to_owned();
        assert_eq!(refusal(Admin, Deed::Delete), "only owners of the workspace may do this");
        assert_eq!(refusal(Member, Deed::Rename), "only owners and admins of the workspace may do this");
    }

    /// Promise: R-27
    #[test]
    fn the_last_owner_stays() {
        for (others, from, to, is_allowed) in [
            (false, Owner, None, false),
            (false, Owner, Some(Admin), false),
            (false, Owner, Some(Member), false),
            (false, Owner, Some(Owner), true),
            (true, Owner, None, true),
            (true, Owner, Some(Member), true),
            (false, Admin, None, true),
            (false, Member, Some(Owner), true),
        ] {
            let checked = check_an_owner_stays(others, from, to);
            assert_eq!(checked.is_ok(), is_allowed, "others: {others}, {from:?} to {to:?}");
            if let Err(error) = checked {
                assert_eq!((error.http_status(), error.error_code()), (409, "last_owner"));
            }
        }
    }

    #[test]
    fn a_personal_workspace_is_not_shared() {
        let error = check_is_shared(true).expect_err("it is personal");
        assert_eq!((error.http_status(), error.error_code()), (409, "personal_workspace"));
        assert!(check_is_shared(false).is_ok());
    }

    #[test]
    fn a_workspace_can_ask_for_a_second_factor() {
        for (is_required, has_one, is_let_in) in
            [(false, false, true), (false, true, true), (true, true, true), (true, false, false)]
        {
            assert_eq!(check_second_factor(is_required, has_one).is_ok(), is_let_in);
        }
        let error = check_second_factor(true, false).expect_err("refused");
        assert_eq!((error.http_status(), error.error_code()), (403, "second_factor_required"));
    }

    #[test]
    fn a_name_is_a_line_of_text() {
        assert_eq!(workspace_name("  Ärger & Söhne 🚀 "), Ok("Ärger & Söhne 🚀".to_owned()));
        assert_eq!(workspace_name(" \n"), Err("must not be empty"));
        assert_eq!(workspace_name("a\u{7}b"), Err("must not contain control characters"));
        assert_eq!(workspace_name(&"ß".repeat(200)), Ok("ß".repeat(200)));
        assert_eq!(workspace_name(&"ß".repeat(201)), Err("must have at most 200 characters"));
    }

    #[test]
    fn a_route_names_a_workspace_by_its_parameter() {
        for (template, parameter) in [
            ("/api/v1/workspaces/{id}", Some("id")),
            ("/workspaces/{id}/members/{user_id}", Some("id")),
            ("/workspaces/{team}/projects/{id}", Some("team")),
            ("/projects/{workspace_id}/parts/{id}", Some("workspace_id")),
            ("/workspaces/{id}/twins/{workspace_id}", Some("workspace_id")),
            ("/workspaces/join/{token}", None),
            ("/workspaces", None),
            ("/projects/{id}", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(workspace_parameter(template), parameter, "{template}");
        }
    }
}
