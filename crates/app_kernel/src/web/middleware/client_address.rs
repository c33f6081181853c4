//! Where a request comes from. `X-Forwarded-For` and `X-Forwarded-Proto` are anybody's words until a proxy that we trust speaks them.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};

use crate::base::error::{Error, Result};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The address of the client: the peer, or what trusted proxies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// The part of an address that is counted: one IPv6 subscriber has a network of 64 bits.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// The proxies whose words count.
#[derive(Debug, Clone, Default)]
pub(in crate::web) struct TrustedProxies(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let given: IpAddr = address.parse().ok()?;
        let address = given.to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        // `::ffff:10.0.0.0/104` is 10.0.0.0/8 in the longer spelling.
        let spelled_longer = if given == address { 0 } else { 96 };
        let prefix_bits = match prefix {
            None => longest,
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse::<u32>().ok()?.checked_sub(spelled_longer)?
            }
            Some(_) => return None,
        };
        (prefix_bits <= longest).then_some(Network { address, prefix_bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        let same_start = |differing: u128, bits: u32| differing.leading_zeros() >= 128 - bits + self.prefix_bits;
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same_start(u128::from(a.to_bits() ^ b.to_bits()), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same_start(a.to_bits() ^ b.to_bits(), 128),
            _ => false,
        }
    }
}

impl TrustedProxies {
    pub(in crate::web) fn parse(networks: &[String]) -> Result<Self> {
        let parse = |text: &String| {
            Network::parse(text.trim()).ok_or_else(|| {
                Error::invalid(format!(
                    "TRUSTED_PROXIES has `{text}`; it must list addresses or networks such as 10.0.0.0/8 or fd00::/8"
                ))
            })
        };
        Ok(TrustedProxies(networks.iter().map(parse).collect::<Result<_>>()?))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address, and whether it spoke TLS with a proxy of ours.
    pub(in crate::web) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> (IpAddr, bool) {
        let peer = peer.to_canonical();
        if self.0.is_empty() || !self.trusts(peer) {
            return (peer, false);
        }
        (self.first_stranger(peer, headers), was_tls(headers))
    }

    /// From the right, where our own proxies wrote, to the first address that is not one of them. What stands left of it may be invented.
    fn first_stranger(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        for line in headers.get_all(&X_FORWARDED_FOR).iter().rev() {
            let Ok(line) = line.to_str() else {
                return client;
            };
            for hop in line.rsplit(',') {
                let Some(address) = parse_hop(hop.trim()) else {
                    return client;
                };
                client = address;
                if !self.trusts(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// `203.0.113.7`, `2001:db8::7`, and with ports as some proxies write them: `203.0.113.7:4711`, `[2001:db8::7]:4711`, `[2001:db8::7]`.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// The last word is the one that our own proxy said.
fn was_tls(headers: &HeaderMap) -> bool {
    let last_line = headers.get_all(&X_FORWARDED_PROTO).iter().next_back();
    let last_word = last_line.and_then(|line| line.to_str().ok()).and_then(|line| line.rsplit(',').next());
    last_word.is_some_and(|word| word.trim().eq_ignore_ascii_case("https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(networks: &[&str]) -> TrustedProxies {
        TrustedProxies::parse(&networks.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).expect("networks")
    }

    fn client(networks: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(&X_FORWARDED_FOR, line.parse().expect("a header value"));
        }
        proxies(networks).client(peer.parse().expect("an address"), &headers).0.to_string()
    }

    #[test]
    fn a_stranger_can_not_choose_its_address() {
        assert_eq!(client(&[], "198.51.100.9", &["1.1.1.1"]), "198.51.100.9");
        assert_eq!(client(&["10.0.0.0/8"], "198.51.100.9", &["1.1.1.1"]), "198.51.100.9");
    }

    #[test]
    fn forwarded_addresses_are_read_from_the_right_through_trusted_proxies() {
        let ours = &["10.0.0.0/8", "fd00::/8"];
        assert_eq!(client(ours, "10.0.0.1", &["203.0.113.7"]), "203.0.113.7");
        assert_eq!(client(ours, "10.0.0.1", &["6.6.6.6, 203.0.113.7, 10.9.9.9"]), "203.0.113.7");
        assert_eq!(client(ours, "10.0.0.1", &["6.6.6.6", "203.0.113.7", "10.9.9.9"]), "203.0.113.7");
        assert_eq!(client(ours, "fd00::1", &["2001:db8::7"]), "2001:db8::7");
        assert_eq!(client(ours, "::ffff:10.0.0.1", &["[2001:db8::7]:99"]), "2001:db8::7");
        assert_eq!(client(ours, "10.0.0.1", &["203.0.113.7:4711"]), "203.0.113.7");
        assert_eq!(client(ours, "10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2");
        assert_eq!(client(ours, "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &["evil"]), "10.0.0.1");
    }

    #[test]
    fn tls_is_believed_from_trusted_proxies_only() {
        let mut headers = HeaderMap::new();
        headers.append(&X_FORWARDED_PROTO, "http, https".parse().expect("a header value"));
        let peer = "10.0.0.1".parse().expect("an address");
        assert!(proxies(&["10.0.0.1"]).client(peer, &headers).1);
        assert!(!proxies(&["10.0.0.2"]).client(peer, &headers).1);
        headers.append(&X_FORWARDED_PROTO, "http".parse().expect("a header value"));
        assert!(!proxies(&["10.0.0.1"]).client(peer, &headers).1);
    }

    #[test]
    fn networks_hold_what_they_say() {
        let holds = |network: &str, address: &str| {
            Network::parse(network).expect("a network").contains(address.parse().expect("an address"))
        };
        assert!(holds("0.0.0.0/0", "255.1.2.3") && holds("::/0", "2001:db8::1"));
        assert!(holds("192.168.4.0/22", "192.168.7.255") && !holds("192.168.4.0/22", "192.168.8.0"));
        assert!(holds("::ffff:10.0.0.0/104", "10.200.0.1") && !holds("::ffff:10.0.0.0/104", "11.0.0.1"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::") && !holds("2001:db8::/33", "2001:db8:8000::"));
        assert!(!holds("0.0.0.0/0", "::1"));
    }

    #[test]
    fn a_bad_network_is_refused_by_name() {
        for bad in ["10.0.0.0/33", "10.0.0/8", "fd00::/129", "localhost", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/-1"] {
            let refusal = TrustedProxies::parse(&[bad.to_owned()]).expect_err("a refusal").to_string();
            assert!(refusal.starts_with(&format!("TRUSTED_PROXIES has `{bad}`")), "{refusal}");
        }
    }
}
