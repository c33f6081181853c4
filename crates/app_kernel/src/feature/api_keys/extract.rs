//! What handlers ask for that take programs beside people: `auth: Auth`, or `auth: RequireScope<DeploymentsWrite>` where not every key will do.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use aide::OperationInput;
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;

use super::authenticate::{KeyIdentity, no_living_key};
use super::model::is_scope;
use crate::base::error::{Error, ErrorKind, OrNotFound, Result};
use crate::feature::workspaces::{MemberRole, WorkspaceMember, belonging, describe_member, named};
use crate::kernel::Kernel;
use crate::store::db::Db;
use crate::web::extract::caller_of;
use crate::web::openapi::{self, Refusal};

/// Somebody who is signed in, or a program with an API key, in the workspace that the request is about: the one of the path, else of the
/// query `workspace_id`, else of the header `X-Workspace-ID`, else the key's, else the personal one. Answers 401 where there is no proof or
/// no good one, 404 where they don't belong to the workspace, or the key belongs to another, and 429 where the key is used too often.
///
/// It asks for no scope: whoever has any key gets in. [`RequireScope`] does.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// async fn deploy(auth: Auth) -> Result<Json<String>> {
///     auth.require_scope("deployments:write")?;
///     Ok(Json(format!("{} deploys for {}", auth.kind().as_str(), auth.user_id)))
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Auth {
    /// Who is signed in; for a key, whose it is.
    pub user_id: String,
    /// The workspace that the request is about. They belong to it.
    pub workspace_id: String,
    /// What they are in it: a key is no more than its maker.
    pub role: MemberRole,
    /// None for people.
    key: Option<Arc<KeyIdentity>>,
    db: Db,
}

/// How somebody proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthKind {
    /// By an access token: a person.
    User,
    /// By an API key: a program.
    ApiKey,
}

impl AuthKind {
    /// `user` or `api_key`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AuthKind::User => "user",
            AuthKind::ApiKey => "api_key",
        }
    }
}

impl Auth {
    /// Whether it is a person or a program.
    #[must_use]
    pub fn kind(&self) -> AuthKind {
        if self.key.is_some() { AuthKind::ApiKey } else { AuthKind::User }
    }

    /// The key's identifier, where it is a program.
    #[must_use]
    pub fn api_key_id(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.key_id.as_str())
    }

    /// Whether they may do what this scope stands for. People have every scope, keys those that they were made with.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.key.as_ref().is_none_or(|key| key.has_scope(scope))
    }

    /// Refuses whoever has not this scope.
    ///
    /// # Errors
    /// 403 `insufficient_scope` (RFC 6750, 3.1), with the scope in `scope`.
    pub fn require_scope(&self, scope: &str) -> Result<()> {
        if self.has_scope(scope) {
            return Ok(());
        }
        let error = Error::forbidden(format!("this API key has not the scope `{scope}`")).code("insufficient_scope");
        Err(error.member("scope", scope))
    }

    /// The workspace's part of the database, on behalf of whoever asks; see [`Db::in_workspace`].
    #[must_use]
    pub fn db(&self) -> Db {
        self.db.in_workspace(&self.workspace_id)
    }
}

/// The workspace that a request with a key is about; another than the key's own is not there for it.
async fn workspace_of(parts: &mut Parts, key: &KeyIdentity) -> Result<String> {
    let (named, own) = (named(parts).await?, key.workspace_id.as_ref());
    match (named, own) {
        (Some(named), Some(own)) => Some(named).filter(|named| named == own),
        (Some(named), None) => Some(named),
        (None, own) => own.or(key.user.workspace_id.as_ref()).cloned(),
    }
    .or_not_found("workspace")
}

/// The name of a scope as a type, for [`RequireScope`]. [`scope!`](crate::scope) makes them.
pub trait Scope: Send + Sync + 'static {
    /// Such as `deployments:write`.
    const NAME: &'static str;
}

/// Names scopes as types; what is no scope does not compile.
///
/// ```no_run
/// # use app_kernel::prelude::*;
/// scope! {
///     /// Starting and stopping.
///     DeploymentsWrite = "deployments:write";
///     DeploymentsRead = "deployments:read";
/// }
///
/// async fn deploy(auth: RequireScope<DeploymentsWrite>) -> String {
///     format!("{} deploys in {}", auth.user_id, auth.workspace_id)
/// }
/// ```
#[macro_export]
macro_rules! scope {
    ($($(#[$meta:meta])* $visibility:vis $name:ident = $text:literal);+ $(;)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        $visibility struct $name;

        impl $crate::feature::api_keys::Scope for $name {
            const NAME: &'static str = $text;
        }

        const _: () = assert!(
            $crate::feature::api_keys::is_scope($text),
            "a scope is words of letters and digits with colons between them, as in `deployments:write`"
        );
    )+};
}

/// An [`Auth`] that has the scope: every person, and the keys that were made with it; 403 for other keys. The OpenAPI document names the scope.
pub struct RequireScope<S> {
    auth: Auth,
    scope: PhantomData<fn() -> S>,
}

impl<S: Scope> RequireScope<S> {
    /// Refuses at compile time what [`scope!`](crate::scope) would.
    const IS_SCOPE: () = assert!(is_scope(S::NAME), "`Scope::NAME` is no scope");

    /// Who asks.
    #[must_use]
    pub fn into_inner(self) -> Auth {
        self.auth
    }
}

impl<S> Deref for RequireScope<S> {
    type Target = Auth;

    fn deref(&self) -> &Auth {
        &self.auth
    }
}

impl<S> Clone for RequireScope<S> {
    fn clone(&self) -> Self {
        RequireScope { auth: self.auth.clone(), scope: PhantomData }
    }
}

impl<S> fmt::Debug for RequireScope<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequireScope").field(&self.auth).finish()
    }
}

impl<St> FromRequestParts<St> for Auth
where
    Kernel: FromRef<St>,
    St: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &St) -> Result<Self> {
        let kernel_db = Kernel::from_ref(state).db()?;
        let Some(key) = parts.extensions.get::<Arc<KeyIdentity>>().map(Arc::clone) else {
            let member = WorkspaceMember::from_request_parts(parts, state).await?;
            let db = member.kernel_db().clone();
            let WorkspaceMember { user, workspace_id, role, .. } = member;
            return Ok(Auth { user_id: user.id, workspace_id, role, key: None, db });
        };
        let workspace_id = workspace_of(parts, &key).await?;
        let place = belonging(parts, &kernel_db, &workspace_id, &key.user).await.map_err(|error| {
            // Its maker has left the workspace that it belongs to, or the workspace is gone: so is the key.
            if key.workspace_id.is_some() && error.kind() == ErrorKind::NotFound { no_living_key() } else { error }
        })?;
        let db = kernel_db.with_caller(caller_of(&parts.extensions));
        let (user_id, role) = (key.user.id.clone(), place.member.role);
        Ok(Auth { user_id, workspace_id, role, key: Some(key), db })
    }
}

impl<St, S> FromRequestParts<St> for RequireScope<S>
where
    Kernel: FromRef<St>,
    St: Send + Sync,
    S: Scope,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &St) -> Result<Self> {
        let () = Self::IS_SCOPE;
        let auth = Auth::from_request_parts(parts, state).await?;
        auth.require_scope(S::NAME)?;
        Ok(RequireScope { auth, scope: PhantomData })
    }
}

impl OperationInput for Auth {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        describe_member(ctx, operation);
        openapi::take_api_keys(operation, None);
    }
}

impl<S: Scope> OperationInput for RequireScope<S> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        describe_member(ctx, operation);
        openapi::take_api_keys(operation, Some(S::NAME));
        openapi::may_refuse(operation, Refusal::Forbidden);
    }
}
