//! Who may read the metrics.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::base::error::{Error, Result};
use crate::base::secret::{Secret, constant_time_eq};

/// Headers that proxies add. One that we don't know to be a proxy, such as nginx on this machine, looks like a client from here.
const OF_PROXIES: [&str; 5] = ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-host"];

/// Refuses who may not.
pub(super) fn check(token: Option<&Secret>, client: Option<IpAddr>, headers: &HeaderMap) -> Result<()> {
    match token {
        Some(token) if is_bearer_of(token, headers) => Ok(()),
        Some(_) => Err(Error::unauthenticated("send the token for metrics as a bearer token").code("metrics_token")),
        None if is_from_here(client, headers) => Ok(()),
        None => Err(Error::forbidden(
            "metrics are for this machine only; its operator can set METRICS_TOKEN to let others read them",
        )),
    }
}

fn is_bearer_of(token: &Secret, headers: &HeaderMap) -> bool {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '));
    sent.is_some_and(|(scheme, sent)| {
        scheme.eq_ignore_ascii_case("bearer") && constant_time_eq(sent.trim(), token.expose())
    })
}

fn is_from_here(client: Option<IpAddr>, headers: &HeaderMap) -> bool {
    client.is_some_and(|client| client.to_canonical().is_loopback())
        && !OF_PROXIES.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(token: Option<&str>, client: &str, header: Option<(&'static str, &str)>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().expect("a header value"));
        }
        let client = Some(client.parse().expect("an address"));
        check(token.map(Secret::new).as_ref(), client, &headers).map_or_else(|error| error.http_status(), |()| 200)
    }

    #[test]
    fn without_a_token_they_are_for_this_machine_and_not_for_what_a_proxy_brings() {
        assert_eq!(
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"].map(|client| status(None, client, None)),
            [200; 4]
        );
        assert_eq!(["10.0.0.1", "203.0.113.7", "fe80::1", "::"].map(|client| status(None, client, None)), [403; 4]);
        for header in OF_PROXIES {
            assert_eq!(status(None, "127.0.0.1", Some((header, "203.0.113.7"))), 403, "{header}");
        }
        let bearer = Some(("authorization", "Bearer anything"));
        assert_eq!((status(None, "10.0.0.1", bearer), status(None, "127.0.0.1", bearer)), (403, 200));
    }

    #[test]
    fn with_a_token_it_is_what_counts_wherever_the_client_is() {
        for (sent, expected) in [
            ("Bearer right", 200),
            ("bearer right", 200),
            ("Bearer right2", 401),
            ("Bearer righ", 401),
            ("Bearer", 401),
            ("Basic right", 401),
            ("right", 401),
            ("Bearer ", 401),
        ] {
            assert_eq!(status(Some("right"), "203.0.113.7", Some(("authorization", sent))), expected, "{sent}");
        }
        assert_eq!(status(Some("right"), "127.0.0.1", None), 401);
    }
}
