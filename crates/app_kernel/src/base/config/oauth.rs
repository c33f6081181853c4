//! Where people may sign in elsewhere: `GOOGLE_…`, `GITHUB_…` and `OIDC_<NAME>_…`.

use std::collections::{BTreeMap, BTreeSet};

use url::{Host, Url};

use super::ServiceConfig;
use super::environment::Environment;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// Where Google's accounts are.
const GOOGLE: &str = "https://accounts.google.com";
/// Where GitHub's accounts are.
const GITHUB: &str = "https://github.com";
/// What the last part of `/auth/oauth/…` means already.
const TAKEN: [&str; 3] = ["accounts", "exchange", "link"];
/// Those that have variables of their own.
const KNOWN: [&str; 2] = ["google", "github"];
/// The longest name of a provider.
const LONGEST_NAME: usize = 40;

/// A place where people have an account already, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthProvider {
    /// The identifier that we were given there.
    pub client_id: String,
    /// The secret that goes with it.
    pub client_secret: Secret,
    /// What is spoken there, and where that is.
    pub kind: OAuthKind,
}

/// What a provider speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OAuthKind {
    /// OpenID Connect (OpenID Connect Core 1.0), found out about by Discovery 1.0.
    Oidc {
        /// The issuer: `https://accounts.google.com`. Discovery asks below it.
        issuer: String,
    },
    /// OAuth as GitHub has it.
    GitHub {
        /// `https://github.com`, or an Enterprise server.
        url: String,
    },
}

impl OAuthProvider {
    /// Google.
    pub fn google(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self::oidc(GOOGLE, client_id, client_secret)
    }

    /// GitHub; see [`OAuthKind::GitHub`] for a server of one's own.
    pub fn github(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        let kind = OAuthKind::GitHub { url: GITHUB.to_owned() };
        OAuthProvider { client_id: client_id.into(), client_secret: Secret::new(client_secret), kind }
    }

    /// Any OpenID provider, by its issuer.
    pub fn oidc(issuer: impl Into<String>, client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        let kind = OAuthKind::Oidc { issuer: issuer.into() };
        OAuthProvider { client_id: client_id.into(), client_secret: Secret::new(client_secret), kind }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        match &self.kind {
            OAuthKind::Oidc { issuer } => issuer,
            OAuthKind::GitHub { url } => url,
        }
    }
}

/// The variable of a provider that ends so: `variable_of("okta", "ISSUER")` is `OIDC_OKTA_ISSUER`.
pub(crate) fn variable_of(provider: &str, end: &str) -> String {
    let name = provider.to_uppercase();
    if KNOWN.contains(&provider) { format!("{name}_{end}") } else { format!("OIDC_{name}_{end}") }
}

/// Reads an address of a server that we trust with secrets: https, or this machine for tests. What is wrong with it is a sentence part.
pub(crate) fn secure_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is no address")?;
    let is_this_machine = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine) {
        return Err("must start with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not name a user");
    }
    Ok(url)
}

impl Environment {
    /// The providers that are named.
    pub(super) fn oauth_providers(&self) -> Result<BTreeMap<String, OAuthProvider>> {
        let mut providers = BTreeMap::new();
        let oidc = self.oidc_names();
        if let Some(taken) = KNOWN.iter().find(|name| oidc.contains(**name)) {
            let word = taken.to_uppercase();
            return Err(Error::invalid(format!(
                "OIDC_{word}_… is set, but `{taken}` is what {word}_CLIENT_ID is for; take another name"
            )));
        }
        for name in KNOWN.into_iter().chain(oidc.iter().map(String::as_str)) {
            if let Some(provider) = self.oauth_provider(name)? {
                providers.insert(name.to_owned(), provider);
            }
        }
        Ok(providers)
    }

    /// What stands for `<NAME>`, in lower case.
    fn oidc_names(&self) -> BTreeSet<String> {
        let ends = ["_ISSUER", "_CLIENT_ID", "_CLIENT_SECRET"];
        let word = |variable: &String| {
            let rest = variable.strip_prefix("OIDC_")?;
            ends.iter().find_map(|end| rest.strip_suffix(end)).filter(|word| !word.is_empty()).map(str::to_lowercase)
        };
        self.0.iter().filter(|(_, value)| !value.trim().is_empty()).filter_map(|(name, _)| word(name)).collect()
    }

    fn oauth_provider(&self, name: &str) -> Result<Option<OAuthProvider>> {
        let text = |end| self.text(&variable_of(name, end));
        let is_known = KNOWN.contains(&name);
        let mut needed = vec![("CLIENT_ID", text("CLIENT_ID")), ("CLIENT_SECRET", text("CLIENT_SECRET"))];
        if !is_known {
            needed.push(("ISSUER", text("ISSUER")));
        }
        let Some((there, _)) = needed.iter().find(|(_, value)| value.is_some()) else { return Ok(None) };
        if let Some((missing, _)) = needed.iter().find(|(_, value)| value.is_none()) {
            return Err(Error::invalid(format!(
                "{} is set and {} is not; signing in there needs both",
                variable_of(name, there),
                variable_of(name, missing)
            )));
        }
        let mut values = needed.into_iter().filter_map(|(_, value)| value);
        let (id, secret) = (values.next().unwrap_or_default(), values.next().unwrap_or_default());
        Ok(Some(match (name, values.next()) {
            ("google", _) => OAuthProvider::oidc(text("ISSUER").unwrap_or_else(|| GOOGLE.to_owned()), id, secret),
            ("github", _) => {
                let url = text("URL").unwrap_or_else(|| GITHUB.to_owned());
                OAuthProvider { kind: OAuthKind::GitHub { url }, ..OAuthProvider::github(id, secret) }
            }
            (_, issuer) => OAuthProvider::oidc(issuer.unwrap_or_default(), id, secret),
        }))
    }
}

/// Refuses what can't be.
pub(super) fn check(config: &ServiceConfig) -> Result<()> {
    for (name, provider) in &config.oauth_providers {
        check_provider(name, provider)?;
    }
    if let Some(name) =
        config.oauth_providers.keys().next().filter(|_| config.production && config.public_url.is_none())
    {
        return Err(Error::invalid(format!(
            "{} is set and PUBLIC_URL is not; who signs in there needs a way back. Example: PUBLIC_URL=https://myapp.com",
            variable_of(name, "CLIENT_ID")
        )));
    }
    for origin in &config.oauth_redirect_origins {
        if !is_origin(origin) {
            return Err(Error::invalid(format!(
                "OAUTH_REDIRECT_ORIGINS has `{origin}`; an origin is a scheme and a host, such as https://myapp.com"
            )));
        }
    }
    Ok(())
}

fn check_provider(name: &str, provider: &OAuthProvider) -> Result<()> {
    let is_word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_word) || TAKEN.contains(&name) {
        return Err(Error::invalid(format!(
            "{}: `{name}` can't be the name of a provider: it stands in paths, so it needs letters, digits, `-` and `_`, \
             {LONGEST_NAME} at most, and may not be {}",
            variable_of(name, "CLIENT_ID"),
            TAKEN.join(", ")
        )));
    }
    for (end, value) in [("CLIENT_ID", &*provider.client_id), ("CLIENT_SECRET", provider.client_secret.expose())] {
        if value.is_empty() {
            let variable = variable_of(name, end);
            return Err(Error::invalid(format!("{variable} is empty; {name} gives one to each service")));
        }
    }
    let end = if matches!(provider.kind, OAuthKind::GitHub { .. }) { "URL" } else { "ISSUER" };
    let problem = match secure_url(provider.url()) {
        Ok(url) if url.query().is_some() || url.fragment().is_some() => "must have no query and no fragment",
        Ok(_) => return Ok(()),
        Err(problem) => problem,
    };
    let variable = variable_of(name, end);
    Err(Error::invalid(format!("{variable} is `{}`: it {problem}. Example: {GOOGLE}", provider.url())))
}

/// Whether it is an origin as browsers write it, without a port that goes without saying.
fn is_origin(text: &str) -> bool {
    let is_plain = !text.contains('*');
    is_plain
        && Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "https" | "http")
                && url.origin().is_tuple()
                && url.origin().ascii_serialization() == text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<ServiceConfig> {
        ServiceConfig::from_variables(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        config(variables).expect_err("a refusal").to_string()
    }

    /// Promise: G1, B10
    #[test]
    fn each_provider_takes_its_variables_and_any_number_of_issuers() {
        let variables = [
            ("GOOGLE_CLIENT_ID", "g-id"),
            ("GOOGLE_CLIENT_SECRET", "g-secret"),
            ("GITHUB_CLIENT_ID", "h-id"),
            ("GITHUB_CLIENT_SECRET", "h-secret"),
            ("GITHUB_URL", "https://github.example.com"),
            ("OIDC_OKTA_ISSUER", "https://okta.example.com/one"),
            ("OIDC_OKTA_CLIENT_ID", "o-id"),
            ("OIDC_OKTA_CLIENT_SECRET", "o-secret"),
            ("OIDC_MY_LOGIN_ISSUER", "http://127.0.0.1:9000"),
            ("OIDC_MY_LOGIN_CLIENT_ID", "m-id"),
            ("OIDC_MY_LOGIN_CLIENT_SECRET", "m-secret"),
            // Those of other programs.
            ("OIDC_ISSUER", "x"),
            ("OIDC_CLIENT_ID", "x"),
        ];
        let mut github = OAuthProvider::github("h-id", "h-secret");
        github.kind = OAuthKind::GitHub { url: "https://github.example.com".to_owned() };
        let wanted = [
            ("github", github),
            ("google", OAuthProvider::google("g-id", "g-secret")),
            ("my_login", OAuthProvider::oidc("http://127.0.0.1:9000", "m-id", "m-secret")),
            ("okta", OAuthProvider::oidc("https://okta.example.com/one", "o-id", "o-secret")),
        ];
        let wanted: BTreeMap<_, _> = wanted.into_iter().map(|(name, provider)| (name.to_owned(), provider)).collect();
        assert_eq!(config(&variables).expect("a configuration").oauth_providers, wanted);
        assert!(config(&[("GOOGLE_CLIENT_ID", "")]).expect("not set").oauth_providers.is_empty());
    }

    /// Promise: G1, B10
    #[test]
    fn half_a_configuration_is_refused_by_the_names_of_its_variables() {
        for (there, missing) in [
            ("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"),
            ("GOOGLE_CLIENT_SECRET", "GOOGLE_CLIENT_ID"),
            ("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET"),
            ("OIDC_OKTA_ISSUER", "OIDC_OKTA_CLIENT_ID"),
            ("OIDC_OKTA_CLIENT_SECRET", "OIDC_OKTA_CLIENT_ID"),
        ] {
            let wanted = format!("{there} is set and {missing} is not; signing in there needs both");
            assert_eq!(refusal(&[(there, "x")]), wanted);
        }
        let okta =
            |issuer| [("OIDC_OKTA_ISSUER", issuer), ("OIDC_OKTA_CLIENT_ID", "x"), ("OIDC_OKTA_CLIENT_SECRET", "x")];
        for (issuer, problem) in [
            ("okta", "is no address"),
            ("http://okta.example.com", "must start with https://"),
            ("ftp://127.0.0.1", "must start with https://"),
            ("https://ann@okta.example.com", "must not name a user"),
            ("https://okta.example.com?a", "must have no query and no fragment"),
        ] {
            let wanted = format!("OIDC_OKTA_ISSUER is `{issuer}`: it {problem}. Example: https://accounts.google.com");
            assert_eq!(refusal(&okta(issuer)), wanted);
        }
        let named = |name: &str| {
            let variables =
                ["ISSUER", "CLIENT_ID", "CLIENT_SECRET"].map(|end| (format!("OIDC_{name}_{end}"), "https://o.example"));
            refusal(&variables.each_ref().map(|(name, value)| (name.as_str(), *value)))
        };
        assert!(named("ACCOUNTS").starts_with("OIDC_ACCOUNTS_CLIENT_ID: `accounts` can't be"), "{}", named("ACCOUNTS"));
        assert!(named("A.B").starts_with("OIDC_A.B_CLIENT_ID: `a.b` can't be"), "{}", named("A.B"));
        let wanted = "OIDC_GITHUB_… is set, but `github` is what GITHUB_CLIENT_ID is for; take another name";
        assert_eq!(named("GITHUB"), wanted);
        let production = [("APP_ENV", "production"), ("GOOGLE_CLIENT_ID", "x"), ("GOOGLE_CLIENT_SECRET", "x")];
        assert!(refusal(&production).starts_with("GOOGLE_CLIENT_ID is set and PUBLIC_URL is not"));
    }

    /// Promise: R-25
    #[test]
    fn origins_to_return_to_are_written_as_browsers_write_them() {
        let with = |origin| config(&[("OAUTH_REDIRECT_ORIGINS", origin)]);
        assert_eq!(with("https://a.com, http://localhost:3000").expect("two").oauth_redirect_origins.len(), 2);
        for bad in [
            "*",
            "https://*.a.com",
            "https://a.com/",
            "https://a.com/x",
            "https://A.com",
            "a.com",
            "https://a.com:443",
            "javascript:x",
        ] {
            let wanted = format!(
                "OAUTH_REDIRECT_ORIGINS has `{bad}`; an origin is a scheme and a host, such as https://myapp.com"
            );
            assert_eq!(with(bad).expect_err("no origin").to_string(), wanted);
        }
    }
}
