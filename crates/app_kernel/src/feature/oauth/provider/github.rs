//! GitHub: OAuth, and its API for who somebody is. What counts is the number of the account; names change hands.

use oauth2::{AuthType, AuthUrl, TokenUrl};
use serde::Deserialize;
use url::Url;

use super::{Endpoints, Provider};
use crate::base::config::secure_url;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;
use crate::feature::oauth::model::Identity;

/// The most addresses that are looked at.
const MOST_EMAILS: u32 = 100;

pub(super) struct GitHub {
    /// Without a slash at the end.
    url: String,
    api: String,
    authorize: AuthUrl,
    token: TokenUrl,
}

#[derive(Deserialize)]
struct Account {
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    pub(super) fn new(url: &str) -> Result<Self> {
        let bad = |problem: &str| Error::invalid(format!("GITHUB_URL is `{url}`: it {problem}"));
        let parsed = secure_url(url).map_err(bad)?;
        let url = url.trim_end_matches('/').to_owned();
        let at = |path: &str| format!("{url}/login/oauth/{path}");
        let authorize = AuthUrl::new(at("authorize")).map_err(|_| bad("is no address"))?;
        let token = TokenUrl::new(at("access_token")).map_err(|_| bad("is no address"))?;
        Ok(GitHub { api: api_of(&url, &parsed), authorize, token, url })
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        Endpoints { authorize: self.authorize.clone(), token: self.token.clone(), auth_type: AuthType::RequestBody }
    }

    pub(super) async fn identify(&self, provider: &Provider, access: &Secret) -> Result<Identity> {
        let account: Account = provider.ask(&format!("{}/user", self.api), access).await?;
        let emails: Vec<Email> =
            provider.ask(&format!("{}/user/emails?per_page={MOST_EMAILS}", self.api), access).await?;
        let primary = emails.into_iter().find(|email| email.primary);
        Ok(Identity {
            issuer: self.url.clone(),
            subject: account.id.to_string(),
            is_email_verified: primary.as_ref().is_some_and(|email| email.verified),
            email: primary.map(|email| email.email),
            name: account.name.filter(|name| !name.trim().is_empty()).or(Some(account.login)),
        })
    }
}

/// Where the API of a server is: below it, but for GitHub's own, which have a host for it.
fn api_of(url: &str, parsed: &Url) -> String {
    match parsed.host_str() {
        Some(host) if host == "github.com" || host.ends_with(".ghe.com") => format!("https://api.{host}"),
        _ => format!("{url}/api/v3"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: G1
    #[test]
    fn the_api_is_found_from_the_address() {
        for (url, api) in [
            ("https://github.com", "https://api.github.com"),
            ("https://github.com/", "https://api.github.com"),
            ("https://octo.ghe.com", "https://api.octo.ghe.com"),
            ("https://github.example.com", "https://github.example.com/api/v3"),
            ("https://example.com/github/", "https://example.com/github/api/v3"),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/api/v3"),
        ] {
            assert_eq!(GitHub::new(url).expect("an address").api, api);
        }
    }
}
