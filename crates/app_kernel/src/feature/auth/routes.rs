//! `/auth/…` over HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use aide::OperationInput;
use aide::axum::ApiRouter;
use aide::axum::routing::{delete_with, get_with, post_with};
use aide::generate::GenContext;
use aide::openapi::{Operation, ReferenceOr};
use aide::transform::TransformOperation;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Auth;
use super::extract::SignedIn;
use super::flows::{SignUp, Tokens, Visit, user_agent};
use super::limits;
use super::mailed;
use super::model::Role;
use super::second_factor;
use super::store::{Session, User};
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, ErrorKind, Result};
use crate::kernel::Kernel;
use crate::store::db::row::Saved;
use crate::web::edge;
use crate::web::extract::{Form, Json, Path, caller_of};
use crate::web::openapi::says;
use crate::web::reply::{Created, NoContent};

/// The routes, without a prefix.
pub(crate) fn routes(auth: Arc<Auth>) -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route("/auth/register", post_with(register, says("Sign up", "Makes a user and their personal workspace.")))
        .api_route(
            "/auth/login",
            post_with(login, says(
                "Log in",
                "Answers an access token and a refresh token. Takes JSON, or the form of the OAuth 2 password flow. \
                 Where the user has a second factor, it answers 401 `second_factor_required` with a `challenge` for /auth/login/second-factor.",
            )),
        )
        .api_route(
            "/auth/refresh",
            post_with(refresh, says("Get new tokens", "A refresh token is good for one exchange. Used twice, it ends its session.")),
        )
        .api_route("/auth/logout", post_with(logout, |operation| without_need_of_a_body(says(
            "Log out",
            "Ends the session of the access token, or of the refresh token in the body.",
        )(operation))))
        .api_route(
            "/auth/me",
            get_with(me, says("Who am I?", "The signed-in user.")).delete_with(leave, says(
                "Delete my account",
                "Ends all sessions. Whoever is the only owner of a workspace that others share hands it on first, else this is 409.",
            )),
        )
        .api_route(
            "/auth/change-password",
            post_with(change_password, says("Change the password", "Ends all other sessions of the user; the present one goes on.")),
        )
        .api_route(
            "/auth/sessions",
            get_with(list_sessions, says("Where am I signed in?", "The living sessions, the last used first."))
                .delete_with(end_all_sessions, says("Log out everywhere", "Ends all sessions of the user, this one too.")),
        )
        .api_route(
            "/auth/sessions/{id}",
            delete_with(end_one_session, says("Log out one device", "Ends one session of the user.")),
        )
        .merge(mailed::routes())
        .merge(second_factor::routes())
        .with_state(auth)
}

/// aide describes `Option<Json<T>>` as it does `Json<T>`.
fn without_need_of_a_body(mut operation: TransformOperation<'_>) -> TransformOperation<'_> {
    if let Some(ReferenceOr::Item(body)) = &mut operation.inner_mut().request_body {
        body.required = false;
    }
    operation
}

/// Who signs up.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    /// An e-mail address. Case does not matter.
    #[schemars(email, length(max = 254))]
    email: String,
    /// 8 to 256 characters.
    #[schemars(length(min = 8, max = 256))]
    password: String,
    /// What they want to be called.
    #[serde(default)]
    #[schemars(length(max = 200))]
    name: Option<String>,
    /// The token of an invitation to a workspace.
    #[serde(default)]
    invite_token: Option<String>,
}

/// A user, as they see themselves.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "User")]
struct UserView {
    id: String,
    email: String,
    name: Option<String>,
    role: Role,
    is_active: bool,
    /// Whether they showed that the address is theirs.
    email_verified: bool,
    /// Their personal workspace.
    workspace_id: Option<String>,
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    created_at: Timestamp,
}

impl From<Saved<User>> for UserView {
    fn from(user: Saved<User>) -> Self {
        UserView {
            id: user.id,
            email: user.entity.email,
            name: user.entity.name,
            role: user.entity.role,
            is_active: user.entity.is_active,
            email_verified: user.entity.email_verified_at.is_some(),
            workspace_id: user.entity.personal_workspace_id,
            created_at: user.created_at,
        }
    }
}

async fn register(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    Json(body): Json<Register>,
) -> Result<Created<UserView>> {
    let Register { email, password, name, invite_token } = body;
    let user = auth.sign_up(&visit, SignUp { email, password, name, invite_token }).await?;
    Ok(Created::new(user.into()))
}

/// Who logs in.
#[derive(Deserialize, JsonSchema)]
struct Login {
    /// The address; `username` is another name for it.
    #[serde(default)]
    email: Option<String>,
    /// Another name for `email`.
    #[serde(default)]
    username: Option<String>,
    password: String,
}

/// The form of the OAuth 2 password flow (RFC 6749, 4.3.2).
#[derive(Deserialize, JsonSchema)]
struct PasswordGrant {
    /// `password`.
    #[serde(default)]
    grant_type: Option<String>,
    /// The address.
    username: String,
    password: String,
}

/// The pair of tokens.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Tokens")]
pub(crate) struct TokensView {
    /// For `Authorization: Bearer …`.
    access_token: String,
    /// For `/auth/refresh`, once.
    refresh_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// How long the access token lives, in seconds.
    expires_in: i64,
}

impl From<Tokens> for Json<TokensView> {
    fn from(tokens: Tokens) -> Self {
        let Tokens { access, refresh, expires_in } = tokens;
        Json(TokensView { access_token: access, refresh_token: refresh, token_type: "bearer", expires_in })
    }
}

async fn login(State(auth): State<Arc<Auth>>, visit: Visit, who: Credentials) -> Result<Json<TokensView>> {
    Ok(auth.log_in(&visit, &who.address, who.password).await?.into())
}

/// A refresh token.
#[derive(Deserialize, JsonSchema)]
struct Refresh {
    refresh_token: String,
}

async fn refresh(State(auth): State<Arc<Auth>>, visit: Visit, Json(body): Json<Refresh>) -> Result<Json<TokensView>> {
    Ok(auth.refresh(&visit, &body.refresh_token).await?.into())
}

/// What to log out of, beside the access token's session.
#[derive(Deserialize, JsonSchema)]
struct Logout {
    #[serde(default)]
    refresh_token: Option<String>,
}

async fn logout(
    State(auth): State<Arc<Auth>>,
    user: Result<SignedIn, Error>,
    body: Option<Json<Logout>>,
) -> Result<NoContent> {
    let refresh_token = body.and_then(|Json(body)| body.refresh_token);
    match (user, refresh_token) {
        (Ok(user), None) => auth.end_session(user.session_id()).await?,
        (Ok(user), Some(token)) => {
            auth.end_session(user.session_id()).await?;
            // Most often that of the same session, which is over by now.
            match auth.end_session_of(&token).await {
                Err(error) if error.kind() != ErrorKind::Unauthenticated => return Err(error),
                _ended_or_no_good => {}
            }
        }
        // Also where the access token has expired: who still has the refresh token may leave.
        (Err(_), Some(token)) => auth.end_session_of(&token).await?,
        (Err(error), None) => return Err(error),
    }
    Ok(NoContent)
}

async fn me(State(auth): State<Arc<Auth>>, user: SignedIn) -> Result<Json<UserView>> {
    Ok(Json(auth.user(&user.id).await?.into()))
}

/// Who leaves says it with their password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Leave {
    password: String,
}

async fn leave(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    user: SignedIn,
    Json(body): Json<Leave>,
) -> Result<NoContent> {
    auth.leave(&visit, &user, body.password).await?;
    Ok(NoContent)
}

/// The present and the new password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    current_password: String,
    /// 8 to 256 characters.
    #[schemars(length(min = 8, max = 256))]
    new_password: String,
}

async fn change_password(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    user: SignedIn,
    Json(body): Json<ChangePassword>,
) -> Result<NoContent> {
    auth.change_password(&visit, &user, body.current_password, body.new_password).await?;
    Ok(NoContent)
}

/// One sign-in on one device.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
struct SessionView {
    id: String,
    /// The program that signed in, as it calls itself.
    user_agent: Option<String>,
    /// The address it signed in from.
    address: Option<String>,
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    created_at: Timestamp,
    /// When its refresh token was last exchanged.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    last_used_at: Timestamp,
    /// Until when its refresh token can be exchanged.
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    expires_at: Timestamp,
    /// Whether it is the one that asks.
    is_current: bool,
}

async fn list_sessions(State(auth): State<Arc<Auth>>, user: SignedIn) -> Result<Json<Vec<SessionView>>> {
    let view = |session: Saved<Session>| SessionView {
        is_current: session.id == user.session_id(),
        id: session.id,
        user_agent: session.entity.user_agent,
        address: session.entity.address,
        created_at: session.created_at,
        last_used_at: session.entity.last_used_at,
        expires_at: session.entity.expires_at,
    };
    Ok(Json(auth.sessions(&user).await?.into_iter().map(view).collect()))
}

async fn end_all_sessions(State(auth): State<Arc<Auth>>, visit: Visit, user: SignedIn) -> Result<NoContent> {
    auth.end_all_sessions(&visit, &user).await?;
    Ok(NoContent)
}

async fn end_one_session(State(auth): State<Arc<Auth>>, user: SignedIn, Path(id): Path<String>) -> Result<NoContent> {
    auth.end_session_by_id(&user, &id).await?;
    Ok(NoContent)
}

/// An address and a password, as JSON or as a form.
struct Credentials {
    address: String,
    password: String,
}

const URLENCODED: &str = "application/x-www-form-urlencoded";

impl<S: Send + Sync> FromRequest<S> for Credentials {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let media = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let is_form =
            media.get(..URLENCODED.len()).is_some_and(|start| start.eq_ignore_ascii_case(URLENCODED.as_bytes()));
        if is_form {
            let Form(grant) = Form::<PasswordGrant>::from_request(request, state).await?;
            return grant.try_into();
        }
        let Json(login) = Json::<Login>::from_request(request, state).await?;
        login.try_into()
    }
}

impl TryFrom<PasswordGrant> for Credentials {
    type Error = Error;

    fn try_from(grant: PasswordGrant) -> Result<Self> {
        if grant.grant_type.is_some_and(|kind| kind != "password") {
            return Err(Error::invalid("the only grant_type here is `password`").code("unsupported_grant_type"));
        }
        Ok(Credentials { address: grant.username, password: grant.password })
    }
}

impl TryFrom<Login> for Credentials {
    type Error = Error;

    fn try_from(login: Login) -> Result<Self> {
        let missing = || Error::invalid("the body does not fit").code("unprocessable").field("/email", "is required");
        let address = login.email.or(login.username).ok_or_else(missing)?;
        Ok(Credentials { address, password: login.password })
    }
}

impl OperationInput for Credentials {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        Form::<PasswordGrant>::operation_input(ctx, operation);
        let form = operation.request_body.take();
        Json::<Login>::operation_input(ctx, operation);
        if let (Some(ReferenceOr::Item(body)), Some(ReferenceOr::Item(form))) = (&mut operation.request_body, form) {
            body.content.extend(form.content);
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let address = edge::client_address(&parts.extensions).map(|address| address.0);
        Ok(Visit {
            caller: caller_of(&parts.extensions),
            origin: address.map(limits::origin),
            address: address.map(|address| address.to_canonical().to_string()),
            user_agent: user_agent(&parts.headers),
            arrived: edge::arrived(&parts.extensions).unwrap_or_else(Instant::now),
        })
    }
}

impl OperationInput for Visit {}
