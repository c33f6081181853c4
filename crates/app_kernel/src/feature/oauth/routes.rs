//! `/auth/oauth/…` over HTTP.

use std::sync::Arc;

use aide::OperationOutput;
use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use aide::generate::GenContext;
use aide::openapi::Operation;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OAuth;
use super::cookies::Cookies;
use super::flows::{Astray, Begin, Departure, Outcome, Return};
use super::store::Account;
use crate::base::clock::{Timestamp, iso};
use crate::base::error::{Error, OrInternal as _, Result};
use crate::feature::auth::{SignedIn, TokensView, Visit};
use crate::kernel::Kernel;
use crate::store::db::row::Saved;
use crate::web::extract::{Json, Path, Query};
use crate::web::openapi::says;
use crate::web::reply::{Created, ErrorPage, NoContent};

/// The routes, without a prefix.
pub(crate) fn routes(oauth: Arc<OAuth>) -> ApiRouter<Kernel> {
    ApiRouter::new()
        .api_route(
            "/auth/oauth/{provider}",
            get_with(start, says(
                "Sign in elsewhere",
                "Sends the browser to the provider. It comes back to `redirect_uri` with a `code`, for /auth/oauth/exchange.",
            ))
            .delete_with(unlink, says(
                "Unlink an account elsewhere",
                "It signs nobody in any more. The last way to sign in stays: 409 `last_way_in`.",
            )),
        )
        .api_route(
            "/auth/oauth/{provider}/callback",
            get_with(callback, says(
                "Come back from a provider",
                "What a provider sends browsers to. Answers with the way to `redirect_uri`, or with a page that says what went wrong.",
            )),
        )
        .api_route(
            "/auth/oauth/exchange",
            post_with(exchange, says(
                "Exchange a code",
                "Good once, for two minutes, in the browser that began: with its cookie, or with `code_verifier` where it began with `code_challenge`. \
                 Answers tokens, or 204 where an account was linked; that takes the access token of whoever began. \
                 Where the user has a second factor, it answers 401 `second_factor_required` with a `challenge` for /auth/login/second-factor.",
            )),
        )
        .api_route(
            "/auth/oauth/link",
            post_with(begin_link, says(
                "Begin to link an account elsewhere",
                "Answers what to send the browser to /auth/oauth/{provider} with, as `link`, within five minutes. Takes the password of whoever has one.",
            )),
        )
        .api_route(
            "/auth/oauth/accounts",
            get_with(accounts, says("By which accounts do I sign in?", "The accounts elsewhere that are linked, the first to be linked first.")),
        )
        .with_state(oauth)
}

/// How somebody begins.
#[derive(Deserialize, JsonSchema)]
struct StartQuery {
    /// Where to return to: a path such as `/dashboard`, or below an origin in `OAUTH_REDIRECT_ORIGINS`. `/` where it is left out.
    #[serde(default)]
    redirect_uri: Option<String>,
    /// What `/auth/oauth/link` answered, to link an account instead of signing in.
    #[serde(default)]
    link: Option<String>,
    /// For pages of another site, which browsers send no cookie for: the SHA-256 of a `code_verifier`, in base64url (RFC 7636, S256).
    #[serde(default)]
    code_challenge: Option<String>,
}

async fn start(
    State(oauth): State<Arc<OAuth>>,
    visit: Visit,
    Path(provider): Path<String>,
    Query(query): Query<StartQuery>,
    headers: HeaderMap,
) -> Result<Found, ErrorPage> {
    let StartQuery { redirect_uri, link, code_challenge } = query;
    let wanted = Begin { target: redirect_uri, link, challenge: code_challenge };
    let departure = oauth.begin(&visit, &provider, wanted).await.map_err(|error| ErrorPage::new(error, &headers))?;
    let Departure { url, cookie } = departure;
    Found::to(url, Some(cookie)).map_err(|error| ErrorPage::new(error, &headers))
}

/// What a provider sends a browser back with (RFC 6749, 4.1.2; RFC 9207).
#[derive(Deserialize, JsonSchema)]
struct ReturnQuery {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    iss: Option<String>,
}

async fn callback(
    State(oauth): State<Arc<OAuth>>,
    visit: Visit,
    Path(provider): Path<String>,
    Query(query): Query<ReturnQuery>,
    headers: HeaderMap,
) -> Result<Found, ErrorPage> {
    let ReturnQuery { state, code, error, iss } = query;
    let with = Return { state, code, error, issuer: iss };
    let returned = oauth.come_back(&visit, &provider, with, &Cookies::of(&headers)).await;
    let page = |Astray { error, back }: Astray| ErrorPage::new(error, &headers).with_way_back(back);
    Found::to(returned.map_err(page)?, None).map_err(|error| ErrorPage::new(error, &headers))
}

/// What a page exchanges.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Exchange {
    /// What it was called with.
    code: String,
    /// What belongs to the `code_challenge`, where it began with one.
    #[serde(default)]
    code_verifier: Option<String>,
}

async fn exchange(
    State(oauth): State<Arc<OAuth>>,
    visit: Visit,
    user: Result<SignedIn, Error>,
    headers: HeaderMap,
    Json(body): Json<Exchange>,
) -> Result<Exchanged> {
    let Exchange { code, code_verifier } = body;
    let (outcome, cookie) =
        oauth.exchange(&visit, user, &code, code_verifier.as_deref(), &Cookies::of(&headers)).await?;
    Ok(Exchanged { outcome, cookie })
}

/// Whoever has a password proves it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BeginLink {
    #[serde(default)]
    password: Option<String>,
}

/// What to begin with.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OAuthLink")]
struct LinkView {
    /// For `/auth/oauth/{provider}?link=…`, within five minutes.
    link: String,
}

async fn begin_link(
    State(oauth): State<Arc<OAuth>>,
    visit: Visit,
    user: SignedIn,
    Json(body): Json<BeginLink>,
) -> Result<Created<LinkView>> {
    let link = oauth.begin_link(&visit, &user, body.password).await?;
    Ok(Created::new(LinkView { link }))
}

/// An account elsewhere.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OAuthAccount")]
struct AccountView {
    /// As in the paths.
    provider: String,
    /// Its address when it was linked.
    email: Option<String>,
    #[serde(with = "iso")]
    #[schemars(with = "Timestamp")]
    linked_at: Timestamp,
}

async fn accounts(State(oauth): State<Arc<OAuth>>, visit: Visit, user: SignedIn) -> Result<Json<Vec<AccountView>>> {
    let view = |account: Saved<Account>| AccountView {
        linked_at: account.created_at,
        provider: account.entity.provider,
        email: account.entity.email,
    };
    Ok(Json(oauth.accounts(&visit, &user).await?.into_iter().map(view).collect()))
}

async fn unlink(
    State(oauth): State<Arc<OAuth>>,
    visit: Visit,
    user: SignedIn,
    Path(provider): Path<String>,
) -> Result<NoContent> {
    oauth.unlink(&visit, &user, &provider).await?;
    Ok(NoContent)
}

// --- answers --------------------------------------------------------------------------------------------------------------------------

/// 302, perhaps with a cookie. What stands in the address is for one journey: nobody keeps it.
struct Found {
    location: HeaderValue,
    cookie: Option<HeaderValue>,
}

impl Found {
    fn to(url: String, cookie: Option<String>) -> Result<Self> {
        let location = HeaderValue::from_str(&url).or_internal("writing where the browser goes")?;
        let cookie = cookie.map(|cookie| HeaderValue::from_str(&cookie)).transpose();
        Ok(Found { location, cookie: cookie.or_internal("writing a cookie")? })
    }
}

impl IntoResponse for Found {
    fn into_response(self) -> Response {
        let mut response = StatusCode::FOUND.into_response();
        let headers = response.headers_mut();
        headers.insert(LOCATION, self.location);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.cookie.map(|cookie| (SET_COOKIE, cookie)));
        response
    }
}

impl OperationOutput for Found {
    type Inner = ();

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<aide::openapi::Response> {
        Some(aide::openapi::Response { description: "The browser goes on elsewhere".to_owned(), ..Default::default() })
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        let status = Some(StatusCode::FOUND.as_u16());
        Self::operation_response(ctx, operation).map(|response| (status, response)).into_iter().collect()
    }
}

/// 200 with tokens, or 204 after a link; and the cookie goes.
struct Exchanged {
    outcome: Outcome,
    cookie: String,
}

impl IntoResponse for Exchanged {
    fn into_response(self) -> Response {
        let mut response = match self.outcome {
            Outcome::SignedIn(tokens) => tokens.into_response(),
            Outcome::Linked => NoContent.into_response(),
        };
        response.headers_mut().extend(HeaderValue::from_str(&self.cookie).ok().map(|cookie| (SET_COOKIE, cookie)));
        response
    }
}

impl OperationOutput for Exchanged {
    type Inner = TokensView;

    fn operation_response(ctx: &mut GenContext, operation: &mut Operation) -> Option<aide::openapi::Response> {
        Json::<TokensView>::operation_response(ctx, operation)
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, aide::openapi::Response)> {
        let tokens = Self::operation_response(ctx, operation).map(|response| (Some(200), response));
        let linked = aide::openapi::Response { description: "The account is linked".to_owned(), ..Default::default() };
        tokens.into_iter().chain([(Some(204), linked)]).collect()
    }
}
