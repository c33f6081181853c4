//! The cookies: one for each attempt, so that two tabs don't disturb each other, and seen by these routes only.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

use super::model::{ATTEMPT_LIFE, BrowserSecret};

/// How cookies are written for the address that browsers know these routes by.
pub(super) struct CookieRules {
    is_https: bool,
    path: String,
}

impl CookieRules {
    /// For routes below `https://myapp.com/api/v1/auth/oauth`.
    pub(super) fn new(url: &str) -> Self {
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        CookieRules { is_https: url.starts_with("https://"), path: format!("/{path}") }
    }

    fn name(&self, attempt_id: &str) -> String {
        // Browsers take a name that starts so only with `Secure`, from https.
        let prefix = if self.is_https { "__Secure-" } else { "" };
        format!("{prefix}oauth_{}", attempt_id.replace('-', ""))
    }

    /// `Lax`: a provider sends the browser back from another site, by a link that it follows.
    fn written(&self, attempt_id: &str, value: &str, secs: i64) -> String {
        let (name, path) = (self.name(attempt_id), &self.path);
        let secure = if self.is_https { "; Secure" } else { "" };
        format!("{name}={value}; Path={path}; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}")
    }

    /// Has the browser keep what belongs to an attempt.
    pub(super) fn keep(&self, attempt_id: &str, secret: &BrowserSecret) -> String {
        self.written(attempt_id, secret.expose(), ATTEMPT_LIFE.as_secs())
    }

    /// Has the browser forget it.
    pub(super) fn forget(&self, attempt_id: &str) -> String {
        self.written(attempt_id, "", 0)
    }

    /// What this request's browser keeps of an attempt.
    pub(super) fn secret(&self, cookies: &Cookies, attempt_id: &str) -> Option<BrowserSecret> {
        let name = self.name(attempt_id);
        let mut pairs = cookies.0.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| BrowserSecret::new(value))
    }
}

/// All that a browser sent.
pub(super) struct Cookies(String);

impl Cookies {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        Cookies(all.collect::<Vec<_>>().join(";"))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// Promise: R-25
    #[test]
    fn a_cookie_is_for_one_attempt_and_these_routes_alone() {
        let secret = BrowserSecret::new("s3cret");
        let https = CookieRules::new("https://myapp.com/api/v1/auth/oauth");
        assert_eq!(
            https.keep("a-1", &secret),
            "__Secure-oauth_a1=s3cret; Path=/api/v1/auth/oauth; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
        );
        let http = CookieRules::new("http://127.0.0.1:8000/auth/oauth");
        assert_eq!(http.keep("a-1", &secret), "oauth_a1=s3cret; Path=/auth/oauth; Max-Age=600; HttpOnly; SameSite=Lax");
        assert_eq!(http.forget("a-1"), "oauth_a1=; Path=/auth/oauth; Max-Age=0; HttpOnly; SameSite=Lax");
        let mut headers = HeaderMap::new();
        for value in ["a=b; oauth_a1=one", "oauth_a2=two=2;oauth_a3"] {
            headers.append(COOKIE, HeaderValue::from_static(value));
        }
        let cookies = Cookies::of(&headers);
        let kept = |id| http.secret(&cookies, id).map(|secret| secret.expose().to_owned());
        assert_eq!(
            [kept("a-1"), kept("a-2"), kept("a-3"), kept("a")],
            [Some("one".into()), Some("two=2".into()), None, None]
        );
        assert!(https.secret(&cookies, "a-1").is_none());
    }
}
