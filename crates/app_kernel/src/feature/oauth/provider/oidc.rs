//! An OpenID provider: found out about by its issuer (OpenID Connect Discovery 1.0), asked by the code flow (OpenID Connect Core 1.0, 3.1).
//!
//! What is found out is kept for an hour. A token that names a key we don't know makes us look again, once a minute at most; and a provider that
//! does not answer is left alone for some seconds, so that those who wait for it do not wait one after another.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, USER_AGENT};
use jiff::SignedDuration;
use oauth2::{AuthType, AuthUrl, TokenUrl};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::id_token::{self, Claims, Expected, Key, Person, Refused};
use super::{Endpoints, LONGEST_ANSWER, PATIENCE, Provider};
use crate::base::clock::{Clock, Timestamp};
use crate::base::config::secure_url;
use crate::base::error::Result;
use crate::base::secret::Secret;
use crate::engine::outbound::Outbound;
use crate::feature::oauth::model::Identity;

/// How long what was found out is believed.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// How long it is used after that, while the provider does not answer.
const STALE: SignedDuration = SignedDuration::from_hours(24);
/// How often keys are looked up for a token that names one we don't know.
const BETWEEN_LOOKS: SignedDuration = SignedDuration::from_secs(60);
/// How long a provider that did not answer is left alone.
const LEFT_ALONE: SignedDuration = SignedDuration::from_secs(5);

pub(super) struct Oidc {
    issuer: String,
    http: Outbound,
    clock: Clock,
    document: Mutex<Kept<Discovered>>,
    keys: Mutex<Kept<Vec<Key>>>,
}

/// What a provider says of itself.
pub(super) struct Discovered {
    document: Document,
    authorize: AuthUrl,
    token: TokenUrl,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Discovered {
    fn read(issuer: &str, text: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(text).map_err(|_| "its configuration can't be read")?;
        // But for a slash at the end, which people forget.
        if document.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
            return Err("its configuration is that of another issuer".to_owned());
        }
        let secure = |url: &str| {
            let read = secure_url(url).map_err(|problem| format!("an address in its configuration {problem}"))?;
            if issuer.starts_with("https:") && read.scheme() != "https" {
                return Err("an address in its configuration must start with https://".to_owned());
            }
            Ok(read)
        };
        secure(&document.jwks_uri)?;
        document.userinfo_endpoint.as_deref().map(secure).transpose()?;
        let authorize = AuthUrl::from_url(secure(&document.authorization_endpoint)?);
        let token = TokenUrl::from_url(secure(&document.token_endpoint)?);
        Ok(Discovered { document, authorize, token })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.document.issuer
    }

    /// Whether its answers say who they are from (RFC 9207).
    pub(super) fn says_who_it_is(&self) -> bool {
        self.document.authorization_response_iss_parameter_supported
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        let methods = self.document.token_endpoint_auth_methods_supported.as_deref();
        // Where nothing is said, it is this (Discovery 1.0, 3).
        let takes_basic = methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let auth_type = if takes_basic { AuthType::BasicAuth } else { AuthType::RequestBody };
        Endpoints { authorize: self.authorize.clone(), token: self.token.clone(), auth_type }
    }
}

/// Something that was fetched, and when; and when it last could not be.
struct Kept<T> {
    found: Option<(Arc<T>, Timestamp)>,
    failed: Option<(String, Timestamp)>,
}

impl<T> Kept<T> {
    fn nothing() -> Mutex<Self> {
        Mutex::new(Kept { found: None, failed: None })
    }

    /// What was found no longer ago than this.
    fn within(&self, age: SignedDuration, now: Timestamp) -> Option<Arc<T>> {
        self.found.as_ref().filter(|(_, at)| now.duration_since(*at) < age).map(|(found, _)| Arc::clone(found))
    }

    /// Why it could not be found just now.
    fn failed_lately(&self, now: Timestamp) -> Option<String> {
        self.failed.as_ref().filter(|(_, at)| now.duration_since(*at) < LEFT_ALONE).map(|(why, _)| why.clone())
    }

    /// Takes in what came of a fetch; what is not too old stands in for what could not be had.
    fn take(&mut self, fetched: Result<T, String>, now: Timestamp) -> Result<Arc<T>, String> {
        match fetched {
            Ok(found) => {
                let found = Arc::new(found);
                (self.found, self.failed) = (Some((Arc::clone(&found), now)), None);
                Ok(found)
            }
            Err(why) => {
                self.failed = Some((why.clone(), now));
                self.within(STALE, now).ok_or(why)
            }
        }
    }
}

impl Oidc {
    pub(super) fn new(issuer: &str, http: Outbound, clock: Clock) -> Self {
        Oidc { issuer: issuer.to_owned(), http, clock, document: Kept::nothing(), keys: Kept::nothing() }
    }

    /// What the provider says of itself.
    pub(super) async fn discovered(&self) -> Result<Arc<Discovered>, String> {
        let mut kept = self.document.lock().await;
        let now = self.clock.now();
        if let Some(found) = kept.within(FRESH, now) {
            return Ok(found);
        }
        if let Some(why) = kept.failed_lately(now) {
            return kept.within(STALE, now).ok_or(why);
        }
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let fetched = self.get(&url).await.and_then(|text| Discovered::read(&self.issuer, &text));
        kept.take(fetched, now)
    }

    /// Its keys, no older than this.
    async fn keys(&self, discovered: &Discovered, age: SignedDuration) -> Result<Arc<Vec<Key>>, String> {
        let mut kept = self.keys.lock().await;
        let now = self.clock.now();
        if let Some(found) = kept.within(age, now) {
            return Ok(found);
        }
        if let Some(why) = kept.failed_lately(now) {
            return kept.within(STALE, now).ok_or(why);
        }
        let fetched = self.get(&discovered.document.jwks_uri).await;
        let read = |text: Bytes| id_token::read_keys(&text).ok_or_else(|| "its keys can't be read".to_owned());
        kept.take(fetched.and_then(read), now)
    }

    async fn get(&self, url: &str) -> Result<Bytes, String> {
        let request = Request::get(url).header(ACCEPT, "application/json").header(USER_AGENT, "app_kernel");
        let request = request.body(Full::default()).map_err(|_| "its address can't be asked".to_owned())?;
        let answer = self.http.fetch(request, PATIENCE, LONGEST_ANSWER).await.map_err(|problem| problem.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("it answered {} instead of its configuration or keys", answer.status()));
        }
        Ok(answer.into_body())
    }

    pub(super) async fn identify(
        &self,
        provider: &Provider,
        discovered: &Discovered,
        id_token: &Secret,
        access: &Secret,
        nonce: &str,
    ) -> Result<Identity> {
        let claims = self.verify(provider, discovered, id_token, nonce).await?;
        let mut person = claims.person;
        if let (None, Some(url)) = (&person.email, &discovered.document.userinfo_endpoint) {
            let told: UserInfo = provider.ask(url, access).await?;
            if told.sub != claims.sub {
                return Err(provider.refused("it speaks of somebody else"));
            }
            let name = told.person.name.clone().or(person.name);
            person = Person { name, ..told.person };
        }
        Ok(Identity {
            issuer: discovered.issuer().to_owned(),
            subject: claims.sub,
            is_email_verified: person.is_email_verified(),
            email: person.email,
            name: person.name,
        })
    }

    async fn verify(
        &self,
        provider: &Provider,
        discovered: &Discovered,
        id_token: &Secret,
        nonce: &str,
    ) -> Result<Claims> {
        let now = self.clock.now().as_second();
        let expected = Expected { issuer: discovered.issuer(), client_id: &provider.client_id, nonce, now };
        for age in [FRESH, BETWEEN_LOOKS] {
            let keys = self.keys(discovered, age).await.map_err(|problem| provider.away(&problem))?;
            match id_token::verify(id_token.expose(), &keys, &expected) {
                Ok(claims) => return Ok(claims),
                Err(Refused::UnknownKey) => {}
                Err(Refused::Because(why)) => return Err(provider.refused(&format!("its ID token is no good: {why}"))),
            }
        }
        Err(provider.refused("its ID token is signed with a key that it does not name"))
    }
}

/// The provider's page about somebody (OpenID Connect Core 1.0, 5.3).
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    person: Person,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(issuer: &str, change: impl FnOnce(&mut serde_json::Value)) -> Result<Discovered, String> {
        let mut document = json!({
            "issuer": "https://a.example",
            "authorization_endpoint": "https://a.example/auth",
            "token_endpoint": "https://a.example/token",
            "jwks_uri": "https://a.example/keys",
        });
        change(&mut document);
        Discovered::read(issuer, document.to_string().as_bytes())
    }

    /// Promise: R-25
    #[test]
    fn a_configuration_is_that_of_its_issuer_and_leads_nowhere_else() {
        let problem = |issuer: &str, name: &str, value: serde_json::Value| {
            read(issuer, |document| document[name] = value).err().unwrap_or_default()
        };
        assert!(read("https://a.example", |_| {}).is_ok());
        assert_eq!(problem("https://a.example/", "issuer", json!("https://a.example")), "");
        assert_eq!(problem("https://b.example", "x", json!(1)), "its configuration is that of another issuer");
        assert_eq!(
            problem("https://a.example", "issuer", json!("https://b.example")),
            "its configuration is that of another issuer"
        );
        for endpoint in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
            for url in ["http://a.example/x", "http://127.0.0.1/x", "javascript:alert(1)", "file:///etc/passwd"] {
                let wanted = "an address in its configuration must start with https://";
                assert_eq!(problem("https://a.example", endpoint, json!(url)), wanted, "{endpoint} {url}");
            }
            assert!(!problem("https://a.example", endpoint, json!(1)).is_empty());
        }
    }

    #[test]
    fn the_secret_goes_where_the_provider_wants_it() {
        let how = |methods: serde_json::Value| {
            let read =
                read("https://a.example", |document| document["token_endpoint_auth_methods_supported"] = methods);
            read.expect("a configuration").endpoints().auth_type
        };
        assert!(matches!(how(json!(null)), AuthType::BasicAuth));
        assert!(matches!(how(json!(["client_secret_post", "client_secret_basic"])), AuthType::BasicAuth));
        assert!(matches!(how(json!(["client_secret_post"])), AuthType::RequestBody));
    }
}
