//! Where a client's calls go: an origin, perhaps with a path, and nowhere else.

use hyper::Uri;
use url::Url;

use super::error::HttpErrorKind;

/// A base URL: `https://api.example.com/v2`.
#[derive(Debug, Clone)]
pub(super) struct BaseUrl(Url);

impl BaseUrl {
    pub(super) fn parse(base: &str) -> Result<Self, HttpErrorKind> {
        let wrong = |what: &str| {
            Err(HttpErrorKind::Invalid(format!("the base URL {what}; give one such as https://api.example.com/v2")))
        };
        let Ok(url) = Url::parse(base) else { return wrong("is no absolute URL") };
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("is not one of http or https");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("has credentials in it, which would end up in logs: give them with `with_header`");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("has a query or a fragment: give a query with each call");
        }
        Ok(BaseUrl(url))
    }

    /// Scheme, host and port (RFC 6454): what connections and the breaker belong to.
    pub(super) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The address of `path` below this one, with `query` behind what query the path has.
    pub(super) fn join(&self, path: &str, query: Option<&str>) -> Result<Uri, HttpErrorKind> {
        let (path, own_query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        if let Some(what) = leads_elsewhere(path) {
            return Err(HttpErrorKind::Invalid(format!(
                "the path {what}; give one below the base URL, such as /droplets, with its parts percent-encoded"
            )));
        }
        let mut url = self.0.clone();
        if !path.is_empty() {
            let below = path.strip_prefix('/').unwrap_or(path);
            url.set_path(&format!("{}/{below}", self.0.path().trim_end_matches('/')));
        }
        let queries: Vec<&str> = [own_query, query].into_iter().flatten().filter(|query| !query.is_empty()).collect();
        if !queries.is_empty() {
            url.set_query(Some(&queries.join("&")));
        }
        url.as_str().parse().map_err(|_| HttpErrorKind::Invalid("the path is too long".to_owned()))
    }
}

/// What makes a path lead elsewhere than below the base, or look as if it did.
fn leads_elsewhere(path: &str) -> Option<&'static str> {
    let is_dots = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    if path.starts_with("//") {
        return Some("starts with `//`, as addresses of other hosts do");
    }
    if Url::parse(path).is_ok() {
        return Some("is a whole URL, or looks like one: start it with `/`");
    }
    if path.contains(|letter: char| letter == '\\' || letter == '#' || letter.is_control()) {
        return Some("has a backslash, a `#` or a control character");
    }
    path.split('/').any(is_dots).then_some("has a segment `.` or `..`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, path: &str) -> Result<String, String> {
        let base = BaseUrl::parse(base).map_err(|error| error.to_string())?;
        base.join(path, None).map(|uri| uri.to_string()).map_err(|error| error.to_string())
    }

    /// Promise: L8
    #[test]
    fn a_path_is_joined_to_the_one_of_the_base() {
        for (base, path, wanted) in [
            ("https://h", "/droplets", "https://h/droplets"),
            ("https://h/v2", "/droplets", "https://h/v2/droplets"),
            ("https://h/v2", "droplets", "https://h/v2/droplets"),
            ("https://h/v2/", "droplets/1?page=2", "https://h/v2/droplets/1?page=2"),
            ("https://h/v2", "", "https://h/v2"),
            ("https://h/v2", "?page=2", "https://h/v2?page=2"),
            ("https://H:443/v2", "/", "https://h/v2/"),
            ("http://h:8080", "/a b/ä%2Fc", "http://h:8080/a%20b/%C3%A4%2Fc"),
            ("https://h/v1", "/items:batchGet", "https://h/v1/items:batchGet"),
        ] {
            assert_eq!(joined(base, path).as_deref(), Ok(wanted), "{base} {path}");
        }
        let base = BaseUrl::parse("https://h").expect("a base");
        assert_eq!(base.join("/a?b=1", Some("c=2")).expect("a path").to_string(), "https://h/a?b=1&c=2");
    }

    /// Promise: R-31
    #[test]
    fn no_path_leads_to_another_host_or_out_of_the_base() {
        for path in [
            "//evil",
            "//evil/a",
            "http://evil",
            "HTTPS://evil/",
            "https:evil",
            "javascript:alert(1)",
            "/../admin",
            "..",
            "a/../../b",
            "/%2e%2E/admin",
            "/.%2e/admin",
            "/./a",
            "\\\\evil",
            "/\\evil",
            "/a#b",
            "/\t/evil",
            "\n//evil",
            "/a\r\nHost: evil",
        ] {
            let error = joined("https://h/v2", path).expect_err(path);
            assert!(error.contains("below the base URL"), "{path}: {error}");
        }
        for path in ["@evil", ":80@evil", ".evil", "/@evil/", "///evil".trim_start_matches('/'), "%2F%2Fevil", "a//b"] {
            let uri: Uri = joined("https://h/v2", path).expect(path).parse().expect("a URI");
            assert!(uri.host() == Some("h") && uri.path().starts_with("/v2/"), "{path}: {uri}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_the_cure_and_without_its_credentials() {
        for base in
            ["", "api.example.com", "/v2", "ftp://h", "https://", "https://u:hunter2@h", "https://h?a=1", "https://h#a"]
        {
            let error = BaseUrl::parse(base).expect_err(base).to_string();
            assert!(error.contains("the base URL") && error.contains("https://api.example.com/v2"), "{base}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
