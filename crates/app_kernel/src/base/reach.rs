//! Which addresses are of the public internet. For requests to places that a user names: nobody may send us to our own neighbours.
//!
//! The rules are those of the IANA special-purpose registries for
//! [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry/) and
//! [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry/), read strictly: what is set aside is not public, even
//! where a registry says that some of it may be routed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A host of the public internet.
    Public,
    /// This machine or a network of somebody's own: loopback, RFC 1918, shared address space (RFC 6598), unique local (RFC 4193).
    Private,
    /// No place to send anything to, in whatever network: link-local and other addresses of cloud metadata, multicast, broadcast,
    /// unspecified, documentation, reserved, and forms that hide another address.
    Never,
}

/// IPv4 networks that are not public. Of two that hold an address, the first counts.
const V4: &[([u8; 4], u8, Reach)] = &[
    ([100, 100, 100, 200], 32, Reach::Never), // metadata of Alibaba Cloud, within shared address space
    ([168, 63, 129, 16], 32, Reach::Never),   // the host of Azure's machines, though it looks public
    ([0, 0, 0, 0], 8, Reach::Never),          // this network
    ([10, 0, 0, 0], 8, Reach::Private),
    ([100, 64, 0, 0], 10, Reach::Private),
    ([127, 0, 0, 0], 8, Reach::Private),
    ([169, 254, 0, 0], 16, Reach::Never), // link-local; metadata of most clouds
    ([172, 16, 0, 0], 12, Reach::Private),
    ([192, 0, 0, 0], 24, Reach::Never), // protocol assignments; metadata of Oracle's cloud
    ([192, 0, 2, 0], 24, Reach::Never), // documentation
    ([192, 31, 196, 0], 24, Reach::Never), // AS112
    ([192, 52, 193, 0], 24, Reach::Never), // AMT
    ([192, 88, 99, 0], 24, Reach::Never), // relays of 6to4
    ([192, 168, 0, 0], 16, Reach::Private),
    ([192, 175, 48, 0], 24, Reach::Never), // AS112
    ([198, 18, 0, 0], 15, Reach::Private), // benchmarks
    ([198, 51, 100, 0], 24, Reach::Never), // documentation
    ([203, 0, 113, 0], 24, Reach::Never),  // documentation
    ([224, 0, 0, 0], 4, Reach::Never),     // multicast
    ([240, 0, 0, 0], 4, Reach::Never),     // reserved, and broadcast
];

/// The same for IPv6, within what is given out as global unicast, `2000::/3`.
const V6: &[([u16; 8], u8, Reach)] = &[
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Reach::Never), // protocol assignments: Teredo, benchmarks, ORCHID
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Reach::Never), // documentation
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Reach::Never), // 6to4
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, Reach::Never), // AS112
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Reach::Never), // documentation
];

/// How far an address reaches. One that carries an IPv4 address for the network to unpack (mapped, NAT64) reaches as far as that.
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let bits = u32::from(address);
    let holds = |network: [u8; 4], length: u8| (bits ^ u32::from_be_bytes(network)) >> (32 - u32::from(length)) == 0;
    V4.iter().find(|(network, length, _)| holds(*network, *length)).map_or(Reach::Public, |(.., reach)| *reach)
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    let tail = || Ipv4Addr::from_bits(u32::from(segments[6]) << 16 | u32::from(segments[7]));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => return reach_v4(tail()),
        [0, 0, 0, 0, 0, 0, 0, 1] => return Reach::Private,
        // Metadata of Amazon's cloud, within unique local addresses.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => return Reach::Never,
        [first, ..] if first & 0xfe00 == 0xfc00 => return Reach::Private,
        [first, ..] if first & 0xe000 != 0x2000 => return Reach::Never,
        _ => {}
    }
    let bits = u128::from(address);
    let bits_of = |network: [u16; 8]| u128::from(Ipv6Addr::from(network));
    let holds = |network: [u16; 8], length: u8| (bits ^ bits_of(network)) >> (128 - u32::from(length)) == 0;
    V6.iter().find(|(network, length, _)| holds(*network, *length)).map_or(Reach::Public, |(.., reach)| *reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last address of a network.
    fn ends(network: &str) -> [IpAddr; 2] {
        let (address, length) = network.split_once('/').expect("a network");
        let (address, length): (IpAddr, u32) =
            (address.parse().expect("an address"), length.parse().expect("a length"));
        match address {
            IpAddr::V4(v4) => {
                [v4.into(), Ipv4Addr::from(u32::from(v4) | u32::MAX.checked_shr(length).unwrap_or(0)).into()]
            }
            IpAddr::V6(v6) => {
                [v6.into(), Ipv6Addr::from(u128::from(v6) | u128::MAX.checked_shr(length).unwrap_or(0)).into()]
            }
        }
    }

    /// Every line of both registries, as of 2025, but for the few that this is stricter or finer about, which have lines of their own.
    ///
    /// Promise: R-20
    #[test]
    fn nothing_that_the_registries_set_aside_is_public() {
        for (network, expected) in [
            ("0.0.0.0/8", Reach::Never),
            ("10.0.0.0/8", Reach::Private),
            ("100.64.0.0/10", Reach::Private),
            ("127.0.0.0/8", Reach::Private),
            ("169.254.0.0/16", Reach::Never),
            ("172.16.0.0/12", Reach::Private),
            ("192.0.0.0/24", Reach::Never),
            ("192.0.0.0/29", Reach::Never),
            ("192.0.0.8/32", Reach::Never),
            ("192.0.0.9/32", Reach::Never),
            ("192.0.0.10/32", Reach::Never),
            ("192.0.0.170/32", Reach::Never),
            ("192.0.0.171/32", Reach::Never),
            ("192.0.2.0/24", Reach::Never),
            ("192.31.196.0/24", Reach::Never),
            ("192.52.193.0/24", Reach::Never),
            ("192.88.99.0/24", Reach::Never),
            ("192.168.0.0/16", Reach::Private),
            ("192.175.48.0/24", Reach::Never),
            ("198.18.0.0/15", Reach::Private),
            ("198.51.100.0/24", Reach::Never),
            ("203.0.113.0/24", Reach::Never),
            ("224.0.0.0/4", Reach::Never),
            ("240.0.0.0/4", Reach::Never),
            ("255.255.255.255/32", Reach::Never),
            ("::1/128", Reach::Private),
            ("::/128", Reach::Never),
            ("64:ff9b:1::/48", Reach::Never),
            ("100::/64", Reach::Never),
            ("100:0:0:1::/64", Reach::Never),
            ("2001::/23", Reach::Never),
            ("2001::/32", Reach::Never),
            ("2001:1::1/128", Reach::Never),
            ("2001:1::2/128", Reach::Never),
            ("2001:1::3/128", Reach::Never),
            ("2001:2::/48", Reach::Never),
            ("2001:3::/32", Reach::Never),
            ("2001:4:112::/48", Reach::Never),
            ("2001:10::/28", Reach::Never),
            ("2001:20::/28", Reach::Never),
            ("2001:30::/28", Reach::Never),
            ("2001:db8::/32", Reach::Never),
            ("2002::/16", Reach::Never),
            ("2620:4f:8000::/48", Reach::Never),
            ("3fff::/20", Reach::Never),
            ("5f00::/16", Reach::Never),
            ("fc00::/7", Reach::Private),
            ("fe80::/10", Reach::Never),
            ("fec0::/10", Reach::Never),
            ("ff00::/8", Reach::Never),
            ("::/96", Reach::Never), // IPv4-compatible; ::1 has its own line
            ("4000::/2", Reach::Never),
        ] {
            for address in ends(network)
                .into_iter()
                .filter(|address| network != "::/96" || *address != IpAddr::V6(Ipv6Addr::LOCALHOST))
            {
                assert_eq!(reach(address), expected, "{address} of {network}");
            }
        }
    }

    /// Promise: R-20
    #[test]
    fn what_a_cloud_tells_its_machines_is_never_reached() {
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "::ffff:168.63.129.16",
        ] {
            assert_eq!(reach(address.parse().expect("an address")), Reach::Never, "{address}");
        }
    }

    /// Promise: R-20
    #[test]
    fn an_address_that_carries_another_reaches_as_far_as_that() {
        for (address, expected) in [
            ("::ffff:127.0.0.1", Reach::Private),
            ("::ffff:10.1.2.3", Reach::Private),
            ("::ffff:0.0.0.0", Reach::Never),
            ("::ffff:8.8.8.8", Reach::Public),
            ("64:ff9b::7f00:1", Reach::Private),
            ("64:ff9b::c0a8:101", Reach::Private),
            ("64:ff9b::808:808", Reach::Public),
            ("2002:7f00:1::", Reach::Never),
            ("2002:808:808::1", Reach::Never),
            ("2001:0:7f00:1::", Reach::Never),
            ("::7f00:1", Reach::Never),
            ("::ffff:0:127.0.0.1", Reach::Never), // translated (RFC 2765), not mapped
        ] {
            assert_eq!(reach(address.parse().expect("an address")), expected, "{address}");
        }
    }

    #[test]
    fn the_neighbours_of_what_is_set_aside_are_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "168.63.129.15",
            "2001:200::",
            "2001:4860:4860::8888",
            "2606:4700:4700::1111",
            "2003::1",
            "2620:4f:7fff::",
            "2a00:1450::1",
            "3ffe::1",
        ] {
            assert_eq!(reach(address.parse().expect("an address")), Reach::Public, "{address}");
        }
    }
}
