//! What handlers ask for: `user: CurrentUser` answers 401 where nobody is signed in, `AdminUser` 403 where it is no admin.

use std::ops::Deref;
use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::model::Role;
use crate::base::caller::Caller;
use crate::base::error::{Error, Result};
use crate::web::openapi::require_token;

/// Somebody who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct UserIdentity {
    /// Their identifier.
    pub id: String,
    /// Their address, as they typed it.
    pub email: String,
    /// What they want to be called.
    pub name: Option<String>,
    /// `user` or `admin`.
    pub role: Role,
    /// Whether they may sign in; always true here.
    pub is_active: bool,
    /// The workspace that the request is about: their personal one where it says nothing else. They belong to it.
    pub workspace_id: Option<String>,
    /// Whether their session began with a second factor. What insists on one, such as a workspace, asks this.
    pub has_second_factor: bool,
    /// The same, for whatever is done on their behalf; with their session, where one says who they are.
    #[serde(skip)]
    pub(crate) caller: Caller,
}

impl UserIdentity {
    /// The session they are signed in by; empty where none says who they are.
    pub(crate) fn session_id(&self) -> &str {
        self.caller.session_id().unwrap_or_default()
    }
}

/// What became of the token of a request. Absent where there was none.
#[derive(Debug, Clone)]
pub(crate) enum Identity {
    User(Arc<UserIdentity>),
    Rejected(Rejection),
}

/// Why a token was no good.
#[derive(Debug, Clone)]
pub(crate) enum Rejection {
    /// Not ours, or not a token at all.
    Invalid,
    /// Over.
    Expired,
    /// Its session was ended, or its user is gone or not active any more.
    SessionEnded,
    /// For a reason of its own: the database did not answer, or it is no proof of a user.
    Because(Arc<Error>),
}

impl Rejection {
    pub(crate) fn to_error(&self) -> Error {
        match self {
            Rejection::Invalid => {
                Error::unauthenticated("the access token is not valid; log in").code("unauthenticated")
            }
            Rejection::Expired => {
                Error::unauthenticated("the access token has expired; get a new one with the refresh token")
                    .code("token_expired")
            }
            Rejection::SessionEnded => {
                Error::unauthenticated("this session has ended; log in again").code("session_ended")
            }
            Rejection::Because(cause) => {
                let error = Error::new(cause.kind(), cause.message().to_owned()).code(cause.error_code().to_owned());
                let error = error.status(cause.http_status()).cause(Arc::clone(cause));
                cause.retry_after().into_iter().fold(error, Error::retry_after_secs)
            }
        }
    }
}

impl Identity {
    /// Whoever asks for a user is refused with this.
    pub(crate) fn refused(because: Error) -> Self {
        Identity::Rejected(Rejection::Because(Arc::new(because)))
    }
}

/// Finds the workspace that a request names. `service` hangs the workspaces on it.
pub(crate) trait FindWorkspace: Send + Sync {
    /// The workspace that the request names, where this user belongs to it; 404 where they don't. None where it names none.
    fn named<'a>(
        &'a self,
        parts: &'a mut Parts,
        user: &'a UserIdentity,
    ) -> Option<BoxFuture<'a, Result<Option<String>>>>;
}

/// Rides on each request whose sender was looked for.
#[derive(Clone)]
pub(crate) struct WorkspaceFinder(pub(crate) Arc<dyn FindWorkspace>);

/// The signed-in user; 401 where there is none, and 404 where the request names a workspace that is not theirs.
///
/// ```no_run
/// # use app_kernel::feature::auth::CurrentUser;
/// async fn greet(user: CurrentUser) -> String {
///     format!("Hello, {}", user.email)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// Their identifier. Everything else about them is in [`UserIdentity`], which this derefs to.
    pub id: String,
    identity: Arc<UserIdentity>,
}

impl Deref for CurrentUser {
    type Target = UserIdentity;

    fn deref(&self) -> &UserIdentity {
        &self.identity
    }
}

/// The signed-in user, if there is one. A token that is no good is refused all the same: whoever sent it believes to be signed in.
#[derive(Debug, Clone)]
pub struct OptionalUser(pub Option<CurrentUser>);

/// The signed-in user, who is an admin; 401 where there is nobody, 403 where it is somebody else. Admins need not belong to the workspaces
/// that their requests name: their `workspace_id` is the personal one.
#[derive(Debug, Clone)]
pub struct AdminUser(pub CurrentUser);

impl Deref for AdminUser {
    type Target = CurrentUser;

    fn deref(&self) -> &CurrentUser {
        &self.0
    }
}

/// The signed-in user, whatever workspace the request names: for routes that are about none.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn(pub(crate) CurrentUser);

impl Deref for SignedIn {
    type Target = CurrentUser;

    fn deref(&self) -> &CurrentUser {
        &self.0
    }
}

/// The user, in the workspace that the request names.
async fn in_named_workspace(parts: &mut Parts, mut user: CurrentUser) -> Result<CurrentUser> {
    let Some(WorkspaceFinder(finder)) = parts.extensions.get::<WorkspaceFinder>().cloned() else { return Ok(user) };
    let named = match finder.named(parts, &user.identity) {
        Some(naming) => naming.await?,
        None => None,
    };
    if named.is_some() {
        Arc::make_mut(&mut user.identity).workspace_id = named;
    }
    Ok(user)
}

fn optional(parts: &Parts) -> Result<Option<CurrentUser>> {
    match parts.extensions.get::<Identity>() {
        None => Ok(None),
        Some(Identity::User(identity)) => {
            Ok(Some(CurrentUser { id: identity.id.clone(), identity: Arc::clone(identity) }))
        }
        Some(Identity::Rejected(rejection)) => Err(rejection.to_error()),
    }
}

fn current(parts: &Parts) -> Result<CurrentUser> {
    optional(parts)?.ok_or_else(|| {
        Error::unauthenticated("you are not signed in; send an access token as `Authorization: Bearer …`")
    })
}

impl<S: Send + Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let user = current(parts)?;
        in_named_workspace(parts, user).await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        current(parts).map(SignedIn)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OptionalUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        match optional(parts)? {
            Some(user) => in_named_workspace(parts, user).await.map(|user| OptionalUser(Some(user))),
            None => Ok(OptionalUser(None)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AdminUser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let user = current(parts)?;
        if user.role == Role::Admin { Ok(AdminUser(user)) } else { Err(Error::forbidden("only admins may do this")) }
    }
}

impl OperationInput for CurrentUser {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        require_token(operation);
    }
}

impl OperationInput for SignedIn {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        require_token(operation);
    }
}

impl OperationInput for AdminUser {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        require_token(operation);
    }
}

impl OperationInput for OptionalUser {
    fn operation_input(_: &mut GenContext, operation: &mut Operation) {
        require_token(operation);
        // An empty requirement: the operation works without a token, too.
        operation.security.push(aide::openapi::SecurityRequirement::new());
    }
}
