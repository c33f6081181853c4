//! `/auth/second-factor…` and the second half of a login over HTTP.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::error::Result;
use crate::feature::auth::Auth;
use crate::feature::auth::extract::SignedIn;
use crate::feature::auth::flows::Visit;
use crate::feature::auth::routes::TokensView;
use crate::web::extract::Json;
use crate::web::openapi::says;
use crate::web::reply::{Created, NoContent};

/// The routes, without a prefix.
pub(in crate::feature::auth) fn routes() -> ApiRouter<Arc<Auth>> {
    ApiRouter::new()
        .api_route(
            "/auth/login/second-factor",
            post_with(login, says(
                "Log in with a code",
                "The second half of a login that answered 401 `second_factor_required`: its `challenge`, and a code of the app or a recovery code.",
            )),
        )
        .api_route(
            "/auth/second-factor",
            post_with(add, says(
                "Add a second factor",
                "Answers what an authenticator app needs. It counts once it is confirmed by a code.",
            ))
            .get_with(status, says("Have I a second factor?", "Whether there is one, and how many recovery codes are left."))
            .delete_with(remove, says("Remove the second factor", "Takes the password and a code of the app or a recovery code.")),
        )
        .api_route(
            "/auth/second-factor/confirm",
            post_with(confirm, says(
                "Confirm the second factor",
                "Takes a code of the app; from then on, logins ask for one. Answers ten recovery codes, once.",
            )),
        )
}

/// The second half of a login.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LoginWithCode {
    /// What the first half answered.
    challenge: String,
    /// Six digits of the app, or a recovery code.
    code: String,
}

async fn login(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    Json(body): Json<LoginWithCode>,
) -> Result<Json<TokensView>> {
    Ok(auth.log_in_with_code(&visit, &body.challenge, &body.code).await?.into())
}

/// Who adds a second factor proves who they are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddSecondFactor {
    password: String,
}

/// What an authenticator app needs. Shown once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SecondFactorSecret")]
struct SecretView {
    /// In base32, for typing.
    secret: String,
    /// For a QR code.
    otpauth_uri: String,
}

async fn add(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    user: SignedIn,
    Json(body): Json<AddSecondFactor>,
) -> Result<Created<SecretView>> {
    let enrolment = auth.add_second_factor(&visit, &user, body.password).await?;
    Ok(Created::new(SecretView { secret: enrolment.secret, otpauth_uri: enrolment.uri }))
}

/// A code of the app.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmSecondFactor {
    /// Six digits.
    code: String,
}

/// Ways in without the app. Shown once.
#[derive(Serialize, JsonSchema)]
struct RecoveryCodes {
    /// Each is good once.
    recovery_codes: Vec<String>,
}

async fn confirm(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    user: SignedIn,
    Json(body): Json<ConfirmSecondFactor>,
) -> Result<Json<RecoveryCodes>> {
    let recovery_codes = auth.confirm_second_factor(&visit, &user, &body.code).await?;
    Ok(Json(RecoveryCodes { recovery_codes }))
}

/// Whether there is a second factor.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SecondFactor")]
struct StatusView {
    /// Whether logins ask for a code.
    is_on: bool,
    recovery_codes_left: usize,
}

async fn status(State(auth): State<Arc<Auth>>, user: SignedIn) -> Result<Json<StatusView>> {
    let status = auth.second_factor(&user).await?;
    Ok(Json(StatusView { is_on: status.is_on, recovery_codes_left: status.recovery_codes_left }))
}

/// Who removes a second factor proves both.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RemoveSecondFactor {
    password: String,
    /// Six digits of the app, or a recovery code.
    code: String,
}

async fn remove(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    user: SignedIn,
    Json(body): Json<RemoveSecondFactor>,
) -> Result<NoContent> {
    auth.remove_second_factor(&visit, &user, body.password, &body.code).await?;
    Ok(NoContent)
}
