//! Workspaces: where people work together, or alone.
//!
//! - Everybody has a personal workspace from the moment they sign up. It has one member for good and is not deleted.
//! - Anybody makes more of them, and owns what they made. Owners may do everything; admins everything but what concerns owners: they neither
//!   make nor change nor remove one, and don't delete the workspace. Members work there, see each other, and may leave.
//! - There is always an owner: the last one can't leave, be removed or get another role, also when two try at once.
//!   An owner who was deactivated is none in this: nobody could ask them for anything.
//! - People come in by invitation. Its token is told once and stored as a hash, is good for one use within seven days, and only for the address
//!   it was made for. A second one for the same address takes the place of the first. Where mail is on, the invited get it by mail as well; few
//!   mails go to one address and by one inviter, and an invitation beyond is made, and answered as not mailed.
//! - A workspace that somebody does not belong to is not there for them: 404, never 403. Whoever belongs to it and may not do something gets 403.
//! - Owners may have their workspace let in only those who signed in with a second factor: others get 403 `second_factor_required` there.
//! - What a request is about is said by its path, its query `workspace_id` or its header `X-Workspace-ID`, in this order; else it is the
//!   personal one. Who belongs to a workspace is read with each request, so a removal counts at once, in every process.

mod extract;
mod flows;
mod leaving;
mod mailed;
mod model;
mod resolve;
mod routes;
mod store;

pub(crate) use self::extract::{Here, describe_member};
pub use self::extract::{WorkspaceAdmin, WorkspaceDb, WorkspaceMember, WorkspaceOwner};
pub(crate) use self::flows::on_sign_up;
pub(crate) use self::leaving::on_leave;
pub use self::model::MemberRole;
pub(crate) use self::resolve::{belonging, finding_workspaces, named};
pub(crate) use self::routes::routes;
pub use self::store::{Invite, Member, Workspace};
pub(crate) use self::store::{addresses_of_owners, entities, membership};
