//! Workspaces: where people work together, or alone. Everybody has a personal one from the moment they sign up.

mod store;

pub use self::store::{Member, MemberRole, Workspace};
pub(crate) use self::store::{entities, on_sign_up};
