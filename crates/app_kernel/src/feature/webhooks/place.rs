//! What a webhook's address may be. Asked when it is said; what its name resolves to is asked again with each request, by the guard.

use std::time::Duration;

use hyper::Uri;
use url::{Host, Url};

use crate::engine::outbound::{Guard, Refusal};

/// The longest address, in bytes.
const LONGEST_URL: usize = 2048;
/// How long whoever makes a webhook waits for a name server.
const PATIENCE: Duration = Duration::from_secs(3);
/// The first port that is nobody's by convention. Below are services that were never meant to be sent HTTP, such as mail.
const FIRST_FREE_PORT: u16 = 1024;

const NOT_PUBLIC: &str = "must be an address of the public internet";

/// What addresses a service admits.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Only `https`.
    pub(super) https_only: bool,
    /// Ports below 1024 too, beside 80 and 443.
    pub(super) any_port: bool,
    pub(super) guard: Guard,
}

/// An address in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(Url);

impl Place {
    /// As it is written and sent: numbers in odd notations are addresses by now.
    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Rules {
    /// Reads an address; else says what is wrong with it. Asks nobody.
    pub(super) fn read(&self, text: &str) -> Result<Place, &'static str> {
        const NOT_A_URL: &str = "must be an address such as https://example.com/webhooks";
        if text.len() > LONGEST_URL {
            return Err("must have at most 2048 bytes");
        }
        let url = Url::parse(text.trim()).map_err(|_| NOT_A_URL)?;
        match url.scheme() {
            "https" => {}
            "http" if !self.https_only => {}
            "http" => return Err("must begin with https://"),
            _ if self.https_only => return Err("must begin with https://"),
            _ => return Err("must begin with https:// or http://"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must have no user and no password; the signature says who it comes from");
        }
        if url.fragment().is_some() {
            return Err("must have no fragment; it would not be sent");
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if port == 0 || !(self.any_port || matches!(port, 80 | 443) || port >= FIRST_FREE_PORT) {
            return Err("must have the port 80, 443, or one from 1024");
        }
        let is_admitted = match url.host().ok_or(NOT_A_URL)? {
            Host::Ipv4(address) => self.guard.check(address.into()).is_ok(),
            Host::Ipv6(address) => self.guard.check(address.into()).is_ok(),
            Host::Domain(name) if is_localhost(name) => self.guard.check(std::net::Ipv4Addr::LOCALHOST.into()).is_ok(),
            Host::Domain(_) => true,
        };
        if !is_admitted {
            return Err(NOT_PUBLIC);
        }
        // Both readers must see one host, or another than was looked at would be asked.
        let uri: Uri = url.as_str().parse().map_err(|_| NOT_A_URL)?;
        if uri.host() != url.host_str() || uri.port_u16() != url.port() {
            return Err(NOT_A_URL);
        }
        Ok(Place(url))
    }

    /// The same, and asks what its name resolves to now. A name that nobody knows yet is let in: it may be about to be made.
    pub(super) async fn look_at(&self, text: &str) -> Result<Place, &'static str> {
        let place = self.read(text)?;
        match self.guard.check_host(place.0.host_str().unwrap_or_default(), PATIENCE).await {
            Err(Refusal::NotAdmitted(_)) => Err(NOT_PUBLIC),
            Ok(()) | Err(Refusal::Unknown) => Ok(place),
        }
    }
}

/// `localhost` is this machine, whatever a name server says (RFC 6761, 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(https_only: bool) -> Rules {
        Rules { https_only, any_port: false, guard: Guard::public_only() }
    }

    fn read(text: &str) -> Result<String, &'static str> {
        rules(false).read(text).map(|place| place.as_str().to_owned())
    }

    /// Promise: R-20
    #[test]
    fn every_spelling_of_an_address_that_is_not_public_is_refused() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0x7F.1",
            "0177.0.0.1",
            "017700000001",
            "0177.0x0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "①②⑦.⓪.⓪.①",
            "0",
            "0.0.0.0",
            "0x0",
            "00",
            "10.0.0.1",
            "0xa.1",
            "012.1",
            "167772161",
            "10.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "169.16689662",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "3232235777",
            "192.168.257",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "4294967295",
            "168.63.129.16",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[0000::0001]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:0a00:1]",
            "[::ffff:169.254.169.254]",
            "[::127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[fec0::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[100::1]",
            "localhost",
            "LocalHost",
            "localhost.",
            "a.localhost",
            "ⓛocalhost",
        ] {
            for url in [format!("http://{host}/"), format!("https://{host}:8443/x?y")] {
                assert_eq!(read(&url), Err(NOT_PUBLIC), "{url}");
            }
        }
    }

    #[test]
    fn an_address_is_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("", "must be an address"),
            ("example.com", "must be an address"),
            ("/webhooks", "must be an address"),
            ("https://", "must be an address"),
            ("https://exa mple.com/", "must be an address"),
            ("https://1.2.3.4.5/", "must be an address"),
            ("https://[::1", "must be an address"),
            ("https://[fe80::1%25eth0]/", "must be an address"),
            ("ftp://example.com/", "must begin with"),
            ("file:///etc/passwd", "must begin with"),
            ("gopher://example.com/", "must begin with"),
            ("javascript:alert(1)", "must begin with"),
            ("unix:/run/x.sock", "must begin with"),
            ("https://ann@example.com/", "must have no user"),
            ("https://ann:hunter2@example.com/", "must have no user"),
            ("https://:hunter2@example.com/", "must have no user"),
            ("https://example.com/#x", "must have no fragment"),
            ("https://example.com:0/", "must have the port"),
            ("https://example.com:22/", "must have the port"),
            ("http://example.com:25/", "must have the port"),
            ("http://example.com:1023/", "must have the port"),
        ] {
            let refusal = read(text).expect_err(text);
            assert!(refusal.starts_with(problem), "{text}: {refusal}");
        }
        assert!(read(&format!("https://example.com/{}", "x".repeat(2048))).is_err());
        assert_eq!(rules(true).read("http://example.com/").expect_err("not https"), "must begin with https://");
        assert!(rules(true).read("https://example.com/").is_ok());
    }

    #[test]
    fn an_address_in_order_is_kept_as_it_will_be_sent() {
        for (text, kept) in [
            ("https://example.com", "https://example.com/"),
            (" HTTPS://Example.COM:443/a/../b?c=d ", "https://example.com/b?c=d"),
            ("http://example.com:8080/x", "http://example.com:8080/x"),
            ("https://bücher.example/", "https://xn--bcher-kva.example/"),
            ("https://134744072/", "https://8.8.8.8/"),
            ("https://[2606:4700:4700:0:0:0:0:1111]/", "https://[2606:4700:4700::1111]/"),
            ("https://example.com\\@127.0.0.1/", "https://example.com/@127.0.0.1/"),
            ("https://hooks.example.com/services/T0/B0/x%20y", "https://hooks.example.com/services/T0/B0/x%20y"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(kept), "{text}");
        }
        let private = Rules { https_only: false, any_port: true, guard: Guard::with_private() };
        for text in ["http://127.0.0.1:80/", "http://localhost:81/", "http://[::1]:3000/", "http://10.0.0.1/"] {
            assert!(private.read(text).is_ok(), "{text}");
        }
        for text in ["http://169.254.169.254/", "http://[fd00:ec2::254]/", "http://0.0.0.0/", "http://224.0.0.1/"] {
            assert_eq!(private.read(text), Err(NOT_PUBLIC), "{text}");
        }
    }
}
