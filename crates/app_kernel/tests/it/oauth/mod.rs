//! Signing in elsewhere, as a browser and a provider see it, on every database.

mod accounts;
mod attacks;
mod providers;
mod real;
mod sign_in;
mod startup;

use std::collections::BTreeMap;

use app_kernel::base::config::OAuthProvider;
use app_kernel::prelude::*;
use app_kernel::store::db::Db;
use app_kernel::testing::service::PUBLIC_URL;
use app_kernel::testing::{Answer, TestDatabase, TestService};
use serde_json::json;
use url::Url;

use crate::auth::{Tokens, auth_only};
use crate::support::oauth_provider::{Person, Provider};

/// Where the routes are.
const ROUTES: &str = "/api/v1/auth/oauth";

/// A service where people may sign in with `google`, `github` and `corp`, all of them this provider.
pub(crate) fn with_providers(provider: &Provider) -> impl FnOnce(ServiceConfig) -> Service + use<> {
    let providers = [("google", provider.oidc()), ("corp", provider.oidc()), ("github", provider.github())];
    let providers: BTreeMap<String, OAuthProvider> =
        providers.into_iter().map(|(name, provider)| (name.to_owned(), provider)).collect();
    move |config| {
        let oauth_redirect_origins = vec!["https://spa.example.org".to_owned()];
        auth_only(ServiceConfig { oauth_providers: providers, oauth_redirect_origins, ..config })
    }
}

pub(crate) async fn start(database: TestDatabase) -> (TestService, Provider) {
    let provider = Provider::start().await;
    let service = TestService::start_on(database, with_providers(&provider)).await;
    (service, provider)
}

/// A browser: it keeps cookies, and goes where it is told to by the test only.
pub(crate) struct Browser<'a> {
    service: &'a TestService,
    cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(service: &'a TestService) -> Self {
        Browser { service, cookies: BTreeMap::new() }
    }

    /// The same browser, sent to another process of the service.
    pub(crate) fn at<'b>(&self, service: &'b TestService) -> Browser<'b> {
        Browser { service, cookies: self.cookies.clone() }
    }

    fn client(&self) -> app_kernel::testing::Client {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let client = self.service.anonymous();
        if cookies.is_empty() { client } else { client.with_header("cookie", &cookies.join("; ")) }
    }

    fn keep(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let (pair, rest) = cookie.to_str().expect("text").split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a name and a value");
            assert!(
                rest.contains("Path=/api/v1/auth/oauth;") && rest.contains("HttpOnly; SameSite=Lax; Secure"),
                "{rest}"
            );
            assert!(name.starts_with("__Secure-oauth_"), "{name}");
            if rest.contains("Max-Age=0;") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let answer = self.client().get(path).await;
        self.keep(&answer);
        answer
    }

    /// Begins to sign in; answers where it is sent.
    pub(crate) async fn begin(&mut self, provider_and_query: &str) -> String {
        let answer = self.get(&format!("{ROUTES}/{provider_and_query}")).await.expect(302);
        answer.header("location").expect("somewhere to go").to_owned()
    }

    /// Comes back from a provider.
    pub(crate) async fn come_back(&mut self, to: &str) -> Answer {
        let path = to.strip_prefix(PUBLIC_URL).unwrap_or_else(|| panic!("{to} is not ours"));
        self.get(path).await
    }

    /// Goes there and back; answers the code.
    pub(crate) async fn code_of(&mut self, provider: &Provider, name: &str, person: &Person) -> String {
        let sent_to = self.begin(name).await;
        let back = self.come_back(&provider.agree(&sent_to, person)).await.expect(302);
        code_in(&back)
    }

    pub(crate) async fn exchange(&mut self, code: &str) -> Answer {
        self.exchange_as(None, code).await
    }

    pub(crate) async fn exchange_as(&mut self, token: Option<&str>, code: &str) -> Answer {
        let client = token.into_iter().fold(self.client(), |client, token| client.with_token(token));
        let answer = client.post(&format!("{ROUTES}/exchange"), json!({ "code": code })).await;
        self.keep(&answer);
        answer
    }

    /// All of it.
    pub(crate) async fn sign_in(&mut self, provider: &Provider, name: &str, person: &Person) -> Answer {
        let code = self.code_of(provider, name, person).await;
        self.exchange(&code).await
    }
}

/// The code that a browser returns to the app with.
#[track_caller]
pub(crate) fn code_in(answer: &Answer) -> String {
    let location = answer.header("location").expect("somewhere to go");
    let base = Url::parse(PUBLIC_URL).expect("an address");
    let url = base.join(location).expect("an address");
    let code = url.query_pairs().find(|(name, _)| name == "code").map(|(_, value)| value.into_owned());
    code.unwrap_or_else(|| panic!("no code in {location}"))
}

/// Signs somebody in, in a browser of their own.
pub(crate) async fn sign_in(service: &TestService, provider: &Provider, name: &str, person: &Person) -> Tokens {
    Tokens::of(&Browser::new(service).sign_in(provider, name, person).await.expect(200))
}

/// How many rows a table has that live.
pub(crate) async fn count(db: &Db, table: &str) -> usize {
    rows(db, table).await.len()
}

/// The rows of a table that live, as text.
pub(crate) async fn rows(db: &Db, table: &str) -> Vec<String> {
    let rows = db.query(format!("SELECT * FROM [{table}] WHERE [deleted_at] IS NULL"), ()).await.expect("rows");
    rows.iter().map(|row| format!("{row:?}")).collect()
}
