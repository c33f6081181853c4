//! Where people sign in elsewhere: whether it answers, and is who we think.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::USER_AGENT;
use serde::Deserialize;

use super::Finding;
use crate::base::config::{OAuthKind, OAuthProvider, oauth_variable};
use crate::engine::outbound::Outbound;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MOST: usize = 1 << 20;

/// What is read of OpenID Connect Discovery 1.0, 3.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
}

/// Asks it for what it says of itself, or, where it says nothing of itself, for anything.
pub(super) async fn provider(name: &str, provider: &OAuthProvider) -> Vec<Finding> {
    let subject = format!("oauth/{name}");
    let (variable, url) = match &provider.kind {
        OAuthKind::Oidc { issuer } => (
            oauth_variable(name, "ISSUER"),
            format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')),
        ),
        OAuthKind::GitHub { url } => (oauth_variable(name, "URL"), url.clone()),
    };
    let place = provider.url();
    let cure = format!("correct {variable}, or look whether this machine may reach it");
    let request = Request::get(&url).header(USER_AGENT, "app-kernel").body(Full::<Bytes>::default());
    let (Ok(request), Ok(outbound)) = (request, Outbound::new()) else {
        return vec![Finding::fail(subject, format!("{place} can't be asked"), cure)];
    };
    let answer = match outbound.fetch(request, PATIENCE, MOST).await {
        Ok(answer) => answer,
        Err(cause) => return vec![Finding::fail(subject, format!("{place} does not answer: {cause}"), cure)],
    };
    vec![match &provider.kind {
        OAuthKind::GitHub { .. } if !answer.status().is_server_error() => {
            Finding::ok(subject, format!("{place} answers"))
        }
        OAuthKind::GitHub { .. } => Finding::fail(subject, format!("{place} answers {}", answer.status()), cure),
        OAuthKind::Oidc { issuer } => match serde_json::from_slice::<Discovered>(answer.body()) {
            Ok(found) if found.issuer.trim_end_matches('/') == issuer.trim_end_matches('/') => {
                Finding::ok(subject, format!("{place} answers"))
            }
            Ok(found) => Finding::fail(
                subject,
                format!("{place} says that it is {}", found.issuer),
                format!("set {variable} to what it says, if you trust it"),
            ),
            Err(_) => Finding::fail(
                subject,
                format!("{place} answers {}, which is no OpenID provider", answer.status()),
                cure,
            ),
        },
    }]
}
