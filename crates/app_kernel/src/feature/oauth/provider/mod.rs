//! Where people sign in elsewhere: how they are sent there, and what is asked when they come back. The flow itself is the crate `oauth2`'s.
//!
//! Nothing is asked before somebody wants to sign in, so a provider that is away keeps no service from starting.

mod github;
mod id_token;
mod oidc;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::github::GitHub;
use self::oidc::Oidc;
use super::model::{BrowserSecret, Identity};
use crate::base::clock::Clock;
use crate::base::config::{OAuthKind, OAuthProvider};
use crate::base::error::{Error, OrInternal as _, Result};
use crate::base::secret::Secret;
use crate::engine::outbound::{Outbound, OutboundError};

/// How long a provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer of a provider that is read.
const LONGEST_ANSWER: usize = 512 << 10;

/// One provider.
pub(super) struct Provider {
    pub(super) name: String,
    client_id: String,
    client_secret: Secret,
    http: Outbound,
    kind: Kind,
}

enum Kind {
    Oidc(Box<Oidc>),
    GitHub(Box<GitHub>),
}

/// Where a provider is asked for what.
pub(super) struct Endpoints {
    authorize: AuthUrl,
    token: TokenUrl,
    auth_type: AuthType,
}

/// What came back with the browser.
pub(super) struct Returned<'a> {
    pub(super) code: String,
    /// Who says so (RFC 9207).
    pub(super) issuer: Option<&'a str>,
}

type Flow = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// What an OpenID provider answers beside an access token.
#[derive(Clone, Deserialize, Serialize)]
struct IdTokenField {
    #[serde(default)]
    id_token: Option<String>,
}

impl std::fmt::Debug for IdTokenField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl ExtraTokenFields for IdTokenField {}

impl Provider {
    pub(super) fn new(name: &str, config: &OAuthProvider, http: Outbound, clock: Clock) -> Result<Self> {
        let kind = match &config.kind {
            OAuthKind::Oidc { issuer } => Kind::Oidc(Box::new(Oidc::new(issuer, http.clone(), clock))),
            OAuthKind::GitHub { url } => Kind::GitHub(Box::new(GitHub::new(url)?)),
        };
        let (client_id, client_secret) = (config.client_id.clone(), config.client_secret.clone());
        Ok(Provider { name: name.to_owned(), client_id, client_secret, http, kind })
    }

    /// Where to send a browser that begins to sign in.
    pub(super) async fn authorize_url(&self, callback: &str, state: &str, secret: &BrowserSecret) -> Result<String> {
        let (endpoints, scopes): (Endpoints, &[&str]) = match &self.kind {
            Kind::Oidc(oidc) => (
                oidc.discovered().await.map_err(|problem| self.away(&problem))?.endpoints(),
                &["openid", "email", "profile"],
            ),
            Kind::GitHub(github) => (github.endpoints(), &["read:user", "user:email"]),
        };
        let flow = self.flow(endpoints, callback)?;
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(secret.verifier()));
        let mut request = flow.authorize_url(|| CsrfToken::new(state.to_owned())).set_pkce_challenge(challenge);
        request = request.add_scopes(scopes.iter().map(|scope| Scope::new((*scope).to_owned())));
        if matches!(self.kind, Kind::Oidc(_)) {
            request = request.add_extra_param("nonce", secret.nonce());
        }
        Ok(request.url().0.into())
    }

    /// Refuses an answer that another provider has sent the browser with (RFC 9207).
    pub(super) async fn check_issuer(&self, issuer: Option<&str>) -> Result<()> {
        let Kind::Oidc(oidc) = &self.kind else { return Ok(()) };
        let discovered = oidc.discovered().await.map_err(|problem| self.away(&problem))?;
        let fits = match issuer {
            Some(issuer) => issuer == discovered.issuer(),
            None => !discovered.says_who_it_is(),
        };
        if fits { Ok(()) } else { Err(self.refused("its answer does not say that it is from this issuer")) }
    }

    /// Who came back with this code.
    pub(super) async fn identify(
        &self,
        callback: &str,
        returned: Returned<'_>,
        secret: &BrowserSecret,
    ) -> Result<Identity> {
        self.check_issuer(returned.issuer).await?;
        let identity = match &self.kind {
            Kind::Oidc(oidc) => {
                let discovered = oidc.discovered().await.map_err(|problem| self.away(&problem))?;
                let tokens = self.exchange(discovered.endpoints(), callback, returned.code, secret).await?;
                let id_token = tokens.id_token.ok_or_else(|| self.refused("it sent no ID token"))?;
                oidc.identify(self, &discovered, &id_token, &tokens.access, &secret.nonce()).await?
            }
            Kind::GitHub(github) => {
                let tokens = self.exchange(github.endpoints(), callback, returned.code, secret).await?;
                github.identify(self, &tokens.access).await?
            }
        };
        if identity.is_whole() { Ok(identity) } else { Err(self.refused("it does not say who it is")) }
    }

    fn flow(&self, endpoints: Endpoints, callback: &str) -> Result<Flow> {
        Ok(Client::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.client_secret.expose().to_owned()))
            .set_auth_uri(endpoints.authorize)
            .set_token_uri(endpoints.token)
            .set_auth_type(endpoints.auth_type)
            .set_redirect_uri(RedirectUrl::new(callback.to_owned()).or_internal("reading our own address")?))
    }

    async fn exchange(
        &self,
        endpoints: Endpoints,
        callback: &str,
        code: String,
        secret: &BrowserSecret,
    ) -> Result<TokensThere> {
        use oauth2::TokenResponse as _;
        let flow = self.flow(endpoints, callback)?;
        let request = flow.exchange_code(AuthorizationCode::new(code));
        let request = request.set_pkce_verifier(PkceCodeVerifier::new(secret.verifier()));
        let answer = request.request_async(self).await.map_err(|error| match error {
            RequestTokenError::Request(problem) => self.away(&problem),
            // Only the word: what is said beside it may be anything.
            RequestTokenError::ServerResponse(refusal) => {
                self.refused(&format!("it answered {}", clipped(refusal.error().as_ref())))
            }
            // What could not be read may hold tokens, so it is not told.
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                self.refused("its answer to the code can't be read")
            }
        })?;
        let access = Secret::new(answer.access_token().secret().clone());
        let id_token = answer.extra_fields().id_token.clone().map(Secret::new);
        Ok(TokensThere { access, id_token })
    }

    /// Asks the provider about whoever gave us this token.
    async fn ask<T: DeserializeOwned>(&self, url: &str, access: &Secret) -> Result<T> {
        let bearer = format!("Bearer {}", access.expose());
        let request = Request::get(url).header(AUTHORIZATION, bearer).header(ACCEPT, "application/json");
        // GitHub answers nobody without one.
        let request = request.header(USER_AGENT, "app_kernel").body(Full::default());
        let request = request.map_err(|_| self.refused("its token can't be sent back to it"))?;
        let answer = self.http.fetch(request, PATIENCE, LONGEST_ANSWER).await.map_err(|problem| self.away(&problem))?;
        if !answer.status().is_success() {
            return Err(self.refused(&format!("it answered {} to its own token", answer.status())));
        }
        serde_json::from_slice(answer.body()).map_err(|_| self.refused("what it says of people can't be read"))
    }

    /// It can't be asked now.
    fn away(&self, problem: &dyn std::fmt::Display) -> Error {
        tracing::warn!(provider = self.name, "people can't sign in by `{}`: {problem}", self.name);
        Error::unavailable(format!("`{}` can't be asked at this moment; try again a little later", self.name))
            .code("provider_unavailable")
            .cause(problem.to_string())
    }

    /// It was asked, and what it says is not good enough.
    fn refused(&self, why: &str) -> Error {
        tracing::warn!(provider = self.name, "a sign-in by `{}` was refused: {why}", self.name);
        Error::invalid(format!("`{}` did not confirm who you are; begin again", self.name)).code("sign_in_failed")
    }
}

/// The client of the crate `oauth2`: ours.
impl<'c> AsyncHttpClient<'c> for Provider {
    type Error = OutboundError;
    type Future = BoxFuture<'c, Result<HttpResponse, OutboundError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let request = request.map(|body| Full::new(Bytes::from(body)));
        Box::pin(async move { Ok(self.http.fetch(request, PATIENCE, LONGEST_ANSWER).await?.map(|body| body.to_vec())) })
    }
}

/// What a provider gave for a code. Of use to ask it once, then forgotten.
struct TokensThere {
    access: Secret,
    id_token: Option<Secret>,
}

/// A word of somebody else's, fit for a log.
pub(super) fn clipped(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !word.is_empty() && word.len() <= 50 && word.chars().all(is_plain) {
        Cow::Borrowed(word)
    } else {
        Cow::Borrowed("something else")
    }
}
