//! `/auth/verify-email…` and `/auth/password-reset…` over HTTP.

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::base::error::Result;
use crate::feature::auth::Auth;
use crate::feature::auth::extract::SignedIn;
use crate::feature::auth::flows::Visit;
use crate::web::extract::Json;
use crate::web::openapi::says;
use crate::web::reply::{Accepted, NoContent};

/// The routes, without a prefix.
pub(in crate::feature::auth) fn routes() -> ApiRouter<Arc<Auth>> {
    ApiRouter::new()
        .api_route(
            "/auth/verify-email/request",
            post_with(request_verification, says(
                "Ask for a mail to confirm the address",
                "Sends a link to the signed-in user, unless the address is confirmed already.",
            )),
        )
        .api_route(
            "/auth/verify-email",
            post_with(verify, says("Confirm an address", "Takes the token of a link, once, within an hour.")),
        )
        .api_route(
            "/auth/password-reset/request",
            post_with(request_reset, says(
                "Ask for a mail to set a new password",
                "Sends a link to the address, if somebody has it. The answer is the same if nobody has.",
            )),
        )
        .api_route(
            "/auth/password-reset",
            post_with(reset, says(
                "Set a new password",
                "Takes the token of a link, once, within an hour. Ends all sessions of the user; a second factor stays.",
            )),
        )
}

async fn request_verification(State(auth): State<Arc<Auth>>, visit: Visit, user: SignedIn) -> Result<Accepted> {
    auth.request_verification(&visit, &user).await?;
    Ok(Accepted)
}

/// The token of a link.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VerifyEmail {
    token: String,
}

async fn verify(State(auth): State<Arc<Auth>>, visit: Visit, Json(body): Json<VerifyEmail>) -> Result<NoContent> {
    auth.verify_address(&visit, &body.token).await?;
    Ok(NoContent)
}

/// Who has forgotten their password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestReset {
    /// An e-mail address. Case does not matter.
    #[schemars(email, length(max = 254))]
    email: String,
}

async fn request_reset(
    State(auth): State<Arc<Auth>>,
    visit: Visit,
    Json(body): Json<RequestReset>,
) -> Result<Accepted> {
    auth.request_password_reset(&visit, &body.email).await?;
    Ok(Accepted)
}

/// The token of a link, and what it sets.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResetPassword {
    token: String,
    /// 8 to 256 characters.
    #[schemars(length(min = 8, max = 256))]
    new_password: String,
}

async fn reset(State(auth): State<Arc<Auth>>, visit: Visit, Json(body): Json<ResetPassword>) -> Result<NoContent> {
    auth.reset_password(&visit, &body.token, body.new_password).await?;
    Ok(NoContent)
}
